"""What can end a worker, told apart: faults of stand-ins for the target's libraries."""

from __future__ import annotations

import ast
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from listener import Listener

from klein_doctor.generate import diffusers_worker
from klein_doctor.generate.diffusers_faults import Ending, fault_of
from klein_doctor.generate.job import Attempt

Route = Callable[..., Attempt]


@pytest.mark.parametrize("stage", ["place", "encode", "denoise", "decode"])
def test_the_card_is_full(route: Route, stage: str) -> None:
    done = route(fault=f"{stage}=oom")
    assert (done.outcome, done.stage, done.kind) == ("failed", stage, "out-of-memory")
    assert "Tried to allocate 1.50 GiB" in done.says
    assert "OutOfMemoryError" in done.text and done.gone and not done.made


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("load=ram", "ram-short", "(RAM) ran out while the model was loaded"),
        ("place=pinned", "ram-short", "(RAM) ran out"),
        ("denoise=lost", "gpu-lost", "stopped answering while the picture was drawn"),
        ("start=import", "import-failed", "could not be imported"),
        ("load=import", "import-failed", "No module named 'accelerate'"),
        ("load=lazy", "import-failed", "No module named 'httpx'"),
        ("load=folder", "OSError", "no file named config.json in vae"),
        ("decode=exit", "crashed", "exit code 7"),
    ],
)
def test_each_fault_has_its_name(route: Route, fault: str, kind: str, says: str) -> None:
    done = route(fault=fault)
    assert (done.outcome, done.stage, done.kind) == ("failed", fault.partition("=")[0], kind)
    assert says in done.says
    assert "\n" not in done.says and "someone" not in done.says


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_segfault_is_a_crash(route: Route) -> None:
    done = route(fault="encode=segfault")
    assert (done.stage, done.kind) == ("encode", "crashed")
    assert "SIGSEGV" in done.says


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_killed_while_it_draws(route: Route) -> None:
    def hook(watch: Listener, what: str) -> None:
        if what == "step 2/4":
            os.kill(watch.pid, signal.SIGKILL)

    watch = Listener(hook)
    done = route(watch, fault="after step 2=hang")
    assert (done.outcome, done.stage, done.kind) == ("failed", "denoise", "killed")
    assert "(RAM)" in done.says and done.gone


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
def test_what_a_killed_worker_had_started_ends_with_it(route: Route, tmp_path: Path) -> None:
    done = route(fault="denoise=orphan")
    log = (tmp_path / "run" / "diffusers.log").read_text("utf-8")
    found = re.search(r"ORPHAN (\d+)", log)
    assert found is not None and done.kind == "killed" and done.gone
    assert not running(int(found[1]))


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is POSIX")
def test_a_full_disk_leaves_no_part_of_a_picture(route: Route, tmp_path: Path) -> None:
    done = route(fault="save=full")
    assert (done.outcome, done.stage, done.kind) == ("failed", "save", "disk-full")
    assert not [path for path in (tmp_path / "run").iterdir() if ".png" in path.name]


def test_stopped_while_it_draws(route: Route) -> None:
    def hook(watch: Listener, what: str) -> None:
        if what == "step 1/4":
            watch.stop.set()

    watch = Listener(hook)
    done = route(watch, fault="after step 1=hang")
    assert (done.outcome, done.kind) == ("interrupted", "stopped")
    assert done.gone and not running(watch.pid)


def test_a_run_keeps_to_the_time_that_is_left(route: Route) -> None:
    watch = Listener()
    watch.left = 0.0
    done = route(watch, fault="never=")
    assert (done.outcome, done.kind, done.gone) == ("interrupted", "deadline", True)
    assert not running(watch.pid)


def test_no_sign_of_progress(route: Route) -> None:
    watch = Listener()
    done = route(watch, fault="load=hang", limit_s=3)
    assert (done.outcome, done.stage, done.kind) == ("failed", "load", "hung")
    assert "3 s" in done.says and done.gone and not running(watch.pid)


def test_what_libraries_print_is_no_message(route: Route, tmp_path: Path) -> None:
    done = route(fault="load=noise")
    assert done.outcome == "done" and len(done.made) == 3
    assert "xxx" in (tmp_path / "run" / "diffusers.log").read_text("utf-8")


def test_no_such_python(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    done = route(fault="never=")
    assert (done.outcome, done.kind, done.gone) == ("failed", "not-started", True)


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ('{"_class_name": ["code", "Evil"]}', "does not name Flux2KleinPipeline"),
        ('{"_class_name": "Flux2KleinPipeline", "vae": ["evil", "X"]}', "vae"),
        ('{"_class_name": "Flux2KleinPipeline", "more": ["diffusers", "X"]}', "more"),
    ],
)
def test_code_in_a_folder_is_not_run(route: Route, tmp_path: Path, index: str, says: str) -> None:
    folder = tmp_path / "klein"
    folder.mkdir()
    (folder / "model_index.json").write_text(index)
    done = route(folder=folder, fault="never=")
    assert (done.outcome, done.kind) == ("failed", "wrong-folder")
    assert says in done.says


def test_code_under_a_library_s_name_is_not_run(route: Route, tmp_path: Path) -> None:
    folder = tmp_path / "klein"
    (folder / "vae").mkdir(parents=True)
    index = '{"_class_name": "Flux2KleinPipeline", "vae": ["diffusers", "AutoencoderKLFlux2"]}'
    (folder / "model_index.json").write_text(index)
    (folder / "vae" / "diffusers.py").write_text("")
    done = route(folder=folder, fault="never=")
    assert done.kind == "wrong-folder" and "vae/diffusers.py" in done.says


def test_the_worker_is_read_by_the_oldest_python_that_runs_diffusers() -> None:
    source = Path(diffusers_worker.__file__).read_text("utf-8")
    ast.parse(source, feature_version=(3, 9))
    assert source.count("from klein_doctor") == 0


@pytest.mark.parametrize(
    ("status", "kind", "word"),
    [
        (137, "killed", "SIGKILL"),
        (0xC0000005, "crashed", "0xC0000005"),
        (-signal.SIGTERM, "crashed", "SIGTERM"),
        (None, "hung", "cannot be ended"),
    ],
)
def test_exit_codes_without_a_word(status: int | None, kind: str, word: str) -> None:
    found, says = fault_of(Ending("", status, "encode", {}, "", 1.0), ())
    assert found == kind and word in says


def running(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has asked about does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
