"""Launch arguments out of batch files, scripts, settings and servers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.installation import Launcher
from klein_doctor.privacy import Redactor
from klein_doctor.probes.comfyui_server import _other
from klein_doctor.probes.found import Found, Saved
from klein_doctor.probes.launch_flags import flags, listen_class, split
from klein_doctor.probes.launchers import read_launchers
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.secrets_scan import read_secrets
from klein_doctor.recipe_flags import load_flags

REDACTOR = Redactor(("jane",), ("/home/jane",), ("box",))
TOKEN = "hf_" + "a1B2" * 9


def outside(root: Path, platform: str = "linux", **env: str) -> Outside:
    return Outside(root, env, platform, REDACTOR)


def found(root: Path, kind: str = "manual", *saved: Saved) -> Found:
    return Found(root, kind, "home folder", None, "", root, saved=saved)


def read(root: Path, kind: str = "manual", platform: str = "linux") -> tuple[Launcher, ...]:
    return read_launchers(outside(root, platform), found(root, kind), ())


@pytest.mark.parametrize(
    ("line", "windows", "words"),
    [
        (r'"C:\a b\python.exe" -s main.py', True, [r"C:\a b\python.exe", "-s", "main.py"]),
        ("python main.py --listen '0.0.0.0'", False, ["python", "main.py", "--listen", "0.0.0.0"]),
        (r"a\ b c", False, ["a b", "c"]),
        ('open "never closed', True, ["open", "never closed"]),
        ("", False, []),
    ],
)
def test_lines_are_split_as_their_shell_does(line: str, windows: bool, words: list[str]) -> None:
    assert split(line, windows) == words


@pytest.mark.parametrize(
    ("argv", "width"),
    [
        ([], ""),
        (["--listen"], "any"),
        (["--listen", "--port", "1"], "any"),
        (["--listen", "0.0.0.0"], "any"),
        (["--listen=::"], "any"),
        (["--listen", "127.0.0.1"], "loopback"),
        (["--listen", "localhost"], "loopback"),
        (["--listen", "192.168.1.4"], "private"),
        (["--listen", "100.64.0.9"], "private"),
        (["--listen", "fe80::1"], "private"),
        (["--listen", "8.8.8.8"], "public"),
        (["--listen", "127.0.0.1,8.8.8.8"], "public"),
        (["--listen", "--listen", "127.0.0.1"], "loopback"),
    ],
)
def test_who_is_reached(argv: list[str], width: str) -> None:
    assert listen_class(argv) == width


def test_values_are_kept_only_where_the_table_says_so() -> None:
    argv = ["--listen", "8.8.4.4", "--reserve-vram", "1.5", "--base-directory",
            "/home/jane/x", "--comfy-api-base", "https://u:p@h", "--api-key", TOKEN, "stray",
            "--lowvram", "--fast", "fp16_accumulation", "autotune"]  # fmt: skip
    kept = {flag.name: flag.value for flag in flags(REDACTOR, argv)}
    assert kept["--reserve-vram"].public == "1.5"
    assert kept["--base-directory"].public == "~/x"
    assert kept["--base-directory"].real == "/home/jane/x"
    assert kept["--fast"].public == "fp16_accumulation autotune"
    assert kept["--listen"].public == "(public address)"
    assert kept["--comfy-api-base"].real == kept["--api-key"].real == kept["--lowvram"].real == ""
    assert TOKEN not in repr(kept)


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
    lan, usual = read(root, "portable", "win32")
    assert (usual.kind, usual.line, usual.isolated, usual.listen) == ("bat", 3, True, "")
    assert [flag.name for flag in usual.flags] == ["--windows-standalone-build"]
    assert (lan.line, lan.isolated, lan.listen) == (2, False, "any")
    assert [flag.name for flag in lan.flags][1:] == ["--listen", "--port"]


def test_scripts_with_variables_and_continued_lines(tmp_path: Path) -> None:
    (tmp_path / "start.sh").write_text(
        "#!/bin/sh\n# python main.py --cpu\nexport EXTRA='--lowvram'\n"
        "exec .venv/bin/python \\\n  main.py $EXTRA \\\n  --listen 0.0.0.0\n"
    )
    (launcher,) = read(tmp_path)
    assert (launcher.kind, launcher.line, launcher.listen) == ("sh", 4, "any")
    assert [flag.name for flag in launcher.flags] == ["--lowvram", "--listen"]
    assert launcher.isolated is None


def test_settings_and_the_running_server(tmp_path: Path) -> None:
    here = found(tmp_path, "comfy-cli", Saved("comfy-cli", tmp_path / "c.ini", ("--cpu",)))
    answer = _other(8188, "ok", "")._replace(argv=("main.py", "--listen"))
    both = read_launchers(outside(tmp_path), here._replace(port=8188), (answer,))
    assert [(each.kind, each.line, each.listen) for each in both] == [
        ("server", 0, "any"), ("comfy-cli", 0, ""),
    ]  # fmt: skip
    assert len(read_launchers(outside(tmp_path), here._replace(port=9), (answer,))) == 1


def test_hostile_files_are_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.sh")
    (tmp_path / "b.sh").mkdir()
    (tmp_path / "c.bat").write_bytes(b"main.py \xff\x00" * 200_000)
    (tmp_path / "d.sh").write_text("python main.py " + "--cpu " * 5000)
    assert all(len(each.flags) <= 64 for each in read(tmp_path))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200), st.booleans())
def test_no_text_makes_it_raise(text: str, windows: bool) -> None:
    words = split(text, windows)
    assert all(flag.name.startswith("--") for flag in flags(REDACTOR, words))
    assert listen_class(words) in ("", "loopback", "private", "public", "any")


def test_the_table_holds_what_comfyui_takes() -> None:
    rows = load_flags()
    assert rows["--listen"].values == "optional"
    assert {row.keep for row in rows.values()} == {"value", "path", "name"}


def home(root: Path, mode: int) -> Outside:
    folder = root / "home" / "jane" / ".cache" / "huggingface"
    folder.mkdir(parents=True)
    for each in (root, root / "home", root / "home" / "jane", folder.parent, folder):
        each.chmod(0o755)
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(mode)
    return outside(root, HOME="/home/jane")


@pytest.mark.parametrize(("mode", "readers"), [(0o600, None), (0o644, "everyone")])
def test_a_token_file_open_to_others(tmp_path: Path, mode: int, readers: str | None) -> None:
    if any(folder.stat().st_mode & 0o001 == 0 for folder in tmp_path.parents):
        for folder in (tmp_path, *list(tmp_path.parents)[:2]):
            folder.chmod(0o755)
    machine = home(tmp_path, mode)
    secrets = read_secrets(machine, None, ())
    assert [secret.readable_by for secret in secrets] == ([readers] if readers else [])
    assert TOKEN not in repr(secrets)


def test_tokens_in_launchers_and_workflows(tmp_path: Path) -> None:
    workflows = tmp_path / "user" / "default" / "workflows"
    workflows.mkdir(parents=True)
    (workflows / "a.json").write_text('{\n"token": "' + TOKEN + '"}')
    (workflows / "b.json").write_text('{"hf_": "hf_short"}')
    (tmp_path / "run.sh").write_text(f"export HF_TOKEN={TOKEN}\npython main.py\n")
    (tmp_path / "ok.sh").write_text("export HF_TOKEN=$SECRET\npython main.py\n")
    launchers = read(tmp_path)
    secrets = read_secrets(outside(tmp_path), found(tmp_path), launchers)
    assert [(s.kind, s.path.real.rsplit("/", 1)[-1], s.line) for s in secrets] == [
        ("launcher", "run.sh", 1), ("workflow", "a.json", 2),
    ]  # fmt: skip
    assert TOKEN not in repr(secrets) and TOKEN not in repr(launchers)
