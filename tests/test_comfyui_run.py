"""The whole command over ComfyUI trees and servers, as a user runs it."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from comfyui_server import configured, serving, stats
from command import doctor
from targets import make_venv, put_package, put_record, site_packages
from trees import fill, put_comfyui, put_klein, put_own_python

NVIDIA = ("--assume", "RTX 5070,driver=580")


def report(*arguments: str | Path, **more: Any) -> Any:
    """A JSON report in which nothing of the doctor crashed."""
    ran = doctor(*NVIDIA, *arguments, "--format", "json", "--unredacted", **more)
    assert ran.whole, ran.err
    return ran


def test_a_named_comfyui_is_judged_with_its_own_python(tmp_path: Path) -> None:
    python = put_own_python(put_comfyui(tmp_path / "ComfyUI"))
    put_klein(tmp_path / "ComfyUI")
    ran = report("--comfyui", tmp_path / "ComfyUI")
    target = ran.document["target"]
    assert Path(target["python"]).parent == python.parent
    assert (target["python_from"], target["comfyui_from"]) == ("comfyui", "--comfyui")
    verdicts = ran.verdicts()
    assert verdicts["comfyui-too-old"] == "pass"
    assert verdicts["comfyui-requirements-stale"] == "pass"
    assert "fail" not in verdicts.values()


def test_one_in_the_home_folder_is_found(tmp_path: Path) -> None:
    put_own_python(put_comfyui(tmp_path / "ComfyUI", "0.9.1", klein=False))
    ran = report(env={"HOME": str(tmp_path)}, cwd=tmp_path)
    assert ran.finding("comfyui-too-old")["verdict"] == "fail"
    assert ran.code == 1


def test_none_anywhere_is_said_with_where_was_looked(tmp_path: Path) -> None:
    finding = report("--python", make_venv(tmp_path / "v")).finding("comfyui-missing")
    assert finding["verdict"] == "fail"
    assert any("--comfyui" in fix["summary"] for fix in finding["fixes"])


def test_the_diffusers_route_says_nothing_of_comfyui(tmp_path: Path) -> None:
    python = make_venv(tmp_path / "v")
    site = site_packages(tmp_path / "v")
    put_package(site, "torch", "2.14.1+cu130", "13.0")
    stack = {"diffusers": "0.42.1", "transformers": "5.23.0", "accelerate": "1.15.0"}
    for name, version in stack.items():
        put_record(site, name, version)
    ran = report("--route", "diffusers", "--python", python)
    assert not [name for name in ran.verdicts() if name.startswith("comfyui")]
    assert ran.verdicts()["diffusers-missing"] == "pass"


@pytest.mark.parametrize("name", ["", "empty"])
def test_a_folder_that_is_no_comfyui_is_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    ran = doctor("--comfyui", tmp_path / (name or "absent"))
    assert ran.code == 2
    assert ran.err.startswith("klein-doctor: --comfyui ") and ran.err.count("\n") == 1


def test_the_variable_is_named_where_it_is_wrong(tmp_path: Path) -> None:
    ran = doctor(env={"KLEIN_DOCTOR_COMFYUI": str(tmp_path)})
    assert ran.code == 2
    assert "(from KLEIN_DOCTOR_COMFYUI)" in ran.err


def test_a_running_server_tells_folders_and_arguments(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    here = {"custom_nodes": [[str(root / "custom_nodes")], []],
            "vae": [[str(tmp_path / "elsewhere")], [".safetensors"]]}  # fmt: skip
    answers = {
        "/system_stats": (200, "", stats("--listen", "0.0.0.0")),
        "/internal/folder_paths": (
            200,
            "",
            json.dumps({k: v[0] for k, v in here.items()}).encode(),
        ),
    }
    with serving(answers) as (port, _):
        ran = report(env=configured(tmp_path, root, port), cwd=tmp_path)
    facts = ran.document["facts"]
    (server,) = facts["servers"]["known"]
    assert (server["port"], server["outcome"], server["listen"]) == (port, "ok", "any")
    folders = facts["comfyui"]["known"]["folders"]["known"]
    assert [f["path"] for f in folders if f["category"] == "vae"] == [str(tmp_path / "elsewhere")]
    assert ran.finding("comfyui-exposed")["verdict"] == "warn"


def test_no_request_follows_a_redirect(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    with serving({"/system_stats": (200, "", stats())}) as (other, asked):
        away = {"/system_stats": (302, f"http://127.0.0.1:{other}/system_stats", b"")}
        with serving(away) as (port, _):
            ran = report(env=configured(tmp_path, root, port), cwd=tmp_path)
    assert asked == []
    (server,) = ran.document["facts"]["servers"]["known"]
    assert server["outcome"] == "redirects"


def test_a_server_that_never_answers_holds_nobody_up(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ran = report(env=configured(tmp_path, root, listening.getsockname()[1]), cwd=tmp_path)
    (server,) = ran.document["facts"]["servers"]["known"]
    assert server["outcome"] == "slow"


def test_a_hostile_tree_gets_a_complete_report(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    (root / "custom_nodes" / "loop").symlink_to(root / "custom_nodes")
    (root / "models" / "vae" / "loop").symlink_to(root / "models")
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
    (root / "extra_model_paths.yaml").write_text(bomb, encoding="utf-8")
    (root / "run.bat").write_text("rem x\r\n" * 1_400_000, encoding="utf-8")
    (root / "run.sh").write_bytes(b"python main.py " + b"\xff\x00" * 5000)
    os.mkfifo(root / "start.sh")
    os.mkfifo(root / "custom_nodes" / "node.py")
    (root / "comfyui_version.py").write_bytes(b"\xff\xfe\x00__version__ = [" * 100)
    closed = root / "custom_nodes" / "closed"
    closed.mkdir()
    closed.chmod(0)
    (root / ".git").write_text("gitdir: " + "../" * 500, encoding="utf-8")
    ran = report("--comfyui", root)
    assert ran.document["facts"]["comfyui"]["known"]["kind"] == "manual"


def test_a_collectors_tree_is_counted(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    fill(root)
    ran = report("--comfyui", root)
    assert ran.document["facts"]["comfyui"]["known"]["custom_nodes"]["known"]["total"] == 200
    assert "fail" not in ran.verdicts().values()
    pasted = doctor(*NVIDIA, "--comfyui", root, "--format", "markdown")
    assert len(pasted.out) < 60_000
    assert "Custom nodes: 200." in pasted.out
