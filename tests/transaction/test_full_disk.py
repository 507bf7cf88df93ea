"""Where pip or uv cannot write: what they say comes through, and the packages are as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from package_index import PackageIndex, put_trio, torch_wheel, wheel
from targets import copy_venv, venv_with_pip

from klein_doctor.transaction.own import own_packages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a mount of its own")
NEW = ("torch==2.14.1+cu130", "torchvision==0.29.1+cu130", "torchaudio==2.11.0+cu130")
OUTCOME = """
import os, shutil, sys
from pathlib import Path
sys.path[:0] = {path!r}
from acting import begun, tree, undone
from klein_doctor.steps import Step, StepFailed
from klein_doctor.transaction import packages
from klein_doctor.transaction.packages import Change, change_packages

top, env = Path({top!r}), dict(os.environ)
target = top / "small" / "env"
shutil.copytree(top / "env", target, symlinks=True)
before = tree(target)
tx = begun(Step("install-torch", "torch", "packages", "ask", {{}}), top / {run!r}, env)
packages._SPARE = 0  # room that others take while it runs

def fill(text):
    if text.startswith({at!r}):
        size = os.statvfs(target).f_bavail * os.statvfs(target).f_frsize
        with open(top / "small" / "filler", "wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(size - (256 << 10), 1))

tx.note = fill
try:
    change_packages(Change(str(target / "bin/python"), {new!r}, index_url={url!r}), tx)
    print("no failure")
except (StepFailed, OSError) as error:
    print(getattr(error, "says", error))
problems = undone(tx.journal)
print(problems, tree(target) == before, (target / "bin/python").exists())
"""


def clean(**more: str) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_", "PYTHON"))}
    env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return env | more


@pytest.fixture(scope="module")
def index() -> Iterator[PackageIndex]:
    with PackageIndex() as served:
        put_trio(served, "cpu", torch="2.13.0", cuda=None)
        noise = {f"torch/lib/n{number}.bin": os.urandom(1 << 20) for number in range(4)}
        put_trio(served, "cu130")
        served.files["cu130"]["torch"].clear()
        served.add(torch_wheel(files=noise), index="cu130")
        served.add(wheel("filelock", "99.0"), wheel("plain", "1.0"))
        yield served


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, index: PackageIndex) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "env"
    venv_with_pip(folder)
    argv = [folder / "bin/python", "-m", "pip", "install", "-q", "--index-url", index.url("cpu")]
    subprocess.run([*argv, "torch", "torchvision", "torchaudio"], env=clean(), check=True)
    return folder


@pytest.fixture
def env(tmp_path: Path, filled: Path) -> Path:
    copy_venv(filled, tmp_path / "env")
    return tmp_path / "env"


def on_a_small_disk(tmp_path: Path, source: str) -> list[str]:
    """Run with a file system of 64 MiB at tmp_path/small; its lines."""
    (tmp_path / "small").mkdir()
    mount = 'mount -t tmpfs -o size=64m none "$SMALL" && exec "$@"'
    argv = ["unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-c", mount, "sh"]
    told = clean(SMALL=str(tmp_path / "small"))
    try:
        can = subprocess.run([*argv, "true"], env=told, capture_output=True, check=False)
    except OSError:
        pytest.skip("no unshare here")
    if can.returncode:
        pytest.skip("no file system may be mounted here")
    ran = subprocess.run([*argv, sys.executable, "-c", source], env=told, capture_output=True,
                         text=True, timeout=180, check=False)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip().split("\n")


@pytest.mark.parametrize(("run", "at"), [("run", "installing"), ("small/run", "fetching")])
def test_a_disk_that_fills_up_meanwhile(
    run: str, at: str, env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    """While the new ones are put in, and while they are fetched into the doctor's own folder."""
    source = OUTCOME.format(
        path=[str(Path(__file__).parents[1])], top=str(tmp_path), run=run, at=at, new=NEW,
        url=index.url("cu130"),
    )  # fmt: skip
    said, after = on_a_small_disk(tmp_path, source)
    assert "No space left on device" in said, said
    assert said.startswith("pip says: ")
    assert after == "[] True True"


def test_a_cache_that_cannot_be_written_is_done_without(
    env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    source = (
        "import sys, os; sys.path[:0] = [{path!r}]\n"
        "from pathlib import Path\n"
        "from acting import begun\n"
        "from klein_doctor.steps import Step\n"
        "from klein_doctor.transaction.packages import Change, change_packages\n"
        "tx = begun(Step('x', 'x', 'packages', 'ask', {{}}), Path({top!r}), dict(os.environ))\n"
        "print(change_packages(Change({python!r}, ('plain',), index_url={url!r}), tx).installed)\n"
    ).format(path=str(Path(__file__).parents[1]), top=str(tmp_path / "run"),
             python=str(env / "bin/python"), url=index.url())  # fmt: skip
    told = clean(PIP_CACHE_DIR="/dev/null/cache")
    ran = subprocess.run([sys.executable, "-c", source], env=told, capture_output=True, text=True,
                         timeout=120, check=False)  # fmt: skip
    assert ran.stdout == "(('plain', '1.0'),)\n", ran.stderr


def test_what_the_doctor_runs_on_is_not_moved_under_its_feet(
    env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    """A doctor installed in the target changes torch, and nothing of its own."""
    assert {"klein-doctor", "filelock", "rich", "huggingface-hub"} <= own_packages()
    assert not own_packages() & {"torch", "pytest", "diffusers"}
    site = next(env.glob("lib/*/site-packages"))
    folders = [path for path in sys.path if path.endswith("-packages")]
    lines = "; ".join(f"site.addsitedir({folder!r})" for folder in folders)
    (site / "doctor.pth").write_text(f"import site; {lines}\n")
    source = (
        "import sys, os; sys.path[:0] = [{path!r}]\n"
        "from pathlib import Path\n"
        "from acting import begun\n"
        "from klein_doctor.steps import Step, StepFailed\n"
        "from klein_doctor.transaction.packages import Change, change_packages\n"
        "for wanted in ('filelock==99.0', 'plain'):\n"
        "    tx = begun(Step('x', 'x', 'packages', 'ask', {{}}), Path({top!r}), dict(os.environ))\n"
        "    change = Change(sys.executable, (wanted,), index_url={url!r}, no_deps=True)\n"
        "    try:\n"
        "        print(change_packages(change, tx).installed)\n"
        "    except StepFailed as error:\n"
        "        print(error.says)\n"
    ).format(path=str(Path(__file__).parents[1]), top=str(tmp_path / "run"), url=index.url())
    ran = subprocess.run([env / "bin/python", "-c", source], env=clean(), capture_output=True,
                         text=True, timeout=120, check=False)  # fmt: skip
    first, second = ran.stdout.strip().split("\n") if ran.stdout else (ran.stderr, "")
    assert first.startswith("the doctor itself runs on filelock of this environment"), ran.stderr
    assert "pipx install klein-doctor" in first
    assert second == "(('plain', '1.0'),)"
