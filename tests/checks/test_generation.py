"""What is made of a test generation: came through, memory, log, pixels, repeated."""

from __future__ import annotations

import pytest
import ran
from judging import FAIL, PASS, RECIPE, UNKNOWN, WARN, judge_one, silent
from model_facts import healthy, models

from klein_doctor.compiled import Extension
from klein_doctor.engine import first_of, judge
from klein_doctor.generation import Generation, KernelTest, Proof, Remark
from klein_doctor.model import Facts, Known, Outcome, Private, Unknown, Verdict
from klein_doctor.recipe_images import load_images
from klein_doctor.registry import catalogue
from klein_doctor.verdict_images import verdict, verified

RULES = load_images()
CHECKS = (
    "generation-failed", "vram-over-plan", "log-says-otherwise", "image-blank", "image-noise",
    "image-washed-out", "image-not-repeatable",
)  # fmt: skip
CLIP = Remark("clip-missing", "clip missing: ['model.layers.20.mlp.up_proj.weight']")
CAST = Remark("nan-cast", "nodes.py:1662: RuntimeWarning: invalid value encountered in cast")
FALLBACK = Remark("flash-fallback", "Flash Attention failed, using default SDPA: CUDA error")


def of(check: str, found: Generation, **changes: object) -> Outcome:
    return judge_one(check, ran.machine(found)._replace(**changes))


def verdicts(facts: Facts) -> dict[str, Verdict]:
    found = {f.check: f.verdict for f in judge(facts, RECIPE, catalogue())}
    return {name: found[name] for name in CHECKS if name in found}


# --- a run as it should be -------------------------------------------------------------------


def test_without_a_generation_nothing_is_said() -> None:
    assert all(silent(name, ran.machine(None)) for name in CHECKS)


def test_what_could_not_be_read_is_undecided() -> None:
    facts = ran.machine(None)._replace(generation=Unknown("not read"))
    assert {judge_one(name, facts).verdict for name in CHECKS} == {UNKNOWN}


def test_a_good_run_passes_everything() -> None:
    assert verdicts(ran.machine(ran.run())) == dict.fromkeys(CHECKS, PASS)
    assert "verified" in of("generation-failed", ran.run()).title


def test_weights_by_chance_are_never_called_verified() -> None:
    found = ran.run(expectation="reference", pictures=ran.pictures(texture=ran.CHANCE))
    assert verdicts(ran.machine(found)) == dict.fromkeys(CHECKS, PASS)
    title = of("generation-failed", found).title
    assert "ran as recorded" in title and "verified" not in title
    assert not verified(found, RULES) and verdict(found, RULES) == "ran as recorded"


# Whatever is wrong, it is not verified.
SPOILED: dict[str, Generation] = {
    "failed": ran.failed(),
    "interrupted": ran.run(outcome="interrupted"),
    "two pictures": ran.run(pictures=ran.pictures()[:2]),
    "one came from a cache": ran.run(pictures=(*ran.pictures()[:2], ran.picture(42, cached=True))),
    "one is NaN": ran.run(pictures=(*ran.pictures()[:2], ran.picture(42, not_finite="latents"))),
    "one cannot be read": ran.run(
        pictures=(ran.picture(42, fault="cut short", texture=None), *ran.pictures()[1:])
    ),
    "one was not measured": ran.run(pictures=(ran.picture(42, texture=None), *ran.pictures()[1:])),
    "one is small": ran.run(pictures=(ran.picture(42, width=512), *ran.pictures()[1:])),
    "black": ran.run(pictures=ran.pictures(texture=ran.BLACK)),
    "noise": ran.run(pictures=ran.pictures(texture=ran.NOISE)),
    "pale": ran.run(pictures=ran.pictures(texture=ran.PALE)),
    "the same seed differs": ran.run(repeated=9.0),
    "seeds do not differ": ran.run(differed=0.0),
    "not compared": ran.run(repeated=None),
    "half an encoder": ran.run(remarks=(CLIP,)),
    "NaN in the log": ran.run(remarks=(CAST,)),
    "another expectation": ran.run(expectation="any"),
    "an expectation of nobody": ran.run(expectation="?"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_verified_is_said_of_nothing_less(name: str) -> None:
    assert not verified(SPOILED[name], RULES)


@pytest.mark.parametrize("name", [name for name in SPOILED if "expectation" not in name])
def test_what_is_not_verified_fails_or_is_undecided(name: str) -> None:
    found = verdicts(ran.machine(SPOILED[name]))
    assert {FAIL, UNKNOWN} & set(found.values()), found


def test_slower_than_could_be_is_verified_all_the_same() -> None:
    assert verified(ran.run(remarks=(FALLBACK,), peak_mib=11_000), RULES)


# --- came through ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "stage", "title", "do", "check"),
    [
        ("out-of-memory", "place", "does not hold the weights", "leaner way", "vram-busy"),
        ("out-of-memory", "encode", "at the text encoder", "device cpu", "vram-busy"),
        ("out-of-memory", "denoise", "memory ran out", "close what else", "vram-busy"),
        ("out-of-memory", "decode", "when the picture was decoded", "smaller", "vram-busy"),
        ("ram-short", "decode", "(RAM)", "page file", "ram-too-small"),
        ("killed", "decode", "The system ended the run", "page file", "ram-too-small"),
        ("server-died", "denoise", "ComfyUI ended", "triage", "comfyui-memory-engine"),
        ("crashed", "denoise", "Python crashed", "--prove", "torch-broken"),
        ("hung", "denoise", "stood still", "--prove", "driver-broken"),
        ("disk-full", "save", "disk is full", "make room", "disk-too-small"),
        ("gpu-lost", "denoise", "stopped answering", "power connector", "driver-broken"),
        ("value_not_in_list", "load", "does not find a file", "put the file", "asset-misplaced"),
        ("missing_node_type", "load", "lacks a node", "update ComfyUI", "comfyui-too-old"),
    ],
)
def test_how_a_run_can_end(kind: str, stage: str, title: str, do: str, check: str) -> None:
    found = of("generation-failed", ran.failed(kind=kind, stage=stage, explained=()))
    assert found.verdict is FAIL and title in found.title
    assert do in found.fixes[0].summary and check in found.detail
    assert f"It ended at: {stage}" in found.detail and "CUDA out of memory" in found.detail


def test_what_triage_named_comes_first() -> None:
    found = of("generation-failed", ran.failed(explained=("torch-lacks-arch",)))
    assert "What it may come from: torch-lacks-arch, vram-busy." in found.detail
    assert found.fixes[0].commands == (("klein-doctor", "explain", "torch-lacks-arch"),)


def test_an_error_nobody_knows_is_told_as_it_is() -> None:
    found = of("generation-failed", ran.failed(kind="KeyError", says="'x'", explained=()))
    assert "KeyError" in found.title and "No known message explains it." in found.detail
    assert of("generation-failed", ran.failed(kind="", says="", stage="", explained=())).title


def test_pictures_made_before_are_counted() -> None:
    found = of("generation-failed", ran.failed(pictures=ran.pictures()[:2]))
    assert "2 of 3 pictures were made before." in found.detail


@pytest.mark.parametrize("outcome", ["interrupted", "refused"])
def test_a_run_that_was_not_to_be_is_undecided(outcome: str) -> None:
    found = of("generation-failed", ran.run(outcome=outcome, says="the user's queue is busy"))
    assert (found.verdict, found.reason) == (UNKNOWN, "the user's queue is busy")
    assert of("generation-failed", ran.run(outcome=outcome)).reason


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("two pictures", "only 2 of 3 pictures"),
        ("one cannot be read", "picture 1: cut short"),
        ("one is small", "picture 1 is 512x1024, not 1024x1024"),
        ("one was not measured", "picture 1: it was not measured"),
    ],
)
def test_success_without_its_pictures_is_none(name: str, says: str) -> None:
    found = of("generation-failed", SPOILED[name])
    assert found.verdict is FAIL and says in found.detail


# --- memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peak", "expected"), [(9800, PASS), (10_312, PASS), (10_313, WARN), (15_000, WARN)]
)
def test_a_peak_beyond_the_promise(peak: int, expected: Verdict) -> None:
    assert of("vram-over-plan", ran.run(peak_mib=peak)).verdict is expected


def test_a_peak_without_a_promise_or_none_measured() -> None:
    for changes in ({"predicted_mib": 0}, {"peak_mib": -1}):
        assert silent("vram-over-plan", ran.machine(ran.run(**changes)))


# --- the log ---------------------------------------------------------------------------------


def test_half_an_encoder_is_seen_in_the_log_alone() -> None:
    found = of("log-says-otherwise", ran.run(remarks=(CLIP, CLIP)))
    assert found.verdict is FAIL and "encoder-wrong" in found.detail
    assert "lacks weights" in found.title and "model.layers.20" in found.detail
    assert "clip missing" in str(found.evidence["line"])


@pytest.mark.parametrize("kind", [row.kind for row in RULES.remarks])
def test_every_remark_is_told_by_its_weight(kind: str) -> None:
    row = RULES.remark(kind)
    assert row is not None
    found = of("log-says-otherwise", ran.run(remarks=(Remark(kind, "a line"),)))
    assert found.verdict is {"fail": FAIL, "warn": WARN, "note": PASS}[row.verdict]
    assert row.says in f"{found.title}{found.detail}"


def test_what_harms_goes_before_what_slows() -> None:
    found = of("log-says-otherwise", ran.run(remarks=(FALLBACK, CLIP)))
    assert found.verdict is FAIL and "encoder lacks weights" in found.title
    assert "FlashAttention fails" in found.detail


def test_a_remark_that_no_row_knows_is_no_fault() -> None:
    assert of("log-says-otherwise", ran.run(remarks=(Remark("new", "a line"),))).verdict is PASS


def test_the_log_of_a_failed_run_is_for_triage() -> None:
    assert silent("log-says-otherwise", ran.machine(ran.failed(remarks=(CLIP,))))


def test_nan_in_the_log_of_black_pictures_is_one_fault() -> None:
    black = ran.run(pictures=ran.pictures(texture=ran.BLACK), remarks=(CAST,), differed=0.0)
    found = verdicts(ran.machine(black))
    assert (found["image-blank"], found["log-says-otherwise"]) == (FAIL, PASS)
    assert "image-not-repeatable" not in found


def test_noise_follows_from_what_the_log_says() -> None:
    noise = ran.run(pictures=ran.pictures(texture=ran.NOISE), remarks=(CLIP,))
    found = judge(ran.machine(noise), RECIPE, catalogue())
    assert first_of(found, catalogue()) == "log-says-otherwise:1"
    assert next(f for f in found if f.check == "image-noise").because == "log-says-otherwise:1"


# --- pixels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texture", "check", "word"),
    [
        (ran.BLACK, "image-blank", "blank"),
        (ran.NOISE, "image-noise", "noise"),
        (ran.PALE, "image-washed-out", "pale or blurred"),
    ],
)
def test_one_fault_has_one_name(texture: object, check: str, word: str) -> None:
    facts = ran.machine(ran.run(pictures=ran.pictures(texture=texture)))
    wrong = {name for name, found in verdicts(facts).items() if found is FAIL}
    assert wrong == {check}
    found = judge_one(check, facts)
    assert found.title == f"Pictures 1, 2 and 3 are {word}" and "No error" in found.detail
    assert found.evidence["std"] == f"{texture.std:g}"  # type: ignore[attr-defined]


def test_numbers_that_are_none_are_seen_before_pixels() -> None:
    found = of("image-blank", ran.run(pictures=ran.pictures(not_finite="decoded")))
    assert found.verdict is FAIL and "NaN" in found.detail


def test_pictures_of_a_failed_run_are_looked_at_too() -> None:
    black = ran.failed(pictures=(ran.picture(42, texture=ran.BLACK),))
    assert of("image-blank", black).verdict is FAIL
    assert silent("image-blank", ran.machine(ran.failed()))
    assert silent("image-not-repeatable", ran.machine(black))


def noise(facts_of: Facts, **changes: object) -> str:
    found = ran.run(pictures=ran.pictures(texture=ran.NOISE), **changes)
    return judge_one("image-noise", facts_of._replace(generation=Known(found))).detail


def test_the_likeliest_cause_is_what_the_facts_say() -> None:
    facts = ran.machine(None)
    assert "that of flux-2-klein-4b-fp8.safetensors" in noise(facts)
    every = healthy().files
    part = every[1]._replace(complete=False)
    assert "encoder-wrong" in noise(facts._replace(models=Known(models(every[0], part, every[2]))))
    base = every[0]._replace(variant="base")
    with_base = facts._replace(models=Known(models(base, *every[1:])))
    assert "base-for-distilled" in noise(with_base)
    assert "base-for-distilled" not in noise(with_base, steps=20)
    strange = every[2]._replace(digest="mismatch")
    found = noise(facts._replace(models=Known(models(*every[:2], strange))))
    assert "flux2-vae.safetensors is no published build" in found


def test_where_the_files_are_proven_it_is_not_them() -> None:
    proven = models(*(file._replace(digest="verified") for file in healthy().files))
    found = noise(ran.machine(None)._replace(models=Known(proven)))
    assert "the files are the published ones" in found and "--prove" in found


def test_kernels_and_attention_packages_are_suspected() -> None:
    test = KernelTest("bf16 matmul", True, "wrong", 0.4, 0.01, 0.1)
    proof = Proof("wrong", "bf16 matmul", "", 0, "2.14.1", "RTX", (12, 0), "flash", (test,), 0, 1.0)
    assert "bf16 matmul (kernels-fail)" in noise(ran.machine(None)._replace(proof=Known(proof)))
    xformers = Extension("xformers", "0.0.35", Private.plain("x"), ())
    facts = ran.machine(None)._replace(extensions=Known((xformers,)))
    assert "xformers is installed" in noise(facts)


def test_nothing_is_suspected_where_nothing_is_known() -> None:
    facts = ran.machine(None)._replace(models=Unknown("x"), extensions=Unknown("x"))
    assert "Likeliest" not in noise(facts)


def test_weights_by_chance_are_held_to_what_was_recorded() -> None:
    black = ran.run(expectation="reference", pictures=ran.pictures(texture=ran.BLACK))
    found = of("image-blank", black)
    assert found.verdict is FAIL and "not what was recorded" in found.title
    noisy = ran.run(expectation="reference", pictures=ran.pictures(texture=ran.NOISE))
    assert of("image-noise", noisy).verdict is PASS


# --- the same again --------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"texture": ran.BLACK}, {"not_finite": "latents"}])
def test_the_first_good_and_a_later_one_black(how: dict[str, object]) -> None:
    first, *_ = ran.pictures()
    later = (ran.picture(43, **how), ran.picture(42, **how))
    facts = ran.machine(ran.run(pictures=(first, *later), repeated=80.0))
    found = judge_one("image-not-repeatable", facts)
    assert found.verdict is FAIL and found.title == "The first picture is good, picture 2 is blank"
    assert "known-bad-combination" in found.detail and "--disable-dynamic-vram" in found.detail
    assert judge_one("image-blank", facts).verdict is PASS


@pytest.mark.parametrize(
    ("repeated", "differed", "expected", "title"),
    [
        (0.0, 48.0, PASS, "to the bit"),
        (0.4, 48.0, PASS, "but for 0.40"),
        (2.1, 48.0, FAIL, "two different pictures"),
        (0.0, 2.9, FAIL, "Two seeds gave the same picture"),
        (60.0, 0.0, FAIL, "two different pictures"),
        (None, 48.0, UNKNOWN, "not known"),
        (0.0, None, UNKNOWN, "not known"),
    ],
)
def test_one_seed_twice_and_two_seeds(
    repeated: float | None, differed: float | None, expected: Verdict, title: str
) -> None:
    found = of("image-not-repeatable", ran.run(repeated=repeated, differed=differed))
    assert found.verdict is expected and title in found.title


def test_a_picture_from_a_cache_proves_nothing() -> None:
    found = of("image-not-repeatable", SPOILED["one came from a cache"])
    assert found.verdict is UNKNOWN and "picture 3" in str(found.reason)


# --- all of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPOILED)
def test_a_finding_says_what_where_why_and_what_to_do(name: str) -> None:
    for found in judge(ran.machine(SPOILED[name]), RECIPE, catalogue()):
        if found.family != "generation" or found.verdict not in (FAIL, WARN):
            continue
        assert found.detail.endswith(".") and ".." not in found.detail and "  " not in found.detail
        assert "!" not in found.title + found.detail and not found.title.endswith(".")
        assert found.fixes and found.fixes[0].grade == "manual"
        for repair in found.fixes:
            assert repair.summary and repair.summary[0].islower()
        for value in found.evidence.values():
            assert not isinstance(value, float)


def test_of_an_expectation_that_no_recipe_has_nothing_crashes() -> None:
    for expectation in ("?", "any"):
        found = judge(ran.machine(ran.run(expectation=expectation)), RECIPE, catalogue())
        assert Verdict.CRASHED not in {f.verdict for f in found}


def test_what_was_made_is_judged_after_what_made_it() -> None:
    names = list(catalogue())
    assert max(map(names.index, ("torch-lacks-arch", "vae-wrong", "vram-busy"))) < min(
        map(names.index, CHECKS)
    )
