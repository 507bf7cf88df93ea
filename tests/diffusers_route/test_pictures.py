"""The route with the real diffusers on a miniature of the model, on the CPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from listener import Listener
from PIL import Image

from klein_doctor.generate.job import Attempt

pytestmark = pytest.mark.skipif(find_spec("diffusers") is None, reason="diffusers is missing")
Route = Callable[..., Attempt]
Usual = tuple[Attempt, Listener]


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        assert image.size == (128, 128)
        return image.convert("RGB").tobytes()


def test_three_pictures_repeat_and_differ(usual: Usual) -> None:
    done, _ = usual
    assert (done.outcome, done.stage, done.kind) == ("done", "", ""), done.text
    first, other, again = (pixels(made.path) for made in done.made)
    assert first == again != other
    assert [made.seed for made in done.made] == [1, 2, 1]
    assert {made.not_finite for made in done.made} == {""}
    assert all(made.seconds > 0 for made in done.made)
    assert done.gone
    assert {"torch", "diffusers", "transformers", "python"} <= dict(done.versions).keys()
    assert not list(done.made[0].path.parent.glob("*.part"))


def test_a_picture_says_how_it_was_made_and_not_where(usual: Usual, checkout: Path) -> None:
    with Image.open(usual[0].made[1].path) as image:
        text = image.info
    assert text["parameters"].startswith("a red cube\nSteps: 4, CFG scale: 1.0, Seed: 2, ")
    settings = json.loads(text["klein-doctor"])
    assert (settings["seed"], settings["plan"], settings["model"]) == (2, "resident", "klein")
    assert settings["versions"]["diffusers"]
    assert str(checkout.parent) not in str(text)


def test_phases_come_in_the_order_of_the_work(usual: Usual) -> None:
    _, watch = usual
    assert [what for what in watch.heard if not what.startswith("step")] == [
        "start 0", "load 0", "place 0", "encode 1", "denoise 1", "denoise 2", "denoise 3",
        "decode 1", "save 1", "decode 2", "save 2", "decode 3", "save 3",
    ]  # fmt: skip
    assert [what for what in watch.heard if what.startswith("step")][-1] == "step 4/4"
    assert not psutil.pid_exists(watch.pid)


def test_each_part_dropped_after_its_work_makes_the_same_picture(
    route: Route, usual: Usual
) -> None:
    done = route(seeds=(1, 2), plan="model-offload")
    assert done.outcome == "done", done.text
    assert [pixels(made.path) for made in done.made] == [
        pixels(made.path) for made in usual[0].made[:2]
    ]


def test_weights_stored_in_fp8_make_pictures_that_repeat(route: Route) -> None:
    done = route(seeds=(1, 1), plan="fp8-both-offload")
    assert done.outcome == "done", done.text
    assert pixels(done.made[0].path) == pixels(done.made[1].path)


def test_a_folder_without_one_of_its_parts(route: Route, checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "klein"
    shutil.copytree(checkout, folder)
    (folder / "text_encoder" / "model-00002-of-00002.safetensors").unlink()
    done = route(folder=folder)
    assert (done.outcome, done.stage, done.made) == ("failed", "load", ())
    assert "model-00002-of-00002.safetensors" in done.text
    assert str(tmp_path) not in done.says


@pytest.mark.parametrize(
    ("part", "tensor", "where"),
    [("transformer", "proj_out.weight", "latents"), ("vae", "decoder.conv_out.bias", "decoded")],
)
def test_weights_that_are_no_numbers_are_seen_where_they_begin(
    route: Route, checkout: Path, tmp_path: Path, part: str, tensor: str, where: str
) -> None:
    folder = tmp_path / "klein"
    shutil.copytree(checkout, folder)
    spoil(folder / part / "diffusion_pytorch_model.safetensors", tensor)
    done = route(folder=folder, seeds=(1,))
    assert done.outcome == "done"
    assert [made.not_finite for made in done.made] == [where]


def spoil(path: Path, tensor: str) -> None:
    """Make a BF16 tensor of a file NaN."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    first, last = json.loads(data[8:start])[tensor]["data_offsets"]
    data[start + first : start + last] = b"\xc0\x7f" * ((last - first) // 2)
    path.write_bytes(data)
