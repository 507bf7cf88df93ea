"""Draw the README's terminal pictures from recorded machines and a miniature Hub.

PYTHONPATH=tests/download:tests/repair:tests/wizard python tests/picture.py [PICTURE...]
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from pathlib import Path

import recorded
from command import doctor
from faulty import Faulty
from miniature import Place, data_of
from model_files import put_real
from package_index import PackageIndex
from rich.console import Console
from rich.text import Text
from scene import Scene, libraries, serve
from terminal import DOWN, ENTER, Terminal
from trees import put_comfyui, put_klein

from klein_doctor.rehearse.hub import Hub
from klein_doctor.report.text import render_text

DOCS = Path(__file__).parent.parent / "docs"
PICTURES = {"problem": "cu126-wheel-on-sm120", "healthy": "healthy-rtx5070-linux-cu130"}


def main(names: list[str]) -> None:
    """Write one SVG per picture, exactly what a terminal of 80 columns shows; none named: all."""
    for name in names or [*PICTURES, *DRAWN]:
        draw(name, reported(PICTURES[name]) if name in PICTURES else DRAWN[name]())


def reported(machine: str) -> str:
    """The report of a recorded machine."""
    stream = io.StringIO()
    render_text(recorded.report(machine), stream, "always", "local")
    return stream.getvalue()


def draw(picture: str, text: str) -> None:
    """One terminal as an SVG."""
    console = Console(file=io.StringIO(), record=True, width=80, force_terminal=True,
                      color_system="standard", highlight=False)  # fmt: skip
    for line in text.splitlines():
        console.print(Text.from_ansi(line), overflow="fold", no_wrap=False)
    console.save_svg(
        str(DOCS / f"{picture}.svg"), title="klein-doctor", unique_id=f"klein-{picture}"
    )


def identified() -> str:
    """What identify says of a ComfyUI with a wrong VAE under the right name."""
    with tempfile.TemporaryDirectory() as folder:
        root = put_comfyui(Path(folder) / "ComfyUI")
        put_klein(root)
        put_real(root / "models" / "vae" / "flux2-vae.safetensors", "flux1-ae")
        put_real(
            root / "models" / "vae" / "flux2-vae-small.safetensors", "full_encoder_small_decoder"
        )
        return doctor("identify", root, env={"HOME": folder}).out


def triaged() -> str:
    """What triage says of a sampler's error with a text encoder of FLUX.2 [dev]."""
    line = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (512x15360 and 7680x3072)"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "comfyui.log"
        path.write_text(f"got prompt\nRequested to load Flux2\n{line}\n", encoding="utf-8")
        answer = doctor("triage", path, env={"HOME": folder}).out
    return f"$ klein-doctor triage comfyui.log\n{answer}"


def downloaded() -> str:
    """What a download says where one of three files lies on a stick; miniature files."""
    with tempfile.TemporaryDirectory() as folder, Faulty() as hub:
        place = Place(Path(folder), hub)
        place.dest = place.home / "ComfyUI" / "models"
        stick = place.home / "stick"
        stick.mkdir()
        (stick / "vae.safetensors").write_bytes(data_of("vae"))
        ran = place.run("--assets-from", str(stick), "--progress", "plain")
    said = "\n".join(line for line in ran.err.splitlines() if "HF_ENDPOINT" not in line)
    return f"$ klein-doctor download --assets-from ~/stick\n{said}\n{ran.out}"


def asked() -> str:
    """What setup asks and does there, Enter all the way."""
    with tempfile.TemporaryDirectory() as folder, PackageIndex() as index, Hub() as hub:
        serve(index, hub)
        top = Path(folder) / "machine"
        top.mkdir()
        scene = Scene(top, index, hub, libraries(Path(folder) / "driver"))
        seen = Terminal(
            scene.command("setup", "--progress", "plain"),
            {**scene.env, "TERM": "xterm-256color"},
        )
        for question, keys in (("Esc leaves", ENTER), ("Space ticks", ENTER),
                               ("Do it?", DOWN + ENTER), ("0.34 GB to", ENTER)):  # fmt: skip
            seen.until(question)
            if question.startswith(("Do it", "0.34")):
                seen.until("Esc leaves")  # what is typed before that is echoed
            seen.type(keys)
        seen.until("three test pictures")
        seen.until("Esc leaves")
        seen.type(DOWN + ENTER)
        seen.until("To take it back:")
        seen.end()
        text = re.sub(r"(?<=.)\? Your choice", "\n? Your choice", seen.text)
        unsaid = ("HF_ENDPOINT", "(from --comfyui)")
        lines = [line for line in text.split("\n") if not any(w in line for w in unsaid)]
        seen.close()
    end = next(n for n, line in enumerate(lines) if "To take it back" in line)
    return "$ klein-doctor setup\n" + "\n".join(lines[: end + 1])


def mended() -> str:
    """What --fix says of a machine on which everything is wrong at once."""
    with tempfile.TemporaryDirectory() as folder, PackageIndex() as index, Hub() as hub:
        serve(index, hub)
        top = Path(folder) / "machine"
        top.mkdir()
        scene = Scene(top, index, hub, libraries(Path(folder) / "driver"))
        ran = scene.doctor("--fix", "--color", "always")
    return f"$ klein-doctor --fix\n{ran.out}"


def rehearsed() -> str:
    """The whole chain on a made-up machine."""
    with tempfile.TemporaryDirectory() as folder:
        ran = doctor("rehearse", env={"HOME": folder}, limit_s=400)
    return f"$ klein-doctor rehearse\n{ran.out}"


DRAWN = {
    "identify": identified,
    "triage": triaged,
    "download": downloaded,
    "fix": mended,
    "setup": asked,
    "rehearsal": rehearsed,
}

if __name__ == "__main__":
    main(sys.argv[1:])
