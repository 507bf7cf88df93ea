"""The test generation in the HTML report: its pictures, what it took, and its memory over time."""

from __future__ import annotations

from html import escape
from pathlib import Path

from klein_doctor.generation import Generation, Phase, Picture
from klein_doctor.model import Report, known
from klein_doctor.report.pictures import embedded
from klein_doctor.report.timeline import PHASES, timeline

_LETTERS = "ABCDEFGH"
_VERDICTS = {
    "verified": ("good", "verified"),
    "ran as recorded": ("good", "ran as recorded"),
    "not verified": ("bad", "not verified"),
    "failed": ("bad", "failed"),
    "interrupted": ("warn", "interrupted"),
    "refused": ("warn", "not begun"),
}


def section(report: Report, form: str) -> str:
    """The section, "" where nothing was generated."""
    ran: Generation | None = known(report.facts.generation)
    if ran is None:
        return ""
    verdict = str((report.record or {}).get("verdict", ran.outcome))
    kind, word = _VERDICTS.get(verdict, ("idle", verdict))
    parts = [
        f'<h2>Test generation <span class="badge {kind}">{_text(word)}</span></h2>\n',
        '<div class="card">',
        f"<p>{_text(_how(report, ran))}</p>",
        _causes(ran),
        _tiles(ran),
        _pictures(report, ran, form),
        _memory(ran),
        _phases(ran),
        _usage(report, form),
        "</div>\n",
    ]
    return "".join(parts)


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _how(report: Report, ran: Generation) -> str:
    if ran.outcome != "done":
        return report.picture
    name = ((report.record or {}).get("plan") or {}).get("name") or ran.plan
    route = "ComfyUI" if ran.route == "comfyui" else ran.route
    return f"Three pictures with the seeds A, B and A, by {route}{f': {name}' if name else ''}."


def _causes(ran: Generation) -> str:
    if not ran.explained:
        return ""
    names = ", ".join(f"<code>{_text(check)}</code>" for check in ran.explained)
    return f"<p>It speaks for {names}; <code>klein-doctor explain CHECK</code> tells more.</p>"


def _tiles(ran: Generation) -> str:
    tiles = [
        ("first picture", _seconds(ran.cold_s), "with loading"),
        ("next picture", _seconds(ran.warm_s), f"{ran.width}x{ran.height}, {ran.steps} steps"),
        ("card memory, peak", _gib(ran.peak_mib),
         f"{_gib(ran.predicted_mib)} predicted" if ran.predicted_mib > 0 else "of the run"),
        ("RAM, peak", _gib(ran.ram_mib), "of the run"),
    ]  # fmt: skip
    shown = [
        f"<li><span>{_text(name)}</span><b>{_text(value)}</b><span>{_text(more)}</span></li>"
        for name, value, more in tiles
        if value
    ]
    return f'<ul class="tiles">{"".join(shown)}</ul>' if shown else ""


def _pictures(report: Report, ran: Generation, form: str) -> str:
    if not ran.pictures:
        return ""
    letters: dict[int, str] = {}
    figures = []
    for number, picture in enumerate(ran.pictures, 1):
        letter = letters.setdefault(picture.seed, _LETTERS[min(len(letters), 7)])
        again = any(earlier.seed == picture.seed for earlier in ran.pictures[: number - 1])
        figures.append(_figure(report, picture, f"{letter}{' again' if again else ''}", form))
    compared = []
    if ran.repeated is not None:
        compared.append(f"A and A again differ by {ran.repeated:.2f} of 255 on average")
    if ran.differed is not None:
        compared.append(f"A and B by {ran.differed:.2f}")
    told = f'<p class="small soft">{_text(", ".join(compared))}.</p>' if compared else ""
    prompt = f'<p class="small soft">Prompt: {_text(ran.prompt)}</p>' if ran.prompt else ""
    return f'<div class="shots">{"".join(figures)}</div>{told}{prompt}'


def _figure(report: Report, picture: Picture, name: str, form: str) -> str:
    # A replayed report names somebody else's files, if any.
    data = "" if report.replayed or picture.fault else embedded(Path(picture.path.real))
    caption = f"{name}: seed {picture.seed}, {picture.seconds:.1f} s"
    if data:
        shown = f'<img src="{data}" alt="{_text(f"Test picture {caption}")}">'
    else:
        why = picture.fault or "the picture is not part of this report"
        shown = f'<div class="none">{_text(why)}</div>'
    path = getattr(picture.path, form).replace("\\", "/").rpartition("/")[2]
    return f"<figure>{shown}<figcaption>{_text(caption)}<br>{_text(path)}</figcaption></figure>"


def _memory(ran: Generation) -> str:
    drawn = timeline(ran.samples, ran.phases)
    if not drawn:
        return ""
    there = {phase.name for phase in ran.phases}
    entries = []
    if 'class="a-ours"' in drawn:
        entries += [("a-ours", "held by the run"), ("a-others", "held by other programs")]
    if 'class="l-total"' in drawn:
        entries.append(("l-total", "all of the card's memory"))
    if 'class="a-ram"' in drawn:
        entries.append(("a-ram", "RAM of the run"))
    entries += [(f"p-{name}", name) for name in PHASES if name in there]
    legend = "".join(f"<li>{_swatch(kind)}{_text(says)}</li>" for kind, says in entries)
    return (
        f'<h3>Memory over time</h3><ul class="legend">{legend}</ul>'
        f'<div class="scroll" tabindex="0" role="group" aria-label="Memory over time">{drawn}</div>'
    )


def _swatch(kind: str) -> str:
    if kind.startswith("l-"):
        drawn = f'<line x1="0" x2="16" y1="6" y2="6" class="{kind}"/>'
    else:
        drawn = f'<rect width="16" height="12" rx="2" class="{kind}"/>'
    return f'<svg viewBox="0 0 16 12" aria-hidden="true">{drawn}</svg>'


def _phases(ran: Generation) -> str:
    """Seconds by phase and picture, as a table: the drawing for those who cannot see it."""
    if not ran.phases:
        return ""
    columns = sorted({phase.picture for phase in ran.phases})
    names = list(dict.fromkeys(phase.name for phase in ran.phases))
    heads = "".join(
        f'<th scope="col" class="num">{f"picture {c}" if c else "before"}</th>' for c in columns
    )
    rows = []
    for name in names:
        cells = "".join(
            f'<td class="num">{_sum(ran.phases, name, column)}</td>' for column in columns
        )
        rows.append(f'<tr><th scope="row">{_text(name)}</th>{cells}</tr>')
    return (
        '<details><summary>Seconds by phase</summary><div class="scroll"><table><thead><tr>'
        f'<th scope="col">phase</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
        "</div></details>"
    )


def _sum(phases: tuple[Phase, ...], name: str, picture: int) -> str:
    found = [p.ended_s - p.began_s for p in phases if p.name == name and p.picture == picture]
    return f"{sum(found):.2f}" if found else ""


def _usage(report: Report, form: str) -> str:
    if not report.usage:
        return ""
    rows = "".join(
        f"<dt>{_text(name)}</dt><dd><code>{_text(getattr(value, form))}</code></dd>"
        for name, value in report.usage
    )
    return f'<h3>To go on</h3><dl class="facts">{rows}</dl>'


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value > 0 else ""


def _gib(mib: int) -> str:
    return f"{mib / 1024:.1f} GiB" if mib >= 0 else ""
