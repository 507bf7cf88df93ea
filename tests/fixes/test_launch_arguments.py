"""Arguments mended in files while a server runs with the old ones; proven by the file."""

from __future__ import annotations

import json
from pathlib import Path

import around as a
import construct as c
from acting import acted, undone
from comfyui_server import configured, serving, stats
from command import doctor
from judging import RECIPE, verdict_of
from trees import put_comfyui, put_own_python

from klein_doctor.fixing import fixes
from klein_doctor.installation import Launcher
from klein_doctor.model import Facts, Known
from klein_doctor.steps import Case, Step

NVIDIA = ("--assume", "RTX 5070,driver=580")
LAUNCHER = "#!/bin/sh\n.venv/bin/python main.py --fp32-unet --port 1\n"


def facts(*launchers: Launcher) -> Facts:
    return c.machine()._replace(comfyui=Known(a.comfyui(launchers=launchers)))


def launcher(kind: str, path: str, flag: str, listen: str = "") -> Launcher:
    return Launcher(kind, a.plain(path), 1, (a.flag(flag),), listen, None)


def planned(fix: str, check: str, of: Facts) -> list[Step]:
    finding = verdict_of(check, of)
    return list(fixes()[fix].plan(Case(((finding, finding.fixes[0]),), of, RECIPE)))


def test_a_running_server_does_not_speak_against_the_mended_file(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    (root / "run.sh").write_text(LAUNCHER)
    arguments = ("--fix", "--only", "release-flags", "--format", "json", "--state-dir",
                 tmp_path / "state", "--unredacted")  # fmt: skip
    answers = {
        "/system_stats": (200, "", stats("--fp32-unet")),
        "/internal/folder_paths": (
            200,
            "",
            json.dumps({"custom_nodes": [str(root / "custom_nodes")]}).encode(),
        ),
    }
    with serving(answers) as (port, _):
        env = configured(tmp_path, root, port)
        ran = doctor(*NVIDIA, *arguments, env=env, cwd=tmp_path)
        steps = {step["state"]: step for step in ran.document["steps"]}
        assert set(steps) == {"done", "manual"}, ran.err
        assert "until it is started anew" in steps["done"]["says"]
        assert "start it anew" in steps["manual"]["title"]
        assert ran.finding("comfyui-flags-harmful")["evidence"]["kind"] == "server"
        assert (root / "run.sh").read_text() == LAUNCHER.replace(" --fp32-unet", "")
        again = doctor(*NVIDIA, *arguments, env=env, cwd=tmp_path)
        assert [step["state"] for step in again.document["steps"]] in ([], ["manual"])
        assert doctor("undo", "--state-dir", tmp_path / "state", env=env).code == 0
    assert (root / "run.sh").read_text() == LAUNCHER


def test_the_next_start_is_mended_while_a_server_runs_on_the_launchers_port(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    folders = json.dumps({"custom_nodes": [str(root / "custom_nodes")]}).encode()
    answers = {
        "/system_stats": (200, "", stats()),
        "/internal/folder_paths": (200, "", folders),
    }
    only = ("--fix", "--only", "release-flags", "--format", "json", "--unredacted")
    with serving(answers) as (port, _):
        text = f"source .venv/bin/activate\npython main.py --port {port} --use-flash-attention\n"
        (root / "run.sh").write_text(text)
        env = {"HOME": str(tmp_path)}
        before = doctor(*NVIDIA, "--format", "json", env=env, cwd=tmp_path)
        assert before.document["facts"]["servers"]["known"][0]["port"] == port
        finding = before.finding("flash-attention-forced")
        assert finding["verdict"] == "warn" and "started without it" in finding["detail"]
        ran = doctor(*NVIDIA, *only, "--state-dir", tmp_path / "state", env=env, cwd=tmp_path)
        assert [step["state"] for step in ran.document["steps"]] == ["done"], ran.err
        assert ran.verdicts()["flash-attention-forced"] == "pass"
    assert (root / "run.sh").read_text() == text.replace(" --use-flash-attention", "")


def test_what_opens_a_running_server_is_closed_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "run.bat"
    path.write_bytes(b'python main.py --listen "%HOST%" %*\r\n')
    server = launcher("server", str(tmp_path), "--listen", "any")
    file = launcher("bat", str(path), "--listen", "any")
    by_hand, step = sorted(
        planned("loopback-only", "comfyui-exposed", facts(server, file)), key=lambda s: s.grade
    )[::-1]
    assert (by_hand.grade, step.grade) == ("manual", "ask")
    fix = fixes()["loopback-only"]
    assert fix.proof is not None
    assert "still" in fix.proof(step, facts(server, file))
    assert fix.proof(step, facts(server, file._replace(listen="loopback"))) == ""
    said, journal = acted(fix, step, tmp_path / "run")
    assert path.read_bytes() == b'python main.py --listen "127.0.0.1" %*\r\n'
    assert "started anew" in said
    assert undone(journal) == []
    assert path.read_bytes() == b'python main.py --listen "%HOST%" %*\r\n'


def test_a_server_that_nothing_here_opens_is_its_owners_to_restart() -> None:
    of = facts(launcher("server", a.ROOT, "--listen", "any"))
    assert verdict_of("comfyui-exposed", of).fixes[0].grade == "manual"


def test_of_comfy_desktop_only_its_own_installation_changes(tmp_path: Path) -> None:
    root = tmp_path / "one" / "ComfyUI"
    listed = [
        {"installPath": str(tmp_path / name), "launchArgs": "--listen --fp32-unet"}
        for name in ("two", "one")
    ]
    path = tmp_path / "installations.json"
    path.write_text(json.dumps(listed))
    of = facts(launcher("desktop-2", str(path), "--fp32-unet"))
    comfyui = a.comfyui(str(root), "desktop-2", launchers=of.comfyui.value.launchers)  # type: ignore[union-attr]
    (step,) = planned("release-flags", "comfyui-flags-harmful", of._replace(comfyui=Known(comfyui)))
    _, journal = acted(fixes()["release-flags"], step, tmp_path / "run")
    told = json.loads(path.read_text())
    assert [each["launchArgs"] for each in told] == ["--listen --fp32-unet", "--listen"]
    assert undone(journal) == []
    assert json.loads(path.read_text()) == listed
