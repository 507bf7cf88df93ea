"""What stands around the target's Python: markers, the user's packages, PATH, other CUDA copies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from klein_doctor.installation import Surroundings
from klein_doctor.launched import Moved
from klein_doctor.model import Interpreter, Known
from klein_doctor.probes.interpreter import find_executable, prefix_of, user_base
from klein_doctor.probes.launch_flags import split
from klein_doctor.probes.outside import Outside, is_dir, is_file, names, read_text
from klein_doctor.probes.packages import records
from klein_doctor.probes.shims import behind

_MARKER = "EXTERNALLY-MANAGED"
_LONGEST = 120
_MOST_PLACES = 200
_MOST_SHADOWS = 16
_CUDA = re.compile(r"lib(?:cudart|cublas|cublasLt|cudnn\w*)\.so(?:\.[0-9.]+)?", re.ASCII)
_VIRTUAL_ENV = re.compile(
    r"^[ \t]*@?(?:set[ \t]+|export[ \t]+)?(\"?)VIRTUAL_ENV=([^\r\n]{1,4096})",
    re.IGNORECASE | re.MULTILINE,
)
_WHOLE = re.compile(r"(?:/|[A-Za-z]:[\\/])[^$%!`\0]*")
_WINDOWS_NAMES = {"python": ("python.exe",), "pip": ("pip.exe", "pip3.exe"), "uv": ("uv.exe",)}
_NAMES = {"python": ("python3", "python"), "pip": ("pip", "pip3"), "uv": ("uv",)}


def read_surroundings(
    outside: Outside, interpreter: Interpreter, watched: frozenset[str]
) -> Surroundings:
    """Read what may act on the target from outside it; watched names the packages that matter.

    Who manages a Python matters only where no environment stands between (PEP 668).
    """
    redact = outside.redactor.path
    marker = _marker(interpreter)
    user = _user_folder(outside, interpreter)
    python, pip = _on_path(outside, "python"), _on_path(outside, "pip")
    python_is_ours = python is not None and _is_target(python, interpreter)
    return Surroundings(
        managed=redact(str(marker)) if marker is not None else None,
        managed_by=_managed_by(outside, marker) if marker is not None else "",
        user_site=redact(str(user)) if user is not None else None,
        user_packages=_watched_in(user, watched) if user is not None else (),
        path_python=redact(str(python)) if python is not None else None,
        path_python_is_target=python_is_ours,
        path_pip=redact(str(pip)) if pip is not None else None,
        path_pip_is_target=pip is not None
        and _pip_is_target(outside, pip, interpreter, python_is_ours),
        doctor_inside=_same(Path(outside.prefix), Path(interpreter.prefix.real)),
        shadowing=tuple(redact(str(folder)) for folder in _shadowing(outside, interpreter)),
        path_uv=None if interpreter.has_pip else _on_path(outside, "uv") is not None,
        moved=_moved(outside, interpreter),
    )


# --- who manages it --------------------------------------------------------------------------


def _marker(interpreter: Interpreter) -> Path | None:
    """The PEP 668 marker in force: beside the standard library, and void in an environment."""
    if interpreter.kind in ("venv", "uv venv"):
        return None
    # A link such as ~/.local/bin/python3.12 leads to where the library is.
    prefixes = (Path(interpreter.prefix.real), prefix_of(Path(_real(interpreter.path.real))))
    for prefix in dict.fromkeys(prefixes):
        for folder in _libraries(prefix, interpreter):
            if is_file(folder / _MARKER):
                return folder / _MARKER
    return None


def _libraries(prefix: Path, interpreter: Interpreter) -> list[Path]:
    """Where the standard library may lie; a free-threaded build adds a letter."""
    folders = [prefix / "Lib"]
    if isinstance(interpreter.version, Known):
        tag = "python{}.{}".format(*interpreter.version.value[:2])
        folders = [prefix / "lib" / tag, prefix / "lib" / f"{tag}t", *folders]
    return folders


def _managed_by(outside: Outside, marker: Path) -> str:
    words = first_words(read_text(marker, 65536))
    shown = "".join(c for c in outside.redactor.text(words[:1000]).public if c.isprintable())
    return shown[:_LONGEST]


def first_words(text: str) -> str:
    """The first line of the Error text of a PEP 668 marker that is not empty, "" without one."""
    inside = False
    for line in text.split("\n"):
        if inside and line.strip():
            return line.strip() if line[0] in " \t" else ""
        key, found, value = line.partition("=")
        if found and key.strip().lower() == "error":
            inside = True
            if value.strip():
                return value.strip()
    return ""


# --- the user's own packages -----------------------------------------------------------------


def _user_folder(outside: Outside, interpreter: Interpreter) -> Path | None:
    """The user's package folder where the target imports from it.

    Not where it is the target's own: a Python installed below ~/.local.
    """
    if outside.env.get("PYTHONNOUSERSITE"):
        return None
    base = user_base(outside)
    if base is None or _same(base, Path(interpreter.prefix.real)):
        return None
    for item in interpreter.site_packages:
        folder = Path(item.real)
        above = [os.path.normcase(parent) for parent in folder.parents]
        place = above.index(os.path.normcase(base)) if os.path.normcase(base) in above else -1
        if place > 0:
            inner = folder.relative_to(folder.parents[place]).parts
            if re.match(r"(?:lib/)?python[0-9]", "/".join(inner).lower()):
                return folder
    return None


def _watched_in(folder: Path, watched: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted({record.name for record in records(folder)} & watched))


# --- PATH ------------------------------------------------------------------------------------


def _on_path(outside: Outside, what: str) -> Path | None:
    """The first program on PATH that answers to python, pip or uv, behind a pyenv shim."""
    wanted = (_WINDOWS_NAMES if outside.windows else _NAMES)[what]
    entries = outside.env.get("PATH", "").split(";" if outside.windows else ":")
    for entry in entries[:_MOST_PLACES]:
        folder = outside.at(entry.strip('"'))
        # The Store's aliases are no programs, and open the Store instead of running.
        if not folder.is_absolute() or "windowsapps" in re.split(r"[\\/]", entry.lower()):
            continue
        for name in wanted:
            path = folder / name
            if is_file(path) and (outside.windows or os.access(path, os.X_OK)):
                return behind(path, outside.env, outside.here())
    return None


def _pip_is_target(
    outside: Outside, pip: Path, interpreter: Interpreter, python_is_ours: bool
) -> bool:
    """Whether a pip acts on the target: the Python in its first line tells, else its place.

    The line comes first: an environment that was moved keeps a pip that acts on the old place.
    """
    named = named_python(read_text(pip, 4096))
    if named == "env":
        return python_is_ours
    if named:
        return _is_target(outside.at(named), interpreter)
    target = Path(interpreter.path.real)
    inside = pip.parent.name.lower() == "scripts" and _same(pip.parent.parent, prefix_of(target))
    return inside or _same(pip.parent, target.parent)


def named_python(text: str) -> str:
    """The Python a script is started with: its path, ``env`` for the first on PATH, or ""."""
    if not text.startswith("#!"):
        return ""
    first, _, rest = text[2:].partition("\n")
    command = first.strip()
    if re.search(r"/env\s+(?:-S\s+)?python", command):
        return "env"
    if command.endswith("/sh"):  # how pip writes a path that is long or has spaces
        found = re.match(r"'''exec' (?:\"(/[^\"]+)\"|(/\S+)) ", rest)
        return (found.group(1) or found.group(2)) if found else ""
    # Windows' own style quotes what has a space in it; flags come after.
    found = re.match(r'"([^"]+)"|(\S+)', command)
    path = (found.group(1) or found.group(2)) if found else ""
    return path if "python" in re.split(r"[\\/]", path.lower())[-1] else ""


def _is_target(program: Path, interpreter: Interpreter) -> bool:
    """Whether a Python is the target, told from its place: a venv's python is only a link."""
    target = Path(interpreter.path.real)
    prefix, own = prefix_of(program), Path(interpreter.prefix.real)
    if is_file(own / "pyvenv.cfg") or is_file(prefix / "pyvenv.cfg"):
        return _same(prefix, own)
    # Several Pythons share /usr/bin: there the file that is started tells.
    return _real(str(program)) == _real(str(target)) and is_file(program)


# --- where it leads as an environment --------------------------------------------------------


def _moved(outside: Outside, interpreter: Interpreter) -> Moved | None:
    """Where its scripts lead, None where they lead to it; they keep the place it was made at."""
    if interpreter.kind not in ("venv", "uv venv"):
        return None
    prefix = Path(interpreter.prefix.real)
    on = next((each for each in _switched_on(outside, prefix)), None)
    folder = outside.at(on) if on is not None else None
    if folder is not None and _same(folder, prefix):
        folder = None
    pips = (named_python(read_text(prefix / "bin" / name, 4096)) for name in _NAMES["pip"])
    named = next((pip for pip in pips if pip and pip != "env"), "")
    pip = outside.at(named) if named else None
    if pip is not None and _is_target(pip, interpreter):
        pip = None
    if folder is None and pip is None:
        return None
    redact = outside.redactor.path
    return Moved(
        activates=redact(str(folder)) if folder is not None else None,
        there=folder is not None and is_file(find_executable(folder)),
        pip=redact(str(pip)) if pip is not None else None,
    )


def _switched_on(outside: Outside, prefix: Path) -> Iterator[str]:
    """The folders that an activation script sets VIRTUAL_ENV to, written out in full."""
    text = read_text(prefix / ("Scripts/activate.bat" if outside.windows else "bin/activate"))
    for quoted, value in _VIRTUAL_ENV.findall(text):
        # venv quotes it anew since Python 3.13; uv can make one that finds its own place.
        words = split(value, outside.windows) if not quoted else [value.partition('"')[0]]
        if words and _WHOLE.fullmatch(words[0]):
            yield words[0]


# --- CUDA libraries that come before torch's own ---------------------------------------------


def _shadowing(outside: Outside, interpreter: Interpreter) -> list[Path]:
    """Folders of LD_LIBRARY_PATH with CUDA libraries, but for those of the target itself."""
    if outside.platform != "linux":
        return []
    own = [_real(folder.real) for folder in interpreter.site_packages]
    if interpreter.kind == "conda":
        own.append(_real(interpreter.prefix.real))
    found: list[Path] = []
    for entry in outside.env.get("LD_LIBRARY_PATH", "").split(":")[:_MOST_PLACES]:
        if not entry.startswith("/") or len(found) == _MOST_SHADOWS:
            continue
        folder = outside.at(entry)
        real = _real(str(folder))
        if any(real == place or real.startswith(place + os.sep) for place in own):
            continue
        if folder not in found and any(_CUDA.fullmatch(name) for name in names(folder)):
            found.append(folder)
    return found


# --- paths -----------------------------------------------------------------------------------


def _real(path: str) -> str:
    """A path without links, as it is where it cannot be followed."""
    try:
        return os.path.normcase(os.path.realpath(path))
    except (OSError, ValueError, RuntimeError):
        return path


def _same(one: Path, other: Path) -> bool:
    """Whether two names lead to the same existing folder."""
    return is_dir(one) and _real(str(one)) == _real(str(other))
