"""The kernel proof: on the real torch of this environment, and on such as crash, hang or lie."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fake_torch import BROKEN, put, with_path

from klein_doctor.codec import decode, encode
from klein_doctor.generate import proof_child, proof_script
from klein_doctor.generate import prove as module
from klein_doctor.generate.proof_child import SCRIPT
from klein_doctor.generate.prove import prove
from klein_doctor.generation import Proof
from klein_doctor.recipe_proof import load_proof

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
SHORT = {"start": 60.0, "import": 2.0, "context": 2.0, "kernel": 2.0, "extension": 2.0}
PATIENT = dict.fromkeys(SHORT, 120.0)


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def broken(how: str, folder: Path, **more: object) -> Proof:
    limits = SHORT if "hangs" in how or "without end" in how else PATIENT
    return prove(sys.executable, env=put(folder, BROKEN[how]), limits=limits, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def real() -> Proof:
    pytest.importorskip("torch")
    return prove(sys.executable, device="cpu", limits=PATIENT)


class TestRealTorch:
    def test_every_kernel_is_right(self, real: Proof) -> None:
        assert (real.outcome, real.says, real.signal) == ("ok", "", 0)
        assert real.device == "cpu" and real.torch
        done = {test.name: test for test in real.tests}
        for row in load_proof().kernels:
            if row.on_cpu and row.required:
                assert done[row.name].outcome == "ok"
                error = done[row.name].error
                assert error is not None and 0 < error < float(row.tolerance)

    def test_it_tells_which_attention_is_picked(self, real: Proof) -> None:
        assert real.attention in ("flash", "math")

    def test_what_needs_a_card_is_not_tried(self, real: Proof) -> None:
        assert not {"fp8 matmul", "attention cudnn"} & {test.name for test in real.tests}

    def test_a_report_holds_it(self, real: Proof) -> None:
        assert decode(Proof, encode(real, "public")) == real

    def test_stages_are_told_as_they_begin(self) -> None:
        told: list[str] = []
        prove(sys.executable, device="cpu", limits=PATIENT, told=told.append)
        assert told[:3] == ["import", "context", "bf16 matmul"]

    def test_a_torch_for_the_cpu_has_no_cuda(self) -> None:
        torch = pytest.importorskip("torch")
        if torch.version.cuda:
            pytest.skip("this torch is built for CUDA")
        found = prove(sys.executable, limits=PATIENT)
        assert (found.outcome, found.stage) == ("no-cuda", "context")
        assert "not compiled with CUDA" in found.says
        assert found.tests == () and found.torch


class TestImport:
    @pytest.mark.parametrize(
        ("how", "outcome", "says"),
        [
            ("raises", "import-failed", "ImportError: libtorch_cuda.so: undefined symbol"),
            ("lacks a library", "import-failed", "OSError: libcudart.so.13: cannot open"),
            ("exits", "import-failed", "SystemExit: 3"),
            ("is empty", "import-failed", "torch"),
            ("floods", "import-failed", "ImportError: after the flood"),
            ("ends silently", "crashed", "exit code 0"),
            ("ends with a code", "crashed", "exit code 3: MKL ERROR"),
            ("hangs", "hung", "no answer within 2 s"),
            ("hangs deaf", "hung", "no answer within 2 s"),
            ("floods without end", "hung", "no answer within 2 s"),
        ],
    )
    def test_how_it_ended_is_told(self, how: str, outcome: str, says: str, tmp_path: Path) -> None:
        found = broken(how, tmp_path)
        assert (found.outcome, found.stage) == (outcome, "import")
        assert says in found.says
        assert found.torch == "" and found.tests == ()

    @posix
    @pytest.mark.parametrize(
        ("how", "number"),
        [("segfaults", signal.SIGSEGV), ("is killed", signal.SIGKILL), ("aborts", signal.SIGABRT)],
    )
    def test_a_crash_names_its_signal(
        self, how: str, number: signal.Signals, tmp_path: Path
    ) -> None:
        found = broken(how, tmp_path)
        assert (found.outcome, found.stage) == ("crashed", "import")
        assert (found.signal, found.says) == (number, number.name)

    def test_one_that_closes_all_its_pipes_ends_all_the_same(self, tmp_path: Path) -> None:
        assert broken("closes its output", tmp_path).outcome in ("hung", "crashed")

    def test_folders_are_left_out_since_they_name_people(self, tmp_path: Path) -> None:
        assert broken("names a folder", tmp_path).says == "OSError: libcudart.so.13: cannot open"

    def test_a_module_where_the_doctor_was_started_stands_in_no_way(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("torch")
        put(tmp_path, BROKEN["raises"])
        monkeypatch.chdir(tmp_path)
        assert prove(sys.executable, device="cpu", limits=PATIENT).outcome == "ok"


class TestCard:
    @pytest.mark.parametrize(
        ("how", "outcome", "says"),
        [
            ("has no driver", "no-cuda", "RuntimeError: CUDA unknown error"),
            ("hangs at CUDA", "hung", "no answer within 2 s"),
            ("finds the card full", "no-memory", "out of memory"),
            ("finds too little room", "no-memory", "10 MiB of the card are free"),
        ],
    )
    def test_how_it_ended_is_told(self, how: str, outcome: str, says: str, tmp_path: Path) -> None:
        found = broken(how, tmp_path)
        assert (found.outcome, found.stage, found.torch) == (outcome, "context", "2.14.1+cu130")
        assert says in found.says

    @posix
    def test_a_crash(self, tmp_path: Path) -> None:
        found = broken("crashes at CUDA", tmp_path)
        assert (found.outcome, found.stage) == ("crashed", "context")
        assert found.signal == signal.SIGSEGV

    def test_the_card_is_named(self, tmp_path: Path) -> None:
        found = broken("finds too little room", tmp_path)
        assert (found.device, found.capability) == ("NVIDIA GeForce RTX 5070", (12, 0))

    def test_too_little_memory_starts_nothing(self, tmp_path: Path) -> None:
        found = prove(str(tmp_path / "none"), free_mib=500)
        assert (found.outcome, found.stage) == ("no-memory", "start")
        assert found.says.startswith("500 MiB of the card's memory are free")

    def test_the_chosen_card_alone_is_in_sight(self, tmp_path: Path) -> None:
        source = (
            "import os; raise ImportError(' '.join(os.environ[k] for k in "
            + repr(["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"])
            + "))"
        )
        env = {**put(tmp_path, source), "CUDA_VISIBLE_DEVICES": "3"}
        found = prove(sys.executable, gpu="GPU-1", env=env, limits=SHORT)
        assert found.says == "ImportError: GPU-1 PCI_BUS_ID"


class TestInterpreter:
    def test_none_is_there(self, tmp_path: Path) -> None:
        found = prove(str(tmp_path / "python"), device="cpu")
        assert (found.outcome, found.stage) == ("not-started", "start")

    @posix
    def test_it_does_not_start(self, tmp_path: Path) -> None:
        fake = tmp_path / "python"
        fake.write_text("#!/bin/sh\necho 'Fatal Python error: no encodings' >&2\nexit 1\n")
        fake.chmod(0o755)
        found = prove(str(fake), device="cpu", limits=SHORT)
        assert (found.outcome, found.stage) == ("not-started", "start")
        assert found.says == "exit code 1: Fatal Python error: no encodings"

    @posix
    def test_it_hangs(self, tmp_path: Path) -> None:
        fake = tmp_path / "python"
        fake.write_text("#!/bin/sh\nsleep 600 & wait\n")
        fake.chmod(0o755)
        found = prove(str(fake), device="cpu", limits={"start": 1.0})
        assert (found.outcome, found.stage) == ("hung", "start")


def around_real(folder: Path, changed: str) -> dict[str, str]:
    """The real torch, but for what the lines change once it is loaded."""
    lines = "".join(f"        {line}\n" for line in changed.splitlines())
    (folder / "sitecustomize.py").write_text(
        "import importlib\n"
        "load = importlib.import_module\n"
        "def import_module(name, package=None):\n"
        "    torch = load(name, package)\n"
        f"    if name == 'torch':\n{lines}"
        "    return torch\n"
        "importlib.import_module = import_module\n",
        encoding="utf-8",
    )
    return with_path(folder)


class TestKernels:
    @pytest.fixture(autouse=True)
    def torch(self) -> None:
        pytest.importorskip("torch")

    def on(self, folder: Path, changed: str) -> tuple[Proof, dict[str, str]]:
        limits = {**PATIENT, "kernel": 8.0}
        found = prove(sys.executable, env=around_real(folder, changed), device="cpu", limits=limits)
        return found, {test.name: test.outcome for test in found.tests}

    def test_wrong_numbers(self, tmp_path: Path) -> None:
        conv = "conv = torch.nn.functional.conv2d\ntorch.nn.functional.conv2d = "
        scaled = (
            conv + "lambda x, *a, **k: conv(x, *a, **k) * (-1 if x.dtype == torch.bfloat16 else 1)"
        )
        found, outcomes = self.on(tmp_path, scaled)
        assert (found.outcome, found.stage) == ("wrong", "convolution")
        assert "relative error" in found.says and outcomes["bf16 matmul"] == "ok"

    def test_not_a_number(self, tmp_path: Path) -> None:
        silu = "silu = torch.nn.functional.silu\ntorch.nn.functional.silu = "
        spoilt = silu + "lambda x: silu(x) * (float('nan') if x.dtype == torch.bfloat16 else 1)"
        found, _ = self.on(tmp_path, spoilt)
        (test,) = (test for test in found.tests if test.outcome == "wrong")
        assert test.error is None and test.says == "the result is not finite"

    def test_an_error_costs_the_others_nothing(self, tmp_path: Path) -> None:
        raises = "def no(*a, **k): raise RuntimeError('CUDA error: no kernel image is available')\n"
        found, outcomes = self.on(tmp_path, raises + "torch.nn.functional.conv2d = no")
        assert (found.outcome, found.stage) == ("wrong", "convolution")
        assert found.says == "RuntimeError: CUDA error: no kernel image is available"
        assert outcomes["attention"] == "ok"

    @posix
    def test_a_crash_costs_the_others_nothing(self, tmp_path: Path) -> None:
        crash = "def no(*a, **k):\n    import ctypes; ctypes.string_at(0)\n"
        changed = crash + "torch.nn.functional.scaled_dot_product_attention = no"
        found, outcomes = self.on(tmp_path, changed)
        assert (found.outcome, found.stage) == ("crashed", "attention")
        assert (found.signal, found.says) == (signal.SIGSEGV, "SIGSEGV")
        assert outcomes["attention math"] == "error" and outcomes["convolution"] == "ok"

    def test_a_hang_costs_the_others_nothing(self, tmp_path: Path) -> None:
        hang = "def no(*a, **k):\n    import time; time.sleep(600)\n"
        found, outcomes = self.on(tmp_path, hang + "torch.nn.functional.conv2d = no")
        assert (found.outcome, found.stage) == ("hung", "convolution")
        assert outcomes["convolution"] == "timeout" and outcomes["bf16 matmul"] == "ok"

    def test_a_kernel_that_is_not_offered_is_no_fault(self, tmp_path: Path) -> None:
        changed = "import torch.nn.attention as a\na.SDPBackend = object()"
        found, outcomes = self.on(tmp_path, changed)
        assert found.outcome == "ok" and outcomes["attention flash"] == "unsupported"

    def test_memory_that_runs_out(self, tmp_path: Path) -> None:
        full = "def no(*a, **k): raise torch.OutOfMemoryError('CUDA out of memory. Tried to')\n"
        found, _ = self.on(tmp_path, full + "torch.nn.functional.conv2d = no")
        assert found.outcome == "no-memory" and "out of memory" in found.says


class TestPackages:
    @pytest.fixture(autouse=True)
    def torch(self) -> None:
        pytest.importorskip("torch")

    def test_each_import_is_reported_and_decides_nothing(self, tmp_path: Path) -> None:
        put(tmp_path, "raise OSError('libcudart.so.12: cannot open')", "flash_attn")
        crash = (
            "import ctypes; ctypes.string_at(0)" if os.name == "posix" else "import os; os._exit(9)"
        )
        put(tmp_path, crash, "xformers")
        put(tmp_path, "", "sageattention")
        (tmp_path / "flash_attn_3").mkdir()  # a folder alone is no package
        found = prove(sys.executable, env=with_path(tmp_path), device="cpu", limits=PATIENT)
        tests = {test.name: test for test in found.tests if test.name.startswith("import ")}
        assert found.outcome == "ok"
        assert tests["import flash_attn"].says == "OSError: libcudart.so.12: cannot open"
        assert tests["import xformers"].outcome == "error"
        assert tests["import sageattention"].outcome == "ok"
        assert set(tests) == {"import flash_attn", "import xformers", "import sageattention"}
        assert not any(test.required for test in tests.values())


class TestEnding:
    def test_asked_to_stop_it_leaves_nothing(self, tmp_path: Path) -> None:
        stop = threading.Event()

        def told(stage: str) -> None:
            if stage == "import":
                stop.set()

        with pytest.raises(KeyboardInterrupt):
            broken("hangs deaf", tmp_path, stop=stop, told=told)

    def test_out_of_time_it_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(TimeoutError):
            broken("hangs", tmp_path, left_s=lambda: 0.0)

    @posix
    def test_what_it_started_ends_with_it(self, tmp_path: Path) -> None:
        source = (
            "import subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
            f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
            "while True: time.sleep(1)\n"
        )
        prove(sys.executable, env=put(tmp_path / "lib", source), limits=SHORT)
        assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))

    @pytest.mark.skipif(sys.platform != "linux", reason="the kernel sees to it on Linux")
    def test_killed_it_takes_its_child_along(self, tmp_path: Path) -> None:
        source = f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        env = put(tmp_path / "lib", source + "time.sleep(600)")
        script = (
            "import os, sys; from klein_doctor.generate.prove import prove\n"
            f"prove(sys.executable, env={{**os.environ, 'PYTHONPATH': {env['PYTHONPATH']!r}}})"
        )
        own = {**os.environ, "TMPDIR": str(tmp_path)}
        doctor = subprocess.Popen([sys.executable, "-c", script], env=own)
        try:
            child = _written(tmp_path / "pid")
        finally:
            doctor.kill()
            doctor.wait()
        _gone(child)

    def test_left_alone_it_ends_by_itself(self, tmp_path: Path) -> None:
        job = {"device": "cpu", "kernels": [], "imports": [], "fp8_from": [8, 9], "need_mib": 0}
        text = SCRIPT.read_bytes()
        argv = [sys.executable, "-c", proof_child._BOOT, str(len(text)), str(SCRIPT)]
        orphan = subprocess.run(
            argv, env=put(tmp_path, BROKEN["hangs deaf"]), capture_output=True, check=False,
            input=text + json.dumps({**job, "longest_s": 1.0}).encode() + b"\n",
        )  # fmt: skip
        assert orphan.returncode == 1
        assert orphan.stdout == b'{"stage": "import"}\n'


def _written(path: Path) -> int:
    for _ in range(600):
        text = path.read_text() if path.exists() else ""
        if text:
            return int(text)
        time.sleep(0.05)
    raise AssertionError("the child never began")


def _gone(pid: int) -> None:
    for _ in range(600):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    raise AssertionError("the child lives on")


class TestScript:
    def test_it_runs_on_python_3_9(self) -> None:
        ast.parse(SCRIPT.read_text("utf-8"), feature_version=(3, 9))

    def test_it_needs_nothing_but_the_standard_library(self) -> None:
        tree = ast.parse(SCRIPT.read_text("utf-8"))
        names = {
            alias.name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            (node.module or "").partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
        }
        assert names <= sys.stdlib_module_names

    def test_it_knows_every_kernel_of_the_recipe(self) -> None:
        torch = pytest.importorskip("torch")
        kernels = proof_script.Kernels(torch, "cpu", (0, 0), (8, 9))
        for row in load_proof().kernels:
            if row.on_cpu:
                run, reference = kernels.named(row.name)
                assert run().shape == reference().shape
            elif not row.name.startswith("attention"):
                with pytest.raises(proof_script.Unsupported):
                    kernels.named(row.name)

    def test_every_stage_has_its_time(self) -> None:
        limits = module.limits_of(load_proof(), {"kernel": 1.5})
        assert limits["kernel"] == 1.5 and limits["import"] > 60
        kinds = {module.stage_kind(name) for name in ("start", "import", "context", "attention")}
        assert kinds == {"start", "import", "context", "kernel"}
        assert module.stage_kind("import flash_attn") == "extension"
