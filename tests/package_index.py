"""A package index on loopback, and the wheels it serves: built in memory, small, otherwise true."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
import threading
import zipfile
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple
from urllib.parse import unquote

from libraries import elf, shared

ARCHS = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
Content = str | bytes


class Served(NamedTuple):
    """A file of an index: its name as in the address, what it holds, what the index says it is."""

    name: str
    data: bytes
    sha256: str
    metadata: bytes | None


class PackageIndex:
    """PEP 503 indexes by path (``/simple/``, ``/cu130/``) at one address; a context manager.

    requests: the paths asked for, in order. Faults, by what a requested path contains:
    ``cut[text] = n`` ends the connection after n bytes of the file, ``missing`` answers 404,
    ``slow[text] = seconds`` waits between pieces of 64 KiB.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, list[Served]]] = {}
        self.requests: list[str] = []
        self.cut: dict[str, int] = {}
        self.slow: dict[str, float] = {}
        self.missing: set[str] = set()
        self.never = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def url(self, name: str = "simple") -> str:
        """The address of an index, as it is given to ``--index-url``."""
        return f"http://127.0.0.1:{self._port}/{name}"

    def add(
        self, *wheels: bytes, index: str = "simple", sha256: str = "", metadata: bool = False
    ) -> None:
        """Serve wheels (or sdists made by ``sdist``) from an index.

        sha256: a false digest to show instead of the true one. metadata: with PEP 658 files.
        """
        for data in wheels:
            name = file_name(data)
            project = canonical(name.split("-")[0])
            found = sha256 or hashlib.sha256(data).hexdigest()
            about = _read_metadata(data) if metadata else None
            served = Served(name, data, found, about)
            self.files.setdefault(index, {}).setdefault(project, []).append(served)

    def downloads(self) -> list[str]:
        """The names of the wheels and sdists that were asked for."""
        names = [unquote(path.rsplit("/", 1)[-1]) for path in self.requests]
        return [name for name in names if name.endswith((".whl", ".tar.gz"))]

    def start(self) -> PackageIndex:
        """Begin to listen; again at the same address after ``stop``."""
        index = self

        class Handler(_Handler):
            owner = index

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        return self

    def stop(self) -> None:
        """As if the cable were pulled: connections are refused from now on."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def __enter__(self) -> PackageIndex:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.never.set()
        self.stop()


class _Handler(BaseHTTPRequestHandler):
    owner: PackageIndex
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path.split("?")[0])
        self.owner.requests.append(path)
        parts = [part for part in path.split("/") if part]
        projects = self.owner.files.get(parts[0], {}) if parts else {}
        if any(text in path for text in self.owner.missing):
            self._send(b"not found", "text/plain", 404)
        elif len(parts) == 2 and canonical(parts[1]) in projects:
            self._send(_page(projects[canonical(parts[1])]), "text/html")
        elif len(parts) == 3:
            self._file(projects.get(canonical(parts[1]), []), parts[2], path)
        else:
            self._send(b"not found", "text/plain", 404)

    def _file(self, served: list[Served], name: str, path: str) -> None:
        for each in served:
            if name == each.name:
                return self._send(each.data, "application/octet-stream", path=path)
            if name == f"{each.name}.metadata" and each.metadata is not None:
                return self._send(each.metadata, "application/octet-stream")
        self._send(b"not found", "text/plain", 404)

    def _send(self, data: bytes, kind: str, code: int = 200, path: str = "") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        end = min((n for text, n in self.owner.cut.items() if text in path), default=None)
        pause = max((s for text, s in self.owner.slow.items() if text in path), default=0.0)
        try:
            for at in range(0, len(data[:end]), 1 << 16):
                self.wfile.write(data[:end][at : at + (1 << 16)])
                if pause:
                    self.owner.never.wait(pause)
        except OSError:
            self.close_connection = True
        if end is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


def _page(served: Sequence[Served]) -> bytes:
    rows = []
    for each in served:
        more = ""
        if each.metadata is not None:
            more = f' data-dist-info-metadata="sha256={hashlib.sha256(each.metadata).hexdigest()}"'
        link = each.name.replace("+", "%2B")
        rows.append(f'<a href="{link}#sha256={each.sha256}"{more}>{html.escape(each.name)}</a><br>')
    return ("<!DOCTYPE html><html><body>\n" + "\n".join(rows) + "\n</body></html>\n").encode()


def canonical(name: str) -> str:
    """A project's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


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
        f"Wheel-Version: 1.0\nGenerator: klein-doctor tests\nRoot-Is-Purelib: true\n{tags}"
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
    if data[:2] != b"PK":
        import tarfile

        with tarfile.open(fileobj=io.BytesIO(data)) as source:
            return source.getnames()[0].split("/")[0] + ".tar.gz"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        about = next(name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        tags = re.findall(r"^Tag: (.+)$", archive.read(about).decode(), re.MULTILINE)
    rows = [each.split("-") for each in tags]
    pieces = [".".join(sorted(set(column))) for column in zip(*rows, strict=True)]
    return about.removesuffix(".dist-info/WHEEL") + "-" + "-".join(pieces) + ".whl"


def _read_metadata(data: bytes) -> bytes | None:
    if data[:2] != b"PK":
        return None
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(name)


# --- look-alikes --------------------------------------------------------------------------------


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
        "torch/lib/libtorch_cpu.so": shared(["at_cpu"]),
        "torch/run.py": "def main():\n    return 0\n",
        "torchgen/__init__.py": "",
        "functorch/__init__.py": "",
    }
    if cuda:
        body["torch/lib/libtorch_cuda.so"] = shared(["at_cuda"])
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
        f"{name}/_C.so": shared([f"{name}_ops"]),
    }
    return wheel(name, version, files, [f"torch=={torch}"])


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
