"""Launch arguments out of batch files, scripts, settings and servers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.installation import Launcher, Server
from klein_doctor.privacy import Redactor
from klein_doctor.probes.found import Answer, Found, Saved
from klein_doctor.probes.launch_flags import commands, flags, listen_class, split
from klein_doctor.probes.launchers import read_launchers
from klein_doctor.probes.outside import Outside

REDACTOR = Redactor(("jane",), ("/home/jane",), ("box",))
TOKEN = "hf_" + "a1B2" * 9


def outside(root: Path, platform: str = "linux", **env: str) -> Outside:
    return Outside(root, env, platform, REDACTOR)


def found(root: Path, kind: str = "manual", *saved: Saved) -> Found:
    return Found(root, kind, "home folder", None, "", root, saved=saved)


def read(root: Path, kind: str = "manual", platform: str = "linux") -> tuple[Launcher, ...]:
    return read_launchers(outside(root, platform), found(root, kind), ())


def started(root: Path, name: str, *lines: str) -> list[tuple[int, str, tuple[str, ...]]]:
    """Line, reach and arguments of what a file with these lines starts."""
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [
        (each.line, each.listen, tuple(flag.name for flag in each.flags)) for each in read(root)
    ]


# --- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "windows", "words"),
    [
        (r'"C:\a b\python.exe" -s main.py', True, [r"C:\a b\python.exe", "-s", "main.py"]),
        ("python main.py --listen '0.0.0.0'", False, ["python", "main.py", "--listen", "0.0.0.0"]),
        (r"a\ b c", False, ["a b", "c"]),
        ('open "never closed', True, ["open", "never closed"]),
        ("open 'never closed", False, ["open", "never closed"]),
        ('a"b c"d ""', True, ["ab cd", ""]),
        (r'"say \"x\" \n"', False, [r'say "x" \n']),
        ("a^&b ^", True, ["a&b", ""]),
        ("a\\\nb", False, ["ab"]),
        ("'C:\\x'", True, ["'C:\\x'"]),
        ("a & b > c", True, ["a", "&", "b", ">", "c"]),
        ("", False, []),
        (" \t ", True, []),
    ],
)
def test_lines_are_split_as_their_shell_does(line: str, windows: bool, words: list[str]) -> None:
    assert split(line, windows) == words


@pytest.mark.parametrize(
    ("line", "shell", "wanted"),
    [
        ("cd x && python main.py", "bat", [["cd", "x"], ["python", "main.py"]]),
        ("a --listen&&b", "bat", [["a", "--listen"], ["b"]]),
        ("a --listen; b | c &", "sh", [["a", "--listen"], ["b"], ["c"]]),
        ("a > log.txt 2>&1 --x", "sh", [["a", "--x"]]),
        ("a >>log 2>nul", "bat", [["a"]]),
        ("(a --listen)", "bat", [["a", "--listen"]]),
        ("a --listen # open", "sh", [["a", "--listen"]]),
        ("a '#1' b#2", "sh", [["a", "#1", "b#2"]]),
        ("a # b", "bat", [["a", "#", "b"]]),
        ("& 'C:\\x y\\python.exe' main.py", "ps1", [["C:\\x y\\python.exe", "main.py"]]),
        ('$(dirname "$0")/main.py', "sh", [['$(dirname "$0")/main.py']]),
        ("", "sh", []),
    ],
)
def test_a_line_holds_several_commands(line: str, shell: str, wanted: list[list[str]]) -> None:
    assert commands(line, shell) == wanted


# --- arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "width"),
    [
        ([], ""),
        (["--port", "8188"], ""),
        (["--listen"], "any"),
        (["--listen", "--port", "1"], "any"),
        (["--listen", "0.0.0.0"], "any"),
        (["--listen", "0"], "any"),
        (["--listen=::"], "any"),
        (["--listen", "::ffff:0.0.0.0"], "any"),
        (["--listen="], "any"),
        (["--listen", "127.0.0.1,"], "any"),
        (["--listen", "127.0.0.1,0.0.0.0"], "any"),
        (["--listen", "127.0.0.1"], "loopback"),
        (["--listen", "127.1"], "loopback"),
        (["--listen", "127.2.2.2,127.3.3.3"], "loopback"),
        (["--listen", "::1"], "loopback"),
        (["--listen", "LocalHost"], "loopback"),
        (["--listen", "192.168.1.4"], "private"),
        (["--listen", "10.1.2.3"], "private"),
        (["--listen", "172.31.0.1"], "private"),
        (["--listen", "169.254.1.1"], "private"),
        (["--listen", "100.64.0.9"], "private"),
        (["--listen", "fe80::1"], "private"),
        (["--listen", "fd00::1"], "private"),
        (["--listen", "box.local"], "private"),
        (["--listen", "8.8.8.8"], "public"),
        (["--listen", "172.32.0.1"], "public"),
        (["--listen", "2001:4860:4860::8888"], "public"),
        (["--listen", "::ffff:8.8.8.8"], "public"),
        (["--listen", "127.0.0.1,8.8.8.8"], "public"),
        (["--listen", "--listen", "127.0.0.1"], "loopback"),
        (["--listen", "127.0.0.1", "--listen"], "any"),
        (["--listen", "$HOST"], ""),
        (["--listen", "%HOST%"], ""),
    ],
)
def test_who_is_reached(argv: list[str], width: str) -> None:
    assert listen_class(argv) == width
    assert listen_class(["main.py", *argv]) == width


def test_values_are_kept_only_where_the_table_says_so() -> None:
    argv = ["--listen", "8.8.4.4", "--reserve-vram", "1.5", "--base-directory",
            "/home/jane/x", "--comfy-api-base", "https://u:p@h", "--api-key", TOKEN, "stray",
            "--lowvram", "yes", "--fast", "fp16_accumulation", "autotune",
            "--port=8200", "-x", "--", "---"]  # fmt: skip
    kept = {flag.name: flag.value for flag in flags(REDACTOR, argv)}
    assert list(kept) == ["--listen", "--reserve-vram", "--base-directory", "--comfy-api-base",
                          "--api-key", "--lowvram", "--fast", "--port"]  # fmt: skip
    assert kept["--reserve-vram"].public == "1.5" and kept["--port"].public == "8200"
    assert kept["--base-directory"].public == "~/x"
    assert kept["--base-directory"].real == "/home/jane/x"
    assert kept["--fast"].public == "fp16_accumulation autotune"
    assert kept["--listen"].public == "(public address)" and kept["--listen"].local == "8.8.4.4"
    assert kept["--comfy-api-base"].real == kept["--api-key"].real == kept["--lowvram"].real == ""
    assert TOKEN not in repr(kept)


def test_each_of_several_paths_is_redacted() -> None:
    argv = ["--extra-model-paths-config", "a.yaml", "/home/jane/b c.yaml"]
    (flag,) = flags(REDACTOR, argv)
    assert flag.value.public == "a.yaml ~/b c.yaml"
    (flag,) = flags(REDACTOR, ["--verbose", "DEBUG", "/home/jane/log.txt"])
    assert flag.value.public == "DEBUG ~/log.txt"


@pytest.mark.parametrize(
    "value",
    [TOKEN, f"/data/{TOKEN}/x", "https://jane:secret@host/", f"a,{TOKEN}"],
)
@pytest.mark.parametrize("name", ["--preview-method", "--base-directory", "--fast", "--listen"])
def test_what_looks_like_a_token_is_never_kept(name: str, value: str) -> None:
    for argv in ([name, value], [f"{name}={value}"]):
        (flag,) = flags(REDACTOR, argv)
        assert TOKEN not in repr(flag) and "secret" not in repr(flag)


@pytest.mark.parametrize(
    ("value", "public"),
    [
        ("0.0.0.0,::", "0.0.0.0,::"),
        ("127.0.0.1", "127.0.0.1"),
        ("192.168.1.4", "(private address)"),
        ("box.example.org", "(private address)"),
        ("$HOST", "(unknown address)"),
    ],
)
def test_addresses_in_a_pasted_report(value: str, public: str) -> None:
    (flag,) = flags(REDACTOR, ["--listen", value])
    assert (flag.value.real, flag.value.public) == (value, public)


def test_endless_arguments_are_cut() -> None:
    many = flags(REDACTOR, [f"--x{number}" for number in range(1000)])
    assert len(many) == 64
    (one,) = flags(REDACTOR, ["--fast", *["w" * 100] * 5000])
    assert len(one.value.real) <= 300


# --- files -----------------------------------------------------------------------------------


def test_the_portables_batch_files(tmp_path: Path) -> None:
    root = tmp_path / "ComfyUI"
    root.mkdir()
    run = r".\python_embeded\python.exe %s ComfyUI\main.py --windows-standalone-build %s"
    (tmp_path / "run_nvidia_gpu.bat").write_text(
        "@echo off\r\nrem " + run % ("", "--cpu") + "\r\n" + run % ("-s", "") + "\r\npause\r\n"
    )
    (tmp_path / "lan.bat").write_text(
        "set ARGS=--listen --port 9000\r\n" + run % ("", "%ARGS%") + "\r\n"
    )
    (tmp_path / "other.bat").write_text("echo hello\r\n")
    (tmp_path / "advanced").mkdir()
    (tmp_path / "advanced" / "api.bat").write_text("..\\" + run % ("-I", "") + "\r\n")
    lan, usual, advanced = read(root, "portable", "win32")
    assert (usual.kind, usual.line, usual.isolated, usual.listen) == ("bat", 3, True, "")
    assert [flag.name for flag in usual.flags] == ["--windows-standalone-build"]
    assert (lan.line, lan.isolated, lan.listen) == (2, False, "any")
    assert [flag.name for flag in lan.flags][1:] == ["--listen", "--port"]
    assert advanced.isolated and Path(advanced.path.real).name == "api.bat"
    assert read(root, "manual") == ()  # a manual one's parent is somebody else's folder


@pytest.mark.parametrize(
    ("options", "isolated"),
    [("-s", True), ("-I", True), ("-E -s", True), ("-Es", True), ("", False), ("-u", False),
     ("-X utf8", False), ("-W ignore", False), ("-S", False)],
)  # fmt: skip
def test_isolation_is_the_interpreters_own_option(
    tmp_path: Path, options: str, isolated: bool
) -> None:
    line = f"Python_Embeded\\python.exe {options} ComfyUI\\main.py -s --lowvram\n"
    (tmp_path / "run.bat").write_text(line)
    (launcher,) = read(tmp_path)
    assert launcher.isolated is isolated


def test_scripts_with_variables_and_continued_lines(tmp_path: Path) -> None:
    (tmp_path / "start.sh").write_text(
        "#!/bin/sh\n# python main.py --cpu\nexport EXTRA='--lowvram'\n"
        "exec .venv/bin/python \\\n  main.py $EXTRA \\\n  --listen 0.0.0.0\n"
    )
    (launcher,) = read(tmp_path)
    assert (launcher.kind, launcher.line, launcher.listen) == ("sh", 4, "any")
    assert [flag.name for flag in launcher.flags] == ["--lowvram", "--listen"]
    assert launcher.isolated is None


@pytest.mark.parametrize(
    ("name", "lines", "wanted"),
    [
        ("a.sh", ["python main.py --listen && echo bye"], (1, "any", ("--listen",))),
        ("a.sh", ["python main.py --listen > log 2>&1 &"], (1, "any", ("--listen",))),
        ("a.sh", ["python main.py --listen # to all"], (1, "any", ("--listen",))),
        ("a.sh", ['cd x; python main.py --listen "$@"'], (1, "any", ("--listen",))),
        ("a.sh", ["python main.py --listen $HOST"], (1, "", ("--listen",))),
        ("a.sh", ["python main.py --listen $EXTRA_ARGS"], (1, "any", ("--listen",))),
        ("a.sh", ["python main.py --listen $TARGET"], (1, "", ("--listen",))),
        ("a.sh", ["python main.py \\", "# --cpu", "--listen"], (1, "", ())),
        ("a.sh", ["python main.py --listen ${H:-127.0.0.1}"], (1, "loopback", ("--listen",))),
        ("a.sh", ["H=127.0.0.1", "python main.py --listen ${H:-0.0.0.0}"],
         (2, "loopback", ("--listen",))),
        ("a.sh", ["A=(--listen --cpu)", 'python main.py "${A[@]}"'],
         (2, "any", ("--listen", "--cpu"))),
        ("a.sh", ["A=(--listen --cpu)", "python main.py ${A[@]}"],
         (2, "any", ("--listen", "--cpu"))),
        ("a.sh", ["A='--cpu'", 'A+=" --listen"', "python main.py $A"],
         (3, "any", ("--cpu", "--listen"))),
        ("a.sh", ["A=--cpu", 'A="$A --listen"', "python main.py $A"],
         (3, "any", ("--cpu", "--listen"))),
        ("a.sh", ['P="python3.12 main.py"', "$P --listen"], (2, "any", ("--listen",))),
        ("a.sh", ['"$PYTHON" -u "$(dirname "$0")/main.py" --cpu'], (1, "", ("--cpu",))),
        ("a.sh", ["if [ -f main.py ]; then python main.py --cpu; fi"], (1, "", ("--cpu",))),
        ("a.sh", ["uv run main.py --listen"], (1, "any", ("--listen",))),
        ("a.sh", ['tmux new -d "python main.py --listen"'], (1, "any", ("--listen",))),
        ("a.sh", ["comfy --workspace=x launch -- --listen"], (1, "any", ("--listen",))),
        ("a.sh", ["# python main.py \\", "python main.py --cpu"], (2, "", ("--cpu",))),
        ("a.sh", ["\ufeffpython main.py --cpu"], (1, "", ("--cpu",))),
        ("a.sh", ["x=\u2028", "python main.py --cpu"], (2, "", ("--cpu",))),
        ("a.bat", ["@python main.py --listen & pause"], (1, "any", ("--listen",))),
        ("a.bat", ["py -3.12 main.py --listen %*"], (1, "any", ("--listen",))),
        ("a.bat", ["python main.py ^", "  --listen ^", "  --cpu"],
         (1, "any", ("--listen", "--cpu"))),
        ("a.bat", ["python main.py ^\r", "  --cpu\r"], (1, "", ("--cpu",))),
        ("a.bat", ['set "A=--listen --cpu"', "call python main.py %a%"],
         (2, "any", ("--listen", "--cpu"))),
        ("a.bat", ["set A=--listen & echo hi", "python main.py !A!"], (2, "any", ("--listen",))),
        ("a.bat", ["if exist main.py python main.py --cpu"], (1, "", ("--cpu",))),
        ("a.bat", ["if 1==1 (python main.py --listen)"], (1, "any", ("--listen",))),
        ("a.bat", ['cmd /k "python main.py --listen"'], (1, "any", ("--listen",))),
        ("a.bat", ['"C:\\py\\python.exe" "%~dp0run it\\main.py" --cpu'], (1, "", ("--cpu",))),
        ("a.cmd", ["main.py --cpu"], (1, "", ("--cpu",))),
        ("a.ps1", ["& '.\\x y\\python.exe' main.py `", "--listen"], (1, "any", ("--listen",))),
        ("a.ps1", ['$A = "--listen --cpu"', "python main.py $A"],
         (2, "any", ("--listen", "--cpu"))),
        ("a.ps1", ['$env:A = @("--listen", "--cpu")', "python main.py $env:A"],
         (2, "any", ("--listen", "--cpu"))),
    ],
)  # fmt: skip
def test_ways_to_start_it(
    tmp_path: Path, name: str, lines: list[str], wanted: tuple[int, str, tuple[str, ...]]
) -> None:
    assert started(tmp_path, name, *lines) == [wanted]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.sh", "echo python main.py --listen"),
        ("a.sh", "git checkout main.py"),
        ("a.sh", "cp main.py main.py.bak"),
        ("a.sh", "python -m py_compile main.py"),
        ("a.sh", "python -c pass main.py"),
        ("a.sh", "[ -f main.py ] || exit 1"),
        ("a.sh", "python other.py main.pyc"),
        ("a.sh", "pip install -r requirements.txt"),
        ("a.sh", "comfy launch"),
        ("a.bat", "REM python main.py --listen"),
        ("a.bat", "@rem python main.py --listen"),
        ("a.bat", ":: python main.py --listen"),
        ("a.bat", "@echo python main.py --listen"),
        ("a.bat", "if exist main.py goto go"),
        ("a.ps1", "# python main.py --listen"),
        ("a.ps1", "Write-Host python main.py"),
        ("a.txt", "python main.py --listen"),
    ],
)
def test_what_does_not_start_it(tmp_path: Path, name: str, line: str) -> None:
    assert started(tmp_path, name, line) == []


def test_powershell_writes_two_bytes_a_letter(tmp_path: Path) -> None:
    (tmp_path / "a.ps1").write_bytes("\ufeffpython main.py --listen\r\n".encode("utf-16-le"))
    (launcher,) = read(tmp_path)
    assert launcher.listen == "any"


def test_settings_and_the_running_server(tmp_path: Path) -> None:
    here = found(tmp_path, "comfy-cli", Saved("comfy-cli", tmp_path / "c.ini", ("--cpu",)))
    server = Server(8188, "ok", "", None, None, "", "", "", "any", (), ())
    answer = Answer(server, ("main.py", "--listen"), None, None, None)
    both = read_launchers(outside(tmp_path), here._replace(port=8188), (answer,))
    assert [(each.kind, each.line, each.listen) for each in both] == [
        ("server", 0, "any"), ("comfy-cli", 0, ""),
    ]  # fmt: skip
    assert both[0].path.real == str(tmp_path)
    assert len(read_launchers(outside(tmp_path), here._replace(port=9), (answer,))) == 1
    assert len(read_launchers(outside(tmp_path), here, (answer,))) == 1


def test_hostile_files_are_passed_over(tmp_path: Path) -> None:
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "a.sh")
    (tmp_path / "b.sh").mkdir()
    (tmp_path / "c.bat").write_bytes(b"main.py \xff\x00" * 200_000)
    (tmp_path / "d.sh").write_text("python main.py " + "--cpu " * 5000)
    (tmp_path / "e.sh").write_text("python main.py\n" * 100_000)
    (tmp_path / "f.sh").write_text(" " * (1 << 20) + "\npython main.py --never-read\n")
    (tmp_path / "g.sh").symlink_to(tmp_path / "g.sh")
    launchers = read(tmp_path)
    assert all(len(each.flags) <= 64 for each in launchers)
    by_file = [Path(each.path.real).name for each in launchers]
    assert by_file.count("d.sh") == 1 and by_file.count("e.sh") == 20
    assert not {"a.sh", "b.sh", "f.sh", "g.sh"} & set(by_file)


def test_so_many_files_are_read_and_no_more(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number:02}.sh").write_text("python main.py\n")
    assert len(read(tmp_path)) == 40
    for number in range(60):
        (tmp_path / f"{number:02}.sh").write_text("python main.py\n" * 50)
    assert len(read(tmp_path)) == 100


def test_variables_that_name_themselves_end(tmp_path: Path) -> None:
    lines = ["A=" + "x" * 500] + ['A="$A$A$A$A"'] * 60 + ["python main.py $A --cpu"]
    ((line, _, names),) = started(tmp_path, "a.sh", *lines)
    assert (line, names) == (62, ("--cpu",))


# --- any text --------------------------------------------------------------------------------

SOURCES = st.lists(
    st.sampled_from(
        ["python ", "main.py", " ", "\n", '"', "'", "^", "\\", "`", "$A", "%A%", "set A=", "A=",
         "--listen", "0.0.0.0", "&", ">", "(", ")", "$(", "#", "rem ", "${A", "\0", "\ufeff"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200) | SOURCES, st.booleans())
def test_no_text_makes_it_raise(text: str, windows: bool) -> None:
    words = split(text, windows)
    assert all(flag.name.startswith("--") for flag in flags(REDACTOR, words))
    assert listen_class(words) in ("", "loopback", "private", "public", "any")


@settings(max_examples=100, deadline=None)
@given(SOURCES, st.sampled_from(["bat", "cmd", "sh", "ps1"]))
def test_no_file_makes_it_raise(
    tmp_path_factory: pytest.TempPathFactory, text: str, suffix: str
) -> None:
    root = tmp_path_factory.mktemp("any")
    (root / f"a.{suffix}").write_text(text, encoding="utf-8")
    for each in read(root):
        assert each.line <= text.count("\n") + 1 and each.kind in ("bat", "sh", "ps1")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=12)))
def test_what_is_quoted_comes_back(words: list[str]) -> None:
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    assert split(quoted, windows=False) == words
    assert commands(quoted, "sh") == ([words] if words else [])
