"""Memory sampled around a run: of real processes, and of a card that a stand-in library plays."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from standin import build_standin, compiler, describe, gpu

from klein_doctor.generate.sampling import Sampler, Thinned, _Raw
from klein_doctor.generation import Sample

needs_compiler = pytest.mark.skipif(not compiler(), reason="no C compiler (cc, gcc or clang)")
CARD = "GPU-00000000-aaaa-bbbb-cccc-dddddddddddd"
GIB = 1 << 30


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    """A process with 64 MiB whose child has 32 MiB."""
    inner = "import sys; held = bytearray(32 << 20); print('held', flush=True); sys.stdin.read()"
    outer = (
        "import subprocess, sys; held = bytearray(64 << 20)\n"
        f"child = subprocess.Popen([sys.executable, '-c', {inner!r}])\n"
        "print('held', flush=True); child.wait()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline().strip() == b"held"
    yield process
    process.stdin.close()
    process.wait()
    process.stdout.close()


def until(sampler: Sampler, holds: Callable[[Sample], bool]) -> Sample:
    """The first sample of which it holds."""
    for _ in range(400):
        found = next((sample for sample in sampler.samples() if holds(sample)), None)
        if found is not None:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never seen; last: {sampler.samples()[-1:]}")


class TestRam:
    def test_a_tree_of_processes_counts_whole(self, holder: subprocess.Popen[bytes]) -> None:
        with Sampler() as sampler:
            sampler.root(holder.pid)
            found = until(sampler, lambda sample: sample.ram_mib >= 96)
        assert 96 <= found.ram_mib < 250
        assert (found.ours_mib, found.others_mib, found.free_mib) == (-1, -1, -1)
        assert sampler.fault == ""

    def test_without_a_process_there_is_nothing_to_count(self) -> None:
        with Sampler() as sampler:
            pass
        assert {sample.ram_mib for sample in sampler.samples()} == {-1}

    def test_times_are_those_of_this_process(self) -> None:
        before = time.monotonic()
        with Sampler() as sampler:
            pass
        assert sampler.samples()
        assert all(before <= sample.at_s <= time.monotonic() for sample in sampler.samples())

    @pytest.mark.skipif(sys.platform != "linux", reason="told apart on Linux")
    def test_pages_of_a_mapped_file_do_not_count(self, tmp_path: Path) -> None:
        file = tmp_path / "weights"
        file.write_bytes(os.urandom(1 << 20) * 128)
        source = (
            "import mmap, sys\n"
            f"f = open({str(file)!r}, 'rb'); m = mmap.mmap(f.fileno(), 0, access=1)\n"
            "n = sum(m[i] for i in range(0, len(m), 4096)); print('read', flush=True)\n"
            "sys.stdin.read()"
        )
        with (
            subprocess.Popen(
                [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            ) as reader,
            Sampler() as sampler,
        ):
            assert reader.stdout is not None and reader.stdout.readline()
            assert psutil.Process(reader.pid).memory_info().rss > 128 << 20
            sampler.root(reader.pid)
            found = until(sampler, lambda sample: sample.ram_mib > 0)
            assert reader.stdin is not None
            reader.stdin.close()
        assert found.ram_mib < 64

    def test_processes_that_end_or_never_were(self, holder: subprocess.Popen[bytes]) -> None:
        gone = subprocess.Popen([sys.executable, "-c", "pass"])
        gone.wait()
        with Sampler() as sampler:
            sampler.root(gone.pid)
            sampler.root(holder.pid)
            assert until(sampler, lambda sample: sample.ram_mib >= 96)

    def test_it_says_why_it_cannot_watch(self, tmp_path: Path) -> None:
        with Sampler(python=str(tmp_path / "none")) as sampler:
            sampler.root(os.getpid())
        assert sampler.samples() == () and "could not be started" in sampler.fault


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_standin(tmp_path_factory.mktemp("nvml")).parent


@needs_compiler
class TestCard:
    @pytest.fixture
    def card(self, tmp_path: Path, library: Path) -> Callable[..., dict[str, str]]:
        """Let the card answer so, from now on; the environment in which it does."""

        def answer(used: int, *processes: str, **fields: object) -> dict[str, str]:
            numbers = {"total": 12 * GIB, "reserved": 0, "used": used, "free": 12 * GIB - used}
            lines = gpu(0, **{**numbers, "process": None, **fields})
            lists = [f"gpu.0.process={each}" for each in processes or ("none",)]
            folder = tmp_path / "new"
            folder.mkdir(exist_ok=True)
            env = describe(folder, [*lines, *lists], library)
            os.replace(folder / "answers.txt", tmp_path / "answers.txt")
            return {**env, "NVML_STANDIN": str(tmp_path / "answers.txt")}

        return answer

    def test_ours_and_others(
        self, card: Callable[..., dict[str, str]], holder: subprocess.Popen[bytes]
    ) -> None:
        env = card(GIB, f"1:{GIB}")
        with Sampler(CARD, env=env) as sampler:
            sampler.root(holder.pid)
            child = psutil.Process(holder.pid).children()[0].pid
            card(4 * GIB, f"1:{GIB}", f"{child}:{3 * GIB}")
            found = until(sampler, lambda sample: sample.ours_mib == 3072)
            assert (found.others_mib, found.free_mib) == (1024, 8192)
        assert sampler.by_process and sampler.fault == ""
        assert min(sample.ours_mib for sample in sampler.samples()) == 0

    @pytest.mark.parametrize("told", ["none", "77:18446744073709551615", "error 3"])
    def test_where_the_driver_does_not_tell_whose_it_is(
        self, told: str, card: Callable[..., dict[str, str]], holder: subprocess.Popen[bytes]
    ) -> None:
        env = card(GIB, told)
        with Sampler(CARD, env=env) as sampler:
            sampler.root(holder.pid)
            card(4 * GIB, told)
            found = until(sampler, lambda sample: sample.ours_mib == 3072)
        assert not sampler.by_process
        assert (found.others_mib, found.free_mib) == (1024, 8192)

    def test_an_old_driver(self, card: Callable[..., dict[str, str]]) -> None:
        with Sampler(CARD, env=card(2 * GIB, memory_v2="error 3")) as sampler:
            pass
        assert {sample.free_mib for sample in sampler.samples()} == {10240}

    def test_no_such_card(
        self, card: Callable[..., dict[str, str]], holder: subprocess.Popen[bytes]
    ) -> None:
        with Sampler("GPU-other", env=card(GIB)) as sampler:
            sampler.root(holder.pid)
            found = until(sampler, lambda sample: sample.ram_mib >= 96)
        assert (found.ours_mib, found.free_mib) == (-1, -1)
        assert sampler.fault.startswith("NVMLError")

    @pytest.mark.parametrize("trouble", ["crash", "hang", "error 15"])
    def test_a_driver_that_breaks_during_the_run(
        self, trouble: str, card: Callable[..., dict[str, str]]
    ) -> None:
        with Sampler(CARD, env=card(GIB)) as sampler:
            until(sampler, lambda sample: sample.free_mib == 11264)
            card(GIB, memory=trouble, memory_v2=trouble)
            time.sleep(0.3)
        assert max(sample.free_mib for sample in sampler.samples()) == 11264

    def test_a_driver_that_hangs_from_the_start(self, card: Callable[..., dict[str, str]]) -> None:
        with Sampler(CARD, env=card(GIB, handle="hang")) as sampler:
            pass
        assert sampler.samples() == ()


class TestEnding:
    @pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
    def test_it_ends_with_a_doctor_that_is_killed(self) -> None:
        script = (
            "import time; from klein_doctor.generate.sampling import Sampler\n"
            "with Sampler() as s: print(s._process.pid, flush=True); time.sleep(600)"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as doctor:
            assert doctor.stdout is not None
            pid = int(doctor.stdout.readline())
            child = psutil.Process(pid)
            doctor.kill()
        for _ in range(600):
            if not child.is_running() or child.status() == psutil.STATUS_ZOMBIE:
                return
            time.sleep(0.05)
        raise AssertionError("it lives on")

    def test_an_exception_ends_it(self) -> None:
        with pytest.raises(ZeroDivisionError), Sampler():
            raise ZeroDivisionError


class TestThinned:
    @pytest.mark.parametrize("count", [1, 5, 599, 600, 601, 5000, 40000])
    def test_a_long_run_keeps_its_peaks(self, count: int) -> None:
        thinned = Thinned()
        raws = [_Raw(float(n), n % 97, 500 - n % 97, n % 89, n % 83) for n in range(count)]
        raws[count // 3] = _Raw(count // 3, 1, 499, 2, 9000)
        raws[count // 2] = _Raw(count // 2, 2, 498, 8000, 3)
        raws[count * 2 // 3] = _Raw(count * 2 // 3, 7000, 0, 1, 4)
        for raw in raws:
            thinned.add(raw)
        kept = thinned.all()
        assert len(kept) <= 600 and len(kept) >= min(count, 200)
        assert [raw.at_s for raw in kept] == sorted({raw.at_s for raw in kept})
        assert set(kept) <= set(raws)
        for name in ("used", "mine", "ram"):
            assert max(getattr(r, name) for r in kept) == max(getattr(r, name) for r in raws)

    def test_what_is_kept_covers_the_whole_run(self) -> None:
        thinned = Thinned(100)
        for n in range(10000):
            thinned.add(_Raw(float(n), 5, 5, 5, 5))
        times = [raw.at_s for raw in thinned.all()]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert times[0] < 300 and times[-1] > 9700 and max(gaps) < 600
