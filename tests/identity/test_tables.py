"""Published files at their true size: each is told apart by its header alone."""

from __future__ import annotations

from pathlib import Path

import model_files
import pytest

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.headers import read_header
from klein_doctor.identity.identity import Evidence, Identity, judge_file
from klein_doctor.identity.layouts import Expected
from klein_doctor.identity.look import look
from klein_doctor.identity.recognise import schema_of
from klein_doctor.identity.tensors import Header, Reading
from klein_doctor.recipe_assets import KnownFile, load_assets

ASSETS = load_assets()
NOWHERE = DigestStore(None)
PROVEN = [name for name in model_files.names() if "bytes" in model_files.notes(name)]

EXPECTED = {
    "clip_l": ("other", "clip", "", "fp16"),
    "flux-2-klein-4b-fp8": ("wanted", "flux2-klein-4b", "distilled", "fp8"),
    "flux-2-klein-4b-nvfp4": ("variant", "flux2-klein-4b", "distilled", "nvfp4"),
    "flux-2-klein-9b": ("refused", "flux2-klein-9b", "", "bf16"),
    "flux-2-klein-9b-fp8": ("refused", "flux2-klein-9b", "", "fp8"),
    "flux-2-klein-base-4b-fp8": ("variant", "flux2-klein-4b", "base", "fp8"),
    "flux-2-klein-base-4b-nvfp4": ("variant", "flux2-klein-4b", "base", "nvfp4"),
    "flux1-ae": ("other", "flux1-vae", "", "fp32"),
    "flux1-dev": ("other", "flux1", "", "bf16"),
    "flux2-dev": ("refused", "flux2-dev", "", "bf16"),
    "flux2-klein-4b": ("variant", "flux2-klein-4b", "", "bf16"),
    "flux2-klein-4b-diffusers": ("variant", "flux2-klein-4b", "distilled", "bf16"),
    "flux2-vae": ("wanted", "flux2-vae", "", "fp32"),
    "flux2-vae-diffusers": ("wanted", "flux2-vae", "", "fp32"),
    "full_encoder_small_decoder": ("variant", "flux2-vae-small", "", "fp32"),
    "klein-4b-diffusers-encoder-1of2": ("variant", "qwen3-4b", "part 1 of 2", "bf16"),
    "klein-4b-diffusers-encoder-2of2": ("variant", "qwen3-4b", "part 2 of 2", "bf16"),
    "klein-4b-diffusers-vae": ("variant", "flux2-vae", "", "bf16"),
    "qwen3-0.6b": ("other", "qwen3-0.6b", "", "bf16"),
    "qwen3-4b": ("wanted", "qwen3-4b", "", "bf16"),
    "qwen_3_8b": ("refused", "qwen3-8b", "", "bf16"),
    "sdxl-vae": ("other", "sd-vae", "", "fp32"),
    "t5xxl_fp16": ("other", "t5-xxl", "", "fp16"),
    "taef2-decoder": ("other", "taef2", "", "fp32"),
    "wan21-vae": ("other", "wan21-vae", "", "bf16"),
    "z_image_turbo_bf16": ("other", "z-image", "", "bf16"),
}


def test_every_table_is_spoken_of() -> None:
    assert set(EXPECTED) == set(model_files.names())


@pytest.mark.parametrize("name", PROVEN)
def test_a_table_gives_the_published_size_and_schema(tmp_path: Path, name: str) -> None:
    path = model_files.put_real(tmp_path / "f.safetensors", name)
    notes = model_files.notes(name)
    reading, status = read_header(path)
    assert reading.header is not None and reading.damage is None
    assert str(status.st_size) == notes["bytes"]
    assert schema_of(reading.header.entries) == notes["schema"]
    assert path.stat().st_blocks * 512 < 1 << 20  # a sparse file, not gigabytes


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items())
def test_what_it_is(tmp_path: Path, name: str, expected: tuple[str, ...]) -> None:
    path = model_files.put_real(tmp_path / "models" / "any-name.safetensors", name)
    identity = look(path, ASSETS, NOWHERE).identity
    assert (identity.verdict, identity.family, identity.variant, identity.quantisation) == expected
    assert identity.digest == "unchecked"
    published = name in PROVEN
    assert identity.structure == ("exact" if published else "family")


def test_impostors_are_named_in_plain_words(tmp_path: Path) -> None:
    path = model_files.put_real(tmp_path / "flux2-vae.safetensors", "flux1-ae")
    says = look(path, ASSETS, NOWHERE).identity.says
    assert "the FLUX.1 VAE" in says
    assert "Klein needs the FLUX.2 VAE: 32 latent channels, this one has 16" in says


@pytest.mark.parametrize(
    ("table", "name", "verdict"),
    [
        ("t5xxl_fp16", "t5xxl_fp16", "other"),
        ("qwen3-0.6b", "qwen_3_06b_base", "other"),
        ("taef2-decoder", "taef2", "other"),
        ("t5xxl_fp16", "qwen_3_4b", "impostor"),
        ("flux1-ae", "FLUX.2-VAE-fp16", "impostor"),
        ("flux1-dev", "klein-4b", "impostor"),
    ],
)
def test_only_a_name_of_kleins_makes_an_impostor(
    tmp_path: Path, table: str, name: str, verdict: str
) -> None:
    path = model_files.put_real(tmp_path / f"{name}.safetensors", table)
    assert look(path, ASSETS, NOWHERE).identity.verdict == verdict


def test_a_base_build_under_the_distilled_name_is_told(tmp_path: Path) -> None:
    words = "its name is that of the distilled build"
    for name, told in (("flux-2-klein-4b-fp8", True), ("flux-2-klein-base-4b-fp8", False)):
        path = tmp_path / f"{name}.safetensors"
        model_files.put_real(path, "flux-2-klein-base-4b-fp8")
        identity = look(path, ASSETS, NOWHERE).identity
        assert identity.verdict == "variant" and (words in identity.says) is told


@pytest.mark.parametrize("name", ["flux-2-klein-9b", "flux2-dev"])
def test_what_is_refused_is_refused_for_its_license(tmp_path: Path, name: str) -> None:
    identity = look(
        model_files.put_real(tmp_path / "flux-2-klein-4b.safetensors", name), ASSETS, NOWHERE
    ).identity
    assert (identity.verdict, identity.license) == ("refused", "FLUX Non-Commercial License")
    assert "non-commercial" in identity.says


def test_base_and_distilled_in_bf16_differ_in_their_digest_alone(tmp_path: Path) -> None:
    path = model_files.put_real(tmp_path / "a.safetensors", "flux2-klein-4b")
    assert "only the digest tells" in look(path, ASSETS, NOWHERE).identity.says
    rows = {row.variant: row for row in ASSETS.files if row.bytes == path.stat().st_size}
    for variant in ("distilled", "base"):
        identity = look(path, ASSETS, NOWHERE, rows[variant].sha256).identity
        assert (identity.variant, identity.digest) == (variant, "verified")


# --- builds whose table is not known, by their distinguishing tensors --------------------------

LAYERS = range(36)


def scaled_encoder(kind: str) -> dict[str, Expected]:
    """A Qwen3-4B with the names quantised builds add."""
    tensors = dict(model_files.table("qwen3-4b"))
    for layer in LAYERS:
        name = f"model.layers.{layer}.mlp.up_proj"
        rows, columns = tensors[f"{name}.weight"].shape
        if kind == "nvfp4":
            tensors[f"{name}.weight"] = Expected("U8", (rows, columns // 2))
            tensors[f"{name}.weight_scale"] = Expected("F8_E4M3", (rows, columns // 16))
            tensors[f"{name}.weight_scale_2"] = Expected("F32", ())
        else:
            tensors[f"{name}.weight"] = Expected("F8_E4M3", (rows, columns))
            tensors[f"{name}.weight_scale"] = Expected("F32", ())
        tensors[f"{name}.comfy_quant"] = Expected("U8", (27,))
    return tensors


@pytest.mark.parametrize(("kind", "words"), [("fp8", "fp8 mixed"), ("nvfp4", "nvfp4 mixed")])
def test_a_quantised_encoder_of_no_known_table(tmp_path: Path, kind: str, words: str) -> None:
    path = model_files.put(tmp_path / "qwen_3_4b.safetensors", scaled_encoder(kind))
    identity = look(path, ASSETS, NOWHERE).identity
    assert (identity.verdict, identity.family, identity.quantisation) == (
        "variant", "qwen3-4b", words,
    )  # fmt: skip
    assert identity.structure == "family" and identity.complete


def with_digest(row: KnownFile, header: Header | None) -> Identity:
    evidence = Evidence(row.name, "text_encoders", row.bytes, sha256=row.sha256)
    return judge_file(Reading(header, None), evidence, ASSETS)


@pytest.mark.parametrize(
    "row", [r for r in ASSETS.of_family("qwen3-4b") if r.sha256], ids=lambda row: row.id
)
def test_every_legitimate_encoder_passes_by_its_digest(tmp_path: Path, row: KnownFile) -> None:
    path = model_files.put(tmp_path / "e.safetensors", scaled_encoder("fp8"))
    header = read_header(path)[0].header
    identity = with_digest(row, header)
    assert identity.digest == "verified"
    parts = row.layout == "diffusers"
    assert identity.verdict == ("impostor" if parts else "wanted" if row.wanted else "variant")


MARKS: dict[str, dict[str, tuple[int, ...]]] = {
    "flux2-other": {"double_stream_modulation_img.lin.weight": (9, 9)},
    "flux1-vae": {"decoder.conv_in.weight": (512, 16, 3, 3)},
    "sd-vae": {"decoder.conv_in.weight": (512, 4, 3, 3)},
    "vae-32": {"decoder.conv_in.weight": (512, 32, 3, 3)},
    "wan22-vae": {"decoder.conv1.weight": (1024, 48, 3, 3, 3)},
    "video-vae": {"decoder.conv_in.conv.weight": (8, 8, 3, 3, 3)},
    "tiny-autoencoder": {"1.weight": (64, 16, 3, 3), "3.conv.0.weight": (64, 64, 3, 3)},
    "taef2": {"decoder.layers.1.weight": (64, 32, 3, 3)},
    "qwen3-vl-4b": {"model.visual.deepstack_merger_list.0.norm.weight": (4,)},
    "qwen2.5-vl": {"model.layers.0.self_attn.k_proj.bias": (512,)},
    "mistral-3-small": {"model.layers.0.post_attention_layernorm.weight": (5120,)},
    "ministral-3": {"model.layers.0.post_attention_layernorm.weight": (3072,)},
    "llama-3": {"model.layers.0.post_attention_layernorm.weight": (4096,)},
    "language-model": {"model.layers.0.post_attention_layernorm.weight": (77,)},
    "gemma": {"model.layers.0.post_feedforward_layernorm.weight": (4,)},
    "umt5-xxl": {
        "encoder.block.0.layer.1.DenseReluDense.wi_0.weight": (4, 4),
        "spiece_model": (9,),
    },
    "clip": {"text_model.encoder.layers.0.mlp.fc1.weight": (4, 4)},
    "qwen3-1.7b": {
        "model.layers.0.self_attn.q_norm.weight": (128,),
        "model.layers.0.post_attention_layernorm.weight": (2048,),
    },
    "sd-unet": {"input_blocks.0.0.weight": (320, 4, 3, 3)},
    "qwen-image": {"transformer_blocks.0.img_mod.1.weight": (4, 4)},
    "wan": {"head.modulation": (1,), "patch_embedding.weight": (4, 4)},
    "chroma": {"distilled_guidance_layer.norms.0.scale": (4,)},
    "lumina": {"cap_embedder.1.weight": (4, 4)},
    "flux2-klein-9b": {"single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight": (9, 4096)},
}


@pytest.mark.parametrize(("family", "tensors"), MARKS.items())
def test_families_by_their_distinguishing_tensors(
    tmp_path: Path, family: str, tensors: dict[str, tuple[int, ...]]
) -> None:
    built = {name: Expected("F16", shape) for name, shape in tensors.items()}
    for prefix in ("", "vae." if "conv" in next(iter(tensors)) else "model.diffusion_model."):
        if family == "wan" or not prefix or not next(iter(tensors)).startswith("model."):
            named = {prefix + name: tensor for name, tensor in built.items()}
            path = model_files.put(tmp_path / "f.safetensors", named)
            assert look(path, ASSETS, NOWHERE).identity.family == family


def test_every_family_is_reached_by_a_table_or_a_mark() -> None:
    reached = {family for _, family, _, _ in EXPECTED.values()} | set(MARKS)
    rest = set(ASSETS.families) - reached
    assert rest == {
        "qwen3-other", "hunyuan-video", "ltx-video", "sd3", "controlnet", "upscaler",
    }  # fmt: skip


def test_look_alikes_of_flux3_are_not_taken_for_klein(tmp_path: Path) -> None:
    tensors = {"blocks.0.new.weight": Expected("BF16", (8, 8))}
    path = model_files.put(tmp_path / "flux3-image-klein-bf16.safetensors", tensors)
    identity = look(path, ASSETS, NOWHERE).identity
    assert (identity.verdict, identity.structure) == ("unknown", "none")
    assert "FLUX.3" in identity.says


def test_an_all_in_one_checkpoint_is_named_by_its_parts(tmp_path: Path) -> None:
    tensors = {f"model.diffusion_model.{n}": t for n, t in model_files.table("flux1-dev").items()}
    tensors |= {f"vae.{n}": t for n, t in model_files.table("flux1-ae").items()}
    tensors["text_encoders.t5xxl.transformer.shared.weight"] = Expected("F16", (4, 4))
    path = model_files.put(tmp_path / "all.safetensors", tensors)
    identity = look(path, ASSETS, NOWHERE).identity
    assert (identity.role, identity.verdict) == ("checkpoint", "other")
    assert "a FLUX.1 transformer" in identity.says and "the FLUX.1 VAE" in identity.says


@pytest.mark.parametrize("name", ["flux2-klein-4b", "qwen3-4b", "flux2-vae"])
def test_what_is_missing_is_said(tmp_path: Path, name: str) -> None:
    tensors = dict(model_files.table(name))
    lost = [n for n in tensors if "layers.3" in n or "blocks.1" in n or "up.1" in n][:5]
    for each in lost:
        del tensors[each]
    tensors["my.extra\x1b[31m"] = Expected("BF16", (2,))
    path = model_files.put(tmp_path / "f.safetensors", tensors)
    identity = look(path, ASSETS, NOWHERE).identity
    assert (identity.verdict, identity.structure, identity.complete) == ("unknown", "family", False)
    assert "5 tensors are missing" in identity.says and "1 tensor is more" in identity.says
    assert identity.says.isprintable()


def test_a_shard_in_comfyuis_folder_is_no_encoder(tmp_path: Path) -> None:
    path = tmp_path / "text_encoders" / "model-00001-of-00002.safetensors"
    model_files.put_real(path, "klein-4b-diffusers-encoder-1of2")
    identity = look(path, ASSETS, NOWHERE).identity
    assert identity.verdict == "impostor" and "one part of several" in identity.says


def test_a_build_saved_anew_is_of_no_published_size(tmp_path: Path) -> None:
    tensors = model_files.table("flux2-vae")
    path = model_files.put(tmp_path / "f.safetensors", tensors, {"made_by": "somebody"})
    identity = look(path, ASSETS, NOWHERE).identity
    assert (identity.verdict, identity.structure, identity.digest) == (
        "unknown", "exact", "mismatch",
    )  # fmt: skip


def test_an_unknown_digest_is_a_fine_tune_or_an_unlisted_build(tmp_path: Path) -> None:
    path = model_files.put_real(tmp_path / "f.safetensors", "qwen3-4b")
    header, _ = read_header(path)
    size = path.stat().st_size
    evidence = Evidence("f.safetensors", "text_encoders", size, sha256="0" * 64)
    identity = judge_file(header, evidence, ASSETS)
    assert (identity.verdict, identity.structure, identity.digest) == (
        "unknown", "exact", "mismatch",
    )  # fmt: skip
    assert "a fine-tune or an unlisted build" in identity.says
    damaged = judge_file(header, evidence._replace(promised="1" * 64), ASSETS)
    assert (damaged.verdict, damaged.damage) == ("damaged", "digest")
    empty = judge_file(header, evidence._replace(zeros=1 << 20), ASSETS)
    assert (empty.verdict, empty.damage) == ("damaged", "zero-tail")
