"""Wheels made in memory: small, otherwise true; and look-alikes of PyTorch and its partners.

A look-alike holds what an installation is told by, version.py and the list of architectures inside
its library, and nothing that runs.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from typing import Union

ARCHS = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
Content = Union[str, bytes]
ELF_BASE = 0x400000


def wheel(
    name: str,
    version: str,
    files: Mapping[str, Content] | None = None,
    requires: Sequence[str] = (),
    scripts: Mapping[str, str] | None = None,
    tag: str = "py3-none-any",
    data: Mapping[str, Content] | None = None,
) -> bytes:
    """A wheel.

    files: by path below site-packages; by default a package with its version.
    scripts: entry points, by name, such as ``{"torchrun": "torch.run:main"}``.
    data: by path below the ``.data`` folder, such as ``data/share/man/x.1``.
    """
    plain = re.sub(r"[-.]+", "_", name)
    info = f"{plain}-{version}.dist-info"
    if files is None:
        files = {f"{plain}/__init__.py": f"__version__ = {version!r}\n"}
    content: dict[str, Content] = dict(files)
    content |= {f"{plain}-{version}.data/{path}": body for path, body in (data or {}).items()}
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    content[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
    )
    tags = "".join(f"Tag: {each}\n" for each in _tags(tag))
    content[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: klein-doctor\nRoot-Is-Purelib: true\n{tags}"
    )
    if scripts:
        rows = "".join(f"{script} = {target}\n" for script, target in scripts.items())
        content[f"{info}/entry_points.txt"] = f"[console_scripts]\n{rows}"
    return _zipped(content, info)


def _tags(tag: str) -> list[str]:
    pythons, abis, platforms = (part.split(".") for part in tag.split("-"))
    return [f"{p}-{a}-{m}" for p in pythons for a in abis for m in platforms]


def _zipped(content: Mapping[str, Content], info: str) -> bytes:
    whole = {
        path: body.encode() if isinstance(body, str) else body for path, body in content.items()
    }
    rows = []
    for path, body in whole.items():
        found = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={found},{len(body)}\n")
    rows.append(f"{info}/RECORD,,\n")
    whole[f"{info}/RECORD"] = "".join(rows).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, body in whole.items():
            entry = zipfile.ZipInfo(path, (2026, 1, 2, 3, 4, 6))
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, body)
    return buffer.getvalue()


def file_name(data: bytes) -> str:
    """The name that a wheel made here must have, as its content tells."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        about = next(name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        tags = re.findall(r"^Tag: (.+)$", archive.read(about).decode(), re.MULTILINE)
    rows = [each.split("-") for each in tags]
    pieces = [".".join(sorted(set(column))) for column in zip(*rows, strict=True)]
    return about.removesuffix(".dist-info/WHEEL") + "-" + "-".join(pieces) + ".whl"


def torch_wheel(
    version: str = "2.14.1+cu130",
    cuda: str | None = "13.0",
    archs: Sequence[str] = ARCHS,
    requires: Sequence[str] = (),
    files: Mapping[str, Content] | None = None,
) -> bytes:
    """A torch as far as its files tell; libtorch_python carries archs where it has a CUDA."""
    text = b"cuda unavailable\0" + " ".join(archs).encode() + b"\0_cuda_getArchFlags\0"
    library = elf([(".rodata", text if cuda else b"no GPU\0")])
    body: dict[str, Content] = {
        "torch/__init__.py": "from torch.version import __version__ as __version__\n",
        "torch/version.py": torch_version_file(version, cuda),
        "torch/lib/libtorch_python.so": library,
        "torch/lib/libtorch_cpu.so": elf([]),
        "torch/run.py": "def main():\n    return 0\n",
        "torchgen/__init__.py": "",
        "functorch/__init__.py": "",
    }
    if cuda:
        body["torch/lib/libtorch_cuda.so"] = elf([])
    return wheel(
        "torch", version, {**body, **(files or {})}, requires, {"torchrun": "torch.run:main"}
    )


def torch_version_file(version: str, cuda: str | None) -> str:
    """torch/version.py as setup.py of PyTorch writes it."""
    return (
        "from typing import Optional\n\n"
        "__all__ = ['__version__', 'debug', 'cuda', 'git_version', 'hip', 'xpu']\n"
        f"__version__ = {version!r}\ndebug = False\ncuda: Optional[str] = {cuda!r}\n"
        f"git_version = '{'0' * 40}'\nhip: Optional[str] = None\nxpu: Optional[str] = None\n"
    )


def torchvision_wheel(version: str = "0.29.1+cu130", torch: str = "2.14.1") -> bytes:
    """A torchvision for a torch; its CUDA is the one that its tag names."""
    return _partner("torchvision", version, torch)


def torchaudio_wheel(version: str = "2.11.0+cu130", torch: str = "2.14.1") -> bytes:
    """A torchaudio for a torch."""
    return _partner("torchaudio", version, torch)


def _partner(name: str, version: str, torch: str) -> bytes:
    tag = re.fullmatch(r".*\+cu(\d+)(\d)", version)
    cuda = f"{tag.group(1)}.{tag.group(2)}" if tag else None
    files: dict[str, Content] = {
        f"{name}/__init__.py": f"from {name}.version import __version__ as __version__\n",
        f"{name}/version.py": f"__version__ = {version!r}\ngit_version = '0'\ncuda = {cuda!r}\n",
        f"{name}/_C.so": elf([]),
    }
    return wheel(name, version, files, [f"torch=={torch}"])


def trio(
    torch: str = "2.14.1",
    torchvision: str = "0.29.1",
    torchaudio: str = "2.11.0",
    cuda: str | None = "13.0",
    archs: Sequence[str] = ARCHS,
) -> tuple[bytes, bytes, bytes]:
    """torch, torchvision and torchaudio of one build, tagged as PyTorch's."""
    tag = "cu" + cuda.replace(".", "") if cuda else "cpu"
    return (
        torch_wheel(f"{torch}+{tag}", cuda, archs),
        torchvision_wheel(f"{torchvision}+{tag}", torch),
        torchaudio_wheel(f"{torchaudio}+{tag}", torch),
    )


def elf(rows: Sequence[tuple[str, bytes]], names_at: int | None = None) -> bytes:
    """A 64-bit ELF file with the given sections, its names last."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, _ in rows) + b".shstrtab\0"
    body, table = b"", b""
    for name, content in [*rows, (".shstrtab", names)]:
        place = names.index(b"\0" + name.encode() + b"\0") + 1
        start = 64 + len(body)
        table += struct.pack(
            "<IIQQQQIIQQ", place, 1, 0, ELF_BASE + start, start, len(content), 0, 0, 1, 0
        )
        body += content
    last = len(rows) if names_at is None else names_at
    start_of_file = b"\x7fELF\2\1\1".ljust(16, b"\0")
    start_of_file += struct.pack("<HHIQQQIHHH", 3, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0)
    return start_of_file + struct.pack("<HHH", 64, len(rows) + 1, last) + body + table
