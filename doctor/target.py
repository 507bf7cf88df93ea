"""What is judged: which ComfyUI, which interpreter, and how they were chosen."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from klein_doctor.exits import UsageError
from klein_doctor.model import Known, Search, Target
from klein_doctor.probes.found import Answer, Found
from klein_doctor.probes.interpreter import find_executable
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.shims import behind
from klein_doctor.values import printable


class TargetError(UsageError):
    """The command line names a target that is not there."""


class Wish(NamedTuple):
    """What the command line says of the target; "" where it says nothing.

    new: the named ComfyUI may not be there yet: an empty folder, or none, is where it would be.
    """

    python: str = ""
    comfyui: str = ""
    gpu: str = ""
    assume: str = ""
    route: str = "auto"
    new: bool = False


class Aim(NamedTuple):
    """A target, and what was found on the way to it."""

    target: Target
    search: Known[Search]
    found: Found | None
    answers: tuple[Answer, ...]


def resolve(outside: Outside, wish: Wish) -> Aim:
    """Choose ComfyUI and the interpreter.

    ComfyUI: named, else as the search chooses, else none; none either where the diffusers route is
    asked for. The interpreter: named, else the one that runs this ComfyUI, else the one that its
    launchers name, else its own, else the active environment's, else the doctor's own.

    Raises:
        UsageError: the named interpreter or ComfyUI does not exist at all.
    """
    named = str(_named(outside, wish.python)) if wish.python else ""
    answers, search, found = _comfyui(outside, wish, named)
    path, source = _interpreter(outside, named, found)
    target = Target(
        python=outside.redactor.path(str(path)),
        python_from=source,
        gpu=outside.redactor.devices(wish.gpu),
        assumed=wish.assume,
        comfyui=outside.redactor.path(str(found.root) if found else ""),
        comfyui_from=found.found_by if found else "",
        route=wish.route,
    )
    return Aim(target, Known(search), found, answers)


def _comfyui(
    outside: Outside, wish: Wish, python: str
) -> tuple[tuple[Answer, ...], Search, Found | None]:
    if wish.route == "diffusers" and not wish.comfyui:
        return (), Search((), None, "the diffusers route was asked for", ()), None
    from klein_doctor.probes.comfyui_find import candidates, find, is_vacant
    from klein_doctor.probes.comfyui_places import configured_ports
    from klein_doctor.probes.comfyui_server import ask_servers

    if wish.new and wish.comfyui and is_vacant(outside, wish.comfyui):
        return (), Search((), None, "", ()), None
    listed = candidates(outside, wish.comfyui)
    ports = tuple(dict.fromkeys((*outside.ports, *configured_ports(outside, listed))))
    answers = ask_servers(outside.redactor, ports) if outside.ports else ()
    search, found = find(outside, wish.comfyui, python, answers, listed)
    return answers, search, found


def _interpreter(outside: Outside, named: str, found: Found | None) -> tuple[Path, str]:
    if named:
        return Path(named), "--python"
    if found is not None and found.python is not None:
        return found.python, "comfyui" if found.python_from == "own" else found.python_from
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        folder = outside.env.get(variable, "")
        if folder and Path(folder).is_absolute():
            return find_executable(Path(folder)), variable
    return find_executable(Path(outside.executable or outside.prefix)), "doctor"


def _named(outside: Outside, python: str) -> Path:
    path = Path(python)
    # In one line, and not without end, whatever was given.
    shown = printable(python, 200)
    try:
        if len(path.parts) == 1 and not path.exists():
            path = _on_path(outside, python) or path
        # Not resolved: a virtual environment is told from the place of its link.
        path = path if path.is_absolute() else outside.here() / path
        if not path.exists() and not path.is_symlink():
            raise TargetError(f"--python {shown}: there is no such file or folder")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, TargetError):
            raise
        raise TargetError(f"--python {shown}: {reason}") from error
    return behind(find_executable(path), outside.env, outside.here())


def _on_path(outside: Outside, name: str) -> Path | None:
    import shutil

    found = shutil.which(name, path=outside.env.get("PATH", ""))
    return Path(found) if found else None
