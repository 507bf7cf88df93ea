"""Packages with code for GPUs in the target: which cards they serve, whether they can load.

Nothing is imported: the libraries' own sections, hash tables and import tables are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from klein_doctor.compiled import Binary, Extension
from klein_doctor.installation import Installed
from klein_doctor.model import Fact, Interpreter, Known, Package, Unknown
from klein_doctor.probes import binary
from klein_doctor.probes.cuda_libraries import absent
from klein_doctor.probes.fatbin import read_code
from klein_doctor.probes.outside import Outside, is_dir, is_file, names
from klein_doctor.probes.symbols import STABLE, TORCH, imported_dlls, undefined, unresolved
from klein_doctor.recipe_attention import ExtensionRow, load_attention

_ENDS = (".so", ".pyd")
_MOST_FILES = 12
_FEW = 5  # functions that are shown
_PYTHON_TAG = re.compile(r"\.(?:cpython-|cp)(\d)(\d{1,2})t?[-.]")
_PYTHON_DLL = re.compile(r"python(\d)(\d{1,2})t?\.dll", re.IGNORECASE)
# What CUDA's own libraries are called on Windows, with their major version.
_CUDA_DLL = re.compile(
    r"(?:cudart|cublas|cublasLt|cudnn|cufft|curand|cusolver|cusparse|nvrtc|nvJitLink)64_\d{1,3}.*\.dll",
    re.IGNORECASE,
)
_TORCH_DLL = re.compile(r"(?:torch|c10)\w*\.dll", re.IGNORECASE)
_TORCH_LIBRARY = re.compile(r"lib(?:torch|c10)\w*\.so.*")
_TORCH_LIBRARIES = ("libc10.so", "libtorch_cpu.so", "libtorch.so", "libtorch_python.so")
_TORCH_CUDA_LIBRARIES = ("libc10_cuda.so", "libtorch_cuda.so", "libtorch_cuda_linalg.so")


def read_extensions(
    outside: Outside,
    interpreter: Interpreter,
    torch: Package,
    versions: dict[str, Installed],
) -> tuple[Extension, ...]:
    """The extensions of the table that the target has; versions: of its distributions."""
    found = []
    for row in load_attention().extensions:
        for place in interpreter.site_packages:
            site = Path(place.real)
            paths = list(_files(site, row))[:_MOST_FILES]
            if not paths and not _has_package(site, row, versions):
                continue
            item = versions.get(row.name)
            found.append(
                Extension(
                    name=row.name,
                    version=item.version if item is not None else "",
                    location=outside.redactor.path(str(site)),
                    binaries=tuple(
                        _binary(outside, interpreter, torch, site, path) for path in paths
                    ),
                )
            )
            break  # a second copy further down the path is shadowed
    return tuple(found)


def _has_package(site: Path, row: ExtensionRow, versions: dict[str, Installed]) -> bool:
    """Whether the package itself is there: a folder of its name alone may be another's part."""
    return row.name in versions and is_dir(site / row.module)


def _files(site: Path, row: ExtensionRow) -> Iterator[Path]:
    for stem in row.files:
        folder, _, begins = stem.rpartition("/")
        for name in names(site / folder if folder else site):
            if name.startswith(begins) and name.endswith(_ENDS):
                yield (site / folder if folder else site) / name


def _binary(
    outside: Outside, interpreter: Interpreter, torch: Package, site: Path, path: Path
) -> Binary:
    windows = path.suffix == ".pyd"
    dlls = _dlls(path) if windows else ()
    return Binary(
        file=path.relative_to(site).as_posix(),
        archs=_archs(path),
        python=_python(path.name, dlls),
        absent=_absent_dlls(outside, torch, dlls)
        if windows
        else tuple(absent(outside, Path(torch.location.real), interpreter, [path])),
        undefined=Unknown("not told by a Windows library") if windows else _undefined(torch, path),
        torch=_of_torch_by_dlls(path, dlls) if windows else _of_torch(path),
    )


def _archs(path: Path) -> Fact[tuple[str, ...]]:
    try:
        code = read_code(path)
    except binary.BinaryError as error:
        return Unknown(f"{path.name} cannot be read: {error}")
    except OSError as error:
        return Unknown(f"{path.name} cannot be read: {error.strerror or 'error'}")
    return Known((*code.sass, *code.ptx))


def _python(name: str, dlls: Sequence[str]) -> str:
    """The Python a library is for, by its name, else by the DLL of Python that it asks for."""
    if ".abi3." in name:
        return "abi3"
    found = _PYTHON_TAG.search(name) or next(filter(None, map(_PYTHON_DLL.fullmatch, dlls)), None)
    return f"{found[1]}.{found[2]}" if found else ""


def _undefined(torch: Package, path: Path) -> Fact[tuple[str, ...]]:
    if not torch.present:
        return Unknown("there is no torch to compare with")
    folder = Path(torch.location.real) / "torch" / "lib"
    libraries = [folder / name for name in (*_TORCH_LIBRARIES, *_TORCH_CUDA_LIBRARIES)]
    there = [library for library in libraries if is_file(library)]
    if not there:
        return Unknown("torch's libraries were not found")
    try:
        return Known(tuple(unresolved(path, there)[:_FEW]))
    except binary.BinaryError as error:
        return Unknown(f"{path.name} cannot be compared with torch: {error}")
    except OSError as error:
        return Unknown(f"{path.name} cannot be compared with torch: {error.strerror or 'error'}")


def _of_torch(path: Path) -> Fact[str]:
    try:
        asked = undefined(path, TORCH)
        if not asked and not any(map(_TORCH_LIBRARY.fullmatch, binary.needs(path).libraries)):
            return Known("")
    except binary.BinaryError as error:
        return Unknown(f"{path.name} cannot be read: {error}")
    except OSError as error:
        return Unknown(f"{path.name} cannot be read: {error.strerror or 'error'}")
    stable = bool(asked) and all(name.startswith(STABLE) for name in asked)
    return Known("stable" if stable else "exact")


def _of_torch_by_dlls(path: Path, dlls: Sequence[str]) -> Fact[str]:
    if not dlls:
        return Unknown(f"{path.name} names no library that it asks for")
    return Known("exact" if any(map(_TORCH_DLL.fullmatch, dlls)) else "")


def _dlls(path: Path) -> tuple[str, ...]:
    try:
        return tuple(imported_dlls(path))
    except (binary.BinaryError, OSError):
        return ()


def _absent_dlls(outside: Outside, torch: Package, dlls: Sequence[str]) -> tuple[str, ...]:
    """CUDA's and torch's DLLs that lie neither in torch's folder nor in one of PATH."""
    wanted = [name for name in dlls if _CUDA_DLL.fullmatch(name) or _TORCH_DLL.fullmatch(name)]
    if not wanted or not torch.present:
        return ()
    folders = [Path(torch.location.real) / "torch" / "lib"]
    folders += [Path(part) for part in outside.env.get("PATH", "").split(";") if part]
    return tuple(name for name in wanted if not any(is_file(folder / name) for folder in folders))
