"""What tensor shapes tell: which encoder meets which transformer, and which file is which."""

from __future__ import annotations

import pytest
from asking import asked, checks, first

from klein_doctor.recipe_messages import load_known

KNOWN = load_known()
QWEN4, ZIMAGE = 7680, 2560
KLEIN = (7680, 3072)


def product(gave: int, takes: int, gives: int) -> str:
    return (
        f"RuntimeError: mat1 and mat2 shapes cannot be multiplied (512x{gave} and {takes}x{gives})"
    )


def expected(gave: int, takes: int, gives: int) -> str:
    """Whose fault it is, from the rows alone."""
    row = KNOWN.transformers[takes, gives]
    if row.kind == "klein":
        return "comfyui-too-old" if gave == ZIMAGE else "encoder-wrong"
    if row.kind == "refused":
        return "pair-mismatch"
    return "transformer-wrong"


PAIRS = [
    (gave, takes, gives)
    for gave in KNOWN.encoders
    for (takes, gives), row in KNOWN.transformers.items()
    if gave != takes and row.kind != "picture"
]


@pytest.mark.parametrize(("gave", "takes", "gives"), PAIRS)
def test_each_encoder_against_each_transformer(gave: int, takes: int, gives: int) -> None:
    (guess, *rest) = asked(product(gave, takes, gives))
    assert guess.check == expected(gave, takes, gives)
    assert str(gave) in guess.cause or KNOWN.encoders[gave] in guess.cause
    if KNOWN.transformers[takes, gives].kind == "refused":
        assert "license-non-commercial" in [other.check for other in rest]
        assert "not free for commercial use" in guess.cause


@pytest.mark.parametrize(
    "text",
    [
        "mat1 and mat2 shapes cannot be multiplied (512x15360 and 7680x3072)",
        "linear(): input and weight.T shapes cannot be multiplied (512x15360 and 7680x3072)",
        "mat1 and mat2 shapes cannot be multiplied (512 x 15360 and 7680 x 3072)",
        "shapes cannot be multiplied 512x15360 and 7680x3072",
        "mat1 and mat2 shapes cannot be multiplied (1x15360 and 7680x3072)",
    ],
)
def test_the_ways_it_is_written(text: str) -> None:
    assert first(text) == "encoder-wrong"


@pytest.mark.parametrize(
    ("before", "check"),
    [
        ("", "comfyui-too-old"),
        ("ComfyUI version: 0.33.0", "workflow-mismatch"),
        ("** ComfyUI Version: v0.10.0-2-gabc | Released on '2026-01-20'", "workflow-mismatch"),
        ("ComfyUI version: 0.9.2", "workflow-mismatch"),
        ("ComfyUI version: 0.9.1", "comfyui-too-old"),
        ("ComfyUI version: 0.3.75", "comfyui-too-old"),
        ("ComfyUI version: 0.3.75\nlater\nComfyUI version: 0.33.0", "workflow-mismatch"),
        ("ComfyUI version: 0.33.0\nanother\nComfyUI version: 0.9.1", "comfyui-too-old"),
    ],
)
def test_the_version_in_the_log_tells_an_old_comfyui_from_a_wrong_type(
    before: str, check: str
) -> None:
    (guess, *_) = asked(f"{before}\n{product(ZIMAGE, *KLEIN)}")
    assert guess.check == check
    assert guess.certainty == ("high" if before else "medium")


def test_a_picture_of_another_model() -> None:
    assert first(product(64, 128, 3072).replace("512x", "4096x")) == "workflow-mismatch"
    assert first(product(128, 64, 3072).replace("512x", "4096x")) == "transformer-wrong"


@pytest.mark.parametrize(
    ("shapes", "check"),
    [
        ((2560, 1280, 4096), "quantisation-unsupported"),  # packed four-bit weights
        ((2560, 4096, 2560), "encoder-wrong"),  # a 4B's numbers in an 8B's layers
        ((4096, 2560, 4096), "encoder-wrong"),
        ((12288, 999, 3072), "pair-mismatch"),
        ((15360, 2432, 1536), "pair-mismatch"),
    ],
)
def test_layers_that_are_none_of_the_tables(shapes: tuple[int, int, int], check: str) -> None:
    assert first(product(*shapes)) == check


@pytest.mark.parametrize("shapes", [(77, 768, 320), (1280, 2048, 640), (1024, 768, 768)])
def test_shapes_of_other_models_say_nothing(shapes: tuple[int, int, int]) -> None:
    assert checks(product(*shapes)) == []


# --- channels --------------------------------------------------------------------------------


def channels(want: int, got: int) -> str:
    return (
        f"RuntimeError: Given groups=1, weight of size [512, {want}, 3, 3], expected input[1, "
        f"{got}, 64, 64] to have {want} channels, but got {got} channels instead"
    )


@pytest.mark.parametrize(
    ("want", "got", "check"),
    [(16, 128, "vae-wrong"), (4, 128, "vae-wrong"), (16, 4, "vae-wrong"), (4, 16, "vae-wrong"),
     (128, 16, "workflow-mismatch"), (128, 4, "workflow-mismatch"), (32, 16, "workflow-mismatch"),
     (4, 32, "vae-wrong"), (3, 4, ""), (320, 9, ""), (1, 3, "")],
)  # fmt: skip
def test_channels(want: int, got: int, check: str) -> None:
    assert first(channels(want, got)) == check


# --- sizes of tensors ------------------------------------------------------------------------


def mismatch(key: str, file: list[int], model: list[int], whose: str = "Flux") -> str:
    return (
        f"Error(s) in loading state_dict for {whose}:\n\tsize mismatch for {key}: copying a param "
        f"with shape torch.Size({file}) from checkpoint, the shape in current model is "
        f"torch.Size({model})."
    )


@pytest.mark.parametrize(
    ("key", "file", "model", "check", "says"),
    [
        ("img_in.weight", [3072, 128], [3072, 64], "comfyui-too-old", "older than FLUX.2"),
        ("img_in.weight", [3072, 384], [3072, 64], "transformer-wrong", "3072 x 384"),
        ("img_in.weight", [3072, 64], [3072, 128], "transformer-wrong", "3072 x 64"),
        ("txt_in.weight", [4096, 12288], [3072, 7680], "transformer-wrong", "4096 x 12288"),
        ("double_blocks.0.img_attn.qkv.weight", [9216, 3072], [12288, 4096], "transformer-wrong",
         "another model"),
        ("transformer_blocks.0.attn.to_q.weight", [4096, 4096], [3072, 3072], "transformer-wrong",
         "another model"),
        ("decoder.conv_in.weight", [512, 32, 3, 3], [512, 4, 3, 3], "vae-wrong", "FLUX.2's"),
        ("decoder.conv_in.weight", [512, 16, 3, 3], [512, 32, 3, 3], "vae-wrong", "FLUX.1"),
        ("decoder.conv_in.weight", [512, 4, 3, 3], [512, 32, 3, 3], "vae-wrong",
         "Stable Diffusion"),
        ("decoder.conv_in.weight", [384, 32, 3, 3], [512, 32, 3, 3], "comfyui-too-old",
         "small decoder"),
        ("encoder.conv_out.weight", [64, 512, 3, 3], [32, 512, 3, 3], "vae-wrong", "FLUX.2's"),
        ("model.embed_tokens.weight", [151936, 4096], [128256, 4096], "comfyui-too-old",
         "Llama 3"),
        ("model.embed_tokens.weight", [151936, 4096], [151936, 2560], "encoder-wrong",
         "151936 x 4096"),
        ("model.embed_tokens.weight", [128256, 4096], [151936, 2560], "encoder-wrong",
         "128256 x 4096"),
        ("model.layers.0.self_attn.q_proj.weight", [4096, 4096], [4096, 2560], "comfyui-too-old",
         "text encoder"),
    ],
)  # fmt: skip
def test_sizes_in_both_directions(
    key: str, file: list[int], model: list[int], check: str, says: str
) -> None:
    guess = asked(mismatch(key, file, model))[0]
    assert guess.check == check
    assert says in guess.cause


@pytest.mark.parametrize(
    "key",
    ["lora_unet_blocks.0.lora_down.weight", "controlnet_blocks.0.weight", "ip_adapter.proj.weight",
     "classifier.fc.weight", "roberta.pooler.dense.weight"],
)  # fmt: skip
def test_sizes_of_other_things_say_nothing(key: str) -> None:
    assert checks(mismatch(key, [4, 4], [8, 8], "Net")) == []


# --- what the loaders log --------------------------------------------------------------------


def test_which_weights_of_the_encoder_are_missing() -> None:
    later = asked("clip missing: ['model.layers.18.mlp.up_proj.weight', 'model.norm.weight']")[0]
    assert (later.check, later.certainty) == ("encoder-wrong", "high")
    assert "before layer 18" in later.cause
    all_of_it = asked("clip missing: ['model.layers.0.self_attn.q_proj.weight']")
    assert [guess.check for guess in all_of_it] == ["encoder-wrong", "pair-mismatch"]
    assert checks("clip missing: ['logit_scale', 'text_projection.weight']") == []


def test_a_z_image_encoder_matters_beside_flux2_alone() -> None:
    line = "Requested to load ZImageTEModel_"
    assert checks(line + "\nRequested to load Lumina2") == []
    assert first(line + "\nRequested to load Flux2") == "comfyui-too-old"


@pytest.mark.parametrize(
    ("name", "check"),
    [("flux-2-klein-4b-fp8.safetensors", "comfyui-too-old"),
     ("FLUX.2-klein.sft", "comfyui-too-old"),
     ("qwen_image_fp8.safetensors", "transformer-wrong"), ("", "transformer-wrong")],
)  # fmt: skip
def test_a_transformer_comfyui_does_not_know(name: str, check: str) -> None:
    line = f"RuntimeError: ERROR: Could not detect model type of: D:\\models\\unet\\{name}"
    assert first(line) == check


def test_another_part_loaded_as_the_transformer_by_its_name() -> None:
    said = "RuntimeError: ERROR: Could not detect model type of: D:\\m\\unet\\flux2-vae.safetensors"
    assert checks(said)[0] == "transformer-wrong"


def test_a_transformer_of_another_size_is_told_by_what_it_takes() -> None:
    said = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (512x15360 and 7680x128)"
    assert checks(said)[0] == "encoder-wrong"
