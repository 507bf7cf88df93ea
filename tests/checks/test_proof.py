"""What a kernel proof says, given as literal values, to the checks and the memory plans."""

from __future__ import annotations

import around as a
import attention_facts as f
import construct as c
import pytest
from judging import FAIL, PASS, RECIPE, SKIPPED, UNKNOWN, WARN, judge_one, silent, verdict_of

from klein_doctor import plans
from klein_doctor.generation import KernelTest, Proof
from klein_doctor.model import Facts, Known, Outcome, TorchBinary, Unknown
from klein_doctor.recipe_proof import load_proof

KERNELS = "kernels-fail"
BROKEN = "torch-broken"
DRIVER = "driver-broken"
EXTENSION = "attention-extension-broken"


def kernel(name: str = "bf16 matmul", **changes: object) -> KernelTest:
    """A test that went well, unless changed."""
    row = load_proof().kernel(name)
    required = row is not None and row.required
    return KernelTest(name, required, "ok", 0.0017, 0.01, 0.1)._replace(**changes)


ALL = tuple(kernel(row.name) for row in load_proof().kernels)


def proof(*changed: KernelTest, **changes: object) -> Proof:
    """A proof on an RTX 5070 in which all went well, but for what is changed."""
    tests = {test.name: test for test in (*ALL, *changed)}
    return Proof(
        outcome="ok",
        stage="import sageattn3",
        says="",
        signal=0,
        torch="2.14.1+cu130",
        device="NVIDIA GeForce RTX 5070",
        capability=(12, 0),
        attention="flash",
        tests=tuple(tests.values()),
        peak_mib=780,
        seconds=6.5,
    )._replace(**changes)


def ended(outcome: str, stage: str, says: str, signal: int = 0, torch: str = "") -> Proof:
    """A proof that ended before any kernel ran."""
    return proof(
        outcome=outcome, stage=stage, says=says, signal=signal, torch=torch, tests=(), attention=""
    )


def seen(found: Proof | None, facts: Facts | None = None) -> Facts:
    return (facts or c.machine())._replace(proof=Known(found))


def wrong(name: str) -> KernelTest:
    return kernel(name, outcome="wrong", error=1.02, says="relative error 1.02, where rounding")


class TestKernels:
    def test_unasked_it_says_nothing(self) -> None:
        assert silent(KERNELS, c.machine())
        assert all(found.check != KERNELS for found in _judged(c.machine()))

    def test_a_proof_that_could_not_be_read(self) -> None:
        found = judge_one(KERNELS, c.machine()._replace(proof=Unknown("the time ran out")))
        assert (found.verdict, found.reason) == (UNKNOWN, "the time ran out")

    def test_all_right(self) -> None:
        found = judge_one(KERNELS, seen(proof()))
        assert found.verdict is PASS
        assert found.title == (
            "8 kernels gave right results on the RTX 5070; attention runs by its flash kernel"
        )

    @pytest.mark.parametrize(
        ("outcome", "title"),
        [
            ("wrong", "The kernel convolution gives wrong results on your RTX 5070"),
            ("error", "The kernel convolution fails on your RTX 5070"),
            ("timeout", "The kernel convolution does not end on your RTX 5070"),
        ],
    )
    def test_a_required_kernel(self, outcome: str, title: str) -> None:
        bad = kernel("convolution", outcome=outcome, error=None, says="RuntimeError: no kernel")
        found = judge_one(KERNELS, seen(proof(bad, outcome="wrong", stage="convolution")))
        assert (found.verdict, found.title) == (FAIL, title)
        assert found.detail.startswith("RuntimeError: no kernel. Convolution, group normalisation")
        assert found.evidence["failed"] == ("convolution",)
        assert [repair.grade for repair in found.fixes] == ["manual"]

    def test_several_are_named_and_the_right_ones_too(self) -> None:
        found = judge_one(KERNELS, seen(proof(wrong("attention"), wrong("convolution"))))
        assert "So did: convolution. Right were: bf16 matmul, attention flash" in found.detail
        assert found.evidence["error"] == "1.02"

    @pytest.mark.parametrize("name", ["attention cudnn", "attention flash"])
    def test_one_that_is_only_reported_fails_nothing(self, name: str) -> None:
        found = judge_one(KERNELS, seen(proof(kernel(name, outcome="error", says="no"))))
        assert found.verdict is PASS

    def test_one_that_the_card_does_not_offer_fails_nothing(self) -> None:
        found = judge_one(KERNELS, seen(proof(kernel("fp8 matmul", outcome="unsupported"))))
        assert found.verdict is PASS

    def test_fp8_is_nothing_to_diffusers(self) -> None:
        bad = proof(wrong("fp8 matmul"), outcome="wrong")
        assert judge_one(KERNELS, seen(bad)).verdict is FAIL
        diffusers = c.machine()._replace(route=Known("diffusers"))
        assert judge_one(KERNELS, seen(bad, diffusers)).verdict is WARN
        more = proof(wrong("fp8 matmul"), wrong("attention"), outcome="wrong")
        assert judge_one(KERNELS, seen(more, diffusers)).verdict is FAIL

    def test_a_kernel_that_this_recipe_does_not_have(self) -> None:
        other = kernel("int4 matmul", required=True, outcome="error", says="")
        assert judge_one(KERNELS, seen(proof(other))).verdict is FAIL

    @pytest.mark.parametrize(
        ("found", "reason"),
        [
            (ended("no-memory", "start", "500 MiB are free"), "500 MiB are free"),
            (ended("not-started", "start", "exit code 1"), "the target's Python could not be run"),
            (ended("hung", "start", "no answer"), "the target's Python could not be run"),
        ],
    )
    def test_what_was_not_reached_is_unknown(self, found: Proof, reason: str) -> None:
        judged = judge_one(KERNELS, seen(found))
        assert judged.verdict is UNKNOWN and str(judged.reason).startswith(reason)

    def test_what_stood_in_the_way_is_named(self) -> None:
        crash = ended("crashed", "import", "SIGSEGV", 11)
        assert _because(crash, c.machine()) == "torch-broken:1"
        no_cuda = ended("no-cuda", "context", "RuntimeError: unknown", torch="2.14.1+cu130")
        assert _because(no_cuda, c.machine()) == "driver-broken:1"
        cpu = c.machine("2.14.1+cpu", "0.29.1+cpu", None, ())
        assert _because(no_cuda, cpu) == "torch-cpu-only:1"
        none = c.machine()._replace(torch=Known(c.absent("torch", "~/site-packages")))
        assert _because(crash, none) == "torch-missing:1"

    def test_no_code_for_the_card_is_the_cause(self) -> None:
        old = c.machine("2.6.0+cu126", "0.21.0+cu126", "12.6", c.CU126)
        bad = kernel(outcome="error", error=None, says="RuntimeError: no kernel image")
        found = verdict_of(KERNELS, seen(proof(bad, outcome="wrong"), old))
        assert (found.verdict, found.because) == (FAIL, "torch-lacks-arch:1")


def _because(found: Proof, facts: Facts) -> str | None:
    judged = judge_one(KERNELS, seen(found, facts))
    assert judged.verdict is SKIPPED
    return judged.because


def _judged(facts: Facts) -> list[object]:
    from klein_doctor.engine import judge
    from klein_doctor.registry import catalogue

    return list(judge(facts, RECIPE, catalogue()))


class TestImport:
    @pytest.mark.parametrize(
        ("found", "title", "words"),
        [
            (
                ended("import-failed", "import", "OSError: libcudart.so.13: cannot open"),
                "PyTorch does not load",
                "ends with: OSError: libcudart.so.13: cannot open.",
            ),
            (
                ended("crashed", "import", "SIGSEGV", 11),
                "PyTorch crashes while it loads",
                "(SIGSEGV)",
            ),
            (
                ended("hung", "import", "no answer within 180 s"),
                "PyTorch never finishes loading",
                "no answer within 180 s",
            ),
        ],
    )
    def test_how_it_fails(self, found: Proof, title: str, words: str) -> None:
        judged = judge_one(BROKEN, seen(found))
        assert (judged.verdict, judged.title) == (FAIL, title)
        assert words in judged.detail
        assert [(r.id, r.grade) for r in judged.fixes] == [("install-torch", "ask")]

    def test_loaded_it_is_whole_whatever_could_not_be_read(self) -> None:
        unread = c.machine()._replace(torch_binary=Unknown("not read"))
        assert judge_one(BROKEN, unread).verdict is UNKNOWN
        assert judge_one(BROKEN, seen(proof(), unread)).verdict is PASS

    def test_loaded_it_lacks_no_library(self) -> None:
        binary = Known(TorchBinary(Known(("sm_120",)), (), ("libcublas.so.13",)))
        lacks = c.machine()._replace(torch_binary=binary)
        assert judge_one(BROKEN, lacks).verdict is FAIL
        assert judge_one(BROKEN, seen(proof(), lacks)).verdict is PASS

    def test_a_static_fault_is_confirmed(self) -> None:
        binary = Known(TorchBinary(Known(("sm_120",)), (), ("libcublas.so.13",)))
        lacks = c.machine()._replace(torch_binary=binary)
        found = judge_one(BROKEN, seen(ended("import-failed", "import", "OSError: no"), lacks))
        assert found.title == "CUDA libraries that PyTorch needs are missing"
        assert (
            found.detail.endswith("Nothing that uses it can start.") and "OSError" in found.detail
        )

    @pytest.mark.parametrize(
        "found",
        [
            proof(wrong("attention"), outcome="wrong", stage="attention"),
            proof(outcome="crashed", stage="convolution", says="SIGSEGV", signal=11),
            ended("no-cuda", "context", "RuntimeError: unknown", torch="2.14.1+cu130"),
            ended("not-started", "start", "exit code 1"),
        ],
    )
    def test_what_fails_elsewhere_is_no_fault_of_the_import(self, found: Proof) -> None:
        assert judge_one(BROKEN, seen(found)).verdict is PASS


class TestDriver:
    NO_CUDA = ended("no-cuda", "context", "RuntimeError: CUDA unknown error", torch="2.14.1+cu130")

    @pytest.mark.parametrize(
        ("outcome", "word"), [("no-cuda", "fails"), ("hung", "hangs"), ("crashed", "crashes")]
    )
    def test_cuda_does_not_start(self, outcome: str, word: str) -> None:
        found = judge_one(DRIVER, seen(self.NO_CUDA._replace(outcome=outcome)))
        assert found.verdict is FAIL
        assert found.title == f"The driver answers, but starting CUDA {word}"
        assert "RuntimeError: CUDA unknown error" in found.detail

    def test_another_check_that_says_why_says_it_alone(self) -> None:
        cpu = c.machine("2.14.1+cpu", "0.29.1+cpu", None, ())
        old = c.machine()._replace(nvml=Known(c.nvml(c.gpu(), driver="535.1")))
        busy = c.machine()._replace(nvml=Known(c.nvml(c.gpu(compute_mode=Known("prohibited")))))
        for facts in (cpu, old, busy):
            assert judge_one(DRIVER, seen(self.NO_CUDA, facts)).verdict is PASS

    def test_it_started(self) -> None:
        assert judge_one(DRIVER, seen(proof())).verdict is PASS
        crash = proof(outcome="crashed", stage="attention", says="SIGSEGV", signal=11)
        assert judge_one(DRIVER, seen(crash)).verdict is PASS


class TestExtensions:
    def judged(self, says: str, outcome: str = "error", package: str = "flash-attn") -> Outcome:
        module = package.replace("-", "_")
        bad = KernelTest(f"import {module}", False, outcome, None, 0.0, 0.1, says)
        here = c.machine()._replace(comfyui=Known(a.comfyui()))
        item = f.extension() if package == "flash-attn" else f.xformers()
        return judge_one(EXTENSION, seen(proof(bad), f.has(here, item)))

    def test_an_oserror_of_flash_attn_ends_comfyui_without_being_asked_for(self) -> None:
        found = self.judged("OSError: libcudart.so.12: cannot open shared object file")
        assert found.verdict is FAIL
        assert found.title == "flash-attn 2.8.3 cannot load"
        assert found.detail.startswith("tried just now, its import ends with OSError: libcudart")
        assert "ComfyUI imports it at every start" in found.detail
        assert [repair.id for repair in found.fixes] == ["remove-extension"]

    def test_an_importerror_is_what_comfyui_expects(self) -> None:
        assert self.judged("ImportError: undefined symbol: _ZN3c10").verdict is WARN

    @pytest.mark.parametrize("package", ["flash-attn", "xformers"])
    def test_a_crash_or_a_hang_ends_it_whichever_it_is(self, package: str) -> None:
        assert self.judged("SIGSEGV", package=package).verdict is FAIL
        assert self.judged("no answer within 120 s", "timeout", package).verdict is FAIL

    def test_an_error_of_xformers_is_noticed(self) -> None:
        assert self.judged("OSError: no", package="xformers").verdict is WARN

    def test_one_that_loads_is_fine(self) -> None:
        good = KernelTest("import flash_attn", False, "ok", None, 0.0, 0.1)
        facts = f.has(c.machine(), f.extension())
        assert judge_one(EXTENSION, seen(proof(good), facts)).verdict is PASS


class TestPlans:
    def ways(self, facts: Facts) -> set[str]:
        return {plan.attention for plan in plans.usable_plans(facts, RECIPE, "diffusers")}

    def test_attention_that_was_seen_decides_over_the_guess(self) -> None:
        assert self.ways(c.machine()) == {"fused"}
        assert self.ways(seen(proof(attention="math"))) == {"math"}
        turing = c.machine()._replace(nvml=Known(c.nvml(c.gpu(compute_capability=Known((7, 5))))))
        assert self.ways(turing) == {"math"}
        for name in ("flash", "efficient", "cudnn"):
            assert self.ways(seen(proof(attention=name), turing)) == {"fused"}

    def test_where_it_was_not_seen_the_card_decides(self) -> None:
        assert self.ways(seen(proof(attention=""))) == {"fused"}
        assert self.ways(seen(proof(attention="math", device="cpu"))) == {"fused"}

    def test_math_attention_takes_more(self) -> None:
        def fits(facts: Facts) -> set[str]:
            usable = plans.usable_plans(facts, RECIPE, "diffusers")
            return {plan.id for plan in plans.fitting(usable, RECIPE.memory, 10800, None)}

        assert "model-offload" in fits(c.machine())
        assert fits(seen(proof(attention="math"))) == {
            "fp8-both-offload-math", "sequential-offload-math",
        }  # fmt: skip
