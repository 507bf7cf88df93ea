"""Does the target's torch load, reach the card, and calculate right on it? Asked in a child.

The child is the target's own Python; a crash or a hang costs the stage it happens in, and the
kernels after it are tried in a new one.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from klein_doctor.generate.proof_child import End, ProofChild
from klein_doctor.generate.sampling import Sampler
from klein_doctor.generation import KernelTest, Proof
from klein_doctor.privacy import without_folders, without_signature
from klein_doctor.recipe_attention import load_attention
from klein_doctor.recipe_proof import STAGES, Kernel, ProofRules, load_proof
from klein_doctor.values import printable

IMPORT = "import "
_LONGEST = 300
_BAD = {"error": "wrong", "wrong": "wrong", "timeout": "hung"}
_ATTENTION = ("flash", "efficient", "cudnn", "math")


@dataclass
class _Account:
    """What the children have said so far.

    stage: the last one begun. ended: outcome and words of a child that gave up by itself.
    crashed: kernels during which the child died, with the signal.
    """

    rules: ProofRules
    limits: Mapping[str, float]
    told: Callable[[str], None]
    stage: str = "start"
    torch: str = ""
    device: str = ""
    capability: tuple[int, int] = (0, 0)
    attention: str = ""
    tests: list[KernelTest] = field(default_factory=list)
    ended: tuple[str, str] | None = None
    crashed: dict[str, int] = field(default_factory=dict)

    def hear(self, message: dict[str, Any]) -> None:
        """Take in one message; what is not of the promised shape is passed over."""
        stage, torch, attention = (message.get(key) for key in ("stage", "torch", "attention"))
        if isinstance(stage, str):
            self.stage = printable(stage, _LONGEST)
            self.told(self.stage)
        if isinstance(torch, str):
            self.torch = printable(torch, _LONGEST)
        if attention in _ATTENTION:
            self.attention = str(attention)
        card, kernel, package, ended = (
            found if isinstance(found := message.get(key), dict) else {}
            for key in ("card", "kernel", "package", "end")
        )
        if card:
            self._card(card)
        if kernel:
            self._kernel(kernel)
        if package:
            self._package(package)
        if ended.get("outcome") in ("import-failed", "no-cuda", "no-memory"):
            self.ended = (ended["outcome"], said(ended.get("says")))

    def died(self, end: End) -> None:
        """The child died in a kernel or in a package's import; the next goes on after it."""
        row = self.rules.kernel(self.stage)
        outcome = "timeout" if end.how == "hung" else "error"
        limit = self.limits[stage_kind(self.stage)]
        self.crashed[self.stage] = end.signal
        self.tests.append(
            KernelTest(
                self.stage,
                row.required if row else False,
                outcome,
                None,
                _tolerance(row),
                limit if outcome == "timeout" else 0.0,
                said(end.says),
            )
        )

    def _card(self, card: dict[str, Any]) -> None:
        name, pair = card.get("name"), card.get("capability")
        if isinstance(name, str):
            self.device = printable(name, _LONGEST)
        if isinstance(pair, list) and [type(part) for part in pair] == [int, int]:
            self.capability = (pair[0], pair[1])

    def _kernel(self, kernel: dict[str, Any]) -> None:
        row = self.rules.kernel(str(kernel.get("name")))
        if row is None or any(test.name == row.name for test in self.tests):
            return
        outcome, error, says = str(kernel.get("outcome")), kernel.get("error"), kernel.get("says")
        error = float(error) if isinstance(error, (int, float)) else None
        if outcome == "memory" and row.required:
            self.ended = ("no-memory", said(says))
        if outcome == "ran":
            right = error is not None and error <= _tolerance(row)
            outcome = "ok" if right else "wrong"
            if error is None:
                says = "the result is not finite"
            elif not right:
                says = f"relative error {error:.3g}, where rounding explains {row.tolerance}"
        elif outcome != "unsupported":
            outcome = "error"
        seconds = _seconds(kernel.get("seconds"))
        self.tests.append(
            KernelTest(row.name, row.required, outcome, error, _tolerance(row), seconds, said(says))
        )

    def _package(self, package: dict[str, Any]) -> None:
        outcome = "ok" if package.get("outcome") == "ok" else "error"
        name = IMPORT + printable(str(package.get("name")), _LONGEST)
        seconds = _seconds(package.get("seconds"))
        says = said(package.get("says"))
        self.tests.append(KernelTest(name, False, outcome, None, 0.0, seconds, says))


def prove(
    python: str,
    *,
    gpu: str = "",
    env: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
    device: str = "cuda",
    free_mib: int | None = None,
    limits: Mapping[str, float] | None = None,
    left_s: Callable[[], float | None] = lambda: None,
    told: Callable[[str], None] = lambda stage: None,
) -> Proof:
    """Import the target's torch in a child of its own and try the kernels the model needs.

    Args:
        python: the target's interpreter. gpu: UUID of the card, "" for CUDA's first.
        env: the environment to start from, None for ours. stop: when set, the proof ends.
        device: ``cuda`` or ``cpu``. free_mib: free memory of the card, None where nobody knows.
        limits: seconds by stage (recipe_proof.STAGES) in place of the recipe's.
        left_s: seconds left to the run. told: each stage as it begins.

    Raises:
        KeyboardInterrupt: it was asked to stop; nothing it started is left.
        TimeoutError: left_s ran out.
    """
    rules = load_proof()
    began = time.monotonic()
    account = _Account(rules, limits_of(rules, limits or {}), told)
    if device == "cuda" and free_mib is not None and free_mib < rules.need.free_mib:
        says = f"{free_mib} MiB of the card's memory are free; the proof needs "
        account.ended = ("no-memory", f"{says}{rules.need.free_mib}")
        return _proof(account, End("done"), (), began)
    with (
        tempfile.TemporaryDirectory(prefix="klein-doctor-", ignore_cleanup_errors=True) as scratch,
        Sampler(gpu if device == "cuda" else "") as memory,
    ):
        child = ProofChild(
            python,
            _environment(env, gpu),
            Path(scratch),
            stop or threading.Event(),
            left_s,
            memory.root,
        )
        end = _run(child, account, _todo(rules, device), device)
    peaks = tuple(sample.ours_mib for sample in memory.samples())
    return _proof(account, end, peaks, began)


def limits_of(rules: ProofRules, limits: Mapping[str, float]) -> dict[str, float]:
    """Seconds by stage: the recipe's, but for those that are given."""
    return {row.stage: float(limits.get(row.stage, row.seconds)) for row in rules.limits}


def stage_kind(stage: str) -> str:
    """The row of limits that a stage falls under."""
    if stage.startswith(IMPORT):
        return "extension"
    return stage if stage in STAGES else "kernel"


def said(text: object) -> str:
    """One line of what a library said: bounded, without folders, which can name people."""
    line = str(text or "")[: 4 * _LONGEST]
    return printable(without_folders(without_signature(line)), _LONGEST)


def _run(child: ProofChild, account: _Account, todo: list[str], device: str) -> End:
    """Let one child after the other do what is left; how the last one ended."""
    limits = account.limits
    while True:
        job = _job(account.rules, todo, device, limits)
        account.stage = "start"
        end = child.converse(job, lambda: limits[stage_kind(account.stage)], account.hear)
        if account.stage not in todo:
            return end
        if end.how != "done" and not _heard(account):
            account.died(end)
        todo = todo[todo.index(account.stage) + 1 :]
        if end.how == "done" or not todo or account.ended is not None:
            return End("done")


def _heard(account: _Account) -> bool:
    """Whether the stage begun last was told of to its end: then the child ended by itself."""
    return any(test.name == account.stage for test in account.tests)


def _todo(rules: ProofRules, device: str) -> list[str]:
    kernels = [row.name for row in rules.kernels if device == "cuda" or row.on_cpu]
    packages = [row.module for row in load_attention().extensions if row.attention]
    return kernels + [IMPORT + name for name in dict.fromkeys(packages)]


def _job(
    rules: ProofRules, todo: list[str], device: str, limits: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "device": device,
        "kernels": [name for name in todo if not name.startswith(IMPORT)],
        "imports": [name.removeprefix(IMPORT) for name in todo if name.startswith(IMPORT)],
        "fp8_from": rules.fp8_from,
        "need_mib": rules.need.after_context_mib,
        "longest_s": sum(limits[stage_kind(name)] for name in ("import", "context", *todo)),
    }


def _environment(env: Mapping[str, str] | None, gpu: str) -> dict[str, str]:
    """The target's environment, with the one card in sight."""
    found = dict(os.environ if env is None else env)
    # Eager loading of all kernels would take another 0.6 GiB of the card.
    found |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_MODULE_LOADING": "LAZY"}
    return {**found, "CUDA_VISIBLE_DEVICES": gpu} if gpu else found


def _proof(account: _Account, end: End, peaks: tuple[int, ...], began: float) -> Proof:
    outcome, stage, says, signal = _outcome(account, end)
    return Proof(
        outcome=outcome,
        stage=stage,
        says=says,
        signal=signal,
        torch=account.torch,
        device=account.device,
        capability=account.capability,
        attention=account.attention,
        tests=tuple(account.tests),
        peak_mib=max(peaks, default=-1),
        seconds=round(time.monotonic() - began, 3),
    )


def _outcome(account: _Account, end: End) -> tuple[str, str, str, int]:
    """Outcome, stage, words and signal: of the first required kernel that failed, before all."""
    bad = next((test for test in account.tests if test.required and test.outcome in _BAD), None)
    if account.ended is not None and (bad is None or account.ended[0] == "no-memory"):
        return account.ended[0], account.stage, account.ended[1], 0
    if bad is not None:
        how = _BAD[bad.outcome]
        if how == "wrong" and bad.name in account.crashed:
            how = "crashed"
        return how, bad.name, bad.says, account.crashed.get(bad.name, 0)
    if end.how == "done":
        return "ok", account.stage, "", 0
    how = end.how
    if how == "crashed" and account.stage == "start":
        how = "not-started"  # the interpreter itself did not get as far as the script
    return how, account.stage, said(end.says), end.signal


def _tolerance(row: Kernel | None) -> float:
    return float(row.tolerance) if row is not None else 0.0


def _seconds(value: object) -> float:
    return round(float(value), 4) if isinstance(value, (int, float)) else 0.0
