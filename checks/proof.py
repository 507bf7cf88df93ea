"""Does the card calculate right? Judged by what a kernel proof (--prove) saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from klein_doctor.generation import KernelTest, Proof
from klein_doctor.model import Evidence, Facts, Harm, Outcome, Repair, Unknown, Verdict, known
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.routes import route_of

if TYPE_CHECKING:
    from klein_doctor.recipe_proof import ProofRules

_BAD = ("wrong", "error", "timeout")
_NOT_KNOWN = "Whether the card calculates right is not known"
_FP8 = "fp8 matmul"


def rules_of_proof() -> ProofRules:
    """The tables, loaded when there is a failure to explain: most runs have none."""
    from klein_doctor.recipe_proof import load_proof

    return load_proof()


@check(
    "kernels-fail",
    family="torch",
    title="The card calculates right",
    harm=Harm.STOPS,
    follows=(
        "driver-broken",
        "driver-too-old",
        "torch-broken",
        "torch-cpu-only",
        "torch-lacks-arch",
        "gpu-too-old",
    ),
    reads="With --prove, and before a generation: small matrix products, attention and "
    "convolutions in BF16, and products in FP8 where the card has them, run by the target's own "
    "PyTorch on the card and compared with the same in FP32 on the CPU.",
    why="A build, a driver or a card can be at fault in a way that no file shows: a kernel (a "
    "program that runs on the card) is missing, hangs, or gives wrong numbers. The picture is then "
    "noise or black, or there is none.",
    by_hand="Restart and try again; take off any overclocking; then install the PyTorch and the "
    "driver that klein-doctor names, and run 'klein-doctor --prove' again.",
    without="no program was run on the card; with --prove some are",
)
def kernels_fail(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    if isinstance(facts.proof, Unknown):
        return unknown(_NOT_KNOWN, facts.proof)
    proof = facts.proof.value
    if proof is None:
        return ()
    failed = [test for test in proof.tests if test.required and test.outcome in _BAD]
    if failed:
        return _failed(facts, recipe, proof, failed)
    if proof.outcome == "ok":
        return _right(proof)
    return _not_reached(facts, proof)


def _right(proof: Proof) -> Outcome:
    done = sum(test.outcome == "ok" for test in proof.tests if test.tolerance)
    picks = f"; attention runs by its {proof.attention} kernel" if proof.attention else ""
    where = "the CPU" if proof.device == "cpu" else f"the {_short(proof)}"
    return passed(
        f"{done} kernels gave right results on {where}{picks}",
        attention=proof.attention,
        torch=proof.torch,
        peak_mib=proof.peak_mib,
    )


def _not_reached(facts: Facts, proof: Proof) -> Outcome:
    """The proof ended before any kernel ran: whoever is at fault says so."""
    torch = known(facts.torch)
    if proof.outcome == "no-memory":
        return unknown(_NOT_KNOWN, proof.says)
    if proof.outcome == "not-started" or proof.stage == "start":
        return unknown(_NOT_KNOWN, f"the target's Python could not be run: {proof.says}")
    cause = "driver-broken:1"
    if torch is not None and not torch.present:
        cause = "torch-missing:1"
    elif proof.stage == "import":
        cause = "torch-broken:1"
    elif torch is not None and known(torch.cuda, "") is None:
        cause = "torch-cpu-only:1"
    return Outcome(Verdict.SKIPPED, _NOT_KNOWN, because=cause)


def _failed(facts: Facts, recipe: Recipe, proof: Proof, failed: list[KernelTest]) -> Outcome:
    # Diffusers runs the BF16 files, which never multiply in FP8.
    needless = all(test.name == _FP8 for test in failed)
    needless = needless and route_of(facts, recipe) == "diffusers"
    first = failed[0]
    where = "the CPU" if proof.device == "cpu" else f"your {_short(proof)}"
    row = rules_of_proof().kernel(first.name)
    means = f" {row.means}: {_then(first)}." if row is not None else ""
    more = ", ".join(test.name for test in failed[1:])
    others = f" So did: {more}." if more else ""
    fine = [test.name for test in proof.tests if test.outcome == "ok" and test.tolerance]
    right = f" Right were: {', '.join(fine)}." if fine else ""
    return Outcome(
        Verdict.WARN if needless else Verdict.FAIL,
        f"The kernel {first.name} {_how(first)} on {where}",
        f"{first.says or 'It said nothing'}.{means}{others}{right}",
        evidence=_numbers(proof, failed),
        fixes=(
            Repair(
                "prove-again",
                "system",
                "manual",
                "restart the machine, take off any overclocking, and try again; if it stays, "
                "install another build of PyTorch or another driver",
                (("klein-doctor", "--prove"),),
            ),
        ),
    )


def _how(test: KernelTest) -> str:
    return {"wrong": "gives wrong results", "timeout": "does not end"}.get(test.outcome, "fails")


def _then(test: KernelTest) -> str:
    if test.outcome == "wrong":
        return "pictures would come out as noise or black"
    return "a generation would hang there" if test.outcome == "timeout" else "it would end there"


def _numbers(proof: Proof, failed: list[KernelTest]) -> dict[str, Evidence]:
    return {
        "failed": tuple(test.name for test in failed),
        "error": None if failed[0].error is None else f"{failed[0].error:.3g}",
        "tolerance": f"{failed[0].tolerance:g}",
        "signal": proof.signal,
        "torch": proof.torch,
        "capability": "{}.{}".format(*proof.capability),
    }


def _short(proof: Proof) -> str:
    name = proof.device.removeprefix("NVIDIA ").removeprefix("GeForce ")
    return name or "card"
