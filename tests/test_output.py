"""Where the report goes: files that are whole or untouched, pipes, terminals, narrow encodings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import recorded
from command import COMMAND, FORMATS, clean_environment, doctor, one_line, shell, stranger

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and /dev/full")
HEALTHY = recorded.golden("healthy-rtx5070-linux-cu130", "json")
BROKEN = recorded.golden("cu126-wheel-on-sm120", "json")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_gets_what_standard_output_would(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "report"
    target.write_text("old and much longer " * 10_000)
    target.chmod(0o640)
    ran = doctor("--from", HEALTHY, "--format", kind, "--output", target)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert target.read_text("utf-8") == doctor("--from", HEALTHY, "--format", kind).out
    assert os.name != "posix" or target.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("name", ["a" * 250, "Générateur 画像.json", ".hidden", "a b"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    ran = doctor("--from", HEALTHY, "--output", tmp_path / name)
    assert ran.code == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


@posix
def test_a_link_is_kept_and_its_file_replaced(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    assert doctor("--from", HEALTHY, "--output", link).code == 0
    assert link.is_symlink() and real.read_text() != "old"


def test_a_place_that_cannot_be_written_is_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    places = [tmp_path, tmp_path / "no" / "such" / "report", file / "below-a-file"]
    places.append(tmp_path / ("x" * 300))
    if sys.platform == "linux":
        places += [Path("/proc/klein-doctor"), Path("/proc/self/maps"), Path("/dev/full")]
    for place in places:
        for kind in FORMATS:
            ran = doctor("--from", HEALTHY, "--format", kind, "--output", place)
            assert ran.code == 2 and ran.out == "", place
            assert one_line(ran.err) and "--output" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "old"


def test_a_file_survives_a_diagnosis_that_fails(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("old")
    for arguments in (
        ("--from", tmp_path / "none"),
        ("--select", "nonsense"),
        ("--python", tmp_path / "none"),
        ("--assume", "Voodoo"),
    ):
        assert doctor(*arguments, "--output", kept).code == 2
    assert kept.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@linux
@pytest.mark.skipif(not stranger(), reason="no user namespaces here, and root may write anywhere")
def test_a_closed_folder_or_file_is_wrong_usage(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "kept").write_text("old")
    folder.chmod(0o555)
    shut = tmp_path / "shut"
    shut.write_text("old")
    shut.chmod(0o444)
    try:
        for place in (folder / "new", folder / "kept", shut):
            ran = doctor("--from", HEALTHY, "--output", place, before=stranger())
            assert ran.code == 2 and one_line(ran.err) and "no permission" in ran.err
    finally:
        folder.chmod(0o755)
    assert [path.name for path in folder.iterdir()] == ["kept"]
    assert (folder / "kept").read_text() == shut.read_text() == "old"


@linux
@pytest.mark.skipif(not stranger(), reason="no user namespaces here, and root may read anything")
def test_a_report_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "report"
    path.write_bytes(HEALTHY.read_bytes())
    path.chmod(0)
    ran = doctor("--from", path, before=stranger())
    assert ran.code == 2 and one_line(ran.err) and "Permission denied" in ran.err


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output_by_name(tmp_path: Path, name: str) -> None:
    if name != "-" and os.name != "posix":
        pytest.skip("no /dev/stdout")
    ran = doctor("--from", HEALTHY, "--output", name, cwd=tmp_path)
    assert ran == doctor("--from", HEALTHY)
    assert not list(tmp_path.iterdir())


@posix
def test_a_log_that_is_appended_to_keeps_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    shell(f'"$@" >> "{log}"', "--from", HEALTHY, "--output", "/dev/stdout")
    assert log.read_text() == "before\n" + doctor("--from", HEALTHY).out


@posix
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), 0),
        (("--version",), 0),
        (("explain",), 0),
        (("--from", HEALTHY), 0),
        (("--from", HEALTHY, "--format", "json"), 0),
        (("--from", BROKEN), 1),
        (("--from", BROKEN, "--format", "markdown"), 1),
    ],
)
def test_a_reader_that_goes_away_changes_nothing(arguments: tuple[str, ...], code: int) -> None:
    script = '( "$@"; echo "code $?" >&2 ) | true'
    for env in ({}, {"PYTHONUNBUFFERED": "1"}):
        # The pipe is closed before the doctor has started: true reads nothing and ends.
        assert shell(f"sleep 0.2; {script}", *arguments, env=env).err == f"code {code}\n"


@linux
@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("explain",), *(("--from", HEALTHY, "--format", kind) for kind in FORMATS)],
)
def test_a_full_disk_is_told_in_one_line(arguments: tuple[str, ...]) -> None:
    ran = shell('"$@" > /dev/full', *arguments)
    assert ran.code == 2
    assert one_line(ran.err) and "standard output: No space left" in ran.err


@posix
def test_closed_streams(tmp_path: Path) -> None:
    for arguments in (("--from", HEALTHY), ("explain",)):
        ran = shell('"$@" >&-', *arguments)
        assert ran.code == 2 and one_line(ran.err) and "standard output is closed" in ran.err
    target = tmp_path / "report"
    assert shell('"$@" >&-', "--from", HEALTHY, "--output", target) == (0, "", "")
    assert target.read_text() == doctor("--from", HEALTHY).out
    ran = shell('"$@" <&-', "--from", "-")
    assert ran.code == 2 and one_line(ran.err) and "standard input is closed" in ran.err
    changed = tmp_path / "changed.json"
    changed.write_text(HEALTHY.read_text().replace('"retry": false', '"retry": true'))
    ran = shell('"$@" 2>&-', "--from", changed, "--format", "json")
    assert ran.code == 0 and ran.document["findings"]


# --- colours and encodings -------------------------------------------------------------------


def test_colours_only_where_wanted() -> None:
    def shown(*arguments: str, **env: str) -> str:
        return doctor("--from", BROKEN, *arguments, env=env).out

    plain = shown()
    assert "\x1b" not in plain
    assert "\x1b[" in shown("--color", "always")
    assert "\x1b[" in shown("--color", "always", NO_COLOR="1", TERM="dumb")
    assert "\x1b[" in shown(FORCE_COLOR="1")
    assert shown(FORCE_COLOR="1", NO_COLOR="1") == plain
    assert shown(CLICOLOR_FORCE="1", CLICOLOR="0") == plain
    assert "\x1b[" in shown(CLICOLOR_FORCE="1")
    assert shown(CLICOLOR_FORCE="0") == plain
    assert shown("--color", "never", FORCE_COLOR="1") == plain
    assert shown(TERM="dumb") == plain
    for kind in ("brief", "json", "markdown"):
        assert "\x1b" not in shown("--format", kind, "--color", "always", FORCE_COLOR="1")


@posix
@pytest.mark.parametrize(
    ("env", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "CLICOLOR": "0"}, False),
        ({"TERM": "xterm", "CLICOLOR": "1"}, True),
        ({"TERM": "xterm", "KLEIN_DOCTOR_COLOR": "never"}, False),
    ],
)
def test_on_a_terminal(env: dict[str, str], coloured: bool) -> None:
    import pty
    import subprocess

    master, slave = pty.openpty()
    run = subprocess.Popen(
        [*COMMAND, "--from", str(BROKEN)], stdout=slave, stderr=slave, stdin=slave,
        env={**clean_environment(), **env},
    )  # fmt: skip
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 65536):
            shown += piece
    except OSError:  # Linux: the other end is closed
        pass
    os.close(master)
    assert run.wait(30) == 1
    assert b"torch-lacks-arch" in shown
    assert (b"\x1b[" in shown) is coloured


@pytest.mark.parametrize("kind", FORMATS)
def test_an_ascii_stream_is_enough(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "Générateur d'images ünd 画像"
    folder.mkdir()
    env = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    ran = doctor("--python", folder, "--format", kind, env=env)
    assert ran.code == 1 and ran.err == "" and ran.out.isascii()
    missing = doctor("--python", folder / "ü", "--format", kind, env=env)
    assert missing.code == 2 and one_line(missing.err) and missing.err.isascii()


@linux
@pytest.mark.parametrize("kind", FORMATS)
def test_a_name_that_is_no_text_at_all(tmp_path: Path, kind: str) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    ran = doctor("--python", os.fsdecode(folder), "--format", kind)
    assert ran.code == 1 and ran.err == "" and ran.out
    kept = tmp_path / "report"
    written = doctor("--python", os.fsdecode(folder), "--format", kind, "--output", kept)
    assert written.code == 1 and kept.read_text("utf-8")


@pytest.mark.parametrize("columns", ["1", "40", "80", "400", "x", "0", "-5"])
def test_any_width(columns: str) -> None:
    ran = doctor("--from", BROKEN, env={"COLUMNS": columns})
    assert (ran.code, ran.err) == (1, "") and "torch-lacks-arch" in ran.out
