"""Who may import whom: read from the source of the installed package, which is the tree's."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from command import clean_environment

import klein_doctor

INSTALLED = Path(klein_doctor.__file__).parent
TREE = Path(__file__).resolve().parent.parent
LONGEST = 420
# The tree's folders, and where they lie in the installed package.
FOLDERS = {"doctor": "", "checks": "checks", "fixes": "fixes"}
MODULES = sorted(path.relative_to(INSTALLED).as_posix() for path in INSTALLED.rglob("*.py"))

# Folder of the package: modules that nothing in it may import, with all that is below them.
FORBIDDEN = {
    "checks": (
        "subprocess", "socket", "urllib", "torch", "pynvml", "psutil", "questionary", "rich",
        "huggingface_hub", "klein_doctor.fixes", "klein_doctor.probes", "klein_doctor.report",
        "klein_doctor.cli", "klein_doctor.snapshot",
    ),
    "fixes": ("klein_doctor.checks",),
    "probes": ("torch", "klein_doctor.checks", "klein_doctor.fixes", "klein_doctor.report"),
    "report": (
        "klein_doctor.probes", "klein_doctor.checks", "klein_doctor.fixes", "klein_doctor.engine",
        "klein_doctor.snapshot", "klein_doctor.diagnose", "subprocess", "torch",
    ),
}  # fmt: skip
# Outside library: what a module's path must hold to be allowed it.
ONLY_IN = {
    "questionary": ("wizard",),
    "huggingface_hub": ("download",),
    "rich": ("report/", "progress"),
    "pynvml": ("probes/",),
}


def imported(module: str) -> Iterator[str]:
    """Everything a module imports, wherever in it, by full name."""
    package = ("klein_doctor", *Path(module).parts[:-1])
    for node in ast.walk(ast.parse((INSTALLED / module).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            source = ".".join((*base, node.module) if node.module else base)
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def within(name: str, top: str) -> bool:
    """Whether a module is another or lies below it."""
    return name == top or name.startswith(top + ".")


def test_there_is_something_to_look_at() -> None:
    assert {"cli.py", "checks/gpu.py", "report/text.py", "probes/nvml.py"} <= set(MODULES)
    assert "klein_doctor.registry.check" in set(imported("checks/gpu.py"))


@pytest.mark.parametrize("module", MODULES)
def test_imports_keep_to_their_side(module: str) -> None:
    names = set(imported(module))
    folder = module.partition("/")[0]
    forbidden = FORBIDDEN.get(folder, ())
    assert not [name for name in names for top in forbidden if within(name, top)]
    for library, places in ONLY_IN.items():
        if any(within(name, library) for name in names):
            assert any(place in module for place in places), f"{module} imports {library}"
    # Installed, the tree's own names are somebody else's packages.
    assert not [name for name in names for top in FOLDERS if within(name, top)]


@pytest.mark.parametrize("module", MODULES)
def test_modules_stay_readable(module: str) -> None:
    assert len((INSTALLED / module).read_text("utf-8").splitlines()) < LONGEST


def test_the_package_is_the_tree() -> None:
    found = {}
    for folder, place in FOLDERS.items():
        for path in (TREE / folder).rglob("*.py"):
            name = (Path(place) / path.relative_to(TREE / folder)).as_posix()
            found[name] = path.read_bytes()
    assert sorted(found) == MODULES
    changed = [name for name in MODULES if (INSTALLED / name).read_bytes() != found[name]]
    assert not changed, "install the tree anew"


def test_the_package_has_one_name() -> None:
    # By folder: building in the tree leaves an egg-info there that would be found first.
    (found,) = metadata.distributions(name="klein-doctor", path=[str(INSTALLED.parent)])
    tops = {path.parts[0] for path in found.files or () if ".." not in path.parts}
    tops = {top for top in tops if not top.endswith((".dist-info", ".pth", "__pycache__"))}
    assert tops == {"klein_doctor"}
    (script,) = found.entry_points.select(group="console_scripts")
    assert (script.name, script.value) == ("klein-doctor", "klein_doctor.cli:main")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("cli", ("rich", "klein_doctor.snapshot", "klein_doctor.engine")),
        ("report.brief, klein_doctor.report.document", ("rich", "klein_doctor.probes")),
        ("diagnose, klein_doctor.snapshot", ("rich", "torch", "pynvml", "huggingface_hub")),
    ],
)
def test_what_is_not_needed_is_not_loaded(statement: str, absent: tuple[str, ...]) -> None:
    """Quick commands stay quick: a heavy import at the top of a module would end that."""
    script = f"import sys, klein_doctor.{statement}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment(), capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    loaded = done.stdout.split()
    assert "klein_doctor.exits" in loaded
    assert not [name for name in loaded for top in absent if within(name, top)]
