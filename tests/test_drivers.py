"""Broken and healthy drivers, through a stand-in of NVIDIA's library: the report is whole."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from command import COMMAND, FORMATS, clean_environment, doctor
from standin import build_libcuda, build_standin, compiler, describe, gpu
from targets import make_venv, put_package, site_packages

pytestmark = [
    pytest.mark.skipif(not compiler(), reason="no C compiler (cc, gcc or clang)"),
    pytest.mark.skipif(sys.platform != "linux", reason="the stand-in is a Linux library"),
]
# What a user is promised even of a driver that never answers, with room for starting Python.
CONTRACT_S = 12
CARD = gpu(0, name="NVIDIA GeForce RTX 5070", cc="12.0", uuid="GPU-5a3c-secret", total=12821987328,
           used=1092616192, free=11333009408, reserved=395313152)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the compiled libraries, by what is in them."""
    root = tmp_path_factory.mktemp("drivers")
    folders = {"nvml": build_standin(root / "nvml").parent}
    for behaviour in ("loads", "crashes", "hangs"):
        folders[behaviour] = build_libcuda(root / behaviour, behaviour).parent
    return folders


class Interrupted(NamedTuple):
    """How an interrupted run ended."""

    code: int
    out: bytes
    err: bytes
    children: list[psutil.Process]


def told(folder: Path, *lines: str, libraries: tuple[Path, ...]) -> dict[str, str]:
    """What has to stand in the environment for the stand-in to answer with these lines."""
    full = describe(folder, lines, *libraries)
    return {name: full[name] for name in ("LD_LIBRARY_PATH", "NVML_STANDIN")}


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        (("init=hang",), "driver-broken:1"),
        (("driver=hang",), "driver-broken:1"),
        (("count=1", "gpu.0.name=hang"), "driver-broken:1"),
        (("init=crash",), "driver-broken:1"),
        ((*CARD, "cuda=crash"), "driver-broken:1"),
        (("init=error 999",), "driver-broken:1"),
        (("init=error 18",), "driver-library-mismatch:1"),
        (("init=error 9",), "gpu-not-found:1"),
        (("init=error 4",), "gpu-not-found:1"),
        (("count=0",), "gpu-not-found:1"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[-1],
)
def test_a_driver_in_trouble_is_named(
    tmp_path: Path, built: dict[str, Path], lines: tuple[str, ...], first: str
) -> None:
    env = told(tmp_path, *lines, libraries=(built["nvml"], built["loads"]))
    ran = doctor("--format", "json", env=env, limit_s=CONTRACT_S)
    assert (ran.code, ran.err) == (1, "") and ran.whole
    assert ran.document["first"] == first


@pytest.mark.parametrize(("behaviour", "verdict"), [("crashes", "fail"), ("hangs", "unknown")])
def test_a_cuda_library_in_trouble_is_named(
    tmp_path: Path, built: dict[str, Path], behaviour: str, verdict: str
) -> None:
    env = told(tmp_path, *CARD, libraries=(built["nvml"], built[behaviour]))
    ran = doctor("--format", "json", env=env, limit_s=CONTRACT_S)
    assert (ran.code, ran.err) == (1, "") and ran.whole
    assert ran.verdicts()["driver-broken"] == verdict
    # What NVML had said before that is kept.
    assert ran.document["facts"]["nvml"]["known"]["gpus"][0]["name"]["known"].endswith("RTX 5070")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_silent_driver_in_every_format(tmp_path: Path, built: dict[str, Path], kind: str) -> None:
    env = told(tmp_path, "init=hang", libraries=(built["nvml"],))
    ran = doctor("--format", kind, env=env, limit_s=CONTRACT_S)
    assert (ran.code, ran.err) == (1, "") and "driver-broken" in ran.out


def test_a_chatty_driver_does_not_spoil_the_document(
    tmp_path: Path, built: dict[str, Path]
) -> None:
    env = told(tmp_path, "print=hello, I am a driver", *CARD,
               libraries=(built["nvml"], built["loads"]))  # fmt: skip
    ran = doctor("--format", "json", env=env)
    assert ran.whole and "hello" not in ran.out
    assert ran.document["facts"]["nvml"]["known"]["outcome"] == "ok"


def test_a_good_card_and_a_torch_that_lacks_its_architecture(
    tmp_path: Path, built: dict[str, Path]
) -> None:
    python = make_venv(tmp_path / "env")
    put_package(site_packages(tmp_path / "env"), "torch", "2.6.0+cu124", "12.4")
    env = told(tmp_path, *CARD, libraries=(built["nvml"], built["loads"]))
    ran = doctor("--python", python, "--route", "diffusers", "--format", "json", env=env)
    assert ran.code == 1 and ran.whole
    assert ran.document["first"] == "torch-lacks-arch:1"
    fine = ran.verdicts()
    assert {fine[name] for name in ("gpu-not-found", "gpu-hidden", "driver-broken")} == {"pass"}
    command = ran.finding("torch-lacks-arch")["fixes"][0]["commands"][0]
    # By pip, or by uv where the environment has no pip and uv is on the path.
    assert "pip install " in command and "torch==" in command and "+cu130" in command
    assert "--index-url https://download.pytorch.org/whl/cu130" in command
    for kind in FORMATS:
        shown = doctor("--python", python, "--format", kind, env=env).out
        assert "secret" not in shown.replace("secrets", "")


def test_a_hidden_card_and_a_chosen_one(tmp_path: Path, built: dict[str, Path]) -> None:
    env = told(tmp_path, *CARD, libraries=(built["nvml"], built["loads"]))
    hidden = {**env, "CUDA_VISIBLE_DEVICES": "GPU-9"}
    assert doctor("--format", "json", env=hidden).verdicts()["gpu-hidden"] == "fail"
    for name in ("0", "GPU-5a3c"):
        chosen = doctor("--format", "json", env={**hidden, "KLEIN_DOCTOR_GPU": name})
        seen = chosen.document["facts"]["visible"]
        assert seen["known"]["chosen"] == 0
        named = doctor("--gpu", name, "--format", "json", env=hidden)
        assert named.document["facts"]["visible"] == seen
    for name in ("3", "GPU-9", "GPU-", "x", "-"):
        wrong = doctor(f"--gpu={name}", env=env)
        assert wrong.code == 2 and "no such GPU" in wrong.err
    wrong = doctor(env={**env, "KLEIN_DOCTOR_GPU": "3"})
    assert wrong.code == 2 and "KLEIN_DOCTOR_GPU" in wrong.err


@pytest.fixture
def interrupted(tmp_path: Path, built: dict[str, Path]) -> Iterator[Interrupted]:
    """A diagnosis that waits for a silent driver, ended with Ctrl-C; who it had started."""
    env = told(tmp_path, "init=hang", libraries=(built["nvml"],))
    run = subprocess.Popen(
        [*COMMAND], env={**clean_environment(), **env},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    children: list[psutil.Process] = []
    until = time.monotonic() + 5
    while not children and time.monotonic() < until:
        time.sleep(0.05)
        children = psutil.Process(run.pid).children(recursive=True)
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=CONTRACT_S)
    yield Interrupted(run.returncode, out, err, children)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def test_an_interrupted_diagnosis_says_so(interrupted: Interrupted) -> None:
    assert (interrupted.code, interrupted.out) == (130, b"")
    assert interrupted.err == b"klein-doctor: interrupted\n"


def test_an_interrupted_diagnosis_leaves_nobody_behind(interrupted: Interrupted) -> None:
    assert interrupted.children
    assert not psutil.wait_procs(interrupted.children, timeout=2)[1]
