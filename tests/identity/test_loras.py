"""LoRAs are told apart by their widths and block numbers, however a trainer spells them."""

from __future__ import annotations

from pathlib import Path

import model_files
import pytest

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.identity import Identity
from klein_doctor.identity.layouts import Expected
from klein_doctor.identity.look import look
from klein_doctor.recipe_assets import LoraRow, load_assets

ASSETS = load_assets()
DIFFUSERS = ("lora_A.weight", "lora_B.weight")
KOHYA = ("lora_down.weight", "lora_up.weight")
Sides = tuple[int, int]  # outputs, inputs


def named(folder: Path, tensors: dict[str, Expected]) -> Identity:
    path = model_files.put(folder / "loras" / "l.safetensors", tensors)
    identity = look(path, ASSETS, DigestStore(None)).identity
    assert identity.says.isprintable()
    return identity


def lora(modules: dict[str, Sides], ends: tuple[str, str] = DIFFUSERS) -> dict[str, Expected]:
    found: dict[str, Expected] = {}
    for module, (outputs, inputs) in modules.items():
        found[f"{module}.{ends[0]}"] = Expected("BF16", (8, inputs))
        found[f"{module}.{ends[1]}"] = Expected("BF16", (outputs, 8))
    return found


def module_of(row: LoraRow, number: int) -> str:
    return row.module.replace("*", str(number))


@pytest.mark.parametrize("rank", [1, 4, 128])
@pytest.mark.parametrize("row", ASSETS.loras, ids=lambda row: f"{row.family}-{row.module}")
def test_every_row_is_reached(tmp_path: Path, row: LoraRow, rank: int) -> None:
    single = row.module.startswith("single_")
    # Where only block numbers tell, the last one that no smaller model has.
    number = row.blocks[single] - 1 if row.blocks else 0
    name = f"lora_unet_{module_of(row, number)}"
    tensors = {
        f"{name}.lora_down.weight": Expected("F16", (rank, row.inputs)),
        f"{name}.lora_up.weight": Expected("F16", (row.outputs, rank)),
        f"{name}.alpha": Expected("F16", ()),
    }
    identity = named(tmp_path, tensors)
    fits = row.family == "flux2-klein-4b"
    assert (identity.role, identity.family, identity.verdict) == (
        "lora", row.family, "variant" if fits else "other",
    )  # fmt: skip
    assert (identity.structure, identity.belongs_in) == ("family", "loras")
    assert (identity.digest, identity.quantisation) == ("unchecked", "fp16")


SPELLINGS = [
    ("transformer.", ".", DIFFUSERS),
    ("transformer.", ".", ("lora.down.weight", "lora.up.weight")),
    ("diffusion_model.", ".", DIFFUSERS),
    ("diffusion_model.", ".", KOHYA),
    ("lora_unet_", "_", KOHYA),
    ("lora_transformer_", "_", KOHYA),
    ("lycoris_", "_", KOHYA),
    ("base_model.model.", ".", DIFFUSERS),
    ("base_model.model.", ".", ("lora_A.default.weight", "lora_B.default.weight")),
    ("", ".", DIFFUSERS),
]


@pytest.mark.parametrize(("before", "dot", "ends"), SPELLINGS)
@pytest.mark.parametrize(
    ("module", "sides", "family"),
    [
        ("single_transformer_blocks.19.attn.to_qkv_mlp_proj", (27648, 3072), "flux2-klein-4b"),
        ("transformer_blocks.4.attn.to_q", (3072, 3072), "flux2-klein-4b"),
        ("transformer_blocks.18.attn.to_q", (3072, 3072), "flux1"),
        ("transformer_blocks.7.attn.to_q", (4096, 4096), "flux2-klein-9b"),
        ("single_transformer_blocks.47.attn.to_q", (6144, 6144), "flux2-dev"),
    ],
)
def test_diffusers_modules_in_every_spelling(
    tmp_path: Path, before: str, dot: str, ends: tuple[str, str],
    module: str, sides: Sides, family: str,
) -> None:  # fmt: skip
    tensors = lora({before + module.replace(".", dot): sides}, ends)
    assert named(tmp_path, tensors).family == family


def test_one_block_beyond_klein_makes_it_flux1(tmp_path: Path) -> None:
    blocks = {f"lora_unet_double_blocks_{n}_img_attn_qkv": (9216, 3072) for n in range(5)}
    assert named(tmp_path, lora(blocks, KOHYA)).verdict == "variant"
    blocks["lora_unet_double_blocks_5_img_attn_qkv"] = (9216, 3072)
    identity = named(tmp_path, lora(blocks, KOHYA))
    assert (identity.family, identity.verdict) == ("flux1", "other")


def test_widths_of_its_own_outweigh_block_numbers(tmp_path: Path) -> None:
    modules = {
        "diffusion_model.double_blocks.0.img_attn.qkv": (9216, 3072),
        "diffusion_model.single_blocks.0.linear1": (21504, 3072),
    }
    assert named(tmp_path, lora(modules)).family == "flux1"


OTHERS = {
    "an SDXL LoRA": {"lora_unet_input_blocks_4_1_proj_in": (640, 640)},
    "a text encoder's": {"lora_te1_text_model_encoder_layers_0_mlp_fc1": (3072, 768)},
    "right name, other widths": {"lora_unet_single_blocks_0_linear1": (27648, 3073)},
    "no number": {"lora_unet_single_blocks_linear1": (27648, 3072)},
    "beyond every model": {"lora_unet_double_blocks_99999999999_img_attn_qkv": (9216, 3072)},
    "zero wide": {"lora_unet_double_blocks_0_img_attn_qkv": (0, 0)},
    "an escape": {"lora_unet_\x1b[31m": (9216, 3072)},
}


@pytest.mark.parametrize("modules", OTHERS.values(), ids=OTHERS)
def test_a_lora_of_no_row(tmp_path: Path, modules: dict[str, Sides]) -> None:
    identity = named(tmp_path, lora(modules, KOHYA))
    assert (identity.role, identity.family, identity.verdict) == ("lora", "", "other")
    assert identity.structure == "none"


@pytest.mark.parametrize("lost", DIFFUSERS)
def test_half_a_pair_fits_nothing(tmp_path: Path, lost: str) -> None:
    tensors = lora({"diffusion_model.single_blocks.0.linear1": (27648, 3072)})
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(lost)}
    assert named(tmp_path, kept).verdict == "other"


@pytest.mark.parametrize("shape", [(), (8,), (0, 0), (1, 2, 3, 4, 5)])
def test_matrices_of_odd_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensors = {f"lora_unet_a.{end}": Expected("F32", shape) for end in KOHYA}
    assert named(tmp_path, tensors).verdict in ("other", "unknown")


@pytest.mark.parametrize("end", ["lokr_w1", "lokr_w2_a", "hada_w1_b", "oft_blocks"])
def test_other_kinds_of_small_changes_are_loras_too(tmp_path: Path, end: str) -> None:
    tensors = {f"lycoris_single_blocks_0_linear1.{end}": Expected("F32", (4, 4))}
    assert named(tmp_path, tensors).role == "lora"


def test_a_model_with_such_a_word_in_it_is_none(tmp_path: Path) -> None:
    tensors = {"explorative.weight": Expected("F32", (4, 4))}
    assert named(tmp_path, tensors).role == ""


def test_a_lora_that_broke_off(tmp_path: Path) -> None:
    tensors = lora({"diffusion_model.single_blocks.0.linear1": (27648, 3072)})
    path = model_files.put(tmp_path / "l.safetensors", tensors)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 1)
    identity = look(path, ASSETS, DigestStore(None)).identity
    assert (identity.verdict, identity.damage) == ("damaged", "truncated")
