"""Draw the README's terminal pictures from recorded machines: ``python tests/picture.py``."""

from __future__ import annotations

import io
from pathlib import Path

import recorded
from rich.console import Console
from rich.text import Text

from klein_doctor.report.text import render_text

DOCS = Path(__file__).parent.parent / "docs"
PICTURES = {"problem": "cu126-wheel-on-sm120", "healthy": "healthy-rtx5070-linux-cu130"}


def main() -> None:
    """Write one SVG per picture, exactly what a terminal of 80 columns shows."""
    for picture, machine in PICTURES.items():
        stream = io.StringIO()
        render_text(recorded.report(machine), stream, "always", "local")
        console = Console(file=io.StringIO(), record=True, width=80, force_terminal=True,
                          color_system="standard", highlight=False)  # fmt: skip
        for line in stream.getvalue().splitlines():
            console.print(Text.from_ansi(line), overflow="fold", no_wrap=False)
        path = DOCS / f"{picture}.svg"
        console.save_svg(str(path), title="klein-doctor", unique_id=f"klein-{picture}")


if __name__ == "__main__":
    main()
