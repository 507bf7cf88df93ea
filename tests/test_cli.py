"""The command line as a contract: formats, exit codes, wrong usage, the environment."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import recorded
from command import FORMATS, doctor, one_line

from klein_doctor.explain import explain
from klein_doctor.registry import catalogue

HEALTHY = "healthy-rtx5070-linux-cu130"
WARNED = "two-gpus-weaker-chosen"
BROKEN = "cu126-wheel-on-sm120"


def golden(name: str) -> Path:
    """A machine's JSON report, as a user would have saved it."""
    return recorded.golden(name, "json")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("name", "code", "strict"), [(HEALTHY, 0, 0), (WARNED, 0, 1), (BROKEN, 1, 1)]
)
def test_exit_code_is_the_same_in_every_format(
    name: str, code: int, strict: int, kind: str
) -> None:
    ran = doctor("--from", golden(name), "--format", kind)
    assert (ran.code, ran.err) == (code, "")
    if kind == "json":
        assert ran.document["exit_code"] == code
    ran = doctor("--from", golden(name), "--format", kind, "--strict")
    assert (ran.code, ran.err) == (strict, "")
    if kind == "json":
        assert ran.document["exit_code"] == strict


def test_exit_code_of_this_machine_is_the_same_in_every_format() -> None:
    ran = [doctor("--format", kind) for kind in FORMATS]
    assert len({each.code for each in ran}) == 1
    assert ran[0].code in (0, 1, 3)
    assert [each.err for each in ran] == [""] * len(ran)


def test_what_is_unknown_is_undecided(tmp_path: Path) -> None:
    data = json.loads(golden(HEALTHY).read_text())
    data["facts"]["torch"] = {"unknown": "the disk did not answer"}
    path = tmp_path / "unknown.json"
    path.write_text(json.dumps(data))
    for kind in FORMATS:
        ran = doctor("--from", path, "--format", kind)
        assert ran.code == 3
        assert one_line(ran.err) and "seal" in ran.err
    assert "the disk did not answer" in doctor("--from", path).out
    assert doctor("--from", path, "--strict").code == 1


def test_select_and_ignore() -> None:
    path = golden(BROKEN)
    only = doctor("--from", path, "--format", "json", "--select", "torch-too-old,gpu-hidden")
    assert only.verdicts() == {"torch-too-old": "fail", "gpu-hidden": "pass"}
    assert all(item["because"] is None for item in only.document["findings"])
    twice = doctor(
        "--from", path, "--format", "json", "--select", "torch-too-old", "--select", "gpu-hidden"
    )
    assert twice.out == only.out
    without = doctor("--from", path, "--format", "json", "--ignore", "torch-lacks-arch")
    assert "torch-lacks-arch" not in without.verdicts() and without.code == 1
    fine = doctor("--from", path, "--format", "json", "--select", "gpu-hidden")
    assert (fine.code, fine.document["first"]) == (0, None)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("check", "reason"),
    [
        ("gpu-hidden", "waits for gpu-not-found: No NVIDIA card answers on this machine"),
        ("image-noise", "no test picture was made in this run; klein-doctor generate makes some"),
        ("kernels-fail", "no program was run on the card; with --prove some are"),
        ("torch-replaced", "there is nothing here that it judges; klein-doctor explain torch-rep"),
    ],
)
def test_a_check_that_was_named_and_not_judged_says_why(check: str, reason: str, kind: str) -> None:
    path = golden("no-driver-at-all")
    alone = doctor("--from", path, "--format", kind, "--select", check)
    assert (alone.code, alone.err) == (3, "")
    beside = doctor("--from", path, "--format", kind, "--select", f"{check},disk-too-small")
    assert (beside.code, beside.err) == (0, "")
    for ran in (alone, beside):
        assert check in ran.out and reason in " ".join(ran.out.replace("&#x27;", "'").split())
    if kind != "json":
        assert "Nothing of what was asked for could be judged." in alone.out
        assert "No problem" not in alone.out
        told = " ".join(beside.out.split())
        assert "No problem found in the checks that were asked for, but 1 check could not" in told


def test_a_selection_that_is_ignored_is_wrong_usage() -> None:
    ran = doctor("--select", "image-noise", "--ignore", "image-noise")
    assert ran.code == 2 and one_line(ran.err) and "--ignore leaves nothing" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--select", "torch-lack-arch"), "did you mean torch-lacks-arch"),
        (("--select", "gpu-hidden,gpu-hiden"), "did you mean gpu-hidden"),
        (("--ignore", "nonsense-nonsense"), "klein-doctor explain lists them"),
        (("explain", "gpu-hiden"), "did you mean gpu-hidden"),
        (("explain", "gpu-hidden", "torch-too-old"), "torch-too-old"),
        (("--nonsense",), "there is no option --nonsense"),
        (("--fomrat=json",), "did you mean --format?"),
        (("--form", "json"), "did you mean --format?"),
        (("nonsense",), "nonsense"),
        (("--format",), "--format"),
        (("--format", "pdf"), "pdf"),
        (("--color", "pink"), "pink"),
        (("--from", "x.json", "--gpu", "0"), "--from judges a report"),
        (("--from", "x.json", "--python", "p"), "--from judges a report"),
        (("--from", "x.json", "--assume", "RTX 5070,driver=580"), "--from judges a report"),
        (("--assume", "RTX 5071,driver=580"), "near it: RTX 5070"),
        (("--assume", "Voodoo,driver=580"), "no card called 'Voodoo'"),
        (("--assume", "RTX 5070"), "driver=580"),
        (("--assume", "RTX 5070,driver=new"), "driver=580"),
        (("--assume", "RTX 5070,driver=580,os=beos"), "os is one of"),
        (("--assume", "RTX 5070,drivers=580"), "neither driver=N"),
        (("--python", "/nowhere/at/all"), "no such file"),
        (("--from", "a\nb\x1b[31m"), r"a\nb\x1b[31m"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(arguments: tuple[str, ...], said: str) -> None:
    ran = doctor(*arguments)
    assert ran.code == 2 and ran.out == ""
    assert one_line(ran.err) and said in ran.err


# --- the environment -------------------------------------------------------------------------


def test_environment_twins(tmp_path: Path) -> None:
    env = {
        "KLEIN_DOCTOR_FROM": str(golden(WARNED)),
        "KLEIN_DOCTOR_FORMAT": "json",
        "KLEIN_DOCTOR_STRICT": "1",
    }
    ran = doctor(env=env)
    assert ran.code == 1 and ran.document["schema"] == "klein-doctor/report/1"
    assert doctor(env={**env, "KLEIN_DOCTOR_STRICT": "no"}).code == 0
    selected = doctor(env={**env, "KLEIN_DOCTOR_SELECT": "gpu-hidden, torch-broken"})
    assert set(selected.verdicts()) == {"gpu-hidden", "torch-broken"}
    ignored = doctor(env={**env, "KLEIN_DOCTOR_IGNORE": "gpu-hidden"})
    assert "gpu-hidden" not in ignored.verdicts() and "torch-broken" in ignored.verdicts()
    colour = {"KLEIN_DOCTOR_FROM": env["KLEIN_DOCTOR_FROM"], "KLEIN_DOCTOR_COLOR": "always"}
    assert "\x1b[" in doctor(env=colour).out
    output = tmp_path / "report.json"
    assert doctor(env={**env, "KLEIN_DOCTOR_OUTPUT": str(output)}).out == ""
    assert output.read_text() == ran.out


def test_environment_twins_of_what_is_judged(tmp_path: Path) -> None:
    env = {"KLEIN_DOCTOR_PYTHON": str(tmp_path), "KLEIN_DOCTOR_ASSUME": "RTX 5070,driver=580",
           "KLEIN_DOCTOR_GPU": "0", "KLEIN_DOCTOR_FORMAT": "json"}  # fmt: skip
    target = doctor(env=env).document["target"]
    assert target["python_from"] == "--python"
    assert target["assumed"] == "RTX 5070,driver=580"
    assert target["gpu"] == "0"


def test_the_command_line_beats_the_environment(tmp_path: Path) -> None:
    env = {"KLEIN_DOCTOR_FORMAT": "json", "KLEIN_DOCTOR_FROM": "/nowhere/at/all"}
    ran = doctor("--from", golden(HEALTHY), "--format=brief", env=env)
    assert ran.code == 0 and ran.out.startswith("klein-doctor ")
    other = {"KLEIN_DOCTOR_FORMAT": "json", "KLEIN_DOCTOR_SELECT": "torch-broken"}
    ran = doctor("--from", golden(HEALTHY), "--select", "gpu-hidden", env=other)
    assert list(ran.verdicts()) == ["gpu-hidden"]
    # A report that is named judges that report, whatever machine the environment speaks of.
    machine = {"KLEIN_DOCTOR_PYTHON": "/nowhere", "KLEIN_DOCTOR_GPU": "0",
               "KLEIN_DOCTOR_ASSUME": "RTX 5071"}  # fmt: skip
    assert doctor("--from", golden(HEALTHY), env=machine).code == 0
    here = doctor("--python", tmp_path, "--format", "json", env=env)
    assert here.document["target"]["python_from"] == "--python"


def test_an_empty_variable_is_an_unset_one() -> None:
    names = ("FORMAT", "STRICT", "SELECT", "IGNORE", "COLOR", "PYTHON", "GPU", "ASSUME", "OUTPUT")
    env = {f"KLEIN_DOCTOR_{name}": "" for name in names}
    assert doctor("--from", golden(HEALTHY), env=env) == doctor("--from", golden(HEALTHY))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FORMAT", "pdf"),
        ("COLOR", "pink"),
        ("STRICT", "perhaps"),
        ("SELECT", "gpu-hiden"),
        ("IGNORE", "gpu-hiden"),
        ("PYTHON", "/nowhere/at/all"),
        ("ASSUME", "RTX 5071"),
        ("OUTPUT", "/nowhere/at/all"),
        ("FROM", "/nowhere/at/all"),
    ],
)
def test_a_bad_value_names_the_variable(name: str, value: str) -> None:
    ran = doctor(env={f"KLEIN_DOCTOR_{name}": value})
    assert ran.code == 2 and ran.out == ""
    assert one_line(ran.err) and f"KLEIN_DOCTOR_{name}" in ran.err


def test_redacted_unless_asked_otherwise_on_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "marguerite" / "env"
    folder.mkdir(parents=True)
    env = {"HOME": str(folder.parent), "USER": "marguerite"}
    for kind in ("brief", "json", "markdown"):
        assert "marguerite" not in doctor("--python", folder, "--format", kind, env=env).out
    assert "~/env" in doctor("--python", folder, env=env).out
    real = doctor("--python", folder, "--format", "json", "--unredacted", env=env)
    assert "marguerite" in real.out
    twin = {**env, "KLEIN_DOCTOR_UNREDACTED": "1"}
    assert "marguerite" not in doctor("--python", folder, "--format", "json", env=twin).out


# --- the rest --------------------------------------------------------------------------------


def test_an_assumed_card_is_marked() -> None:
    ran = doctor("--assume", "GeForce RTX 5070, driver=580, os=windows", "--format", "json")
    assert ran.whole and ran.code in (0, 1, 3)
    assert ran.document["target"]["assumed"]
    assert ran.document["facts"]["system"]["known"]["os"] == "windows"
    brief = doctor("--assume", "RTX 5070,driver=580", "--format", "brief").out
    assert "assumed, not measured" in brief
    old = doctor("--assume", "RTX 5070,driver=566.36", "--format", "json")
    assert old.code == 1 and old.verdicts()["driver-too-old"] == "fail"


def test_version_and_help() -> None:
    version = doctor("--version")
    assert version.code == 0 and version.out.startswith("klein-doctor 0.")
    for arguments in (("--help",), ("explain", "--help")):
        helped = doctor(*arguments)
        assert (
            helped.code == 0 and helped.err == "" and helped.out.startswith("usage: klein-doctor")
        )
    assert "--assume" in doctor("--help").out


def test_explain_lists_every_check() -> None:
    lines = doctor("explain").out.splitlines()
    listed = [line.split()[0] for line in lines if not line.startswith(" ")]
    judged = doctor("--from", golden(HEALTHY), "--format", "json").verdicts()
    assert set(listed) == set(catalogue()) >= set(judged)
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("name", ["torch-lacks-arch", "vae-wrong"])
def test_explain_explains_where_nothing_but_ascii_goes(name: str) -> None:
    page = doctor("explain", name, env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
    assert (page.code, page.err) == (0, "") and page.out.startswith(name)


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_check_is_explained(name: str) -> None:
    stream = io.StringIO()
    explain(name, stream)
    page = stream.getvalue()
    assert page.isascii() and page.startswith(name)
    assert all(part in page for part in ("What it reads", "Why it matters", "By hand"))
    assert max(map(len, page.splitlines())) <= 80
