"""Memory over the time of a run as an inline SVG: two panels, phases marked above them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import groupby

from klein_doctor.generation import Phase, Sample

_WIDTH, _LEFT, _RIGHT = 880, 58, 14
_STRIP = 60  # pictures and phases above the panels
_PANEL, _GAP, _BELOW = 170, 40, 34
_MOST_POINTS = 600
_CHAR = 6.4  # width of a sign of the labels
# Colours and strokes are the page's: classes p-NAME.
PHASES = ("start", "load", "place", "encode", "denoise", "decode", "save")

_X = Callable[[float], float]
_Series = Sequence[tuple[float, float]]


def timeline(samples: Sequence[Sample], phases: Sequence[Phase]) -> str:
    """The drawing, "" where there is nothing to draw."""
    shown = list(samples[:: max(1, len(samples) // _MOST_POINTS)])
    end = max([s.at_s for s in shown] + [p.ended_s for p in phases], default=0.0)
    if end <= 0 or len(shown) < 2:
        return ""
    card = [s for s in shown if s.ours_mib >= 0]
    ram = [(s.at_s, s.ram_mib / 1024) for s in shown if s.ram_mib >= 0]
    wide = _WIDTH - _LEFT - _RIGHT

    def x(at: float) -> float:
        return _LEFT + max(0.0, min(at, end)) / end * wide

    parts = [_strip(phases, x)]
    top = _STRIP
    panels = [drawn for drawn in (_card(card, x), _ram(ram, x)) if drawn is not None]
    if not panels:
        return ""
    for drawn in panels:
        parts.append(f'<g transform="translate(0 {top})">{drawn}</g>')
        top += _PANEL + _GAP
    height = top - _GAP + _BELOW
    bottom = top - _GAP
    parts.append(_seconds(end, x, bottom))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="tl-t tl-d" '
        f'class="timeline"><title id="tl-t">Memory during the run</title>'
        f'<desc id="tl-d">{escape(_described(card, ram, end))}</desc>{"".join(parts)}</svg>'
    )


def _described(card: Sequence[Sample], ram: _Series, end: float) -> str:
    told = [f"Over {end:.1f} seconds"]
    if card:
        told.append(f"the run held at most {max(s.ours_mib for s in card) / 1024:.1f} GiB of the "
                    "card's memory")  # fmt: skip
    if ram:
        told.append(f"and at most {max(value for _, value in ram):.1f} GiB of RAM")
    return " ".join(told) + "."


# --- panels ----------------------------------------------------------------------------------


def _card(samples: Sequence[Sample], x: _X) -> str | None:
    """Who holds the card's memory: others below, the run above them."""
    if len(samples) < 2:
        return None
    others = [(s.at_s, max(0, s.others_mib) / 1024) for s in samples]
    both = [(s.at_s, (max(0, s.others_mib) + s.ours_mib) / 1024) for s in samples]
    totals = [
        s.ours_mib + max(0, s.others_mib) + s.free_mib for s in samples if s.free_mib >= 0
    ]  # fmt: skip
    total = max(totals, default=0) / 1024
    highest = max(value for _, value in both)
    y, axis = _axis(max(highest, total if total <= 2.5 * highest else 0.0), "Card memory, GiB")
    drawn = [axis, _area(both, x, y, "a-ours"), _area(others, x, y, "a-others")]
    drawn.append(_line(both, x, y, "l-ours"))
    if total and total <= 2.5 * highest:
        drawn.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(total):.1f}" y2="{y(total):.1f}" '
            'class="l-total"/>'
        )
    at, most = max(both, key=lambda point: point[1])
    ours = max(s.ours_mib for s in samples) / 1024
    drawn.append(_mark(x(at), y(most), f"peak {ours:.1f} GiB"))
    return "".join(drawn)


def _ram(points: _Series, x: _X) -> str | None:
    if len(points) < 2:
        return None
    at, most = max(points, key=lambda point: point[1])
    y, axis = _axis(most, "RAM of the run, GiB")
    return "".join(
        (axis, _area(points, x, y, "a-ram"), _line(points, x, y, "l-ram"),
         _mark(x(at), y(most), f"peak {most:.1f} GiB"))
    )  # fmt: skip


def _axis(highest: float, title: str) -> tuple[_X, str]:
    """The scale of a panel, and its lines and figures."""
    step = _step(max(highest, 0.1) / 4)
    top = step * math.ceil(max(highest, 0.1) * 1.04 / step)

    def y(value: float) -> float:
        return _PANEL - value / top * _PANEL

    drawn = [f'<text x="{_LEFT}" y="-8" class="axis-title">{title}</text>']
    for number in range(round(top / step) + 1):
        value = number * step
        drawn.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
            f'class="{"base" if not number else "grid"}"/>'
            f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" class="tick end">{value:g}</text>'
        )
    return y, "".join(drawn)


def _seconds(end: float, x: _X, bottom: float) -> str:
    step = _step(end / 8)
    drawn = []
    for number in range(math.floor(end / step) + 1):
        at = number * step
        drawn.append(
            f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{bottom}" y2="{bottom + 5}" '
            'class="base"/>'
            f'<text x="{x(at):.1f}" y="{bottom + 18}" class="tick mid">{at:g}</text>'
        )
    drawn.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{bottom + 31}" class="axis-title end">seconds</text>'
    )
    return "".join(drawn)


def _step(rough: float) -> float:
    """The nearest of 1, 2, 5 times a power of ten that is no smaller."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(float(f"{n * power:.6g}") for n in (1, 2, 5, 10) if n * power >= rough * 0.999)


def _area(points: _Series, x: _X, y: _X, kind: str) -> str:
    first, last = points[0][0], points[-1][0]
    way = " ".join(f"L{x(at):.1f} {y(value):.1f}" for at, value in points)
    return f'<path d="M{x(first):.1f} {_PANEL} {way} L{x(last):.1f} {_PANEL} Z" class="{kind}"/>'


def _line(points: _Series, x: _X, y: _X, kind: str) -> str:
    way = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
    return f'<polyline points="{way}" class="{kind}"/>'


def _mark(at: float, value: float, text: str) -> str:
    right = at > _WIDTH * 0.7
    side, place = ("end", at - 8) if right else ("", at + 8)
    return (
        f'<circle cx="{at:.1f}" cy="{value:.1f}" r="3.5" class="peak"/>'
        f'<text x="{place:.1f}" y="{max(12.0, value - 6):.1f}" class="peak-text {side}">'
        f"{text}</text>"
    )


# --- phases ----------------------------------------------------------------------------------


def _strip(phases: Sequence[Phase], x: _X) -> str:
    """Pictures in one row, their phases below; a name where there is room for it."""
    drawn = []
    # Some ways make all pictures side by side, stage by stage: each stretch of one is named.
    for number, stretch in groupby(phases, lambda phase: phase.picture):
        mine = list(stretch)
        if not number:
            continue
        begin, end = x(mine[0].began_s), x(mine[-1].ended_s)
        drawn.append(f'<line x1="{begin:.1f}" x2="{begin:.1f}" y1="2" y2="30" class="grid"/>')
        label = f"picture {number}"
        if len(label) * _CHAR > end - begin:
            label = str(number)
        if len(label) * _CHAR <= end - begin:
            middle = (begin + end) / 2
            drawn.append(f'<text x="{middle:.1f}" y="11" class="tick mid">{label}</text>')
    for phase in phases:
        name = phase.name if phase.name in PHASES else "start"
        begin, wide = x(phase.began_s), max(1.0, x(phase.ended_s) - x(phase.began_s))
        told = f"{phase.name}, {phase.ended_s - phase.began_s:.2f} s"
        drawn.append(
            f'<g><title>{escape(told)}</title><rect x="{begin:.1f}" y="16" width="{wide:.1f}" '
            f'height="14" class="p-{name}"/>'
        )
        if len(name) * _CHAR + 4 <= wide:
            drawn.append(f'<text x="{begin + wide / 2:.1f}" y="27" class="phase mid">{name}</text>')
        drawn.append("</g>")
    return "".join(drawn)
