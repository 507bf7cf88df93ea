"""torch, torchvision and torchaudio read from their files: nothing is imported.

``version.py`` keeps the local tag (``+cu130``) even where the dist-info has none, so it is the
first witness; the arch list is a text inside libtorch_python, the one that
torch.cuda.get_arch_list() returns.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from pathlib import Path

from klein_doctor.model import (
    Distribution,
    Fact,
    Interpreter,
    Known,
    Library,
    Package,
    TorchBinary,
    Unknown,
)
from klein_doctor.probes import binary
from klein_doctor.probes.cuda_libraries import unresolved
from klein_doctor.probes.fatbin import read_code
from klein_doctor.probes.outside import Outside, is_dir, is_file, names, read_text

_ARCHS = re.compile(rb"\0((?:(?:sm|compute)_\d{2,3}[af]? ?){1,40})\0")
_ARCHS_LONGEST = 600
_LIBRARIES = re.compile(
    r"^(torch/(?:lib/[^/,]+|_C[^/,]*\.(?:so|pyd))),[^,]*,(\d{1,15})\r?$", re.MULTILINE
)
_RECORD = re.compile(r"([A-Za-z0-9_.]+)-([^-]+)(?:-py\d\.\d+)?\.(?:dist|egg)-info")
_CONDA_NAMES = {"torch": "pytorch"}
_LOADED = re.compile(r"\.(so|so\.\d[\d.]*|dll|pyd|dylib)$")
_MAX_RECORD = 8 << 20


def read_package(outside: Outside, interpreter: Interpreter, name: str) -> Package:
    """Find a package on the target's import path and read its version and install records."""
    folders = [Path(folder.real) for folder in interpreter.site_packages]
    package = next((folder / name for folder in folders if _is_package(folder / name)), None)
    values = _literals(read_text(package / "version.py")) if package else {}
    redact = outside.redactor.path
    records = {folder: _distributions(outside, folder, name) for folder in folders}
    # A second copy further down the path is shadowed, not mixed in.
    found = records.get(package.parent, []) if package else []
    found = found or [item for folder in folders for item in records[folder]]
    found = found or _conda_record(outside, Path(interpreter.prefix.real), name)
    return Package(
        name=name,
        present=package is not None,
        version=_version(values, found),
        cuda=_cuda(values, found),
        hip=_text(values.get("hip")),
        xpu=_text(values.get("xpu")),
        location=redact(str(package.parent if package else interpreter.prefix.real)),
        distributions=tuple(found),
    )


def read_torch_binary(outside: Outside, interpreter: Interpreter, torch: Package) -> TorchBinary:
    """What torch's libraries carry, which of them are damaged and what they cannot find."""
    site = Path(torch.location.real)
    return TorchBinary(
        archs=_deeper(site, read_archs(site / "torch" / "lib")),
        damaged=(*_damaged(site, torch), *_not_libraries(site)),
        unresolved=tuple(unresolved(outside, site, interpreter)) if torch.present else (),
    )


def _deeper(site: Path, archs: Fact[tuple[str, ...]]) -> Fact[tuple[str, ...]]:
    """What the CUDA library itself holds, where the list of architectures was not found."""
    if isinstance(archs, Known):
        return archs
    for name in ("libtorch_cuda.so", "torch_cuda.dll"):
        path = site / "torch" / "lib" / name
        if is_file(path):
            try:
                code = read_code(path)
            except (binary.BinaryError, OSError):
                return archs
            return Known((*code.sass, *code.ptx)) if code.sass or code.ptx else archs
    return archs


def read_archs(folder: Path) -> Fact[tuple[str, ...]]:
    """The architectures torch was compiled for, from the text inside libtorch_python."""
    for name, section_names in (
        ("libtorch_python.so", (".rodata",)),
        ("torch_python.dll", (".rdata",)),
    ):
        path = folder / name
        if is_file(path):
            try:
                return _archs_in(path, section_names)
            except binary.BinaryError as error:
                return Unknown(f"{name} cannot be read: {error}")
            except OSError as error:
                return Unknown(f"{name} cannot be read: {error.strerror or 'error'}")
    return Unknown("torch has no libtorch_python")


def _archs_in(path: Path, section_names: tuple[str, ...]) -> Fact[tuple[str, ...]]:
    with path.open("rb") as stream:
        for section in binary.sections(stream):
            if section.name not in section_names:
                continue
            for number, piece in enumerate(binary.pieces(stream, section, _ARCHS_LONGEST)):
                if number == 0:
                    piece = b"\0" + piece  # the list may be the first thing in its section
                # The search for a fixed text first is what makes this fast.
                if b"\0sm_" not in piece and b"\0compute_" not in piece:
                    continue
                found = _ARCHS.search(piece)
                if found:
                    return Known(tuple(found.group(1).decode("ascii").split()))
    return Unknown(f"{path.name} holds no list of GPU architectures")


def _is_package(path: Path) -> bool:
    return is_dir(path) and (is_file(path / "__init__.py") or is_file(path / "version.py"))


def _literals(source: str) -> dict[str, object]:
    """The plain assignments of a module, without running it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a stranger's source, not of ours
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    values: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets, value = list(node.targets), node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
                values[target.id] = value.value
    return values


def _text(value: object) -> str | None:
    return value[:80] if isinstance(value, str) else None


def _version(values: dict[str, object], found: list[Distribution]) -> Fact[str]:
    written = _text(values.get("__version__"))
    if written:
        return Known(written)
    if found:
        return Known(found[0].version)
    return Unknown("no version is written down")


def _cuda(values: dict[str, object], found: list[Distribution]) -> Fact[str | None]:
    if "cuda" in values:
        if values["cuda"] is None:
            return Known(None)
        number = re.match(r"\d{1,3}\.\d{1,3}(?!\d)", _text(values["cuda"]) or "")
        return Known(number.group()) if number else Unknown("version.py names no CUDA release")
    tag = next((item.version.partition("+")[2] for item in found if "+" in item.version), "")
    written = _text(values.get("__version__")) or ""
    return cuda_of_tag(tag or written.partition("+")[2])


def cuda_of_tag(tag: str) -> Fact[str | None]:
    """``cu130`` as Known("13.0"), ``cpu`` as Known(None), anything else as Unknown."""
    number = re.fullmatch(r"cu(\d+)(\d)", tag)
    if number:
        return Known(f"{number.group(1)}.{number.group(2)}")
    if tag == "cpu":
        return Known(None)
    return Unknown("nothing written down tells what it was built for")


def _distributions(outside: Outside, folder: Path, name: str) -> list[Distribution]:
    found = []
    for entry in names(folder):
        match = _RECORD.fullmatch(entry)
        if not match or match.group(1).lower().replace(".", "_") != name:
            continue
        path = folder / entry
        origin = read_text(path / "direct_url.json", 65536)
        found.append(
            Distribution(
                version=match.group(2)[:80],
                installer=read_text(path / "INSTALLER", 100).strip()[:40],
                editable=_editable(origin),
                location=outside.redactor.path(str(path)),
            )
        )
    return found


def _editable(origin: str) -> bool:
    try:
        return json.loads(origin)["dir_info"]["editable"] is True
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _not_libraries(site: Path) -> list[Library]:
    """libtorch_python where it is empty or something else than a library: promised is -1."""
    for name in ("libtorch_python.so", "torch_python.dll"):
        path = site / "torch" / "lib" / name
        try:
            with path.open("rb") as stream:
                binary.sections(stream)
        except binary.BinaryError:
            return [Library(f"torch/lib/{name}", -1, path.stat().st_size)]
        except OSError:
            continue
    return []


def _conda_record(outside: Outside, prefix: Path, name: str) -> list[Distribution]:
    """Conda's own record of a package, which may come without any dist-info."""
    wanted = _CONDA_NAMES.get(name, name)
    for entry in names(prefix / "conda-meta"):
        match = re.fullmatch(r"(.+)-([^-]+)-[^-]+\.json", entry)
        if match and match.group(1) in (wanted, name):
            location = outside.redactor.path(str(prefix / "conda-meta" / entry))
            return [Distribution(match.group(2)[:80], "conda", False, location)]
    return []


def _damaged(site: Path, torch: Package) -> list[Library]:
    """Libraries the install record promises that are absent or of another size."""
    if not torch.present or len(torch.distributions) != 1:
        return []
    record = read_text(Path(torch.distributions[0].location.real) / "RECORD", _MAX_RECORD)
    found = []
    for name, promised in _LIBRARIES.findall(record):
        if not _LOADED.search(name):
            continue
        try:
            size = (site / name).stat().st_size
        except OSError:
            size = -1
        if size != int(promised):
            found.append(Library(name, int(promised), size))
    return found
