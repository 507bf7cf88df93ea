"""Build klein-doctor-portable.zip for Windows from pinned wheels.

python .ci/portable/build.py [--lock] [ZIP]

--lock resolves the requirements anew and writes lock.txt; without it exactly that list is taken.
"""

from __future__ import annotations

import email
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LOCK = HERE / "lock.txt"
# What ComfyUI's portable builds have carried: 3.13 today, older ones before.
PYTHONS = ("3.11", "3.12", "3.13")
_NAME = "klein-doctor"
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
_LEFT_OUT = (".dist-info/RECORD", ".pyi", "/tests/", ".exe")


def main(arguments: list[str]) -> int:
    """Build, or lock and build."""
    rest = [argument for argument in arguments if argument != "--lock"]
    target = Path(rest[0]) if rest else Path("klein-doctor-portable.zip")
    with tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder)
        own = wheels / "own"
        run(*_PIP, "wheel", "--no-deps", "--wheel-dir", own, ROOT)
        (wheel,) = own.glob("*.whl")
        if "--lock" in arguments:
            lock(wheel, wheels / "resolved")
        for python in PYTHONS:
            fetch(python, wheels / python)
        pack(target, wheel, wheels)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


def lock(wheel: Path, folder: Path) -> None:
    """Write the exact versions, each with the Pythons that need it where not all do."""
    constraints = ROOT / "constraints.txt"
    run(*_PIP, "download", *_for(PYTHONS[-1]), "-d", folder, "-c", constraints, wheel)
    while missing := _wanted(folder, PYTHONS) - _there(folder).keys():
        run(*_PIP, "download", *_for(PYTHONS[-1]), "--no-deps", "-d", folder, *sorted(missing))
    lines = []
    for name, version in sorted(_there(folder).items()):
        needing = [python for python in PYTHONS if name in _wanted(folder, (python,))]
        told = " or ".join(f'python_version == "{python}"' for python in needing)
        marker = "" if len(needing) == len(PYTHONS) else f" ; {told}"
        if needing:
            lines.append(f"{name}=={version}{marker}")
    LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _there(folder: Path) -> dict[str, str]:
    parts = (path.name.split("-") for path in folder.glob("*.whl"))
    return {canonicalize_name(name): version for name, version, *_ in parts}


def _wanted(folder: Path, pythons: tuple[str, ...]) -> set[str]:
    """What these wheels ask for on Windows: pip asks for the machine it runs on."""
    wanted = set()
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
            head = email.message_from_string(archive.read(name).decode("utf-8"))
        for line in head.get_all("Requires-Dist", []):
            needed = Requirement(line)
            if any(_applies(needed, python) for python in pythons):
                wanted.add(canonicalize_name(needed.name))
    return wanted


def _applies(needed: Requirement, python: str) -> bool:
    windows = {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"}
    there = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    return needed.marker is None or needed.marker.evaluate({**windows, **there})


def fetch(python: str, folder: Path) -> None:
    """The locked wheels for one Python on 64-bit Windows."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines]
    wanted = [f"{pin.name}{pin.specifier}" for pin in pins if _applies(pin, python)]
    run(*_PIP, "download", *_for(python), "--no-deps", "-d", folder, *wanted)


def pack(target: Path, own: Path, wheels: Path) -> None:
    """One zip: packages for any Python once, compiled ones per Python, and what was packed."""
    packed: dict[str, bytes] = {}
    manifest = []
    for place, wheel in [("any", own), *_placed(wheels)]:
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        manifest.append(f"{digest}  {place}  {wheel.name}")
        for name, data in _contents(wheel):
            packed.setdefault(f"{_NAME}/lib/{place}/{name}", data)
    for name in ("klein-doctor.bat", "start.py"):
        packed[f"{_NAME}/{name}"] = (HERE / name).read_bytes()
    packed[f"{_NAME}/LICENSE.txt"] = (ROOT / "LICENSE").read_bytes()
    packed[f"{_NAME}/WHEELS.txt"] = ("\n".join(sorted(set(manifest))) + "\n").encode()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(packed):
            # The same bytes from the same wheels, whenever it is built.
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), packed[name],
                             zipfile.ZIP_DEFLATED)  # fmt: skip


def _placed(wheels: Path) -> list[tuple[str, Path]]:
    found = []
    for python in PYTHONS:
        for wheel in sorted((wheels / python).glob("*.whl")):
            pure = wheel.name.endswith("-none-any.whl")
            found.append(("any" if pure else "cp" + python.replace(".", ""), wheel))
    return found


def _contents(wheel: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(wheel) as archive:
        return [
            (_inside(item.filename), archive.read(item))
            for item in archive.infolist()
            if not item.is_dir() and not any(part in item.filename for part in _LEFT_OUT)
        ]


def _inside(name: str) -> str:
    """What a wheel keeps beside its packages belongs with them here."""
    first, _, rest = name.partition("/")
    if first.endswith(".data"):
        return rest.removeprefix("purelib/").removeprefix("platlib/")
    return name


def _for(python: str) -> tuple[str, ...]:
    return ("--only-binary=:all:", "--platform", "win_amd64", "--python-version", python,
            "--implementation", "cp")  # fmt: skip


def run(*command: object) -> None:
    """A command that must succeed."""
    subprocess.run([str(part) for part in command], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
