"""The command line as a contract: formats, exit codes, destinations, the environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import recorded
from command import doctor, one_line

FORMATS = ("text", "brief", "json", "markdown")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """JSON reports of the machines, as a user would have saved them."""
    folder = tmp_path_factory.mktemp("reports")
    paths = {}
    for name in recorded.names():
        paths[name] = folder / f"{name}.json"
        paths[name].write_text(recorded.golden(name, "json").read_text("utf-8"), "utf-8")
    return paths


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("name", "code", "strict"),
    [
        ("healthy-rtx5070-linux-cu130", 0, 0),
        ("two-gpus-weaker-chosen", 0, 1),
        ("cu126-wheel-on-sm120", 1, 1),
    ],
)
def test_exit_code_is_the_same_in_every_format(
    saved: dict[str, Path], name: str, code: int, strict: int, kind: str
) -> None:
    ran = doctor("--from", saved[name], "--format", kind)
    assert (ran.code, ran.err) == (code, "")
    if kind == "json":
        assert ran.document["exit_code"] == code
    assert doctor("--from", saved[name], "--format", kind, "--strict").code == strict


def test_what_is_unknown_is_undecided(saved: dict[str, Path], tmp_path: Path) -> None:
    data = json.loads(saved["healthy-rtx5070-linux-cu130"].read_text())
    data["facts"]["torch"] = {"unknown": "the disk did not answer"}
    path = tmp_path / "unknown.json"
    path.write_text(json.dumps(data))
    for kind in FORMATS:
        ran = doctor("--from", path, "--format", kind)
        assert ran.code == 3
        assert one_line(ran.err) and "seal" in ran.err
    assert "Not judged: the disk did not answer" in doctor("--from", path).out


def test_select_and_ignore(saved: dict[str, Path]) -> None:
    path = saved["cu126-wheel-on-sm120"]
    only = doctor("--from", path, "--format", "json", "--select", "torch-too-old,gpu-hidden")
    assert only.verdicts() == {"torch-too-old": "fail", "gpu-hidden": "pass"}
    assert only.document["findings"][1]["because"] is None
    without = doctor("--from", path, "--format", "json", "--ignore", "torch-lacks-arch")
    assert "torch-lacks-arch" not in without.verdicts() and without.code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--select", "torch-lack-arch"), "did you mean torch-lacks-arch"),
        (("--ignore", "nonsense-nonsense"), "klein-doctor explain lists them"),
        (("explain", "gpu-hiden"), "did you mean gpu-hidden"),
        (("--nonsense",), "--nonsense"),
        (("nonsense",), "nonsense"),
        (("--format", "pdf"), "pdf"),
        (("--from", "x.json", "--gpu", "0"), "--from judges a report"),
        (("--assume", "RTX 5071,driver=580"), "near it: "),
        (("--assume", "RTX 5070"), "driver=580"),
        (("--assume", "RTX 5070,driver=580,os=beos"), "os is one of"),
        (("--assume", "RTX 5070,drivers=580"), "neither driver=N"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(arguments: tuple[str, ...], said: str) -> None:
    ran = doctor(*arguments)
    assert ran.code == 2 and ran.out == ""
    assert one_line(ran.err) and said in ran.err


def test_environment_twins(saved: dict[str, Path]) -> None:
    path = str(saved["two-gpus-weaker-chosen"])
    env = {"KLEIN_DOCTOR_FROM": path, "KLEIN_DOCTOR_FORMAT": "json", "KLEIN_DOCTOR_STRICT": "1"}
    ran = doctor(env=env)
    assert ran.code == 1 and ran.document["schema"] == "klein-doctor/report/1"
    assert doctor("--format", "brief", env=env).out.startswith("klein-doctor ")
    selected = doctor(env={**env, "KLEIN_DOCTOR_SELECT": "gpu-hidden"})
    assert list(selected.verdicts()) == ["gpu-hidden"]
    wrong = doctor(env={**env, "KLEIN_DOCTOR_FORMAT": "pdf"})
    assert wrong.code == 2 and "KLEIN_DOCTOR_FORMAT=pdf" in wrong.err
    wrong = doctor(env={**env, "KLEIN_DOCTOR_STRICT": "perhaps"})
    assert wrong.code == 2 and "KLEIN_DOCTOR_STRICT=perhaps" in wrong.err
    assert doctor(env={"KLEIN_DOCTOR_ASSUME": "RTX 5071"}).code == 2
    assert doctor(env={"KLEIN_DOCTOR_PYTHON": "/nowhere/at/all"}).code == 2


def test_output_is_whole_or_untouched(saved: dict[str, Path], tmp_path: Path) -> None:
    path = saved["healthy-rtx5070-linux-cu130"]
    target = tmp_path / "report.md"
    target.write_text("old")
    ran = doctor("--from", path, "--format", "markdown", "--output", target)
    assert (ran.code, ran.out) == (0, "")
    assert target.read_text("utf-8") == doctor("--from", path, "--format", "markdown").out
    for bad in (tmp_path, tmp_path / "no" / "such" / "r.md", target / "below-a-file"):
        ran = doctor("--from", path, "--output", bad)
        assert ran.code == 2 and one_line(ran.err) and "--output" in ran.err
    failing = tmp_path / "kept.txt"
    failing.write_text("old")
    assert doctor("--from", tmp_path / "none.json", "--output", failing).code == 2
    assert failing.read_text() == "old"
    assert {p.name for p in tmp_path.iterdir()} == {"report.md", "kept.txt"}


def test_colours_only_where_wanted(saved: dict[str, Path]) -> None:
    path = saved["cu126-wheel-on-sm120"]
    assert "\x1b[" not in doctor("--from", path).out
    assert "\x1b[" in doctor("--from", path, "--color", "always").out
    assert "\x1b[" in doctor("--from", path, env={"FORCE_COLOR": "1"}).out
    assert "\x1b[" not in doctor("--from", path, env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).out
    plain = doctor("--from", path, "--color", "never", env={"FORCE_COLOR": "1"}).out
    assert plain == doctor("--from", path).out


def test_an_ascii_stream_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "Générateur d'images ünd 画像"
    folder.mkdir()
    env = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    for kind in FORMATS:
        ran = doctor("--python", folder, "--format", kind, env=env)
        assert ran.code == 1 and ran.err == "" and ran.out.isascii()


def test_redacted_unless_asked_otherwise(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "marguerite" / "env"
    folder.mkdir(parents=True)
    env = {"HOME": str(folder.parent), "USER": "marguerite"}
    for kind in ("brief", "json", "markdown"):
        assert "marguerite" not in doctor("--python", folder, "--format", kind, env=env).out
    assert "~/env" in doctor("--python", folder, env=env).out
    assert (
        "marguerite" in doctor("--python", folder, "--format", "json", "--unredacted", env=env).out
    )
    twin = {**env, "KLEIN_DOCTOR_UNREDACTED": "1"}
    assert "marguerite" not in doctor("--python", folder, "--format", "json", env=twin).out


def test_assumed_card_is_marked() -> None:
    ran = doctor("--assume", "GeForce RTX 5070, driver=580, os=windows", "--format", "json")
    assert ran.document["target"]["assumed"]
    assert ran.document["facts"]["system"]["known"]["os"] == "windows"
    assert "assumed, not measured" in doctor("--assume", "RTX 5070,driver=580",
                                             "--format", "brief").out  # fmt: skip


def test_version_help_and_explain() -> None:
    assert doctor("--version").out.startswith("klein-doctor 0.")
    helped = doctor("--help")
    assert helped.code == 0 and "--assume" in helped.out and helped.err == ""
    listed = doctor("explain").out
    assert "torch-lacks-arch" in listed and "gpu-not-found" in listed
    page = doctor("explain", "torch-lacks-arch").out
    for part in ("What it reads", "Why it matters", "By hand", "sm_120"):
        assert part in page
