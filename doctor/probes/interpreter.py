"""The target's Python, read from its files: it is never started."""

from __future__ import annotations

import os
import re
from pathlib import Path

from klein_doctor.model import Fact, Interpreter, Known, Unknown
from klein_doctor.probes.outside import Outside, is_dir, is_file, names, read_text

_EXECUTABLES = ("bin/python3", "bin/python", "Scripts/python.exe", "python.exe")
_MACHINE_CODE = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")


def find_executable(path: Path) -> Path:
    """The interpreter a path means: itself, or the one inside an environment folder."""
    if is_dir(path):
        for name in _EXECUTABLES:
            if is_file(path / name) or (path / name).is_symlink():
                return path / name
    return path


def read_interpreter(outside: Outside, path: str) -> Interpreter:
    """Describe the interpreter at path (absolute) without starting it."""
    executable = Path(path)
    prefix = prefix_of(executable)
    settings = _pyvenv(prefix)
    fault = _fault(executable, settings)
    version = _version(executable, prefix, settings)
    folders = _site_folders(outside, executable, prefix, settings, version)
    redact = outside.redactor.path
    return Interpreter(
        path=redact(path),
        fault=outside.redactor.text(fault),
        version=version,
        kind=_kind(prefix, settings),
        prefix=redact(str(prefix)),
        site_packages=tuple(redact(str(folder)) for folder in folders),
        has_pip=any(is_dir(folder / "pip") for folder in folders),
        has_uv="uv" in settings or any(is_dir(folder / "uv") for folder in folders),
    )


def prefix_of(executable: Path) -> Path:
    """The environment's root: two up from bin/python, one up from python.exe."""
    folder = executable.parent
    return folder.parent if folder.name.lower() in ("bin", "scripts") else folder


def _pyvenv(prefix: Path) -> dict[str, str]:
    settings = {}
    for line in read_text(prefix / "pyvenv.cfg", 65536).splitlines():
        key, found, value = line.partition("=")
        if found:
            settings[key.strip().lower()] = value.strip()
    return settings


def _fault(executable: Path, settings: dict[str, str]) -> str:
    try:
        if executable.is_dir():
            return "it is a folder with no Python in it"
        if executable.is_symlink() and not executable.exists():
            return f"it is a link to {os.readlink(executable)}, which does not exist"
        if not executable.exists():
            return "there is no such file"
        if not executable.is_file():
            return "it is not a regular file"
        with executable.open("rb") as stream:
            start = stream.read(64)
    except OSError as error:
        return f"it cannot be read ({error.strerror or 'error'})"
    home = settings.get("home", "")
    if home and not is_dir(Path(home)):
        return f"it was made from the Python in {home}, which does not exist any more"
    return _content_fault(executable, start)


def _content_fault(executable: Path, start: bytes) -> str:
    if not start:
        # The Store's python.exe is an empty placeholder that Windows resolves itself.
        return "" if "WindowsApps" in executable.parts else "it is an empty file"
    if start.startswith(b"#!"):
        return "it is a script, not the interpreter itself (a pyenv or conda shim?)"
    if not start.startswith(_MACHINE_CODE):
        return "it is not a program"
    if os.name == "posix" and not os.access(executable, os.X_OK):
        return "it is not marked as executable"
    return ""


def _version(executable: Path, prefix: Path, settings: dict[str, str]) -> Fact[tuple[int, ...]]:
    written = settings.get("version_info") or settings.get("version", "")
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", written)
    if found:
        return Known(tuple(int(part) for part in found.groups() if part))
    candidates = [executable.name]
    try:
        candidates.append(executable.resolve().name)
    except (OSError, RuntimeError):
        pass
    for name in candidates:
        found = re.fullmatch(r"python(\d)\.(\d+)(?:\.exe)?", name.lower())
        if found:
            return Known((int(found.group(1)), int(found.group(2))))
    found_here = _version_of_folder(prefix)
    if found_here:
        return Known(found_here)
    return Unknown("its files do not tell its version")


def _version_of_folder(prefix: Path) -> tuple[int, ...] | None:
    """The version from python311.dll on Windows, else from the one lib/pythonX.Y folder."""
    for name in names(prefix):
        found = re.fullmatch(r"python(\d)(\d+)\.(?:dll|_pth)", name.lower())
        if found:
            return int(found.group(1)), int(found.group(2))
    versions = {
        (int(found.group(1)), int(found.group(2)))
        for name in names(prefix / "lib")
        if (
            (found := re.fullmatch(r"python(\d)\.(\d+)", name))
            and is_file(prefix / "lib" / name / "os.py")
        )
        or (found and is_dir(prefix / "lib" / name / "site-packages"))
    }
    return versions.pop() if len(versions) == 1 else None


def _kind(prefix: Path, settings: dict[str, str]) -> str:
    if settings:
        return "uv venv" if "uv" in settings else "venv"
    if is_dir(prefix / "conda-meta"):
        return "conda"
    if any(name.endswith("._pth") for name in names(prefix)):
        return "embedded"
    return "system"


def _site_folders(
    outside: Outside,
    executable: Path,
    prefix: Path,
    settings: dict[str, str],
    version: Fact[tuple[int, ...]],
) -> list[Path]:
    """The folders packages are imported from, in order."""
    listed = _listed_folders(prefix)
    if listed is not None:
        return _distinct(listed)
    own, user = _prefix_folders(prefix, version), _user_folders(outside, version)
    if not settings:
        base = _real_prefix(executable)
        found = user + own
    elif settings.get("include-system-site-packages", "").lower() == "true":
        home = settings.get("home", "")
        base = prefix_of(Path(home) / executable.name) if home else _real_prefix(executable)
        found = own + user  # an environment's own packages come before the user's
    else:
        return _with_linked(own)
    return _with_linked(found + _prefix_folders(base, version) + _debian_folders(base, version))


def _with_linked(folders: list[Path]) -> list[Path]:
    """Each folder followed by those its .pth files add, as Python's site module does it."""
    return _distinct([f for own in _distinct(folders) for f in (own, *_linked(own))])


def _distinct(folders: list[Path]) -> list[Path]:
    """The folders that exist, each once: lib64 is often a link to lib."""
    return list({os.path.realpath(f): f for f in reversed(folders) if is_dir(f)}.values())[::-1]


def _prefix_folders(prefix: Path, version: Fact[tuple[int, ...]]) -> list[Path]:
    folders = [prefix / "Lib" / "site-packages"]
    if isinstance(version, Known):
        tag = "python{}.{}".format(*version.value[:2])
        found = [prefix / lib / tag / "site-packages" for lib in ("lib", "lib64")]
        if not any(is_dir(folder) for folder in found):  # free-threaded builds add a letter
            found = [prefix / lib / f"{tag}t" / "site-packages" for lib in ("lib", "lib64")]
        folders += found
    return folders


def _debian_folders(base: Path, version: Fact[tuple[int, ...]]) -> list[Path]:
    if not isinstance(version, Known):
        return []
    tag = "python{}.{}".format(*version.value[:2])
    return [
        base / "local" / "lib" / tag / "dist-packages",
        base / "lib" / tag / "dist-packages",
        base / "lib" / f"python{version.value[0]}" / "dist-packages",
    ]


def user_base(outside: Outside) -> Path | None:
    """The folder below which Python keeps the packages of the user's own; None without a home."""
    env = outside.env
    if env.get("PYTHONUSERBASE"):
        return Path(env["PYTHONUSERBASE"])
    if outside.windows:
        return Path(env["APPDATA"] + "\\Python") if env.get("APPDATA") else None
    return Path(env["HOME"]) / ".local" if env.get("HOME") else None


def _user_folders(outside: Outside, version: Fact[tuple[int, ...]]) -> list[Path]:
    base = user_base(outside)
    if base is None or not isinstance(version, Known):
        return []
    major, minor = version.value[:2]
    if outside.windows:
        return [base / f"Python{major}{minor}" / "site-packages"]
    return [base / "lib" / f"python{major}.{minor}" / "site-packages"]


def _real_prefix(executable: Path) -> Path:
    try:
        return prefix_of(executable.resolve())
    except (OSError, RuntimeError):
        return prefix_of(executable)


def _listed_folders(prefix: Path) -> list[Path] | None:
    """What an embeddable Python imports from: its ._pth file says; None where there is none.

    The user's packages are ignored, and site-packages is searched only where the file lists it or
    has the line ``import site``.
    """
    name = next((name for name in names(prefix) if name.lower().endswith("._pth")), None)
    if name is None:
        return None
    lines = [line.strip() for line in read_text(prefix / name, 65536).splitlines()]
    listed = [prefix / line for line in lines if line and not line.startswith(("#", "import "))]
    site = prefix / "Lib" / "site-packages"
    listed += [site, *_linked(site)] if "import site" in lines else []
    return [folder for folder in listed if folder != prefix]  # "." holds Python's own files


def _linked(folder: Path) -> list[Path]:
    """Folders that .pth files add; lines that would run code are passed over."""
    found = []
    for name in names(folder):
        if not name.endswith(".pth"):
            continue
        for line in read_text(folder / name, 65536).splitlines():
            line = line.strip()
            if line and not line.startswith(("#", "import ", "import\t")):
                try:
                    extra = folder / line
                except (OSError, ValueError):
                    continue
                if is_dir(extra):
                    found.append(extra)
    return found
