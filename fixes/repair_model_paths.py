"""Where ComfyUI looks for models: a file that cannot be read, folders that are not there, and a
wrong file before the right one of its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from klein_doctor.editing import model_paths
from klein_doctor.editing.text import decoded
from klein_doctor.fixes.shared_assets import OLD_NAME, name_for, need
from klein_doctor.fixing import Fix
from klein_doctor.installation import ComfyUI, PathsFile
from klein_doctor.model import Finding, Private, known
from klein_doctor.modelfiles import Models
from klein_doctor.paths_yaml import Fault
from klein_doctor.steps import Case, Step, StepFailed
from klein_doctor.transaction.content import unused
from klein_doctor.transaction.transaction import Transaction

ID = "repair-model-paths"
_BACK = "puts the file back as it was"
_OWN = "extra_model_paths.yaml"
_NOWHERE = "led nowhere, so it is commented out"


# --- plan ------------------------------------------------------------------------------------


def plan(case: Case) -> list[Step]:
    """One step per file of paths, and one per model file that hides another."""
    comfyui: ComfyUI | None = known(case.facts.comfyui)
    if comfyui is None:
        return []
    files = {file.path.real: file for file in comfyui.path_files}
    steps = []
    for finding, _ in case.asked:
        subject = finding.subject
        file = files.get(subject.real) if subject is not None else None
        hidden = finding.evidence.get("hidden")
        if file is not None:
            steps.append(_mend(file, finding) if file.fault else _point(file, comfyui, finding))
        elif isinstance(hidden, Private) and subject is not None:
            steps += _unhide(case, comfyui, subject, hidden, finding)
    return steps


def _step(
    title: str, kind: str, place: Private, finding: Finding, undo: str, arguments: dict[str, Any]
) -> Step:
    return Step(
        ID, title, kind, "ask", {"path": place.real, **arguments}, paths=(place,), undo=undo,
        clears=(finding.id,),
    )  # fmt: skip


def _mend(file: PathsFile, finding: Finding) -> Step:
    title = f"{file.path.local}: {file.cure}"
    return _step(title, "config", file.path, finding, _BACK, {"do": "mend"})


def _point(file: PathsFile, comfyui: ComfyUI, finding: Finding) -> Step:
    sections = finding.evidence.get("sections", ())
    wanted = sections if isinstance(sections, tuple) else ()
    missing = [path.real for place, path in file.missing if place.partition("/")[0] in wanted]
    searched = [each.path.real for each in known(comfyui.folders, ()) if each.exists]
    title = (
        f"{file.path.local}: point section {', '.join(map(str, wanted[:4]))} to where its folders "
        "are, or comment out what leads nowhere"
    )
    arguments = {
        "do": "point", "root": comfyui.root.real, "base": comfyui.base.real, "missing": missing,
        "searched": searched,
    }  # fmt: skip
    return _step(title, "config", file.path, finding, _BACK, arguments)


def _unhide(
    case: Case, comfyui: ComfyUI, winner: Private, hidden: Private, finding: Finding
) -> list[Step]:
    """Another name for one file is the smallest change; else the right one's section goes first."""
    models: Models | None = known(case.facts.models)
    found = next((f for f in models.files if f.path == winner), None) if models else None
    if found is None:
        return []
    name = name_for(found, case.recipe)
    arguments = {
        "do": "unhide", "name": name, "hidden": hidden.real, "root": comfyui.root.real,
        "files": [file.path.real for file in comfyui.path_files if not file.fault],
    }  # fmt: skip
    title = f"rename {winner.local} to what it is, {name}: it hides {hidden.local}"
    step = _step(title, "move", winner, finding, OLD_NAME, arguments)
    paths = tuple(file.path for file in comfyui.path_files if not file.fault)
    return [step._replace(paths=(winner, *paths))]


# --- act -------------------------------------------------------------------------------------


def act(step: Step, transaction: Transaction) -> str:
    """Do what was planned for one file."""
    path, do = Path(step.arguments["path"]), step.arguments["do"]
    if do == "unhide":
        return _unhidden(step, path, transaction)
    try:
        whole = decoded(path.read_bytes())
        text, said = _mended(whole.text) if do == "mend" else _pointed(whole.text, path, step)
        data = whole.bytes(text)
    except Fault as fault:
        raise StepFailed(f"{path} changed meanwhile: {fault.args[0]}; run this again") from fault
    except ValueError as error:
        raise StepFailed(f"{path}: {error}; change it by hand") from error
    transaction.edit(path, data)
    return f"{path}: {said}"


def _mended(text: str) -> tuple[str, str]:
    found = model_paths.mended(text)
    if found is None:
        raise ValueError("what is wrong with it needs somebody who knows what was meant")
    return found.text, found.says


def _pointed(text: str, path: Path, step: Step) -> tuple[str, str]:
    """The text with every dead section pointed somewhere, or commented out, and what was done."""
    told = step.arguments
    missing = {os.path.normcase(each) for each in told["missing"]}
    said: list[str] = []
    while True:
        # Read anew after each change: the places of the rest have moved.
        sections = _by_section(text)
        todo = next(
            (
                (section, dead)
                for section in sections
                if (dead := [e for e in _folders(section, path, told) if e[2] in missing])
            ),
            None,
        )
        if todo is None:
            break
        text, words = _one(text, *todo, path, told)
        said.append(words)
    if not said:
        raise ValueError("it does not name what leads nowhere any more")
    return text, "; ".join(dict.fromkeys(said))


_Entries = list[model_paths.Entry]
# An entry, one of its folders as written, and where that leads.
_Folder = tuple[model_paths.Entry, str, str]


def _by_section(text: str) -> list[_Entries]:
    found: dict[str, _Entries] = {}
    for entry in model_paths.entries(text):
        found.setdefault(entry.section, []).append(entry)
    return list(found.values())


def _folders(section: _Entries, path: Path, told: dict[str, Any]) -> list[_Folder]:
    base = _base(section, path, told)
    return [
        (entry, part, os.path.normcase(os.path.normpath(os.path.join(base, part))))
        for entry in section
        if entry.key not in ("base_path", "is_default")
        for part in entry.value.text.split("\n")
        if part
    ]


def _base(section: _Entries, path: Path, told: dict[str, Any]) -> str:
    """Where a section's relative folders start, as ComfyUI computes it."""
    root = Path(told["root"])
    folder = path.parent
    if path.name == _OWN and folder == root:
        folder = Path(os.path.realpath(root / "main.py")).parent
    given = next((entry.value.text for entry in section if entry.key == "base_path"), "")
    given = os.path.expandvars(os.path.expanduser(given))
    return os.path.abspath(os.path.join(folder, given)) if given else str(folder)


def _one(
    text: str, section: _Entries, dead: list[_Folder], path: Path, told: dict[str, Any]
) -> tuple[str, str]:
    """One change for a dead section: its base, else its first folder."""
    searched = {_real(each) for each in told["searched"]}
    start = _base(section, path, told)
    base = next((entry for entry in section if entry.key == "base_path"), None)
    parts = [part for _, part, _ in dead]
    if base is not None and not any(map(os.path.isabs, parts)):
        place = _evident(
            _bases(base.value.text, start, told),
            lambda folder: all(os.path.isdir(os.path.join(folder, part)) for part in parts),
            lambda folder: all(_real(os.path.join(folder, part)) in searched for part in parts),
        )
        if place:
            return _changed(text, base, place)
    entry, part, _ = dead[0]
    if "\n" not in entry.value.text:
        place = _evident(
            _places(part, start, told), os.path.isdir, lambda folder: _real(folder) in searched
        )
        if place:
            return _changed(text, entry, place)
    elif any(os.path.isdir(e[2]) for e in _folders(section, path, told) if e[0] is entry):
        changed = model_paths.apply(
            text, lambda t: model_paths.without_part(t, entry, part, "led nowhere and is gone")
        )
        return changed, f"{part} is taken out of {entry.section}/{entry.key}"
    changed = model_paths.apply(text, lambda t: model_paths.commented(t, entry, _NOWHERE))
    return changed, f"{entry.section}/{entry.key} is commented out"


def _changed(text: str, entry: model_paths.Entry, place: str) -> tuple[str, str]:
    changed = model_paths.apply(text, lambda t: model_paths.replaced(t, entry, place))
    return changed, f"{entry.section}/{entry.key} is {place} now"


def _real(path: str) -> str:
    return os.path.normcase(os.path.realpath(path))


def _evident(
    places: Iterator[str], fits: Callable[[str], bool], known: Callable[[str], bool]
) -> str:
    """The only place that fits and adds something to what is searched already, "" for none."""
    found: dict[str, str] = {}
    for place in places:
        if fits(place) and not known(place):
            found.setdefault(_real(place), os.path.normpath(place))
    return next(iter(found.values())) if len(found) == 1 else ""


def _bases(text: str, base: str, told: dict[str, Any]) -> Iterator[str]:
    """Where a base that is wrong may have been meant: a level off, or moved as a whole."""
    yield os.path.join(base, "models")
    yield os.path.join(base, "ComfyUI", "models")
    yield os.path.dirname(base)
    yield os.path.join(told["base"], "models")
    yield from _starts(text, base, told)


def _places(part: str, base: str, told: dict[str, Any]) -> Iterator[str]:
    """Where one folder may have been meant."""
    yield os.path.join(base, "models", part)
    yield from _starts(part, os.path.join(base, part), told)


def _starts(text: str, full: str, told: dict[str, Any]) -> Iterator[str]:
    """A relative path from other starts; a folder of that name where such folders are kept."""
    root, base = told["root"], told["base"]
    models = os.path.join(base, "models")
    name = os.path.basename(full.rstrip("\\/"))
    for start in dict.fromkeys((root, os.path.dirname(root), base, models)):
        if not os.path.isabs(text):
            yield os.path.join(start, text)
        if name:
            yield os.path.join(start, name)


def _unhidden(step: Step, path: Path, transaction: Transaction) -> str:
    need(path)
    told = step.arguments
    if os.access(path.parent, os.W_OK):
        target = unused(path.with_name(told["name"]))
        transaction.move(path, target)
        return f"{path} is {target.name} now, and {told['hidden']} is reached"
    hidden = _real(told["hidden"])
    for name in told["files"]:
        file = Path(name)
        whole = decoded(file.read_bytes())
        for section in _by_section(whole.text):
            for _, _, folder in _folders(section, file, told):
                if hidden.startswith(os.path.join(_real(folder), "")):
                    try:
                        text = model_paths.apply(
                            whole.text,
                            lambda t, s=section: model_paths.put_first(t, s),  # type: ignore[misc]
                        )
                    except ValueError as error:
                        raise StepFailed(f"{file}: {error}; change it by hand") from error
                    transaction.edit(file, whole.bytes(text))
                    return f"section {section[0].section} of {file} comes first now"
    raise StepFailed(f"{path} can be renamed by its owner alone, and it stands first by itself")


FIXES = (
    Fix(ID, "Correct where ComfyUI looks for models", plan, act, after=("rename-asset",)),
)  # fmt: skip
