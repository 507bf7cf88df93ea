"""Judge literal facts by one check."""

from __future__ import annotations

import prose

from klein_doctor import recipe as recipes
from klein_doctor.engine import judge
from klein_doctor.model import Facts, Finding, Outcome, Verdict
from klein_doctor.registry import catalogue

RECIPE = recipes.load()
FAIL, WARN, PASS = Verdict.FAIL, Verdict.WARN, Verdict.PASS
UNKNOWN, SKIPPED = Verdict.UNKNOWN, Verdict.SKIPPED


def verdict_of(name: str, facts: Facts) -> Finding:
    """The finding of one check among all the others."""
    found = next(f for f in judge(facts, RECIPE, catalogue()) if f.check == name)
    prose.hold(found, catalogue()[name])
    return found


def judge_one(name: str, facts: Facts) -> Outcome:
    """What the check itself says first, whatever the checks before it found."""
    outcome = catalogue()[name].judge(facts, RECIPE)
    for each in [outcome] if isinstance(outcome, Outcome) else outcome:
        prose.hold(each, catalogue()[name])
    return outcome if isinstance(outcome, Outcome) else outcome[0]


def of_any_words(name: str, facts: Facts) -> Verdict:
    """The verdict of a check on facts whose own words no prose rule can be asked of."""
    outcome = catalogue()[name].judge(facts, RECIPE)
    return outcome.verdict if isinstance(outcome, Outcome) else outcome[0].verdict


def silent(name: str, facts: Facts) -> bool:
    """Whether the check has nothing to say of this machine."""
    return catalogue()[name].judge(facts, RECIPE) in ((), [])


def alone(name: str, facts: Facts) -> Verdict:
    """The verdict of the check itself, whatever the checks before it found."""
    return judge_one(name, facts).verdict


def commands(found: Finding | Outcome) -> list[str]:
    """The commands of all repairs, as one would read them."""
    return [
        " ".join(part if isinstance(part, str) else part.public for part in command)
        for repair in found.fixes
        for command in repair.commands
    ]
