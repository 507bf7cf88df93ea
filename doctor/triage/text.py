"""Text that anybody may have pasted, made fit for a search: decoded, cleaned, bounded.

Of what is longer than the bounds the beginning and the end are kept, and of the middle those lines
that look like trouble.
"""

from __future__ import annotations

import bisect
import codecs
import html
import re
from collections.abc import Iterable, Iterator

_HEAD = 512 << 10
_TAIL = 2 << 20
_MIDDLE = 512 << 10
_CHUNK = 1 << 20
_LONGEST_LINE = 4000
_OVERLAP = 300
_ALIKE = 3  # lines that differ in their digits alone, of the middle
_LEAST_TOLD = 8  # of fewer bytes nobody can tell the encoding
_WRAPPED = 300_000  # what may have been wrapped by a window is shorter than this

# In the middle of a long log one of these stands in every line worth reading.
_TELLING = tuple(
    word.encode()
    for word in ("rror", "xception", "ailed", "annot ", "ould not", "not found", "missing",
                 "CUDA", "sm_", "illed", " not in ", "atal")
)  # fmt: skip
_ANSI = re.compile(rb"\x1b(?:\[[0-9;?]{0,40}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,400}(?:\x07|\x1b\\)|.)")
_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[0-9a-fA-F]{1,5}|[a-zA-Z]{2,8});")
_TYPOGRAPHY = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " ", "\u00d7": "x",
     "\u200b": None, "\u200c": None, "\u200d": None, "\ufeff": None, "\u202a": None,
     "\u2026": "...", "\u2013": "-", "\u2011": "-"}
)  # fmt: skip
# Full-width signs, as East Asian keyboards and translators write them.
_TYPOGRAPHY.update({0xFF01 + place: chr(0x21 + place) for place in range(94)})
_QUOTED = re.compile(r"^[\s>|*#+\u2502\u2503-]{0,40}(?:```\w{0,12}\s{0,4})?")
_TIME = re.compile(
    r"^\W{0,3}(?:\d{4}[-/.]\d\d[-/.]\d\d[T ])?\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?"
    r"(?:Z|[+-]\d\d:?\d\d)?(?: ?[AP]M)?[\]\)|,:-]{0,3}\s{1,8}|^\[[A-Z]{4,8}\]\s{1,8}"
)
_REST_OF_WORD = re.compile(r"^[^\s\"',;]+")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"),
         (codecs.BOM_UTF16_BE, "utf-16-be"))  # fmt: skip


class Excerpt:
    """The lines of a text, and its bytes in lower case (ASCII letters alone) to search in."""

    def __init__(self, lines: list[str], whole: int) -> None:
        """whole: the length of what was given, in bytes."""
        self.lines = lines
        self.whole = whole
        encoded = [line.encode("utf-8", "replace") for line in lines]
        self.low = b"\n".join(encoded).lower()
        self._starts = [0]
        for line in encoded:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def line_at(self, place: int) -> int:
        """The number of the line that holds a byte."""
        return bisect.bisect_right(self._starts, place) - 1

    def span(self, number: int) -> tuple[int, int]:
        """Where a line begins and ends, in bytes."""
        return self._starts[number], self._starts[number + 1] - 1

    def holds(self, *words: str) -> bool:
        """Whether one of these, in lower case, stands anywhere."""
        return any(word.encode() in self.low for word in words)

    def near(self, number: int, before: int, after: int = 0) -> str:
        """The lines around one, in lower case, that one included."""
        first = max(0, number - before)
        last = min(len(self.lines), number + after + 1)
        return "\n".join(self.lines[first:last]).lower()

    def place(self, number: int) -> float:
        """How far down a line stands, 0 to 1."""
        return (number + 1) / max(1, len(self.lines))


def bare(line: str) -> str:
    """A line without quote marks, bullets and the time in front of it."""
    line = _QUOTED.sub("", line[:_LONGEST_LINE])
    return _TIME.sub("", line).strip()


def excerpt_of(chunks: Iterable[bytes]) -> Excerpt:
    """The excerpt of a text that comes in chunks; keeps a few MB at most, however long it is."""
    head, tail, middle = b"", b"", _Middle()
    whole = 0
    for chunk in _utf8(chunks):
        whole += len(chunk)
        if len(head) < _HEAD:
            head += chunk
            continue
        tail += chunk
        if len(tail) > _TAIL + _CHUNK:
            cut = tail.rfind(b"\n", 0, len(tail) - _TAIL)
            cut = cut + 1 if cut >= 0 else len(tail) - _TAIL
            middle.add(tail[:cut])
            tail = tail[cut:]
    data = b"\n".join(part for part in (head, middle.data(), tail) if part)
    if not middle.lines:
        data = head + tail
    return Excerpt(_lines(data), whole)


def wrapped(text: Excerpt) -> tuple[Excerpt, ...]:
    """The text with each three lines as one, for what was wrapped; () for long ones.

    An editor wraps between words; a console wherever its edge is, so its lines are put together as
    they stand.
    """
    if len(text.low) > _WRAPPED or len(text.lines) < 2:
        return ()
    between = _threes([bare(line) for line in text.lines], " ")
    return Excerpt(between, text.whole), Excerpt(_threes(text.lines, ""), text.whole)


def _threes(lines: list[str], gap: str) -> list[str]:
    return [
        gap.join(part for part in lines[number : number + 3] if part)[:_LONGEST_LINE]
        for number in range(len(lines))
    ]


class _Middle:
    """The lines worth keeping of what lies between head and tail."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._alike: dict[int, int] = {}
        self._left = _MIDDLE

    def data(self) -> bytes:
        return b"\n".join(self.lines)

    def add(self, part: bytes) -> None:
        if self._left <= 0:
            return
        # One line of a kind: what differs in its digits alone says the same.
        kinds = dict(
            zip(part.translate(None, b"0123456789").split(b"\n"), part.split(b"\n"), strict=True)
        )
        for kind, line in kinds.items():
            if any(word in line for word in _TELLING):
                self._keep(kind, line)

    def _keep(self, kind: bytes, line: bytes) -> None:
        if len(line) > _LONGEST_LINE:
            for text in _pieces(line.decode("utf-8", "replace")):
                piece = text.encode("utf-8", "replace")
                if any(word in piece for word in _TELLING):
                    self._keep(piece.translate(None, b"0123456789"), piece)
            return
        shape = hash(kind)
        count = self._alike.get(shape, 0)
        if count >= _ALIKE or self._left <= 0:
            return
        self._alike[shape] = count + 1
        self._left -= len(line)
        self.lines.append(line)


def _utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks as UTF-8, whatever they came in."""
    stream = iter(chunks)
    first = next(stream, b"")
    while len(first) < 4:
        more = next(stream, b"")
        if not more:
            break
        first += more
    name, first = _encoding(first)
    if name == "utf-8":
        yield first
        yield from stream
        return
    decoder = codecs.getincrementaldecoder(name)("replace")
    yield decoder.decode(first).encode("utf-8", "replace")
    for chunk in stream:
        yield decoder.decode(chunk).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def _encoding(first: bytes) -> tuple[str, bytes]:
    for mark, name in _BOMS:
        if first.startswith(mark):
            return name, first[len(mark) :]
    sample = first[:4096]
    # PowerShell's redirection writes UTF-16; some tools leave out the mark. Zeros at every place
    # are what a crash of the machine leaves in a file.
    even, odd, many = sample[0::2].count(0), sample[1::2].count(0), len(sample) // 4
    if len(sample) < _LEAST_TOLD or (even > many and odd > many):
        return "utf-8", first
    return ("utf-16-le" if odd > many else "utf-16-be" if even > many else "utf-8"), first


def _lines(data: bytes) -> list[str]:
    if b"\x1b" in data:
        data = _ANSI.sub(b"", data)
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\\n" in data and data.lstrip()[:1] in (b"{", b"[", b'"'):
        data = data.replace(b"\\r", b"").replace(b"\\n", b"\n").replace(b'\\"', b'"')
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    if not text.isascii():
        text = text.translate(_TYPOGRAPHY)
    if "&" in text:
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text).replace("\u00a0", " ")
    return [piece for line in text.split("\n") for piece in _pieces(line)]


def _pieces(line: str) -> list[str]:
    """A line as such, or one that is longer than any honest one in overlapping pieces.

    None of them begins within a word: without its beginning a token would not be known as one.
    """
    if len(line) <= _LONGEST_LINE:
        return [line]
    step = _LONGEST_LINE - _OVERLAP
    pieces = [line[at : at + _LONGEST_LINE] for at in range(0, len(line), step)]
    return [pieces[0], *(_REST_OF_WORD.sub("", piece, count=1) for piece in pieces[1:])]
