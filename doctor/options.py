"""The command line and its twins in the environment, read and checked."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from klein_doctor.arguments import KINDS, parser
from klein_doctor.exits import UsageError

# What nobody should have set for good without seeing it.
_BY_HAND = ("--fix", "--unredacted")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
# What says which machine is judged; a report (--from) says it instead.
_MACHINE = ("python", "comfyui", "gpu", "assume")
# What goes with which command; the rest goes with all of them.
_OF_DOWNLOAD = ("variant", "dest", "sweep")
_OF_FIXING = (
    "without", "deny", "safe", "symptom", "environment", "answers", "generate", "log",
)  # fmt: skip
_OF_GENERATING = ("size", "expect", "custom_nodes", "device", "pictures")
# What a generation takes of that which is for fixing and downloading.
_ALSO_GENERATING = ("log", "deadline", "progress", "offline")
# What goes with one command alone, as one would write it.
_OF_ONE = {"max_age": "ready 30d", "keep": "rehearse"}
_OF_BOTH = (
    "only", "assets_from", "dry_run", "offline", "use_hf_token", "xet", "deadline", "progress",
)  # fmt: skip


def parse(argv: list[str], env: Mapping[str, str]) -> argparse.Namespace:
    """Read the command line; what it does not say is taken from the environment.

    Raises:
        UsageError: one line. SystemExit: after --help and --version.
    """
    top = parser()
    _known_options(top, argv)
    if "--verbose" in argv:
        _in_full(argv)
    argv = _options_first(top, argv)
    found = top.parse_args(argv)
    beaten = _given(top, argv)
    if "source" in beaten:
        beaten.update(_MACHINE)
    elif beaten.intersection(_MACHINE):
        beaten.add("source")
    found.twins = {}
    for action in top._actions:
        option = action.option_strings[-1] if action.option_strings else ""
        variable = "KLEIN_DOCTOR_" + option.removeprefix("--").upper().replace("-", "_")
        if option in ("", "--help", "--version", "--verbose", *_BY_HAND) or action.dest in beaten:
            continue
        if env.get(variable):
            setattr(found, action.dest, _from_environment(action, variable, env[variable]))
            found.twins[option] = variable
    _belong(found, beaten)
    found.only, found.variant = _split(found.only), _split(found.variant)
    found.without, found.deny = _split(found.without), _split(found.deny)
    for kind in found.deny:
        if kind not in KINDS:
            raise UsageError(f"--deny {kind[:60]}: use one of {', '.join(KINDS)}")
    found.select = _split(found.select)
    found.ignore = _split(found.ignore)
    if found.source and any(getattr(found, name) for name in _MACHINE):
        told = [
            found.twins[f"--{name}"] for name in ("from", *_MACHINE) if f"--{name}" in found.twins
        ]
        raise UsageError(
            "--from judges a report; --python, --comfyui, --gpu and --assume do not go with it"
            + (f" ({' and '.join(told)} are set)" if told else "")
        )
    return found


def _in_full(argv: list[str]) -> None:
    """--version --verbose.

    Raises:
        UsageError: --verbose alone. SystemExit: always otherwise.
    """
    if "--version" not in argv:
        raise UsageError("--verbose goes with --version; reports have --format and explain")
    from klein_doctor.about import about

    print(about(), end="")
    raise SystemExit(0)


def _belong(found: argparse.Namespace, given: set[str]) -> None:
    """Options stand with the command they are for; --dry-run with --fix or a command.

    Raises:
        UsageError: one does not.
    """
    if found.fix and found.command:
        raise UsageError(f"--fix and {found.command} do not go together; run one after the other")
    if found.source and (found.prove or found.command in ("generate", "ready")):
        name = found.command or "--prove"
        raise UsageError(f"{name} acts on this machine; --from judges a report of another one")
    if found.fix and found.source:
        raise UsageError("--fix acts on this machine; --from judges a report of another one")
    mending = found.fix or found.command == "setup"
    generating = found.command in ("generate", "setup") or (found.fix and found.generate)
    for name in sorted(
        given.intersection((*_OF_DOWNLOAD, *_OF_FIXING, *_OF_BOTH, *_OF_GENERATING, *_OF_ONE))
    ):
        if name in _ALSO_GENERATING and found.command == "generate":
            continue
        option = "--except" if name == "without" else "--" + name.replace("_", "-")
        if name in _OF_DOWNLOAD and found.command != "download":
            raise UsageError(f"{option} goes with download, as in 'klein-doctor download {option}'")
        if name == "symptom" and not found.command:
            continue  # a diagnosis is put in its order, too
        if name in _OF_FIXING and not mending:
            raise UsageError(f"{option} goes with --fix, as in 'klein-doctor --fix {option}'")
        if name in _OF_GENERATING and not generating:
            raise UsageError(f"{option} goes with generate, as in 'klein-doctor generate {option}'")
        if name in _OF_ONE and found.command != _OF_ONE[name].split()[0]:
            command, _, value = _OF_ONE[name].partition(" ")
            raise UsageError(
                f"{option} goes with {command}, as in "
                f"'{' '.join(('klein-doctor', command, option, value)).rstrip()}'"
            )
        if name in _OF_BOTH and not mending and found.command != "download":
            raise UsageError(f"{option} goes with --fix and with download")


def form_of(options: argparse.Namespace) -> str:
    """The form of codec.FORMS in which paths are shown."""
    return "real" if options.unredacted else ("local" if options.format == "text" else "public")


def with_variable(text: str, options: argparse.Namespace) -> str:
    """An error message about an option, with the variable of the environment that set it."""
    for option, variable in options.twins.items():
        names = getattr(options, option.removeprefix("--"), ())
        listed = isinstance(names, tuple) and any(f"called {name[:60]!r}" in text for name in names)
        if listed or text.startswith((f"{option} ", f"{option}:")):
            return f"{text} (from {variable})"
    return text


def _known_options(top: argparse.ArgumentParser, argv: list[str]) -> None:
    """argparse would take the value of a misspelt option for a command, and complain of that."""
    known = [option for action in top._actions for option in action.option_strings]
    for argument in argv:
        name = argument.partition("=")[0]
        if name.startswith("--") and name not in ("--", *known):
            import difflib

            close = difflib.get_close_matches(name, known, n=1)
            hint = (
                f"did you mean {close[0]}?" if close else "klein-doctor --help lists what there is"
            )
            raise UsageError(f"there is no option {name[:60]}; {hint}")


def _options_first(top: argparse.ArgumentParser, argv: list[str]) -> list[str]:
    """Options that stand after the command moved before it, where argparse looks for them."""
    by_name = {option: action for action in top._actions for option in action.option_strings}
    front: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            return [*front, *rest, "--", *words]
        action = by_name.get(word.partition("=")[0]) if word.startswith("--") else None
        if action is None or isinstance(action, argparse._HelpAction):
            rest.append(word)
            continue
        front.append(word)
        if "=" not in word and action.nargs != 0:
            front.extend(value for value in (next(words, None),) if value is not None)
    return [*front, *rest]


def _given(top: argparse.ArgumentParser, argv: list[str]) -> set[str]:
    """The options that stand on the command line itself."""
    names = {argument.partition("=")[0] for argument in argv if argument.startswith("--")}
    return {action.dest for action in top._actions if names & set(action.option_strings)}


def _from_environment(action: argparse.Action, variable: str, value: str) -> object:
    if action.nargs == 0:
        if value.lower() in _TRUE + _FALSE:
            return value.lower() in _TRUE
        raise UsageError(f"{variable}={value}: use 1 or 0")
    if action.choices is not None and value not in action.choices:
        raise UsageError(f"{variable}={value}: use one of {', '.join(map(str, action.choices))}")
    return [value] if isinstance(action.default, list) else value


def _split(values: list[str]) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())
