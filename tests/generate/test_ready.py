"""``klein-doctor ready``: yes only while everything a picture hangs on is as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jsonschema
import pytest
from command import Ran, clean_environment, doctor, one_line
from standin import build_libcuda, build_standin, compiler, describe, gpu
from targets import make_venv, put_package, site_packages
from trees import put_comfyui

from klein_doctor.exits import Exit
from klein_doctor.generate.ready import setup_here
from klein_doctor.identity.digest import DigestStore, hash_files
from klein_doctor.model import Unknown
from klein_doctor.privacy import Redactor
from klein_doctor.probes.interpreter import find_executable
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.proven import STORE, read_files, remember
from klein_doctor.proven import Entry, Setup

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not compiler(), reason="needs a C compiler and Linux"
)
CARD = {"name": "NVIDIA GeForce RTX 5070", "cc": "12.0"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
DOCS = Path(__file__).parents[2] / "docs"


class Machine(NamedTuple):
    """A machine on which a picture was verified on 2026-11-25."""

    top: Path
    libraries: tuple[Path, ...]

    def env(self, *lines: str, **card: object) -> dict[str, str]:
        """Its environment, with the card and the driver as they are told."""
        told = describe(self.top, [*gpu(0, **{**CARD, **card}), *lines], *self.libraries)
        kept = {name: told[name] for name in ("LD_LIBRARY_PATH", "NVML_STANDIN")}
        return {**clean_environment(), "HOME": str(self.top), **kept}

    @property
    def comfyui(self) -> Path:
        return self.top / "ComfyUI"

    @property
    def model(self) -> Path:
        return self.comfyui / "models" / "vae" / "vae.safetensors"

    @property
    def site(self) -> Path:
        return site_packages(self.comfyui / ".venv")

    def ready(self, *arguments: str, env: dict[str, str] | None = None) -> Ran:
        return doctor("ready", "--state-dir", self.top / "state", *arguments, env=env or self.env())


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    folder = tmp_path_factory.mktemp("driver")
    return build_standin(folder / "nvml").parent, build_libcuda(folder / "cuda", "loads").parent


@pytest.fixture
def machine(tmp_path: Path, libraries: tuple[Path, ...]) -> Machine:
    found = Machine(tmp_path, libraries)
    put_comfyui(found.comfyui)
    (found.comfyui / ".git").mkdir()
    (found.comfyui / ".git" / "HEAD").write_text(COMMIT + "\n")
    make_venv(found.comfyui / ".venv")
    python = find_executable(found.comfyui / ".venv")
    put_package(found.site, "torch", "2.14.1+cu130", "13.0")
    found.model.write_bytes(b"weights")
    (tmp_path / "state").mkdir()
    remembered(found, str(python))
    return found


def remembered(machine: Machine, python: str) -> None:
    """Put on record that a picture was verified with what is here."""
    state = machine.top / "state"
    store = DigestStore(state)
    hash_files([machine.model], store, lambda path, count: None)
    files = read_files((str(machine.model),), store)
    blank = Setup("comfyui", python, str(machine.comfyui), "", "", "", "", "", "", (), files)
    outside = Outside(Path("/"), machine.env(), sys.platform, Redactor((), (), ()))
    setup = setup_here(outside, blank, "", state)
    assert not isinstance(setup, Unknown)
    remember(state, Entry("2026-11-25T10:00:00Z", setup._replace(files=files)))


def test_nothing_changed(machine: Machine) -> None:
    ran = machine.ready()
    assert (ran.code, ran.err) == (Exit.OK, "")
    assert ran.out.startswith("ready: a picture was verified on 2026-11-25 with ComfyUI 0.33.0")
    for word in ("RTX 5070", "580.95.05", "2.14.1+cu130"):
        assert word in ran.out


def other_torch(machine: Machine) -> None:
    (machine.site / "torch" / "version.py").write_text("__version__ = '2.11.0+cu126'\n")


def other_version(machine: Machine) -> None:
    (machine.comfyui / "comfyui_version.py").write_text('__version__ = "0.34.0"\n')


def other_commit(machine: Machine) -> None:
    (machine.comfyui / ".git" / "HEAD").write_text("f" * 40 + "\n")


def other_weights(machine: Machine) -> None:
    machine.model.write_bytes(b"weights of another kind")


def no_weights(machine: Machine) -> None:
    machine.model.unlink()


def no_python(machine: Machine) -> None:
    for path in (machine.comfyui / ".venv" / "bin").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_torch, "torch is 2.11.0+cu126 now; it was 2.14.1+cu130"),
        (other_version, "ComfyUI is 0.34.0 now; it was 0.33.0"),
        (other_commit, "ComfyUI's commit is ffffffffffff now; it was 0123456789ab"),
        (other_weights, "vae.safetensors is not the file it was"),
        (no_weights, "vae.safetensors is not there any more"),
        (no_python, "the Python it was made with: there is no such file"),
    ],
)
def test_what_changed_is_named(
    machine: Machine, change: Callable[[Machine], None], words: str
) -> None:
    change(machine)
    ran = machine.ready()
    assert (ran.code, ran.err) == (Exit.PROBLEMS, "")
    assert ran.out == f"not ready: {words}\n"


@pytest.mark.parametrize(
    ("lines", "card", "words"),
    [
        (("driver=590.10",), {}, "the driver is 590.10 now; it was 580.95.05"),
        ((), {"name": "NVIDIA GeForce RTX 5080"}, "the card is NVIDIA GeForce RTX 5080 now"),
        ((), {"uuid": "GPU-ffffffff-aaaa-bbbb-cccc-dddddddddddd"}, "this is another"),
        (("count=0",), {}, "shows no GPU"),
    ],
)
def test_another_card_or_driver(
    machine: Machine, lines: tuple[str, ...], card: dict[str, object], words: str
) -> None:
    ran = machine.ready(env=machine.env(*lines, **card))
    assert ran.code == Exit.PROBLEMS and ran.out.startswith("not ready: ")
    assert words in ran.out


def test_a_hidden_card_makes_no_picture(machine: Machine) -> None:
    ran = machine.ready(env={**machine.env(), "CUDA_VISIBLE_DEVICES": "-1"})
    assert ran.code == Exit.PROBLEMS
    assert "hidden" in ran.out


def test_a_copy_of_the_same_bytes_is_the_same_file(machine: Machine) -> None:
    os.utime(machine.model, ns=(10**18, 10**18))
    assert machine.ready().code == Exit.PROBLEMS  # nobody has hashed it since
    store = DigestStore(machine.top / "state")
    hash_files([machine.model], store, lambda path, count: None)
    store.save()
    assert machine.ready().code == Exit.OK


def test_age(machine: Machine) -> None:
    assert machine.ready("--max-age", "9999d").code == Exit.OK
    ran = machine.ready("--max-age", "1s")
    assert ran.code == Exit.PROBLEMS and "--max-age" in ran.out
    ran = machine.ready("--max-age", "soon")
    assert ran.code == Exit.USAGE and one_line(ran.err) and "--max-age soon" in ran.err


def test_of_another_target_nothing_is_on_record(machine: Machine) -> None:
    assert machine.ready("--comfyui", str(machine.comfyui)).code == Exit.OK
    for arguments in (
        ("--comfyui", str(machine.top)), ("--route", "diffusers"), ("--python", sys.executable),
    ):  # fmt: skip
        ran = machine.ready(*arguments)
        assert ran.code == Exit.PROBLEMS
        assert "no verified generation is on record" in ran.out


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "klein-doctor/proven/1"}', "\0" * 99])
def test_a_damaged_record_is_none(machine: Machine, text: str) -> None:
    (machine.top / "state" / STORE).write_text(text)
    assert "no verified generation is on record" in machine.ready().out


def test_as_json(machine: Machine) -> None:
    schema = json.loads((DOCS / "ready.schema.json").read_text("utf-8"))
    ran = machine.ready("--format", "json")
    jsonschema.validate(ran.document, schema)
    assert ran.document["ready"] is True and ran.document["why"] is None
    no_weights(machine)
    ran = machine.ready("--format", "json")
    jsonschema.validate(ran.document, schema)
    assert ran.document["ready"] is False and "vae.safetensors" in ran.document["why"]
    assert str(machine.top) not in ran.out
    assert machine.ready("--format", "html").code == Exit.USAGE


def test_a_diagnosis_says_the_same(machine: Machine) -> None:
    arguments = ("--comfyui", machine.comfyui, "--state-dir", machine.top / "state")
    document = doctor(*arguments, "--format", "json", env=machine.env()).document
    assert document["ready"] is True
    assert document["facts"]["proven"]["known"]["when"] == "2026-11-25T10:00:00Z"
    other_torch(machine)
    ran = doctor(*arguments, "--format", "json", env=machine.env())
    assert ran.document["ready"] is False
    assert "torch" in ran.document["facts"]["proven"]["known"]["differs"]


def test_it_loads_little(machine: Machine) -> None:
    script = (
        "import sys; from klein_doctor.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "ready", "--state-dir", str(machine.top / "state")],
        env=machine.env(), capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    loaded = done.stdout.splitlines()[-1].split()
    assert "klein_doctor.generate.ready" in loaded
    for heavy in ("rich", "PIL", "torch", "huggingface_hub",
                  "klein_doctor.snapshot", "klein_doctor.checks"):  # fmt: skip
        assert heavy not in loaded
