"""Hub tokens that others can read; the tokens themselves must never come back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.installation import Launcher, Secret
from klein_doctor.privacy import Redactor
from klein_doctor.probes.found import Found
from klein_doctor.probes.launchers import read_launchers
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.secrets_scan import read_secrets

TOKEN = "hf_" + "aB3dE5gH7jK9mN1pQ2rS4tU6vW8xY0zAbC"
REDACTOR = Redactor(("jane",), ("/home/jane",), ())
CACHE = "/home/jane/.cache/huggingface"


def machine(root: Path, platform: str = "linux", **env: str) -> Outside:
    return Outside(root, {"HOME": "/home/jane", **env}, platform, REDACTOR)


def installed(root: Path) -> Found:
    return Found(root, "manual", "home folder", None, "", root)


def put(root: Path, place: str, mode: int = 0o644, folders: int = 0o755, text: str = TOKEN) -> Path:
    """A token file; its folders below the root get one mode."""
    path = root / place.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    for folder in path.parents:
        if folder == root:
            break
        folder.chmod(folders)
    return path


def seen(outside: Outside) -> list[tuple[str, str, str]]:
    secrets = read_secrets(outside, None, ())
    assert TOKEN not in repr(secrets)
    real = [each.path.real for each in secrets]
    assert all(each.kind == "file" and each.line == 0 for each in secrets)
    return [
        (path, each.path.public, each.readable_by) for path, each in zip(real, secrets, strict=True)
    ]


posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no mode bits")


# --- token files -----------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    ("mode", "folders", "readers"),
    [
        (0o600, 0o755, ""),
        (0o400, 0o777, ""),
        (0o644, 0o755, "everyone"),
        (0o604, 0o711, "everyone"),
        (0o644, 0o700, ""),
        (0o644, 0o744, ""),
        (0o622, 0o755, ""),
    ],
)
def test_mode_bits_decide(tmp_path: Path, mode: int, folders: int, readers: str) -> None:
    put(tmp_path, f"{CACHE}/token", mode, folders)
    wanted = [(f"{CACHE}/token", "~/.cache/huggingface/token", readers)] if readers else []
    assert seen(machine(tmp_path)) == wanted


@posix
def test_one_closed_folder_is_enough(tmp_path: Path) -> None:
    put(tmp_path, f"{CACHE}/token")
    (tmp_path / "home/jane").chmod(0o750)
    assert seen(machine(tmp_path)) == []


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0,
                    reason="giving a file to another group takes root")  # fmt: skip
@pytest.mark.parametrize(
    ("group", "mode", "folder_group", "folder_mode", "readers"),
    [
        (4321, 0o640, 4321, 0o750, "group"),
        (4321, 0o640, 4321, 0o705, ""),
        (4321, 0o640, 77, 0o750, ""),
        (4321, 0o640, 77, 0o701, "group"),
        (4321, 0o600, 4321, 0o750, ""),
        (os.getuid() if hasattr(os, "getuid") else 0, 0o640, 4321, 0o755, ""),
    ],
)
def test_groups(
    tmp_path: Path, group: int, mode: int, folder_group: int, folder_mode: int, readers: str
) -> None:
    path = put(tmp_path, f"{CACHE}/token", mode, 0o755)
    os.chown(path, -1, group)
    os.chown(path.parent, -1, folder_group)
    path.parent.chmod(folder_mode)
    assert [who for _, _, who in seen(machine(tmp_path))] == ([readers] if readers else [])


@posix
@pytest.mark.parametrize(
    ("place", "env"),
    [
        (f"{CACHE}/stored_tokens", {}),
        ("/home/jane/.huggingface/token", {}),
        ("/data/hf/token", {"HF_HOME": "/data/hf"}),
        ("/home/jane/hf/token", {"HF_HOME": "~/hf"}),
        ("/data/my.token", {"HF_TOKEN_PATH": "/data/my.token"}),
        ("/data/stored_tokens", {"HF_TOKEN_PATH": "/data/my.token"}),
        ("/cache/huggingface/token", {"XDG_CACHE_HOME": "/cache"}),
    ],
)
def test_where_tokens_lie(tmp_path: Path, place: str, env: dict[str, str]) -> None:
    put(tmp_path, place)
    assert [real for real, _, _ in seen(machine(tmp_path, **env))] == [place]


@posix
def test_empty_files_and_other_systems_are_silent(tmp_path: Path) -> None:
    put(tmp_path, f"{CACHE}/stored_tokens", text="")
    assert seen(machine(tmp_path)) == []
    put(tmp_path, f"{CACHE}/token")
    assert len(seen(machine(tmp_path))) == 1
    assert seen(machine(tmp_path, "win32")) == []
    assert read_secrets(Outside(tmp_path, {}, "linux", REDACTOR), None, ()) == ()


@posix
def test_windows_drives_seen_from_wsl_have_no_rights_of_their_own(tmp_path: Path) -> None:
    put(tmp_path, "/mnt/c/hf/token")
    outside = machine(tmp_path, HF_HOME="/mnt/c/hf")
    assert len(seen(outside)) == 1
    put(tmp_path, "/proc/sys/kernel/osrelease", text="6.6.87.2-microsoft-standard-WSL2\n")
    assert seen(outside) == []


@posix
def test_links_lead_to_the_rights_of_what_they_name(tmp_path: Path) -> None:
    put(tmp_path, "/data/private/hf/token")
    (tmp_path / "data/private").chmod(0o700)
    link = tmp_path / "home/jane/.cache/huggingface"
    link.parent.mkdir(parents=True)
    for folder in (tmp_path / "home", tmp_path / "home/jane", link.parent):
        folder.chmod(0o755)
    link.symlink_to(tmp_path / "data/private/hf")
    assert seen(machine(tmp_path)) == []
    (tmp_path / "data/private").chmod(0o755)
    assert [who for _, _, who in seen(machine(tmp_path))] == ["everyone"]


@posix
def test_what_is_no_token_file_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / CACHE.lstrip("/")
    (folder / "token").mkdir(parents=True)
    os.mkfifo(folder / "stored_tokens")
    old = tmp_path / "home/jane/.huggingface"
    old.mkdir()
    (old / "token").symlink_to(old / "token")
    assert seen(machine(tmp_path, HF_TOKEN_PATH="relative/token")) == []


@posix
def test_a_token_in_a_path_is_not_shown(tmp_path: Path) -> None:
    put(tmp_path, f"/data/{TOKEN}/token")
    (secret,) = read_secrets(machine(tmp_path, HF_HOME=f"/data/{TOKEN}"), None, ())
    assert secret.path.real == "/data/hf_(token)/token"


# --- tokens in other files -------------------------------------------------------------------


def written(root: Path, name: str, text: str) -> tuple[Secret, ...]:
    """What is found in a launcher with this text."""
    path = root / name
    path.write_text(text)
    outside = Outside(root, {}, "linux", REDACTOR)
    launcher = Launcher("sh", REDACTOR.path(str(path)), 1, (), "", None)
    found = read_secrets(outside, None, (launcher, launcher))
    assert TOKEN not in repr(found)
    return found


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"export HF_TOKEN={TOKEN}\n", 1),
        (f"@echo off\r\nrem {TOKEN}\r\n", 2),
        (f'\n\nset "HUGGING_FACE_HUB_TOKEN={TOKEN}"\n', 3),
        (f"$env:HF_TOKEN = '{TOKEN}'\n", 1),
        ("HF_TOKEN=api_org_aB3dE5gH7jK9mN1pQ2rS\n", 1),
        (f"curl https://h/x?token={TOKEN}\nexport HF_TOKEN={TOKEN}\n", 1),
    ],
)
def test_tokens_in_launchers(tmp_path: Path, text: str, line: int) -> None:
    (secret,) = written(tmp_path, "run.sh", text)
    assert (secret.kind, secret.line, secret.readable_by) == ("launcher", line, "")
    assert secret.path.real == str(tmp_path / "run.sh")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "export HF_TOKEN=$SECRET\n",
        "set HF_TOKEN=%SECRET%\n",
        "export HF_TOKEN=${HF_TOKEN_FROM_VAULT_2024_ABCDEF}\n",
        "export HF_TOKEN=$(cat /run/secrets/huggingface1)\n",
        "export HF_TOKEN=/run/secrets/token_number_12345\n",
        "export HF_TOKEN=your_token_goes_here_please\n",
        "export HF_TOKEN=hf_" + "x" * 34,
        "hf_transfer hf_hub_download(repo) hf_short1",
        "self" + TOKEN,
        "HF_TOKEN=\n",
    ],
)
def test_what_is_no_token(tmp_path: Path, text: str) -> None:
    assert written(tmp_path, "run.sh", text) == ()


def test_a_token_in_a_launchers_name_is_not_shown(tmp_path: Path) -> None:
    (secret,) = written(tmp_path, f"{TOKEN}.sh", f"HF_TOKEN={TOKEN}")
    assert secret.path.real.endswith("hf_(token).sh")


def workflows(root: Path, user: str = "default") -> Path:
    folder = root / "user" / user / "workflows"
    folder.mkdir(parents=True)
    return folder


def test_tokens_in_workflows(tmp_path: Path) -> None:
    folder = workflows(tmp_path)
    (folder / "a.json").write_text('{\n"token": "' + TOKEN + '"}')
    (folder / "b.json").write_text('{"note": "mine:\\n' + TOKEN + '"}')
    (folder / "c.json").write_text('{"hf_": "hf_short"}')
    (folder / "d.txt").write_text(TOKEN)
    (folder / "of a friend").mkdir()
    (folder / "of a friend" / "E.JSON").write_text(TOKEN)
    (workflows(tmp_path, "second") / "f.json").write_text(TOKEN)
    found = read_secrets(Outside(tmp_path, {}, "linux", REDACTOR), installed(tmp_path), ())
    assert [(each.kind, Path(each.path.real).name, each.line) for each in found] == [
        ("workflow", "a.json", 2), ("workflow", "b.json", 1), ("workflow", "f.json", 1),
        ("workflow", "E.JSON", 1),
    ]  # fmt: skip
    assert TOKEN not in repr(found)


def test_the_launchers_that_were_found_are_read(tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text(f"export HF_TOKEN={TOKEN}\npython main.py\n")
    (tmp_path / "no.sh").write_text(f"export HF_TOKEN={TOKEN}\necho bye\n")
    outside = Outside(tmp_path, {}, "linux", REDACTOR)
    launchers = read_launchers(outside, installed(tmp_path), ())
    found = read_secrets(outside, installed(tmp_path), launchers)
    assert [(each.kind, Path(each.path.real).name) for each in found] == [("launcher", "run.sh")]
    assert TOKEN not in repr(launchers)


def loops(folder: Path) -> None:
    (folder / "loop").symlink_to(folder)
    (folder / "a.json").symlink_to(folder / "a.json")


def strange(folder: Path) -> None:
    os.mkfifo(folder / "fifo.json")
    (folder / "folder.json").mkdir()
    (folder / "junk.json").write_bytes(b"hf_\xff\x00" * 500_000)


def many(folder: Path) -> None:
    for number in range(300):
        (folder / f"{number:03}.json").write_text(TOKEN)
    for number in range(300):
        (folder / f"d{number}").mkdir()


@posix
@pytest.mark.parametrize(("make", "most"), [(loops, 0), (strange, 0), (many, 200)])
def test_hostile_trees_end(tmp_path: Path, make: Callable[[Path], None], most: int) -> None:
    make(workflows(tmp_path))
    found = read_secrets(Outside(tmp_path, {}, "linux", REDACTOR), installed(tmp_path), ())
    assert len(found) == most


def test_folders_are_searched_so_deep_and_so_many(tmp_path: Path) -> None:
    outside = Outside(tmp_path, {}, "linux", REDACTOR)
    folder = workflows(tmp_path)
    deep = folder / "1" / "2" / "3" / "4" / "5"
    deep.mkdir(parents=True)
    (deep.parent.parent / "a.json").write_text(TOKEN)
    (deep / "b.json").write_text(TOKEN)
    found = read_secrets(outside, installed(tmp_path), ())
    assert [Path(each.path.real).name for each in found] == ["a.json"]
    for number in range(150):
        (folder / f"d{number}").mkdir()
        (folder / f"d{number}" / "c.json").write_text(TOKEN)
    assert len(read_secrets(outside, installed(tmp_path), ())) == 98


def test_only_the_beginning_of_a_large_file_is_read(tmp_path: Path) -> None:
    (workflows(tmp_path) / "a.json").write_text(" " * (10 << 20) + TOKEN)
    outside = Outside(tmp_path, {}, "linux", REDACTOR)
    assert read_secrets(outside, installed(tmp_path), ()) == ()


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_wherever_it_stands_a_token_never_comes_back(
    tmp_path_factory: pytest.TempPathFactory, before: str, after: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = folder / "run.sh"
    path.write_bytes(f"{before}\n {TOKEN} {after}".encode("utf-8", "replace"))
    launcher = Launcher("sh", REDACTOR.path(str(path)), 1, (), "", None)
    found = read_secrets(Outside(folder, {}, "linux", REDACTOR), None, (launcher,))
    assert len(found) == 1 and TOKEN not in repr(found)
