"""What python-wrong-interpreter says of moved environments, and of those that launchers name."""

from __future__ import annotations

from klein_doctor.installation import ComfyUI, Launcher
from klein_doctor.launched import Moved, Started
from klein_doctor.model import Interpreter, Outcome, Private, Repair, Verdict
from klein_doctor.outcomes import Command

_SHOWN = 5


def of_moved(python: Interpreter, moved: Moved, comfyui: ComfyUI | None) -> Outcome:
    """An environment whose scripts lead to the place it was made at.

    A failure where ComfyUI is started by way of them: it runs in another Python then, or in none.
    """
    launchers = comfyui.launchers if comfyui is not None else ()
    by_way = [
        each
        for each in launchers
        if each.started is not None and each.started.activated and _is(each.started, python)
    ]
    fails = moved.activates is not None and bool(by_way)
    title = "This environment was moved or copied: its scripts lead to another place"
    if fails:
        title = "Activating the environment that ComfyUI is started with leads elsewhere"
    return Outcome(
        Verdict.FAIL if fails else Verdict.WARN,
        title,
        " ".join((*_leads(python, moved, by_way), *_cures(python))),
        subject=python.prefix,
        evidence={
            "activates": moved.activates,
            "there": moved.there,
            "pip": moved.pip,
            "launchers": tuple(each.path for each in by_way[:_SHOWN]),
        },
        fixes=(_anew(python, moved),),
    )


def _leads(python: Interpreter, moved: Moved, by_way: list[Launcher]) -> list[str]:
    said = []
    if moved.activates is not None:
        then = "so another Python is used" if moved.there else "where no Python is any more"
        said.append(
            f"Activating {python.prefix.public} switches on {moved.activates.public}, {then}."
        )
        said += [
            f"Line {each.started.line} of {each.path.public} does so."
            for each in by_way[:1]
            if each.started is not None
        ]
    if moved.pip is not None:
        said.append(f"Its pip is started with {moved.pip.public}.")
    return said


def _cures(python: Interpreter) -> tuple[str, str]:
    return (
        f"Called by its full name, {python.path.public} works as it is.",
        "'python -m venv --upgrade' does not mend this; without --upgrade it writes the scripts "
        "anew and keeps the packages.",
    )


def _anew(python: Interpreter, moved: Moved) -> Repair:
    commands: tuple[Command, ...] = ()
    if moved.activates is not None:
        commands = ((python.path, "-m", "venv", "--without-pip", python.prefix),)
    if moved.pip is not None:
        pip = ("-m", "pip", "install", "--force-reinstall", "--no-deps", "pip")
        commands = (*commands, (python.path, *pip))
    words = "write its scripts anew where it lies now, or call its Python by its full name"
    return Repair("rebuild-environment", "packages", "manual", words, commands)


def of_absent(python: Interpreter, comfyui: ComfyUI | None) -> list[Outcome]:
    """Launchers that name an environment which is not there, one outcome for each environment."""
    found: dict[str, Launcher] = {}
    for each in comfyui.launchers if comfyui is not None else ():
        if each.started is not None and not each.started.there:
            found.setdefault(each.started.folder.real, each)
    return [
        _absent(python, comfyui, each, each.started)
        for each in list(found.values())[:_SHOWN]
        if each.started is not None and comfyui is not None
    ]


def _absent(python: Interpreter, comfyui: ComfyUI, launcher: Launcher, started: Started) -> Outcome:
    does = "activates" if started.activated else "calls the Python of"
    return Outcome(
        Verdict.WARN,
        "ComfyUI would be started with an environment that is not there",
        f"Line {started.line} of the file {does} {started.folder.public}, where no Python is: "
        "ComfyUI then starts with another Python, or not at all. Judged here is "
        f"{python.prefix.public}.",
        subject=launcher.path,
        evidence={"line": started.line, "named": started.folder, "judged": python.prefix},
        fixes=(
            Repair(
                "name-python",
                "config",
                "manual",
                "name the environment there that has ComfyUI's packages, or start ComfyUI without "
                "that file",
                ((python.path, comfyui.root.below("main.py")),),
            ),
        ),
    )


def _is(started: Started, python: Interpreter) -> bool:
    return same(started.folder, python.prefix)


def same(one: Private, other: Private) -> bool:
    """Whether two paths are written alike, but for what Windows does not tell apart."""
    forms = [path.real.replace("\\", "/").rstrip("/") for path in (one, other)]
    if any("\\" in path.real for path in (one, other)):  # Windows does not tell case apart
        forms = [form.casefold() for form in forms]
    return forms[0] == forms[1]
