"""Whatever is not known: no check crashes, no pass turns into a fail, every doubt has a reason."""

from __future__ import annotations

import recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import RECIPE

from klein_doctor.engine import judge
from klein_doctor.model import Facts, Gpu, Interpreter, Known, Nvml, Package, Unknown, Verdict
from klein_doctor.registry import catalogue

MACHINES = {name: recorded.report(name).facts for name in recorded.names()}
GONE = Unknown("not read")
INNER = {
    "nvml": [n for n in Nvml._fields if n in ("driver", "cuda", "cuda_library")],
    "interpreter": ["version"],
    "torch": ["version", "cuda"],
    "torchvision": ["version", "cuda"],
    "torch_binary": ["archs"],
}
GPU_FIELDS = ["name", "compute_capability", "total_bytes", "free_bytes", "compute_mode",
              "mig_enabled", "processes"]  # fmt: skip


def test_the_lists_above_name_real_fields() -> None:
    assert set(GPU_FIELDS) <= set(Gpu._fields)
    assert set(INNER["torch"]) <= set(Package._fields)
    assert set(INNER["interpreter"]) <= set(Interpreter._fields)
    assert set(INNER) <= set(Facts._fields)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(MACHINES)),
    st.sets(st.sampled_from([n for n in Facts._fields if n != "faults"]), max_size=3),
    st.sets(st.sampled_from([(o, i) for o, fields in INNER.items() for i in fields]), max_size=3),
    st.sets(st.sampled_from(GPU_FIELDS), max_size=2),
)
def test_ignorance_is_never_a_fault(
    name: str, outer: set[str], inner: set[tuple[str, str]], gpu: set[str]
) -> None:
    facts = MACHINES[name]
    before = {f.id: f.verdict for f in judge(facts, RECIPE, catalogue())}
    for field, part in inner:
        fact = getattr(facts, field)
        if isinstance(fact, Known):
            facts = facts._replace(**{field: Known(fact.value._replace(**{part: GONE}))})
    if isinstance(facts.nvml, Known) and gpu:
        blank = tuple(g._replace(**dict.fromkeys(gpu, GONE)) for g in facts.nvml.value.gpus)
        facts = facts._replace(nvml=Known(facts.nvml.value._replace(gpus=blank)))
    facts = facts._replace(**dict.fromkeys(outer, GONE))
    for finding in judge(facts, RECIPE, catalogue()):
        assert finding.verdict is not Verdict.CRASHED, finding.reason
        if finding.verdict is Verdict.UNKNOWN:
            assert finding.reason
        if finding.verdict is Verdict.SKIPPED:
            assert finding.because
        if finding.verdict is Verdict.FAIL and before[finding.id] is Verdict.PASS:
            # An unreadable version file is itself a damaged installation.
            assert finding.check == "torch-broken" and ("torch", "version") in inner


def test_a_report_with_nothing_but_doubts_is_undecided() -> None:
    nothing = Facts(*[GONE] * len(Facts._fields))
    found = judge(nothing, RECIPE, catalogue())
    assert {f.verdict for f in found} == {Verdict.UNKNOWN}
