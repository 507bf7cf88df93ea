"""read_nvml through the real nvidia-ml-py and a compiled stand-in of the driver's library."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from klein_doctor.model import Gpu, GpuProcess, Known, Nvml, Private, Unknown
from klein_doctor.probes import nvml as probe
from klein_doctor.probes import nvml_child
from klein_doctor.probes.nvml import read_nvml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from standin import build_libcuda, build_standin, compiler, describe, gpu

needs_compiler = pytest.mark.skipif(not compiler(), reason="no C compiler (cc, gcc or clang)")
Ask = Callable[..., Nvml]
LIMIT_S = 20.0
SHORT_S = 1.5


def redact(text: str) -> Private:
    return Private(text, text, "GPU-hidden")


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the compiled libraries, by what is in them."""
    root = tmp_path_factory.mktemp("standin")
    built = {"nvml": build_standin(root / "nvml"), "old": build_standin(root / "old", old=True)}
    for behaviour in ("loads", "crashes", "hangs"):
        built[behaviour] = build_libcuda(root / behaviour, behaviour)
    return {name: library.parent for name, library in built.items()}


@pytest.fixture
def ask(tmp_path: Path, libraries: dict[str, Path]) -> Ask:
    """Ask the stand-in that answers with the lines; every child is gone afterwards."""

    def _ask(*lines: str, limit_s: float = LIMIT_S, use: tuple[str, ...] = ("nvml",)) -> Nvml:
        before = set(psutil.Process().children(recursive=True))
        env = describe(tmp_path, lines, *(libraries[name] for name in use))
        answer = read_nvml(limit_s, redact, env)
        assert set(psutil.Process().children(recursive=True)) == before
        return answer

    return _ask


def only(nvml: Nvml) -> Gpu:
    assert len(nvml.gpus) == 1
    return nvml.gpus[0]


@needs_compiler
class TestAnswers:
    def test_one_gpu(self, ask: Ask) -> None:
        nvml = ask(*gpu(0, display=1, mode=3, mig=0))
        assert (nvml.outcome, nvml.detail) == ("ok", "")
        assert nvml.driver == Known("580.95.05")
        assert nvml.cuda == Known((13, 0))
        one = only(nvml)
        assert one.name == Known("NVIDIA GeForce RTX 5090")
        assert one.uuid.real == "GPU-00000000-aaaa-bbbb-cccc-dddddddddddd"
        assert one.uuid.public == "GPU-hidden"
        assert one.compute_capability == Known((12, 0))
        assert one.total_bytes == Known(34190917632)
        assert one.reserved_bytes == Known(500000000)
        assert one.used_bytes == Known(1000000000)
        assert one.free_bytes == Known(32690917632)
        assert one.display_active == Known(True)
        assert one.compute_mode == Known("exclusive-process")
        assert one.mig_enabled == Known(False)
        assert one.processes == Known(())
        assert one.fault == ""

    def test_sixteen_gpus(self, ask: Ask) -> None:
        nvml = ask(*(line for index in range(16) for line in gpu(index, name=f"card {index}")))
        assert [each.nvml_index for each in nvml.gpus] == list(range(16))
        assert [each.name for each in nvml.gpus] == [Known(f"card {n}") for n in range(16)]

    def test_no_gpu(self, ask: Ask) -> None:
        nvml = ask("count=0")
        assert (nvml.outcome, nvml.gpus) == ("ok", ())

    def test_cuda_12_8(self, ask: Ask) -> None:
        assert ask("cuda=12080").cuda == Known((12, 8))

    def test_what_is_not_supported_is_unknown(self, ask: Ask) -> None:
        nvml = ask("driver=error 3", "cuda=error 3", "gpu.0.uuid=GPU-1")
        refused = Unknown("NVML: Not Supported")
        one = only(nvml)
        assert nvml.outcome == "ok"
        assert (nvml.driver, nvml.cuda) == (refused, refused)
        facts = (one.name, one.compute_capability, one.total_bytes, one.reserved_bytes)
        more = (one.used_bytes, one.free_bytes, one.display_active, one.compute_mode)
        rest = (one.mig_enabled, one.processes, one.driver_model)
        assert {*facts, *more, *rest} == {refused}
        assert one.fault == ""

    @pytest.mark.parametrize(("value", "name"), [(0, "WDDM"), (1, "TCC"), (2, "MCDM")])
    def test_driver_model(self, ask: Ask, value: int, name: str) -> None:
        assert only(ask(*gpu(0, model=value))).driver_model == Known(name)

    def test_value_nobody_knows(self, ask: Ask) -> None:
        one = only(ask(*gpu(0, mode=9)))
        assert one.compute_mode == Unknown("value 9 is not known to the doctor")

    def test_memory_the_old_way(self, ask: Ask) -> None:
        one = only(ask(*gpu(0, memory_v2="error 3")))
        assert one.total_bytes == Known(34190917632)
        assert one.free_bytes == Known(32690917632)
        assert one.used_bytes == Known(1500000000)
        assert isinstance(one.reserved_bytes, Unknown)

    def test_driver_without_the_newer_functions(self, ask: Ask) -> None:
        one = only(ask(*gpu(0, process="77:5"), "name.77=python", use=("old",)))
        assert one.total_bytes == Known(34190917632)
        assert isinstance(one.reserved_bytes, Unknown)
        assert one.processes == Known((GpuProcess(77, "python", Known(5)),))

    def test_mig(self, ask: Ask) -> None:
        slices = ("gpu.0.mig.0.uuid=MIG-a", "gpu.0.mig.0.total=10", "gpu.0.mig.3.uuid=MIG-d")
        one = only(ask(*gpu(0, mig=1), "gpu.0.mig.max=7", *slices))
        assert one.mig_enabled == Known(True)
        assert [part.uuid.real for part in one.mig_instances] == ["MIG-a", "MIG-d"]
        assert [part.uuid.public for part in one.mig_instances] == ["GPU-hidden"] * 2
        assert one.mig_instances[0].total_bytes == Known(10)
        assert one.mig_instances[1].total_bytes == Unknown("NVML: Not Supported")

    def test_texts_are_bounded_and_harmless(self, ask: Ask) -> None:
        one = only(ask(*gpu(0, name="\x1b[2J" + "x" * 80)))
        assert one.name == Known("?[2J" + "x" * 80)


@needs_compiler
class TestProcesses:
    def test_lists_are_merged_by_pid(self, ask: Ask) -> None:
        lists = ("gpu.0.process=9:700", "gpu.0.graphics=9:700", "gpu.0.graphics=3:200")
        names = ("name.3=/usr/lib/xorg/Xorg -core :0", "name.9=/opt/app/python3")
        one = only(ask(*gpu(0, process=None, graphics=None), *lists, *names, "gpu.0.mps=4:1"))
        assert isinstance(one.processes, Known)
        found = {each.pid: (each.name, each.used_bytes) for each in one.processes.value}
        assert found[3] == ("Xorg", Known(200))
        assert found[9] == ("python3", Known(700))
        assert list(found) == [3, 9]  # the MPS list said "none" first

    def test_without_bytes(self, ask: Ask) -> None:
        one = only(ask(*gpu(0, process="5:none"), "name.5=C:\\Program Files\\A\\a b.exe --x=C:\\y"))
        assert isinstance(one.processes, Known)
        (process,) = one.processes.value
        assert process.name == "a b.exe"
        assert isinstance(process.used_bytes, Unknown)

    def test_slices_of_one_process_add_up(self, ask: Ask) -> None:
        one = only(ask(*gpu(0, process="5:10:1"), "gpu.0.process=5:20:2", "name.5=x"))
        assert one.processes == Known((GpuProcess(5, "x", Known(30)),))

    def test_name_from_the_system(self, ask: Ask) -> None:
        one = only(ask(*gpu(0, process=f"{os.getpid()}:1")))
        assert isinstance(one.processes, Known)
        comm = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
        assert one.processes.value[0].name == comm

    def test_process_that_nobody_can_name(self, ask: Ask) -> None:
        one = only(ask(*gpu(0, process="4294967294:1")))
        assert one.processes == Known((GpuProcess(4294967294, "", Known(1)),))

    def test_many_are_cut(self, ask: Ask) -> None:
        more = [f"gpu.0.process={pid}:1" for pid in range(5000001, 5000400)]
        one = only(ask(*gpu(0, process="5000000:1"), *more))
        assert isinstance(one.processes, Known)
        assert len(one.processes.value) == 256


@needs_compiler
class TestErrors:
    @pytest.mark.parametrize(
        ("code", "outcome", "words"),
        [
            (4, "no-permission", "Insufficient Permissions"),
            (9, "driver-not-loaded", "Driver Not Loaded"),
            (12, "library-missing", "NVML Shared Library Not Found"),
            (15, "error", "GPU is lost"),
            (18, "version-mismatch", "RM has detected an NVML/RM version mismatch."),
            (77, "error", "an error of the stand-in"),
            (999, "error", "Unknown Error"),
        ],
    )
    def test_init(self, ask: Ask, code: int, outcome: str, words: str) -> None:
        nvml = ask(f"init=error {code}")
        assert (nvml.outcome, nvml.stage, nvml.gpus) == (outcome, "nvmlInit", ())
        assert words in nvml.detail
        assert isinstance(nvml.driver, Unknown)
        assert isinstance(nvml.cuda_library, Known)

    def test_count_fails_after_the_driver_answered(self, ask: Ask) -> None:
        nvml = ask("count=error 999")
        assert (nvml.outcome, nvml.stage) == ("error", "GPU count")
        assert nvml.driver == Known("580.95.05")

    @pytest.mark.parametrize(("code", "words"), [(15, "GPU is lost"), (4, "Insufficient")])
    def test_gpu_without_a_handle(self, ask: Ask, code: int, words: str) -> None:
        nvml = ask(*gpu(0), *gpu(1, handle=f"error {code}"), *gpu(2))
        assert nvml.outcome == "ok"
        assert [each.nvml_index for each in nvml.gpus] == [0, 1, 2]
        assert words in nvml.gpus[1].fault
        assert nvml.gpus[1].name == Unknown(nvml.gpus[1].fault)
        assert (nvml.gpus[0].fault, nvml.gpus[2].fault) == ("", "")

    def test_gpu_lost_after_its_handle(self, ask: Ask) -> None:
        one = only(ask(*gpu(0, memory="error 15")))
        assert one.fault == "NVML: GPU is lost"
        assert one.name == Known("NVIDIA GeForce RTX 5090")
        assert one.total_bytes == Unknown("NVML: GPU is lost")

    def test_no_library(self, tmp_path: Path) -> None:
        nvml = read_nvml(LIMIT_S, redact, {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)})
        assert nvml.outcome == "library-missing"


@needs_compiler
class TestSilence:
    def test_hang_in_init(self, ask: Ask) -> None:
        began = time.monotonic()
        nvml = ask("init=hang", limit_s=SHORT_S)
        assert SHORT_S <= time.monotonic() - began < SHORT_S + 2
        assert (nvml.outcome, nvml.stage) == ("hung", "nvmlInit")
        assert nvml.driver == Unknown("NVML hung before this was read (nvmlInit)")
        assert isinstance(nvml.cuda_library, Unknown)

    def test_hang_in_the_second_gpu_keeps_the_first(self, ask: Ask) -> None:
        nvml = ask(*gpu(0, mig=0, model=0), *gpu(1, memory="hang"), *gpu(2), limit_s=SHORT_S)
        assert (nvml.outcome, nvml.stage) == ("hung", "GPU 1 memory")
        first, second = nvml.gpus
        assert first.processes == Known(())
        assert second.name == Known("NVIDIA GeForce RTX 5090")
        assert second.total_bytes == Unknown("NVML hung before this was read (GPU 1 memory)")

    def test_crash_in_init(self, ask: Ask) -> None:
        nvml = ask("init=crash")
        assert (nvml.outcome, nvml.stage, nvml.detail) == ("crashed", "nvmlInit", "SIGSEGV")

    def test_crash_in_the_second_gpu_keeps_the_first(self, ask: Ask) -> None:
        nvml = ask(*gpu(0), *gpu(1, name="crash"))
        assert (nvml.outcome, nvml.stage, nvml.detail) == ("crashed", "GPU 1 name", "SIGSEGV")
        assert nvml.gpus[0].free_bytes == Known(32690917632)

    def test_library_that_prints(self, ask: Ask) -> None:
        nvml = ask('print={"stage": "no"} {"done": true}', *gpu(0))
        assert nvml.outcome == "ok"
        assert only(nvml).name == Known("NVIDIA GeForce RTX 5090")

    def test_library_that_prints_our_words(self, ask: Ask) -> None:
        nvml = ask('print={"done": true}', *gpu(0))
        assert len(nvml.gpus) == 1


@needs_compiler
class TestCudaLibrary:
    def test_loads(self, ask: Ask) -> None:
        nvml = ask(*gpu(0), use=("nvml", "loads"))
        assert (nvml.outcome, nvml.cuda_library) == ("ok", Known("loaded"))

    def test_missing(self, ask: Ask) -> None:
        nvml = ask(*gpu(0))
        assert nvml.outcome == "ok"
        assert isinstance(nvml.cuda_library, Known)
        assert "libcuda.so.1" in nvml.cuda_library.value

    def test_crashes(self, ask: Ask) -> None:
        nvml = ask(*gpu(0), use=("nvml", "crashes"))
        assert (nvml.outcome, len(nvml.gpus)) == ("ok", 1)
        assert nvml.cuda_library == Known("loading it crashed (SIGSEGV)")

    def test_hangs(self, ask: Ask) -> None:
        nvml = ask(*gpu(0), use=("nvml", "hangs"), limit_s=SHORT_S)
        assert (nvml.outcome, len(nvml.gpus)) == ("ok", 1)
        assert nvml.cuda_library == Unknown("loading it did not end (no answer within 1.5 s)")

    def test_hangs_after_an_error(self, ask: Ask) -> None:
        nvml = ask("init=error 9", use=("nvml", "hangs"), limit_s=SHORT_S)
        assert (nvml.outcome, nvml.stage) == ("driver-not-loaded", "nvmlInit")
        assert isinstance(nvml.cuda_library, Unknown)


class TestChild:
    """Children that are no Python, or speak another language."""

    @staticmethod
    def fake(tmp_path: Path, script: str) -> str:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    def test_cannot_be_started(self, tmp_path: Path) -> None:
        nvml = read_nvml(LIMIT_S, redact, python=str(tmp_path / "anna" / "python"))
        assert nvml.outcome == "error"
        assert "could not start" in nvml.detail
        assert "anna" not in nvml.detail

    def test_ends_without_a_word(self, tmp_path: Path) -> None:
        nvml = read_nvml(LIMIT_S, redact, python=self.fake(tmp_path, "exit 3"))
        assert (nvml.outcome, nvml.detail) == ("crashed", "exit code 3")

    def test_talks_without_end(self, tmp_path: Path) -> None:
        nvml = read_nvml(LIMIT_S, redact, python=self.fake(tmp_path, "exec yes"))
        assert (nvml.outcome, nvml.detail) == ("error", "NVML's answers were longer than 1 MB")

    def test_one_endless_line(self, tmp_path: Path) -> None:
        nvml = read_nvml(LIMIT_S, redact, python=self.fake(tmp_path, "exec cat /dev/zero"))
        assert nvml.outcome == "error"

    def test_closes_its_output_and_stays(self, tmp_path: Path) -> None:
        nvml = read_nvml(SHORT_S, redact, python=self.fake(tmp_path, "exec sleep 99 >&-"))
        assert nvml.outcome == "hung"

    def test_what_it_started_ends_with_it(self, tmp_path: Path) -> None:
        noted = tmp_path / "pid"
        script = f"sleep 99 & echo $! > '{noted}'; wait"
        nvml = read_nvml(SHORT_S, redact, python=self.fake(tmp_path, script))
        assert nvml.outcome == "hung"
        pid = int(noted.read_text(encoding="utf-8"))
        gone = not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"
        assert gone

    def test_pynvml_is_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bare = self.fake(tmp_path, f"exec '{sys.executable}' -S \"$@\"")
        monkeypatch.setattr(sys, "path", [])
        nvml = read_nvml(LIMIT_S, redact, python=bare)
        assert (nvml.outcome, nvml.stage) == ("error", "import pynvml")
        assert nvml.detail == "ModuleNotFoundError: No module named 'pynvml'"

    def test_pynvml_is_found_along_our_path_and_broken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bare = self.fake(tmp_path, f"exec '{sys.executable}' -S \"$@\"")
        (tmp_path / "pynvml.py").write_text("raise OSError('torn')", encoding="utf-8")
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        nvml = read_nvml(LIMIT_S, redact, python=bare)
        assert (nvml.outcome, nvml.detail) == ("error", "OSError: torn")

    @pytest.mark.parametrize(
        "line",
        [
            b"garbage",
            b"\xff\xfe{",
            b"123",
            b'{"gpu":' + b"[" * 100_000,
            b'{"stage": 5, "gpu": {"index": "x"}, "system": [], "error": {"code": "y"}}',
            b'{"gpu": 7, "cuda_library": null, "done": "yes"}',
        ],
    )
    def test_lines_that_mean_nothing(self, line: bytes) -> None:
        account = probe._Account()
        account.hear(line)
        assert account == probe._Account()

    def test_values_of_the_wrong_kind_are_unknown(self) -> None:
        said: dict[str, object] = {"name": 5, "capability": [1], "total": "x", "mig": 1}
        one = probe._gpu(0, {**said, "processes": [1, {"pid": 2}], "slices": [3]}, redact, "why")
        assert {one.name, one.compute_capability, one.total_bytes, one.mig_enabled} == {
            Unknown("why")
        }
        assert one.processes == Known((GpuProcess(2, "", Unknown("the driver does not say")),))
        assert one.mig_instances == ()


@pytest.mark.parametrize(("first", "then"), [(None, 7), (7, None), (7, 2**64 - 1), (7, 5)])
def test_a_list_without_bytes_does_not_hide_the_other(first: int | None, then: int | None) -> None:
    held: dict[int, dict[object, object]] = {}
    for used in (first, then):
        nvml_child._count(held, SimpleNamespace(pid=4, usedGpuMemory=used))
    assert list(held[4].values()) == [7]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/usr/bin/python3", "python3"),
        ("/usr/bin/python3 /home/anna/train.py", "python3"),
        ("/opt/google/chrome/chrome --type=gpu-process --dir=/home/anna", "chrome"),
        ("python train.py", "python"),
        ("/home/anna maria/venv/bin/python x.py", ""),
        ("C:\\Users\\Anna Maria\\python.exe C:\\Users\\Anna\\x.py", "python.exe"),
        ('"C:\\Program Files\\A B\\game.EXE" -dx12', "game.EXE"),
        ("C:\\my.exes\\tool.exe", "tool.exe"),
        ("C:\\Users\\Anna M\\tool -x C:\\y", "tool"),
        ("", ""),
    ],
)
def test_program_names_carry_no_folders_and_no_arguments(text: str, name: str) -> None:
    assert nvml_child.program(text) == name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/anna b/lib/libcuda.so.1: invalid ELF header", "libcuda.so.1: invalid ELF header"),
        ("module 'C:\\Users\\anna\\nvcuda.dll' (or", "module 'nvcuda.dll' (or"),
        ("an NVML/RM version mismatch.", "an NVML/RM version mismatch."),
        ("a\nb\x1b[1m" + "x" * 999, "a?b?[1m" + "x" * 249),
    ],
)
def test_messages_carry_no_folders(text: str, shown: str) -> None:
    assert probe._message(text) == shown
