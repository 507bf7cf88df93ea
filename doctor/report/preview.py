"""A picture in the terminal: as itself where the terminal shows pictures, else in half blocks.

Which it is, is read from the environment alone: a question to the terminal may come back as typed
text. Protocols: kitty's terminal graphics, iTerm2's inline images.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from klein_doctor.picture_file import NoPicture, opened

if TYPE_CHECKING:
    from PIL.Image import Image

_WIDEST, _TALLEST = 64, 24  # columns and lines
_NARROWEST = 8
_SIDE = 640  # pixels, of a picture that is sent
_CHUNK = 4096  # bytes of kitty's protocol at a time
_BLOCK = "▀"  # its foreground is the upper pixel, its background the lower
_RESET = "\x1b[0m"
_FULL_COLOUR = ("truecolor", "24bit")
_FULL_COLOUR_PROGRAMS = ("vscode", "iTerm.app", "WezTerm", "ghostty", "mintty", "WarpTerminal")
_INLINE_PROGRAMS = ("iTerm.app", "WezTerm", "mintty")
# The 240 colours of a terminal with 256 that no theme changes: a cube and greys, from number 16 on.
_STEPS = (0, 95, 135, 175, 215, 255)
_FIRST = 16


def preview(path: Path, stream: TextIO, env: Mapping[str, str], columns: int) -> bool:
    """Show the picture of a file on a terminal at most so wide; returns whether it was shown."""
    how = way_of(env) if stream.isatty() else ""
    if not how or not _carries(stream, how):
        return False
    told = env.get("COLUMNS", "")
    columns = min(columns, int(told) if told.isascii() and told.isdigit() else columns, _WIDEST)
    if columns < _NARROWEST:
        return False
    try:
        picture = opened(path)
    except NoPicture:
        return False
    stream.write(drawn(picture, how, columns))
    stream.flush()
    return True


def way_of(env: Mapping[str, str]) -> str:
    """``kitty``, ``iterm``, ``full`` (24 bits of colour), ``256`` or "" for no picture."""
    term, program = env.get("TERM", ""), env.get("TERM_PROGRAM", "")
    if env.get("NO_COLOR") or term == "dumb":
        return ""
    # What multiplexes terminals hands no pictures through.
    inside = bool(env.get("TMUX") or env.get("STY")) or term.startswith(("screen", "tmux"))
    if not inside:
        # A terminal started from kitty inherits its variables, but says its own name.
        if term in ("xterm-kitty", "xterm-ghostty") or (env.get("KITTY_WINDOW_ID") and not program):
            return "kitty"
        if program in _INLINE_PROGRAMS or env.get("LC_TERMINAL") == "iTerm2":
            return "iterm"
        if program in _FULL_COLOUR_PROGRAMS or env.get("WT_SESSION"):
            return "full"
    if env.get("COLORTERM", "").lower() in _FULL_COLOUR or term.endswith("-direct"):
        return "full"
    return "256" if "256color" in term else ""


def drawn(picture: Image, how: str, columns: int) -> str:
    """The text that shows a picture in RGB in one of the ways of way_of."""
    width, lines = _cells(picture, columns)
    if how == "kitty":
        return "".join(_kitty(_png(picture), width, lines)) + "\n"
    if how == "iterm":
        data = _png(picture)
        head = f"File=inline=1;size={len(data)};width={width};height={lines};preserveAspectRatio=1"
        return f"\x1b]1337;{head}:{base64.b64encode(data).decode('ascii')}\x07\n"
    return "".join(_blocks(picture, width, lines, full=how == "full"))


def _cells(picture: Image, columns: int) -> tuple[int, int]:
    """Columns and lines that keep its shape: a cell is twice as high as it is wide."""
    scale = min(columns / picture.width, 2 * _TALLEST / picture.height)
    width = max(1, min(columns, round(picture.width * scale)))
    return width, max(1, min(_TALLEST, round(picture.height * scale / 2)))


def _carries(stream: TextIO, how: str) -> bool:
    """Whether the stream's encoding has the block."""
    if how in ("kitty", "iterm"):
        return True
    try:
        _BLOCK.encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def _png(picture: Image) -> bytes:
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    small.save(out, "PNG")
    return out.getvalue()


def _kitty(data: bytes, width: int, lines: int) -> Iterator[str]:
    """Shown at once, in so many cells, without an answer (q=2); m=1: more follows."""
    text = base64.b64encode(data).decode("ascii")
    head = f"a=T,f=100,q=2,c={width},r={lines},"
    for start in range(0, len(text), _CHUNK):
        more = int(start + _CHUNK < len(text))
        yield f"\x1b_G{head}m={more};{text[start : start + _CHUNK]}\x1b\\"
        head = ""


def _blocks(picture: Image, width: int, lines: int, *, full: bool) -> Iterator[str]:
    from PIL import Image

    small = picture.resize((width, 2 * lines), Image.Resampling.LANCZOS)
    if full:
        data = small.tobytes()
        codes = [f"2;{data[at]};{data[at + 1]};{data[at + 2]}" for at in range(0, len(data), 3)]
    else:
        few = small.quantize(palette=_palette(), dither=Image.Dither.NONE)
        codes = [f"5;{_FIRST + number}" for number in few.tobytes()]
    for line in range(lines):
        upper, lower = codes[2 * line * width :], codes[(2 * line + 1) * width :]
        last = ("", "")
        for pair in zip(upper[:width], lower[:width], strict=True):
            if pair != last:
                yield f"\x1b[38;{pair[0]};48;{pair[1]}m"
                last = pair
            yield _BLOCK
        yield f"{_RESET}\n"


def _palette() -> Image:
    """A picture that has the 240 colours as its palette."""
    from PIL import Image

    cube = [(r, g, b) for r in _STEPS for g in _STEPS for b in _STEPS]
    greys = [(8 + 10 * n,) * 3 for n in range(24)]
    colours = [*cube, *greys]
    found = Image.new("P", (1, 1))
    # What is left of the 256 repeats the last grey, which keeps every number below 240.
    rest = [colours[0]] * (256 - len(colours))
    found.putpalette([value for colour in (*colours, *rest) for value in colour])
    return found
