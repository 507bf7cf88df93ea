"""Fixes of packages from finding to proof and back: real environments, real pip, real records."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import around
import pytest
from acting import acted, tree, undone
from construct import machine
from package_index import PackageIndex, torch_wheel, torchvision_wheel, wheel
from targets import copy_venv, venv_with_pip

from klein_doctor import recipe as recipes
from klein_doctor.engine import judge
from klein_doctor.fixing import fixes
from klein_doctor.model import Facts, Finding, Known, Private, Verdict, known
from klein_doctor.plan import Wishes, make
from klein_doctor.privacy import Redactor
from klein_doctor.probes.interpreter import read_interpreter
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.packages import read_packages, read_versions
from klein_doctor.probes.requirements import wanted
from klein_doctor.probes.torch_files import read_package
from klein_doctor.registry import catalogue
from klein_doctor.steps import Step

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths as on Linux")
RECIPE = recipes.load()
RED = (Verdict.FAIL, Verdict.WARN)
TORCH = "torch==2.14.1+cu130"


def clean() -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_", "PYTHON"))}
    return env | {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module")
def index() -> Iterator[PackageIndex]:
    with PackageIndex() as served:
        served.add(
            torch_wheel(), torchvision_wheel(),
            torch_wheel("2.15.0+cu132", "13.2"), torchvision_wheel("0.30.0+cu132", "2.15.0"),
            wheel("pynvml", "11.5.3", {"pynvml.py": "old = True\n"}),
            wheel("nvidia-ml-py", "13.580.82", {"pynvml.py": "old = False\n"}),
            wheel("huggingface-hub", "0.36.0"), wheel("huggingface-hub", "1.30.0"),
            wheel("tokenizers", "0.21.0", requires=["huggingface-hub<1.0"]),
            wheel("tokenizers", "0.22.1", requires=["huggingface-hub<2.0"]),
            wheel("hf-xet", "1.1.10"), wheel("hf-xet", "1.5.3"),
            # What a careless 'pip install --upgrade' would take along.
            wheel("transformers", "5.23.0", requires=["huggingface-hub>=1.0", "tokenizers"]),
            wheel("diffusers", "0.36.0"),
            wheel("diffusers", "0.42.1", requires=["huggingface-hub>=1.23"]),
            wheel("accelerate", "1.15.0", requires=["torch>=2.0"]),
            wheel("comfy-kitchen", "0.2.31"), wheel("comfy-kitchen", "0.2.20"),
            wheel("spandrel", "0.4.1", requires=["torch", "torchvision"]),
        )  # fmt: skip
        yield served


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, index: PackageIndex) -> Path:
    folder = tmp_path_factory.mktemp("template") / "env"
    venv_with_pip(folder)
    pip(folder, index, TORCH, "torchvision==0.29.1+cu130")
    return folder


class Target:
    """An environment beside a ComfyUI, looked at by the real probes."""

    def __init__(self, folder: Path, index: PackageIndex, route: str = "comfyui") -> None:
        self.folder, self.index, self.route = folder, index, route
        self.comfyui = folder.parent / "ComfyUI"
        self.comfyui.mkdir()
        (self.comfyui / "requirements.txt").write_text("")

    def put(self, *packages: str) -> Target:
        pip(self.folder, self.index, "--no-deps", *packages)
        return self

    def facts(self) -> Facts:
        env = {"HOME": "/nonexistent"}
        outside = Outside(Path("/"), env, "linux", Redactor.of_this_machine(env))
        python = read_interpreter(outside, str(self.folder / "bin" / "python"))
        versions = read_versions(python)
        known_ones = {name: item.version for name, item in versions.items()}
        asked = wanted(self.comfyui / "requirements.txt", known_ones, outside, (3, 12, 3))
        base, root = machine(), Private.plain(str(self.comfyui))
        comfyui = around.comfyui()._replace(root=root, base=root, requirements=Known(tuple(asked)))
        there = {name: Known(read_package(outside, python, name))
                 for name in ("torch", "torchvision", "torchaudio")}  # fmt: skip
        watched = frozenset(RECIPE.stack.watched)
        return base._replace(
            interpreter=Known(python), packages=Known(read_packages(versions, python, watched)),
            comfyui=Known(comfyui), route=Known(self.route), **there,
        )  # fmt: skip

    def findings(self, check: str) -> list[Finding]:
        found = judge(self.facts(), RECIPE, catalogue())
        return [f for f in found if f.check == check and f.verdict in RED]

    def planned(self, fix: str) -> Step:
        facts = self.facts()
        plan, _ = make(judge(facts, RECIPE, catalogue()), facts, RECIPE, fixes(), Wishes((fix,)))
        (step,) = plan.steps
        return step

    def freeze(self) -> list[str]:
        argv = [self.folder / "bin" / "python", "-B", "-m", "pip", "freeze"]
        ran = subprocess.run(argv, env=clean(), check=True, capture_output=True, text=True)
        return ran.stdout.split()


def pip(folder: Path, index: PackageIndex, *arguments: str) -> None:
    argv = [folder / "bin" / "python", "-m", "pip", "install", "-q", "--index-url", index.url()]
    subprocess.run([*argv, *arguments], env=clean(), check=True, timeout=120)


@pytest.fixture
def target(template: Path, index: PackageIndex, tmp_path: Path) -> Target:
    copy_venv(template, tmp_path / "env")
    return Target(tmp_path / "env", index)


def mended(
    target: Target, fix: str, check: str, tmp_path: Path, expected: Sequence[str],
    absent: Sequence[str] = (), holds: Callable[[], bool] = lambda: True,
) -> None:  # fmt: skip
    """The finding is there, the step clears it and keeps torch, and undo leaves no trace.

    holds: what must be true once it is done, too.
    """
    assert target.findings(check), f"{check} was to speak before"
    before, frozen = tree(target.folder), target.freeze()
    step = target.planned(fix)
    assert (step.fix, step.grade, step.kind) == (fix, "ask", "packages")
    assert {f"{check}:1"} <= set(step.clears)
    env = clean() | {"PIP_INDEX_URL": target.index.url()}
    said, journal = acted(fixes()[fix], step, tmp_path / "run", env)
    assert said and "\n" not in said
    now = target.freeze()
    assert set(expected) | {TORCH, "torchvision==0.29.1+cu130"} <= set(now), now
    assert not {line.split("==")[0] for line in now} & set(absent)
    assert target.findings(check) == [] and holds()
    assert undone(journal) == []
    assert target.freeze() == frozen
    assert tree(target.folder) == before
    assert target.findings(check), "undo brings the finding back"


def test_remove_pynvml(target: Target, tmp_path: Path) -> None:
    target.put("nvidia-ml-py").put("pynvml")
    module = next(target.folder.glob("lib/*/site-packages")) / "pynvml.py"
    assert module.read_text() == "old = True\n"  # the leftover wrote over NVIDIA's
    mended(target, "remove-pynvml", "pynvml-shadowed", tmp_path, ["nvidia-ml-py==13.580.82"],
           ["pynvml"], lambda: module.read_text() == "old = False\n")  # fmt: skip


def test_resolve_packages(target: Target, tmp_path: Path) -> None:
    target.put("huggingface-hub==1.30.0", "tokenizers==0.21.0")
    mended(target, "resolve-packages", "package-conflicts", tmp_path,
           ["tokenizers==0.22.1", "huggingface-hub==1.30.0"])  # fmt: skip


def test_install_diffusers_stack(target: Target, tmp_path: Path) -> None:
    target.route = "diffusers"
    target.put("huggingface-hub==0.36.0")
    mended(target, "install-diffusers-stack", "diffusers-missing", tmp_path,
           ["diffusers==0.42.1", "transformers==5.23.0", "accelerate==1.15.0",
            "huggingface-hub==1.30.0"])  # fmt: skip


def test_install_requirements(target: Target, tmp_path: Path) -> None:
    target.put("comfy-kitchen==0.2.20")
    text = "torch\ntorchvision\ncomfy-kitchen==0.2.31\nspandrel\n"
    (target.comfyui / "requirements.txt").write_text(text)
    mended(target, "install-requirements", "comfyui-requirements-stale", tmp_path,
           ["comfy-kitchen==0.2.31", "spandrel==0.4.1"])  # fmt: skip


def test_update_hub_client(target: Target, tmp_path: Path) -> None:
    target.route = "diffusers"
    target.put("diffusers", "transformers", "accelerate", "huggingface-hub==1.30.0",
               "tokenizers", "hf-xet==1.1.10")  # fmt: skip
    mended(target, "update-hub-client", "hub-client-outdated", tmp_path, ["hf-xet==1.5.3"])


def test_requirements_that_contradict_torch_change_nothing(target: Target, tmp_path: Path) -> None:
    from klein_doctor.steps import StepFailed

    text = "torch>=2.15\ncomfy-kitchen==0.2.31\n"
    (target.comfyui / "requirements.txt").write_text(text)
    before = tree(target.folder)
    step = target.planned("install-requirements")
    env = clean() | {"PIP_INDEX_URL": target.index.url()}
    with pytest.raises(StepFailed, match=r"pip says: .*torch") as told:
        acted(fixes()[step.fix], step, tmp_path / "run", env)
    assert "\n" not in told.value.says
    assert tree(target.folder) == before
    assert known(target.facts().torch).present
