"""Packages changed with real pip and real uv, from an index on loopback, in real environments."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from acting import begun, tree, undone
from package_index import (
    PackageIndex,
    put_trio,
    sdist,
    torch_wheel,
    torchaudio_wheel,
    torchvision_wheel,
    wheel,
)
from targets import copy_venv, venv_with_pip

from klein_doctor.probes.torch_files import read_archs
from klein_doctor.steps import Step, StepFailed
from klein_doctor.transaction import packages
from klein_doctor.transaction.journal import Journal
from klein_doctor.transaction.packages import Change, Changed, change_packages
from klein_doctor.transaction.transaction import Transaction

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="paths as on Linux")
STEP = Step("install-torch", "torch", "packages", "ask", {})
TRIO = ("torch", "torchaudio", "torchvision")
NEW = ("torch==2.14.1+cu130", "torchvision==0.29.1+cu130", "torchaudio==2.11.0+cu130")


def clean() -> dict[str, str]:
    """The environment without what this machine's pip and uv are told."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_", "PYTHON"))}
    return env | {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_RETRIES": "0",
        "UV_NO_CONFIG": "1",
        "UV_HTTP_RETRIES": "0",
    }


@pytest.fixture(scope="module")
def index() -> Iterator[PackageIndex]:
    with PackageIndex() as served:
        put_trio(served, "cu130")
        put_trio(served, "cpu", torch="2.13.0", cuda=None)
        served.add(
            wheel("plain", "1.0", {"plain/__init__.py": "", "spaces/__init__.py": "plain"}),
            wheel("other", "1.0", {"other/__init__.py": "", "spaces/__init__.py": "other"}),
            wheel("other", "2.0", {"other/__init__.py": "2"}),
            wheel("told", "1.0", data={"data/share/man/told.1": "x", "scripts/told": "#!python\n"}),
            wheel("needy", "1.0", requires=["plain>=2"]),
            wheel("needy", "2.0", requires=["plain", "other"]),
        )
        yield served


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, index: PackageIndex) -> Path:
    """An environment with pip and the trio for the CPU."""
    folder = tmp_path_factory.mktemp("template") / "env"
    venv_with_pip(folder)
    install(folder, "--index-url", index.url("cpu"), *TRIO)
    install(folder, "--index-url", index.url(), "plain==1.0", "other==1.0")
    return folder


@pytest.fixture
def env(template: Path, tmp_path: Path) -> Path:
    copy_venv(template, tmp_path / "env")
    # As uv makes it: a lock file of its own.
    (tmp_path / "env" / ".lock").touch()
    return tmp_path / "env"


@pytest.fixture(autouse=True)
def _uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", folder + os.pathsep + os.environ["PATH"])
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))


def install(folder: Path, *arguments: str) -> None:
    argv = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", *arguments]
    subprocess.run(argv, env=clean(), check=True, timeout=120)


def freeze(folder: Path) -> str:
    # -B: what Python compiles while it looks is no change of ours.
    argv = [folder / "bin" / "python", "-B", "-m", "pip", "freeze", "--all"]
    return subprocess.run(argv, env=clean(), check=True, capture_output=True, text=True).stdout


def site(folder: Path) -> Path:
    return next((folder / "lib").glob("*/site-packages"))


def change(folder: Path, *wanted: str, **more: object) -> Change:
    return Change(str(folder / "bin" / "python"), wanted, **more)  # type: ignore[arg-type]


def transaction(tmp_path: Path) -> Transaction:
    return begun(STEP, tmp_path, clean() | {"UV_CACHE_DIR": str(tmp_path / "uv-cache")})


def snapshot(folder: Path) -> dict[str, object]:
    """Content, links, rights and folders, empty ones, too."""
    rights = {
        f"{path.relative_to(folder)} rights": path.lstat().st_mode
        for path in folder.rglob("*")
        if not path.is_symlink()
    }
    return {**tree(folder), **rights}


def differences(one: dict[str, object], two: dict[str, object]) -> list[str]:
    return [key for key in sorted(one.keys() | two.keys()) if one.get(key) != two.get(key)]


TOOLS = pytest.mark.parametrize("tool", ["pip", "uv"])


@TOOLS
def test_the_trio_is_replaced_together_and_comes_back(
    tool: str, env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    before, frozen = snapshot(env), freeze(env)
    tx = transaction(tmp_path)
    done = change_packages(change(env, *NEW, index_url=index.url("cu130"), tool=tool), tx)
    tx.journal.add("seal", step=0)
    assert sorted(done.installed) == [
        ("torch", "2.14.1+cu130"), ("torchaudio", "2.11.0+cu130"),
        ("torchvision", "0.29.1+cu130"),
    ]  # fmt: skip
    assert done.removed == ()
    assert "torch==2.14.1+cu130\n" in freeze(env)
    assert "sm_120" in read_archs(site(env) / "torch" / "lib").value
    assert len(list(site(env).glob("torch-*.dist-info"))) == 1
    assert undone(tx.journal) == []
    assert differences(before, snapshot(env)) == []
    assert freeze(env) == frozen


@TOOLS
def test_a_second_time_there_is_nothing_to_do(
    tool: str, env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    wanted = change(env, *NEW, index_url=index.url("cu130"), tool=tool)
    change_packages(wanted, transaction(tmp_path))
    there = snapshot(env)
    tx = transaction(tmp_path)
    said = len(tx.journal.records)
    assert change_packages(wanted, tx) == Changed((), ())
    assert differences(there, snapshot(env)) == []
    assert len(tx.journal.records) == said


@TOOLS
def test_it_comes_back_without_the_index_and_with_what_was_compiled_since(
    tool: str, env: Path, tmp_path: Path
) -> None:
    before = snapshot(env)
    tx = transaction(tmp_path)
    with PackageIndex() as own:
        put_trio(own, "cu130")
        change_packages(change(env, *NEW, index_url=own.url("cu130"), tool=tool), tx)
    tx.journal.add("seal", step=0)
    subprocess.run(
        [env / "bin" / "python", "-c", "import torch.run, torchvision"], env=clean(), check=True
    )
    assert (site(env) / "torch" / "__pycache__").is_dir()
    assert undone(tx.journal) == []
    assert differences(before, snapshot(env)) == []


@TOOLS
def test_a_conflict_is_told_and_touches_nothing(
    tool: str, env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    before = snapshot(env)
    with pytest.raises(StepFailed) as told:
        change_packages(
            change(env, "needy==1.0", index_url=index.url(), tool=tool), transaction(tmp_path)
        )
    assert told.value.says.startswith(f"{tool} says: ") and "\n" not in told.value.says
    assert "plain>=2" in told.value.says
    assert differences(before, snapshot(env)) == []


@TOOLS
@pytest.mark.parametrize("metadata", [False, True])
@pytest.mark.parametrize("fault", ["cut", "missing", "hash"])
def test_what_does_not_arrive_whole_touches_nothing(
    fault: str, metadata: bool, tool: str, env: Path, tmp_path: Path
) -> None:
    before = snapshot(env)
    with PackageIndex() as own:
        own.add(torch_wheel(), torchaudio_wheel(), index="cu130", metadata=metadata)
        false = "0" * 64 if fault == "hash" else ""
        own.add(torchvision_wheel(), index="cu130", sha256=false, metadata=metadata)
        if fault == "cut":
            own.cut["0.29.1+cu130-py3-none-any.whl"] = 300
        if fault == "missing":
            own.missing.add("0.29.1+cu130-py3-none-any.whl")
        with pytest.raises(StepFailed) as told:
            change_packages(
                change(env, *NEW, index_url=own.url("cu130"), tool=tool), transaction(tmp_path)
            )
    assert told.value.says.startswith(f"{tool} says: ") and "\n" not in told.value.says
    print(told.value)
    assert differences(before, snapshot(env)) == []


@TOOLS
def test_too_small_a_disk_is_noticed_before_anything_moves(
    tool: str, env: Path, index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(env)
    usage = shutil.disk_usage(tmp_path)._replace(free=200 << 20)
    monkeypatch.setattr(packages.shutil, "disk_usage", lambda path: usage)
    wanted = change(env, *NEW, index_url=index.url("cu130"), tool=tool)
    monkeypatch.setenv("UV_LINK_MODE", "copy")
    with pytest.raises(StepFailed, match=r"has 0\.2 GiB free .* more room there"):
        tx = transaction(tmp_path)
        tx._child._env["UV_LINK_MODE"] = "copy"
        change_packages(wanted, tx)
    assert differences(before, snapshot(env)) == []


@TOOLS
def test_what_two_packages_share_is_not_lost(
    tool: str, env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    before = snapshot(env)
    tx = transaction(tmp_path)
    done = change_packages(
        change(env, "other==2.0", remove=("Plain",), index_url=index.url(), tool=tool), tx
    )
    assert done == Changed((("other", "2.0"),), ("plain",))
    assert not (site(env) / "spaces").exists()  # nobody claims it any more
    assert undone(tx.journal) == []
    assert differences(before, snapshot(env)) == []
    change_packages(change(env, remove=("plain",), tool=tool), transaction(tmp_path))
    assert (site(env) / "spaces" / "__init__.py").read_text() == "other"
    assert not (site(env) / "plain").exists()


@TOOLS
def test_a_package_that_is_there_can_be_put_there_again(
    tool: str, env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    library = site(env) / "torch" / "lib" / "libtorch_cpu.so"
    whole = library.read_bytes()
    library.write_bytes(whole[:20])
    before = snapshot(env)
    tx = transaction(tmp_path)
    done = change_packages(
        change(env, "torch", index_url=index.url("cpu"), again=True, tool=tool), tx
    )
    assert done == Changed((("torch", "2.13.0+cpu"),), ())
    assert library.read_bytes() == whole
    assert undone(tx.journal) == []
    assert differences(before, snapshot(env)) == []


@pytest.mark.parametrize("sealed", [True, False])
def test_two_changes_of_one_step_are_both_taken_back(
    sealed: bool, env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    tx = transaction(tmp_path)
    (site(env) / "told").mkdir()  # an empty folder is something, too
    (site(env) / "told").chmod(0o750)
    before = snapshot(env)
    change_packages(change(env, *NEW, index_url=index.url("cu130")), tx)
    change_packages(change(env, "told", remove=("torchaudio",), index_url=index.url()), tx)
    if sealed:
        tx.journal.add("seal", step=0)
    assert undone(tx.journal) == []
    assert differences(before, snapshot(env)) == []


@TOOLS
def test_data_and_commands_outside_of_site_packages_come_and_go(
    tool: str, env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    before = snapshot(env)
    tx = transaction(tmp_path)
    change_packages(change(env, "told", index_url=index.url(), tool=tool), tx)
    tx.journal.add("seal", step=0)
    assert (env / "share" / "man" / "told.1").is_file() and (env / "bin" / "told").is_file()
    there = snapshot(env)
    again = transaction(tmp_path)
    assert change_packages(change(env, remove=("told",), tool=tool), again).removed == ("told",)
    assert not (env / "share").exists()
    assert undone(again.journal) == []
    assert differences(before, snapshot(env)) == []
    assert there != before


@TOOLS
def test_two_records_of_one_package_both_go(
    tool: str, env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    old = site(env) / "torch-2.9.0.dist-info"
    shutil.copytree(site(env) / "torch-2.13.0+cpu.dist-info", old)
    about = (old / "METADATA").read_text().replace("2.13.0+cpu", "2.9.0")
    (old / "METADATA").write_text(about)
    (site(env) / "torch-1.0.dist-info").mkdir()
    (site(env) / "torch-1.0.dist-info" / "INSTALLER").write_text("pip")
    before = snapshot(env)
    tx = transaction(tmp_path)
    change_packages(change(env, *NEW, index_url=index.url("cu130"), tool=tool), tx)
    assert [p.name for p in site(env).glob("torch-*")] == ["torch-2.14.1+cu130.dist-info"]
    assert undone(tx.journal) == []
    assert differences(before, snapshot(env)) == []


@TOOLS
def test_what_is_kept_stays_and_a_file_of_requirements_is_followed(
    tool: str, env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    listed = tmp_path / "requirements.txt"
    listed.write_text("torch\nneedy\n")
    wanted = change(
        env, requirements=str(listed), keep=("other==1.0", "torch==2.13.0+cpu"),
        index_url=index.url(), tool=tool,
    )  # fmt: skip
    assert change_packages(wanted, transaction(tmp_path)).installed == (("needy", "2.0"),)
    assert "other==1.0\n" in freeze(env) and "torch==2.13.0+cpu\n" in freeze(env)


def test_sources_are_built_before_anything_moves(
    env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    backend = (
        "import zipfile, shutil\n"
        "def build_wheel(folder, *a, **k):\n"
        f"    open(folder + '/src-1.0-py3-none-any.whl', 'wb').write({wheel('src', '1.0')!r})\n"
        "    return 'src-1.0-py3-none-any.whl'\n"
    )
    about = (
        "[build-system]\nrequires = []\nbuild-backend = 'own'\nbackend-path = ['.']\n"
        "[project]\nname = 'src'\nversion = '1.0'\n"
    )
    with PackageIndex() as own:
        own.add(sdist("src", "1.0", {"pyproject.toml": about, "own.py": backend}))
        done = change_packages(change(env, "src", index_url=own.url()), transaction(tmp_path))
    assert done.installed == (("src", "1.0"),)
    assert "src==1.0\n" in freeze(env)


def _conda(site: Path) -> None:
    (site / "torch-2.13.0+cpu.dist-info" / "INSTALLER").write_text("conda\n")


def _no_record(site: Path) -> None:
    (site / "torch-2.13.0+cpu.dist-info" / "RECORD").unlink()


def _editable(site: Path) -> None:
    told = '{"url": "file:///home/dev/torch", "dir_info": {"editable": true}}'
    (site / "torch-2.13.0+cpu.dist-info" / "direct_url.json").write_text(told)


def _egg(site: Path) -> None:
    (site / "torch-2.13.0+cpu.dist-info").rename(site / "torch-2.13.0-py3.11.egg-info")
    info = site / "torch-2.13.0-py3.11.egg-info"
    (info / "METADATA").rename(info / "PKG-INFO")


def _outside(site: Path) -> None:
    with (site / "torch-2.13.0+cpu.dist-info" / "RECORD").open("a") as record:
        record.write("../../../../../../etc/passwd,,\n")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_conda, "installed by conda"),
        (_no_record, "keeps no list of its files"),
        (_editable, "file:///home/dev/torch"),
        (_egg, "installed in an old way"),
        (_outside, "outside of the environment"),
    ],
)
def test_what_is_not_ours_to_move_is_not_moved(
    make: Callable[[Path], None], says: str, env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    make(site(env))
    before = snapshot(env)
    with pytest.raises(StepFailed, match=says):
        change_packages(change(env, *NEW, index_url=index.url("cu130")), transaction(tmp_path))
    assert differences(before, snapshot(env)) == []


def test_without_pip_or_uv_it_is_said(
    env: Path, index: PackageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(site(env) / "pip")
    with pytest.raises(StepFailed, match="No module named pip"):
        change_packages(change(env, *NEW, index_url=index.url()), transaction(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StepFailed, match="uv, which would do, is not on the PATH"):
        change_packages(change(env, *NEW, tool="uv"), transaction(tmp_path))


def test_a_pip_too_old_to_tell_is_named(env: Path, tmp_path: Path) -> None:
    start = site(env) / "pip" / "__init__.py"
    start.write_text('__version__ = "21.3.1"\n')
    with pytest.raises(StepFailed, match=r"pip 21\.3 .* too old .* install --upgrade pip"):
        change_packages(change(env, *NEW), transaction(tmp_path))


def test_pip_is_not_changed_from_under_itself(
    env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    with PackageIndex() as own:
        own.add(wheel("pip", "99.0"))
        with pytest.raises(StepFailed, match="pip cannot replace itself"):
            change_packages(change(env, "pip==99.0", index_url=own.url()), transaction(tmp_path))


def test_indexes_of_the_user_s_own_count_only_where_none_is_named(
    env: Path, index: PackageIndex, tmp_path: Path
) -> None:
    with PackageIndex() as own:
        own.add(wheel("torch", "99.0"))
        config = tmp_path / "pip.conf"
        config.write_text(f"[global]\nindex-url = {own.url()}\nextra-index-url = {own.url()}\n")
        tx = transaction(tmp_path)
        # Constraints of the machine the tests run on do not count.
        tx._child._env |= {"PIP_CONFIG_FILE": str(config), "PIP_CONSTRAINT": " "}
        tx._child._env |= {"PIP_TARGET": str(tmp_path / "no")}
        change_packages(change(env, *NEW, index_url=index.url("cu130")), tx)
        assert own.requests == []
        done = change_packages(change(env, "torch==99.0", no_deps=True), tx)
    assert done.installed == (("torch", "99.0"),)
    assert not (tmp_path / "no").exists()


KILLED = """
import sys
sys.path[:0] = {path!r}
from acting import begun
from klein_doctor.steps import Step
from klein_doctor.transaction.packages import Change, change_packages
import os
from pathlib import Path
tx = begun(Step("install-torch", "torch", "packages", "ask", {{}}), Path({folder!r}), {env!r})
print("begun", flush=True)
change_packages(Change(**{change!r}), tx)
tx.journal.add("seal", step=0)
print("done", flush=True)
"""


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_killed_at_any_instant_it_comes_back(tool: str, env: Path, tmp_path: Path) -> None:
    """From moving out to the end; what comes before touches nothing."""
    before, frozen = snapshot(env), freeze(env)
    many = {f"torch/many/m{n}.py": f"x = {n}\n" for n in range(1500)}
    chance = random.Random(7)
    with PackageIndex() as own:
        own.add(torch_wheel(files=many), torchvision_wheel(), torchaudio_wheel(), index="cu130")
        took = 0.0
        moments = sorted(chance.uniform(0, 1) for _ in range(5))
        for number, moment in enumerate([None, *moments]):
            folder = tmp_path / f"run{number}"
            wanted = change(env, *NEW, index_url=own.url("cu130"), tool=tool)
            told = clean() | {"UV_CACHE_DIR": str(tmp_path / "uv-cache")}
            source = KILLED.format(
                path=[str(Path(__file__).parents[1])], folder=str(folder), env=told,
                change=wanted._asdict(),
            )  # fmt: skip
            run = folder / "state" / "runs" / "run-1"
            lasted = _killed(source, run, None if moment is None else moment * took)
            took = took or lasted
            assert undone(Journal(run)) == []
            assert differences(before, snapshot(env)) == [], (tool, moment)
    assert freeze(env) == frozen


def _killed(source: str, run: Path, after: float | None) -> float:
    """Kill a doctor so many seconds after it began to move; answers how long it took if not."""
    with subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.DEVNULL, env={**os.environ}
    ) as process:
        while process.poll() is None:
            journal = run / "journal.jsonl"
            if journal.is_file() and b'"take-out"' in journal.read_bytes():
                break
            time.sleep(0.002)
        start = time.monotonic()
        if after is None:
            assert process.wait(120) == 0
            return time.monotonic() - start
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
    until = time.monotonic() + 60  # until the kernel has ended what it had started
    while _works_on(str(run.parents[3])) and time.monotonic() < until:
        time.sleep(0.02)
    return after


def _works_on(place: str) -> bool:
    """Whether a process is there whose command names this folder."""
    found = (each.info["cmdline"] or () for each in psutil.process_iter(["cmdline"]))
    return any(place in word for words in found for word in words)
