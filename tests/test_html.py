"""The HTML report: one page that needs nothing else, whatever the report holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import recorded
from generations import failed, generation, picture, proof
from made import landscape, png

from klein_doctor import recipe as recipes
from klein_doctor.codec import decode
from klein_doctor.diagnose import Request, build
from klein_doctor.generation import Generation
from klein_doctor.model import Facts, Finding, Known, Private, Report, Target
from klein_doctor.report.html import render_html
from klein_doctor.report.timeline import timeline

HEALTHY = "healthy-rtx5070-linux-cu130"
_VOID = ("meta", "br", "img", "line", "rect", "circle", "path", "polyline", "link", "hr")
EVIL = "</pre><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&"


class Page(HTMLParser):
    """What a page consists of; raises AssertionError where its elements do not balance."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())

    def named(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.tags if name == tag)


def report(name: str, ran: Generation | None = None) -> Report:
    data = recorded.load(name)
    facts: Any = decode(Facts, data["facts"], "facts")
    if ran is not None:
        facts = facts._replace(generation=Known(ran), proof=Known(proof()))
    target = decode(Target, data["target"], "target")
    return build(facts, target, data["created"], recipes.load(), Request())


@pytest.mark.parametrize("name", recorded.names())
def test_every_machine_makes_a_sound_page(name: str) -> None:
    text = render_html(report(name), "public")
    page = Page(text)
    for finding in report(name).findings:
        assert " ".join(finding.title.split()) in page.text
    assert len(text) < 200_000


@pytest.mark.parametrize("ran", [generation(), failed(), generation(samples=(), phases=())])
def test_it_loads_nothing_from_elsewhere(ran: Generation) -> None:
    page = Page(render_html(report(HEALTHY, ran), "public"))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:")
    policy = next(m["content"] for m in page.named("meta") if m.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'")


def test_a_good_run_shows_its_figures() -> None:
    page = Page(render_html(report(HEALTHY, generation()), "public"))
    for words in ("verified", "18.5 s", "2.8 s", "8.7 GiB", "9.6 GiB predicted", "seed 43",
                  "klein-doctor/record/1"):  # fmt: skip
        assert words in page.text
    assert "Memory during the run" in page.text and "picture 3" in page.text


def test_a_failed_run_says_why() -> None:
    page = Page(render_html(report("rtx4060-8gb-crowded", failed()), "public"))
    assert "CUDA out of memory" in page.text and "failed" in page.text


def test_pictures_stand_in_the_page_and_small(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    png(landscape(), path)
    shots = tuple(picture(seed, str(path)) for seed in (42, 43, 42))
    found = report(HEALTHY, generation(pictures=shots))
    text = render_html(found, "public")
    images = list(Page(text).named("img"))
    assert len(images) == 3 and all((i["src"] or "").startswith("data:image/jpeg") for i in images)
    assert all(i["alt"] for i in images) and len(text) < 1 << 20
    # A replayed report names files of another machine: none is opened.
    assert not list(Page(render_html(found._replace(replayed=True), "public")).named("img"))


def test_a_file_that_is_no_picture_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_text("secret words")
    found = report(HEALTHY, generation(pictures=(picture(1, str(path)),)))
    text = render_html(found, "public")
    assert not list(Page(text).named("img")) and "secret words" not in text


def test_what_strangers_write_stays_text() -> None:
    found = report(HEALTHY, failed(says=EVIL, prompt=EVIL, plan=EVIL))
    first: Finding = found.findings[0]
    bad = first._replace(title=EVIL, detail=EVIL, reason=EVIL, subject=Private.plain(EVIL))
    found = found._replace(
        findings=(bad, *found.findings), files=EVIL, plan=EVIL, picture=EVIL,
        usage=((EVIL, Private.plain(EVIL)),),
    )  # fmt: skip
    text = render_html(found, "public")
    page = Page(text)
    assert not list(page.named("script")) and not list(page.named("img"))
    assert "alert(1)" in page.text


def test_private_words_have_their_public_form() -> None:
    secret = Private("/home/jane/x.png", "~/x.png", "~/public.png")
    shots = (picture(1)._replace(path=secret),)
    found = report(HEALTHY, generation(pictures=shots))
    found = found._replace(usage=(("Script", secret),))
    assert "jane" not in render_html(found, "public")


def test_a_reader_without_colours_or_eyes() -> None:
    text = render_html(report(HEALTHY, generation()), "public")
    page = Page(text)
    assert next(page.named("html"))["lang"] == "en"
    drawing = next(s for s in page.named("svg") if s.get("role") == "img")
    for name in (drawing.get("aria-labelledby") or "").split():
        assert f'id="{name}"' in text
    for word in ("held by the run", "held by other programs", "denoise", "RAM of the run"):
        assert word in page.text  # the legend
    assert list(page.named("table")), "the drawing's figures, to be read"
    assert "prefers-color-scheme:dark" in text and "@media print" in text


def _luminance(colour: str) -> float:
    def part(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.03928 else float(((share + 0.055) / 1.055) ** 2.4)

    digits = colour if len(colour) == 6 else "".join(c * 2 for c in colour)
    red, green, blue = (part(int(digits[n : n + 2], 16)) for n in (0, 2, 4))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(scheme: str) -> None:
    from klein_doctor.report.html_style import STYLE

    light, _, dark = STYLE.partition("prefers-color-scheme:dark")
    block = light if scheme == "light" else dark.partition("@media (max")[0]
    found = dict(re.findall(r"--([\w-]+):#([0-9a-f]{3,6})", block))
    pairs = [("text", "bg"), ("text", "card"), ("soft", "bg"), ("soft", "card"), ("soft", "faint"),
             ("link", "card")]  # fmt: skip
    pairs += [(kind, f"{kind}-bg") for kind in ("good", "bad", "warn", "idle")]
    for front, back in pairs:
        one, other = sorted((_luminance(found[front]), _luminance(found[back])))
        assert (other + 0.05) / (one + 0.05) >= 4.5, f"{front} on {back}"


@pytest.mark.parametrize(
    "ran", [generation(samples=()), generation(samples=generation().samples[:1])]
)
def test_nothing_to_draw_draws_nothing(ran: Generation) -> None:
    assert timeline(ran.samples, ()) == ""


def test_memory_that_nobody_could_tell_is_left_out() -> None:
    blind = tuple(s._replace(ours_mib=-1, others_mib=-1, free_mib=-1) for s in generation().samples)
    drawn = timeline(blind, generation().phases)
    assert "RAM of the run" in drawn and "Card memory" not in drawn
