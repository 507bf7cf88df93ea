"""From recognised lines to an answer: what they say, put together by check, the best first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from klein_doctor.recipe_messages import CERTAINTIES, GRADES, Known, SymptomRow
from klein_doctor.triage.readers import READERS
from klein_doctor.triage.search import compiled, seen
from klein_doctor.triage.stated import stated
from klein_doctor.triage.text import Excerpt, bare
from klein_doctor.triage.values import Guess, Say, Seen

_MOST = 8
# A grade outweighs any certainty, a certainty any number of lines.
_GRADE, _CERTAINTY, _MORE, _ALTERNATIVE = 100.0, 10.0, 2.0, 15.0
_MOST_MORE = 3
_PROSE = 4000  # a text longer than this is no description in words
_PHRASE = 12  # words, of which a description is so short that every one of them counts
_EXCEPTION = re.compile(
    r"^(?:[\w.]{0,120}\.)?[A-Z]\w{0,60}(?:Error|Exception|Warning|Interrupt)\b(?:: |\s*$)"
)


def guesses(text: Excerpt, known: Known) -> list[Guess]:
    """What the text speaks for, the best first; one guess a check."""
    found = seen(text, known.messages)
    made = [guess for item in found for guess in _guesses(item)]
    made += [guess for said, line in stated(text) for guess in _stated(text, said, line)]
    if _unexplained(text, found, made):
        made = [_weakened(guess) for guess in made if guess.rank >= 2 * _GRADE]
        return _together(made)
    return _together(made) or _together(_in_words(text, found, known))


def _guesses(item: Seen) -> Iterator[Guess]:
    row = item.row
    reader = READERS.get(row.reader)
    say = (reader(item) if reader else None) or Say(row.checks)
    certainty = say.certainty or row.certainty
    grade = say.grade or row.grade
    for number, check in enumerate(say.checks):
        yield Guess(
            check=check,
            line=item.line,
            cause=say.cause or row.cause,
            do=say.do or row.do,
            certainty=certainty if not number else _lower(certainty),
            rank=_rank(grade, certainty) - number * _ALTERNATIVE,
            place=item.text.place(item.number),
            row=row.id,
        )


def _stated(text: Excerpt, said: Say, line: int) -> Iterator[Guess]:
    for number, check in enumerate(said.checks):
        yield Guess(
            check=check,
            line=bare(text.lines[line]),
            cause=said.cause,
            do=said.do,
            certainty=said.certainty if not number else _lower(said.certainty),
            rank=_rank(said.grade, said.certainty) - number * _ALTERNATIVE,
            place=text.place(line),
            row="stated",
        )


def _rank(grade: str, certainty: str) -> float:
    height = len(GRADES) - GRADES.index(grade)
    return _GRADE * height + _CERTAINTY * (len(CERTAINTIES) - CERTAINTIES.index(certainty))


def _lower(certainty: str) -> str:
    return CERTAINTIES[min(len(CERTAINTIES) - 1, CERTAINTIES.index(certainty) + 1)]


def _together(made: Iterable[Guess]) -> list[Guess]:
    """One guess a check: its best line; further rows that say the same add a little."""
    by_check: dict[str, list[Guess]] = {}
    for guess in made:
        by_check.setdefault(guess.check, []).append(guess)
    best = []
    for group in by_check.values():
        top = max(group, key=lambda guess: (guess.rank, guess.place))
        more = min(_MOST_MORE, len({guess.row for guess in group}) - 1)
        best.append(top._replace(rank=top.rank + _MORE * more + top.place))
    return sorted(best, key=lambda guess: -guess.rank)[:_MOST]


def _unexplained(text: Excerpt, found: list[Seen], made: list[Guess]) -> bool:
    """Whether the text ends in an error that no row knows: what else stands in it explains less."""
    if any(guess.rank >= 3 * _GRADE for guess in made):
        return False
    known = {item.number for item in found}
    for number in range(len(text.lines) - 1, -1, -1):
        line = bare(text.lines[number])
        if _EXCEPTION.match(line) and "Warning" not in line.split(":", 1)[0]:
            return number not in known
    return False


def _weakened(guess: Guess) -> Guess:
    return guess._replace(certainty="low", rank=guess.rank - _GRADE)


# --- in words --------------------------------------------------------------------------------


def _in_words(text: Excerpt, found: list[Seen], told: Known) -> Iterator[Guess]:
    """What a description says; only of short texts, where words are not a log's."""
    known = {item.number for item in found}
    alone = sum(bool(line.strip()) for line in text.lines) == 1
    if len(text.low) > _PROSE or text.holds("traceback (most recent"):
        return
    for number, line in enumerate(text.lines):
        if number in known and _EXCEPTION.match(bare(line)):
            continue  # an error that was recognised and is none of this model is no description
        words = re.sub(r"[^\w%]+", " ", line.lower()).strip()
        rows = _said(words, told.symptoms)
        for row in rows or (_hinted(words, told) if alone else ()):
            for rank, check in enumerate(row.checks):
                yield Guess(
                    check=check,
                    line=bare(line)[:400],
                    cause=row.cause,
                    do=row.do,
                    certainty="medium" if not rank else "low",
                    rank=_CERTAINTY * 2 - rank,
                    place=text.place(number),
                    row=row.id,
                )


def _hinted(words: str, told: Known) -> list[SymptomRow]:
    """The symptoms that a phrase of a few words hints at, and nothing else is in it."""
    if len(words.split()) > _PHRASE:
        return []
    left = " ".join(compiled(told.filler).sub(" ", words).split())
    rows = told.symptoms
    return [row for row in rows if row.short and compiled(row.short).fullmatch(left)]


def _said(words: str, symptoms: tuple[SymptomRow, ...]) -> list[SymptomRow]:
    """The symptoms a line names, without those that are only a part of what another one says."""
    found = [
        (row, match.span())
        for row in symptoms
        if (match := compiled(row.pattern).search(words)) is not None
    ]
    return [
        row
        for row, (start, end) in found
        if not any(
            first <= start and end <= last and last - first > end - start
            for _, (first, last) in found
        )
    ]
