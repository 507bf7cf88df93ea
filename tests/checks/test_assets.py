"""Klein's three files: there, right, in place, sound, and going together."""

from __future__ import annotations

import around as a
import construct as c
import constructed
import pytest
from judging import FAIL, PASS, RECIPE, UNKNOWN, WARN, alone, judge_one, silent, verdict_of
from model_facts import healthy, model_file, models, pipeline

from klein_doctor.engine import judge
from klein_doctor.installation import CustomNodes
from klein_doctor.model import Facts, Known, Outcome, Private, Unknown
from klein_doctor.modelfiles import Duplicate, ModelFile, Models
from klein_doctor.registry import catalogue

T, E, V = "flux-2-klein-4b-fp8", "qwen3-4b", "flux2-vae"
ALL = ("transformer-missing", "encoder-missing", "vae-missing", "transformer-wrong",
       "encoder-wrong", "vae-wrong", "asset-misplaced", "asset-damaged", "asset-unverified",
       "pickle-weights", "asset-duplicate", "pair-mismatch", "base-for-distilled",
       "license-non-commercial", "quantisation-unsupported")  # fmt: skip


def having(*files: ModelFile, facts: Facts | None = None) -> Facts:
    return (facts or c.machine())._replace(models=Known(models(*files)))


def three(**other: ModelFile) -> Facts:
    """The three files, with one put in another's place: t, e or v."""
    files = {"t": model_file(T), "e": model_file(E), "v": model_file(V), **other}
    return having(*files.values())


def outcome(check: str, facts: Facts) -> Outcome:
    return judge_one(check, facts)


def test_the_published_three_are_fine() -> None:
    for check in ALL:
        found = silent(check, c.machine()) or alone(check, c.machine()) is PASS
        assert found, check


def test_both_published_vaes_are_right() -> None:
    for table in ("flux2-vae", "flux2-vae-diffusers", "full_encoder_small_decoder"):
        facts = three(v=model_file(table, "vae", "flux2-vae.safetensors"))
        assert alone("vae-missing", facts) is PASS and silent("vae-wrong", facts)


@pytest.mark.parametrize(("check", "kept"), [
    ("transformer-missing", (E, V)), ("encoder-missing", (T, V)), ("vae-missing", (T, E)),
])  # fmt: skip
def test_one_that_is_missing(check: str, kept: tuple[str, ...]) -> None:
    facts = having(*(model_file(table) for table in kept))
    found = outcome(check, facts)
    assert found.verdict is FAIL
    (repair,) = found.fixes
    assert (repair.id, repair.kind, repair.grade) == ("fetch-assets", "download", "ask")
    assert "Apache-2.0" in repair.summary
    role = check.removesuffix("-missing")
    assert repair.commands == (("klein-doctor", "download", "--only", role),)


@pytest.mark.parametrize(
    ("check", "table", "category", "name", "words"),
    [
        ("vae-wrong", "flux1-ae", "vae", "flux2-vae.safetensors", "the FLUX.1 VAE"),
        ("vae-wrong", "sdxl-vae", "vae", "sdxl_vae.safetensors", "SD 1.5 or SDXL"),
        ("vae-wrong", "wan21-vae", "vae", "qwen_image_vae.safetensors", "Wan 2.1"),
        ("vae-wrong", "taef2-decoder", "vae", "taef2.safetensors", "preview"),
        ("encoder-wrong", "qwen_3_8b", "text_encoders", "qwen_3_4b.safetensors", "Qwen3-8B"),
        ("encoder-wrong", "qwen3-0.6b", "text_encoders", "q.safetensors", "1024"),
        ("encoder-wrong", "t5xxl_fp16", "text_encoders", "t5xxl_fp16.safetensors", "T5-XXL"),
        ("encoder-wrong", "clip_l", "text_encoders", "clip_l.safetensors", "CLIP"),
        ("encoder-wrong", "klein-4b-diffusers-encoder-1of2", "text_encoders",
         "model-00001-of-00002.safetensors", "one part of several"),
        ("transformer-wrong", "flux1-dev", "diffusion_models", "klein.safetensors", "FLUX.1"),
        ("transformer-wrong", "z_image_turbo_bf16", "diffusion_models", "z.safetensors", "Z-Image"),
        ("transformer-wrong", "flux-2-klein-9b", "diffusion_models",
         "flux-2-klein-4b-fp8.safetensors", "9B"),
        ("transformer-wrong", "flux2-klein-4b-diffusers", "diffusion_models",
         "flux-2-klein-4b.safetensors", "named for diffusers"),
    ],
)  # fmt: skip
def test_something_else_in_its_place(
    check: str, table: str, category: str, name: str, words: str
) -> None:
    place = {"vae-wrong": "v", "encoder-wrong": "e", "transformer-wrong": "t"}[check]
    facts = three(**{place: model_file(table, category, name)})
    found = outcome(check, facts)
    assert found.verdict is FAIL and words in found.detail
    assert found.subject is not None and found.subject.public.endswith(name)
    assert silent(check.replace("wrong", "missing"), facts)
    assert "fetch-assets" in [repair.id for repair in found.fixes]


def test_a_right_one_beside_it_makes_it_a_warning_for_its_name_alone() -> None:
    named = model_file("flux1-ae", "vae", "flux2-vae.safetensors")
    right = model_file(V, name="vae-of-flux2.safetensors")
    assert alone("vae-wrong", having(named, right)) is WARN
    other = model_file("flux1-ae", "vae", "ae.safetensors")
    assert silent("vae-wrong", having(other, right))


def test_of_several_comfyuis_the_command_names_the_one_that_was_judged() -> None:
    facts = three(v=model_file("flux1-ae", "vae", "flux2-vae.safetensors"))
    installs = (a.install("~/other"), a.install("~/ComfyUI"))
    facts = facts._replace(search=Known(a.search(*installs, chosen=1)))
    (fetch,) = [r for r in outcome("vae-wrong", facts).fixes if r.id == "fetch-assets"]
    assert fetch.commands[0][-2] == "--comfyui"
    assert getattr(fetch.commands[0][-1], "public", "") == "~/ComfyUI"


@pytest.mark.parametrize(
    ("encoder", "verdict"), [("qwen3-4b", PASS), ("qwen_3_8b", FAIL), ("qwen3-0.6b", FAIL)]
)
def test_pairs(encoder: str, verdict: object) -> None:
    facts = three(e=model_file(encoder, "text_encoders", "e.safetensors"))
    assert alone("pair-mismatch", facts) is verdict


@pytest.mark.parametrize(
    ("transformer", "encoder", "words"),
    [
        (T, "qwen_3_8b", "(512x12288 and 7680x...)"),
        ("flux-2-klein-9b", "qwen3-4b", "(512x7680 and 12288x...)"),
        ("flux2-dev", "qwen3-4b", "(512x7680 and 15360x...)"),
    ],
)
def test_a_pair_that_does_not_fit_is_told_with_the_error(
    transformer: str, encoder: str, words: str
) -> None:
    files = model_file(transformer), model_file(encoder, "text_encoders", "e.safetensors")
    assert words in outcome("pair-mismatch", having(*files)).detail


def test_the_nine_b_pair_goes_together_and_is_refused_all_the_same() -> None:
    files = (model_file("flux-2-klein-9b"), model_file("qwen_3_8b", "text_encoders", "e.sft"))
    facts = having(*files, model_file(V))
    assert alone("pair-mismatch", facts) is PASS
    found = outcome("license-non-commercial", facts)
    assert found.verdict is FAIL and "FLUX Non-Commercial" in found.detail
    assert silent("license-non-commercial", having(*files, model_file(V), model_file(T)))


def test_the_right_file_in_the_wrong_folder() -> None:
    facts = three(v=model_file(V, "checkpoints"))
    found = outcome("asset-misplaced", facts)
    assert found.verdict is FAIL and found.fixes[0].grade == "safe"
    assert "models/vae" in found.detail
    assert silent("vae-missing", facts) and silent("vae-wrong", facts)


@pytest.mark.parametrize("table", ["flux-2-klein-base-4b-fp8", "flux-2-klein-base-4b-nvfp4"])
def test_the_base_where_the_distilled_is_meant(table: str) -> None:
    own = model_file(table)
    assert alone("base-for-distilled", three(t=own)) is WARN
    misnamed = model_file(table, name="flux-2-klein-4b-fp8.safetensors")
    assert alone("base-for-distilled", three(t=misnamed)) is FAIL
    assert alone("base-for-distilled", three(t=own, other=model_file(T))) is PASS
    assert alone("base-for-distilled", three(t=model_file("flux2-klein-4b"))) is PASS


def test_a_base_with_a_digest_nobody_knows_is_still_the_base() -> None:
    name = "flux-2-klein-4b-fp8.safetensors"
    hashed = model_file("flux-2-klein-base-4b-fp8", name=name, sha256="0" * 64)
    assert hashed.digest == "mismatch"
    assert alone("base-for-distilled", three(t=hashed)) is FAIL


@pytest.mark.parametrize(
    ("place", "other", "checks"),
    [
        ("e", model_file("t5xxl_fp16", "text_encoders"), ("encoder-wrong", "pair-mismatch")),
        ("e", model_file("qwen_3_8b", "text_encoders"), ("encoder-wrong", "pair-mismatch")),
        ("t", model_file("flux1-dev"), ("transformer-wrong",)),
        ("t", model_file("flux-2-klein-9b"),
         ("transformer-wrong", "license-non-commercial", "pair-mismatch")),
        ("v", model_file("sdxl-vae", "vae"), ("vae-wrong",)),
    ],
)  # fmt: skip
def test_a_damaged_file_is_the_finding_and_not_its_neighbour(
    place: str, other: ModelFile, checks: tuple[str, ...]
) -> None:
    cut = model_file({"t": T, "e": E, "v": V}[place], cut=100_000)
    facts = three(**{place: cut, "other": other})
    found = judge(facts, RECIPE, catalogue())
    assert [f.check for f in found if f.verdict is FAIL] == ["asset-damaged"]
    assert all(silent(check, facts) for check in checks)
    # Without the damaged one it is what is there in its place.
    assert alone(checks[0], three(**{place: other})) is FAIL


def test_what_has_the_name_of_a_damaged_file_makes_room_for_it() -> None:
    cut = model_file(E, name="mine.safetensors", cut=1000)
    named = model_file("t5xxl_fp16", "text_encoders", "qwen_3_4b.safetensors")
    found = outcome("encoder-wrong", three(e=cut, other=named))
    assert found.verdict is FAIL and [r.id for r in found.fixes] == ["rename-asset"]


DAMAGES = [
    (model_file(T, cut=1_000_000), "truncated", "MetadataIncompleteBuffer"),
    (model_file(T, cut=-64), "trailing", "incomplete metadata"),
    (model_file(T, damage="lfs-pointer", verdict="damaged", family="", role=""), "lfs-pointer",
     "HeaderTooLarge"),
    (model_file(T, damage="html", verdict="damaged", family="", role=""), "html", "too large"),
    (model_file(T, damage="json", verdict="damaged", family="", role=""), "json", "too large"),
    (model_file(T, damage="pickle", verdict="damaged", family="", role=""), "pickle",
     "invalid header length"),
    (model_file(T, damage="tensors", verdict="damaged", family="", role=""), "tensors", "offset"),
    (model_file(T, damage="zero-tail", verdict="damaged"), "zero-tail", "without an error"),
    (model_file(T, damage="digest", verdict="damaged"), "digest", "without an error"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "kind", "words"), DAMAGES)
def test_damage_is_told_with_what_loading_it_says(file: ModelFile, kind: str, words: str) -> None:
    found = outcome("asset-damaged", three(t=file))
    assert found.verdict is FAIL and words in found.detail
    assert found.evidence["kind"] == kind
    assert {repair.id for repair in found.fixes} == {"quarantine-asset", "fetch-assets"}
    beside = three(t=file, other=model_file(T, name="another.safetensors"))
    assert alone("asset-damaged", beside) is WARN
    assert silent("transformer-missing", three(t=file)) and silent(
        "transformer-wrong", three(t=file)
    )


def test_hashed_or_not() -> None:
    assert "3 of Klein's 3 files are not hashed yet" in outcome("asset-unverified", three()).title
    strange = model_file(E, sha256="0" * 64)
    found = outcome("asset-unverified", three(e=strange))
    assert found.verdict is WARN and "a fine-tune or an unlisted build" in found.detail
    assert "identify" in found.fixes[0].commands[0]
    assert alone("encoder-missing", three(e=strange)) is PASS  # it runs


def test_pickles_that_would_be_picked() -> None:
    trap = model_file(
        V, name="flux2-vae.pt", damage="pickle", verdict="unknown", role="", family=""
    )
    assert alone("pickle-weights", three(v=trap)) is WARN
    other = trap._replace(named_for="", name=Private.plain("old.ckpt"))
    assert silent("pickle-weights", three(other=other))


def test_copies_are_told_where_all_was_hashed() -> None:
    twice = Duplicate(8 << 30, (Private.plain("~/a"), Private.plain("~/b")))
    facts = c.machine()._replace(models=Known(healthy()._replace(duplicates=(twice,))))
    found = outcome("asset-duplicate", facts)
    assert found.verdict is WARN and "8.0 GiB could be free" in found.detail
    none = c.machine()._replace(models=Known(healthy()._replace(duplicates=())))
    assert alone("asset-duplicate", none) is PASS


def test_nvfp4_is_for_blackwell() -> None:
    facts = three(t=model_file("flux-2-klein-4b-nvfp4"))
    assert silent("quantisation-unsupported", facts)
    older = c.gpu(name="NVIDIA GeForce RTX 4060", compute_capability=Known((8, 9)))
    ada = facts._replace(nvml=Known(c.nvml(older)))
    assert alone("quantisation-unsupported", ada) is WARN
    assert silent("quantisation-unsupported", ada._replace(nvml=Unknown("no driver")))


def test_gguf_needs_its_nodes() -> None:
    gguf = model_file(T, name="flux-2-klein-4b-Q4_0.gguf", quantisation="Q4_0",
                      damage="", verdict="variant")  # fmt: skip
    assert alone("quantisation-unsupported", three(t=gguf)) is FAIL
    nodes = CustomNodes(1, 0, (Private.plain("ComfyUI-GGUF"),), ())
    with_nodes = three(t=gguf)._replace(comfyui=Known(a.comfyui(custom_nodes=Known(nodes))))
    assert silent("quantisation-unsupported", with_nodes)


def test_a_right_file_behind_a_wrong_one_of_its_name() -> None:
    first = model_file("flux1-ae", "vae", "flux2-vae.safetensors")
    hidden = model_file(V, shadowed=True, root="/mnt/models")
    facts = three(v=first, hidden=hidden)
    found = outcome("model-paths-broken", facts)
    assert found.verdict is FAIL and "the FLUX.1 VAE" in found.detail
    assert verdict_of("vae-wrong", facts).verdict is FAIL


@pytest.mark.parametrize("check", ALL)
def test_where_it_is_not_asked_it_is_silent(check: str) -> None:
    assert silent(check, c.machine()._replace(route=Known("diffusers")))
    assert silent(check, c.machine()._replace(comfyui=Known(None)))


@pytest.mark.parametrize("check", ["transformer-missing", "vae-missing", "asset-damaged"])
def test_what_was_not_read_is_not_judged(check: str) -> None:
    for facts in (
        c.machine()._replace(models=Unknown("not read")),
        c.machine()._replace(comfyui=Unknown("not read")),
        c.machine()._replace(comfyui=Known(a.comfyui(folders=Unknown("not read")))),
    ):
        assert alone(check, facts) is UNKNOWN


def test_files_left_for_lack_of_time_are_no_missing_ones() -> None:
    late: Models = models()._replace(total=900, left=800)
    assert alone("vae-missing", c.machine()._replace(models=Known(late))) is UNKNOWN


def test_the_diffusers_folder() -> None:
    assert alone("checkout-incomplete", constructed.diffusers()) is PASS
    broken = pipeline(verdict="damaged", says="incomplete", missing=("vae/config.json",))
    for found in ((), (broken,)):
        facts = constructed.diffusers(models=Known(models(pipelines=found)))
        assert alone("checkout-incomplete", facts) is FAIL
    assert silent("checkout-incomplete", c.machine())
    gone = constructed.diffusers(models=Unknown("not read"))
    assert alone("checkout-incomplete", gone) is UNKNOWN
