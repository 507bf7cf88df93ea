"""The embedded index with faults to inject, and look-alikes with the functions tests ask for."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import unquote

from libraries import shared

from klein_doctor.rehearse import index, wheels
from klein_doctor.rehearse.index import Served
from klein_doctor.rehearse.index import canonical as canonical
from klein_doctor.rehearse.wheels import ARCHS as ARCHS
from klein_doctor.rehearse.wheels import Content
from klein_doctor.rehearse.wheels import torch_version_file as torch_version_file
from klein_doctor.rehearse.wheels import torchaudio_wheel as torchaudio_wheel
from klein_doctor.rehearse.wheels import torchvision_wheel as torchvision_wheel
from klein_doctor.rehearse.wheels import wheel as wheel


class PackageIndex(index.PackageIndex):
    """The index with faults, by what a requested path contains.

    ``cut[text] = n`` ends the connection after n bytes of the file, ``missing`` answers 404,
    ``slow[text] = seconds`` waits between pieces of 64 KiB.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cut: dict[str, int] = {}
        self.slow: dict[str, float] = {}
        self.missing: set[str] = set()
        self.never = threading.Event()

    def add(
        self, *wheels: bytes, index: str = "simple", sha256: str = "", metadata: bool = False
    ) -> None:
        """Serve wheels, or sdists made by ``sdist``.

        sha256: a false digest to show instead of the true one. metadata: with PEP 658 files.
        """
        for data in wheels:
            found = sha256 or hashlib.sha256(data).hexdigest()
            about = _read_metadata(data) if metadata else None
            self.put(Served(file_name(data), data, found, about), index)

    def downloads(self) -> list[str]:
        """The names of the wheels and sdists that were asked for."""
        names = [unquote(path.rsplit("/", 1)[-1]) for path in self.requests]
        return [name for name in names if name.endswith((".whl", ".tar.gz"))]

    def refuses(self, path: str) -> bool:
        return any(text in path for text in self.missing)

    def send(self, data: bytes, handler: Any, path: str) -> None:
        end = min((n for text, n in self.cut.items() if text in path), default=None)
        pause = max((s for text, s in self.slow.items() if text in path), default=0.0)
        try:
            for at in range(0, len(data[:end]), 1 << 16):
                handler.wfile.write(data[:end][at : at + (1 << 16)])
                if pause:
                    self.never.wait(pause)
        except OSError:
            handler.close_connection = True
        if end is not None:
            handler.close_connection = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.never.set()
        super().__exit__(kind, error, traceback)


def sdist(name: str, version: str, files: Mapping[str, Content]) -> bytes:
    """A source archive with these files; file names as setuptools would need them."""
    import tarfile

    buffer = io.BytesIO()
    whole = {"PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", **files}
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, body in whole.items():
            body = body.encode() if isinstance(body, str) else body
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def file_name(data: bytes) -> str:
    """The name that an archive made here must have, as its content tells."""
    if data[:2] == b"PK":
        return wheels.file_name(data)
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(data)) as source:
        return source.getnames()[0].split("/")[0] + ".tar.gz"


def _read_metadata(data: bytes) -> bytes | None:
    if data[:2] != b"PK":
        return None
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(name)


def torch_wheel(
    version: str = "2.14.1+cu130",
    cuda: str | None = "13.0",
    archs: Sequence[str] = ARCHS,
    requires: Sequence[str] = (),
    files: Mapping[str, Content] | None = None,
) -> bytes:
    """A look-alike whose libraries define a function each, as extensions look for them."""
    body: dict[str, Content] = {"torch/lib/libtorch_cpu.so": shared(["at_cpu"])}
    if cuda:
        body["torch/lib/libtorch_cuda.so"] = shared(["at_cuda"])
    return wheels.torch_wheel(version, cuda, archs, requires, {**body, **(files or {})})


def put_trio(
    index: PackageIndex,
    path: str,
    torch: str = "2.14.1",
    torchvision: str = "0.29.1",
    torchaudio: str = "2.11.0",
    cuda: str | None = "13.0",
    archs: Sequence[str] = ARCHS,
) -> None:
    """torch, torchvision and torchaudio of one build in the index at path, tagged as PyTorch's."""
    tag = "cu" + cuda.replace(".", "") if cuda else "cpu"
    index.add(
        torch_wheel(f"{torch}+{tag}", cuda, archs),
        torchvision_wheel(f"{torchvision}+{tag}", torch),
        torchaudio_wheel(f"{torchaudio}+{tag}", torch),
        index=path,
    )
