"""What would be asked, answered beforehand: by options, else by the TOML file of ``--answers``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from klein_doctor.arguments import ENVIRONMENTS, ROUTES, SYMPTOMS
from klein_doctor.exits import UsageError
from klein_doctor.rows import parse
from klein_doctor.values import printable

INSTALL, SYMPTOM, ENVIRONMENT = "install", "symptom", "environment"
ROUTE, STEPS, DOWNLOAD, GENERATE = "route", "steps", "download", "generate"
# The option that says the same, of the questions that have one of their own.
OPTIONS = {
    INSTALL: "--comfyui", SYMPTOM: "--symptom", ENVIRONMENT: "--environment", ROUTE: "--route",
    STEPS: "--only", DOWNLOAD: "--deny", GENERATE: "--generate",
}  # fmt: skip
YES, NO = "true", "false"
_SAID = {"yes": YES, "1": YES, "on": YES, "no": NO, "0": NO, "off": NO}
_VALUES = {SYMPTOM: SYMPTOMS, ENVIRONMENT: ENVIRONMENTS, ROUTE: ROUTES[1:],
           DOWNLOAD: (YES, NO), GENERATE: (YES, NO)}  # fmt: skip
_LONGEST = 1 << 16


def answers_of(options: argparse.Namespace) -> dict[str, str]:
    """The answers by question; an option beats the file.

    Raises:
        UsageError: the file cannot be read, or says what nobody asks.
    """
    found = _of_file(options.answers)
    for key in (SYMPTOM, ENVIRONMENT):
        if getattr(options, key):
            found[key] = getattr(options, key)
    return found


def source_of(key: str, options: argparse.Namespace) -> str:
    """Where an answer came from: the option of that name, or ``--answers``."""
    return OPTIONS[key] if getattr(options, key, "") else "--answers"


def _of_file(name: str) -> dict[str, str]:
    if not name:
        return {}
    where = f"--answers {printable(name, 200)}"
    try:
        with open(name, "rb") as stream:
            data = parse(stream.read(_LONGEST).decode("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or printable(str(error), 300)
        raise UsageError(f"{where}: {reason}") from error
    return {key: _answer(where, key, value) for key, value in data.items()}


def _answer(where: str, key: str, value: object) -> str:
    if key not in OPTIONS:
        listed = ", ".join(OPTIONS)
        raise UsageError(f"{where}: nothing called {printable(key, 60)!r} is asked; use {listed}")
    if isinstance(value, dict):
        raise UsageError(f"{where}: {key} is a table, not an answer")
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if key not in _VALUES:
        return text
    text = _SAID.get(text.lower(), text.lower()) if key in (DOWNLOAD, GENERATE) else text
    checked(where, key, text, _VALUES[key])
    return text


def checked(where: str, key: str, value: str, values: Sequence[str]) -> None:
    """Raise UsageError, naming the right ones, where a value is none of them."""
    if value not in values:
        raise UsageError(
            f"{where}: {key} = {printable(value, 60)!r}; use one of {', '.join(values)}"
        )
