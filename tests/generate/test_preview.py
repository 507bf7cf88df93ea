"""A picture in the terminal: which way, how large, and what is written."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import made
import pytest
from PIL import Image

from klein_doctor.report.preview import drawn, preview, way_of

CLASSIC = {"TERM": "xterm-256color"}
FULL = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


class Screen(io.StringIO):
    """A terminal; an encoding of its own."""

    def __init__(self, terminal: bool = True, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal, self._encoding = terminal, encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("env", "way"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        # VS Code started from kitty.
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode", "KITTY_WINDOW_ID": "1"}, "full"),
        ({"TERM": "xterm-kitty", "TERM_PROGRAM": "x", "TMUX": "/tmp/x"}, ""),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/x", "TERM_PROGRAM": "iTerm.app"}, "256"),
        ({"TERM": "screen-256color", "COLORTERM": "truecolor", "LC_TERMINAL": "iTerm2"}, "full"),
        ({"WT_SESSION": "a"}, "full"),
        (FULL, "full"),
        (CLASSIC, "256"),
        ({"TERM": "linux"}, ""),
        ({}, ""),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, ""),
        ({"TERM": "xterm-kitty", "NO_COLOR": "1"}, ""),
        ({"TERM": "xterm-kitty", "NO_COLOR": ""}, "kitty"),
    ],
)
def test_the_way_is_read_from_the_environment(env: dict[str, str], way: str) -> None:
    assert way_of(env) == way


def lines(text: str) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("columns", "size", "width", "high"),
    [
        (80, (1024, 1024), 48, 24),
        (30, (1024, 1024), 30, 15),
        (200, (1024, 512), 64, 16),
        (80, (512, 1024), 24, 24),
        (80, (2000, 2), 64, 1),
        (80, (2, 2000), 1, 24),
    ],
)
def test_it_keeps_its_shape_and_fits(
    tmp_path: Path, columns: int, size: tuple[int, int], width: int, high: int
) -> None:
    path, screen = tmp_path / "x.png", Screen()
    Image.new("RGB", size, (200, 30, 30)).save(path)
    assert preview(path, screen, FULL, columns)
    shown = lines(screen.getvalue())
    assert (len(shown), {len(line) for line in shown}) == (high, {width})


def test_columns_of_the_environment_bound_it(tmp_path: Path) -> None:
    path = made.png(made.one_colour(9, 64), tmp_path / "x.png")
    for told, width in (("20", 20), ("x", 48), ("-3", 48), ("500", 48)):
        screen = Screen()
        assert preview(path, screen, {**FULL, "COLUMNS": told}, 80)
        assert len(lines(screen.getvalue())[0]) == width
    assert not preview(path, Screen(), {**FULL, "COLUMNS": "3"}, 80)


def pixels(text: str) -> list[tuple[int, ...]]:
    """The colours of a text of half blocks, a tuple for each cell: upper and lower."""
    found, colours = [], (0,) * 6
    for code, block in re.findall(r"\x1b\[([0-9;]*)m|(▀)", text):
        if block:
            found.append(colours)
        elif code != "0":
            parts = [int(part) for part in code.split(";")]
            colours = (*parts[2:5], *parts[7:10])
    return found


def test_half_blocks_have_the_colours_of_the_picture() -> None:
    picture = Image.new("RGB", (16, 16), (10, 20, 30))
    picture.paste((250, 240, 230), (8, 0, 16, 16))
    shown = pixels(drawn(picture, "full", 16))
    assert len(shown) == 16 * 8
    assert shown[0] == (10, 20, 30) * 2 and shown[15] == (250, 240, 230) * 2
    assert drawn(picture, "full", 16).endswith("\x1b[0m\n")


@pytest.mark.parametrize(
    ("colour", "number"),
    [((0, 0, 0), 16), ((255, 255, 255), 231), ((255, 0, 0), 196), ((95, 135, 175), 67),
     ((118, 118, 118), 243)],
)  # fmt: skip
def test_few_colours_are_the_nearest_of_those_no_theme_changes(
    colour: tuple[int, int, int], number: int
) -> None:
    text = drawn(Image.new("RGB", (8, 8), colour), "256", 8)
    assert set(re.findall(r"[34]8;5;(\d+)", text)) == {str(number)}


def test_kitty_gets_a_png_in_pieces_and_is_asked_for_no_answer() -> None:
    text = drawn(made.landscape(1, 1024), "kitty", 40)
    pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert pieces[0][0] == "a=T,f=100,q=2,c=40,r=20,m=1"
    assert [head for head, _ in pieces[1:]] == ["m=1"] * (len(pieces) - 2) + ["m=0"]
    assert max(len(data) for _, data in pieces) <= 4096
    data = base64.b64decode("".join(data for _, data in pieces))
    with Image.open(io.BytesIO(data)) as sent:
        assert (sent.format, sent.size) == ("PNG", (640, 640))


def test_inline_pictures_say_their_size() -> None:
    text = drawn(made.landscape(1, 256), "iterm", 40)
    head, _, data = text.removeprefix("\x1b]1337;").removesuffix("\x07\n").partition(":")
    sent = base64.b64decode(data)
    assert f"size={len(sent)};width=40;height=20" in head and sent.startswith(b"\x89PNG")


def test_nothing_is_written_where_nothing_can_be_shown(tmp_path: Path) -> None:
    path = made.png(made.one_colour(9, 64), tmp_path / "x.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(path.read_bytes()[:60])
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(made.bomb())
    for screen, file, env in (
        (Screen(terminal=False), path, FULL),
        (Screen(encoding="ascii"), path, FULL),
        (Screen(encoding="cp1252"), path, CLASSIC),
        (Screen(), path, {**FULL, "NO_COLOR": "1"}),
        (Screen(), path, {"TERM": "dumb"}),
        (Screen(), broken, FULL),
        (Screen(), bomb, FULL),
        (Screen(), tmp_path / "none.png", FULL),
    ):
        assert not preview(file, screen, env, 80)
        assert screen.getvalue() == ""
