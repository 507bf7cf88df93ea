"""``klein-doctor triage`` as a user runs it: files, words, standard input, logs of a ComfyUI."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import recorded
from command import doctor, one_line, stranger
from trees import put_comfyui, put_own_python

from klein_doctor.recipe_messages import CERTAINTIES

SHAPES = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (512x15360 and 7680x3072)"
OLD_OR_TYPE = "mat1 and mat2 shapes cannot be multiplied (512x2560 and 7680x3072)"
NO_CUDA = "AssertionError: Torch not compiled with CUDA enabled"
NOW_S = 1_790_000_000


def top(*arguments: str | Path, **more: Any) -> str:
    """The first check of a JSON answer."""
    ran = doctor("triage", "--format", "json", *arguments, **more)
    assert ran.code == 0, ran
    check: str = ran.document["matches"][0]["check"]
    return check


# --- what is read ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "check"),
    [(["black", "image"], "image-blank"), (["washed", "out"], "image-washed-out"),
     (["stuck at 5 GB"], "hub-client-outdated"), (["sm_120 not compatible"], "torch-lacks-arch"),
     ([NO_CUDA], "torch-cpu-only"), (["torch.cuda.is_available() returns False"], "torch-cpu-only"),
     (["stuck at 5.07M/3.50G"], "hub-client-outdated"),
     (["OSError: [Errno 28] No space left on device: '/data/x.safetensors'"], "disk-too-small"),
     (["HeaderTooLarge"], "asset-damaged")],
)  # fmt: skip
def test_words(words: list[str], check: str) -> None:
    assert top(*words) == check


def test_a_file_a_pipe_and_words_answer_alike(tmp_path: Path) -> None:
    log = tmp_path / "comfyui.log"
    log.write_text(f"got prompt\n{SHAPES}\n", encoding="utf-8")
    by_file = doctor("triage", log, "--format", "json")
    piped = doctor("triage", "-", "--format", "json", stdin=log.read_bytes())
    said = doctor("triage", SHAPES, "--format", "json")
    assert by_file == piped
    assert said.document == by_file.document
    assert doctor("triage", "comfyui.log", "--format", "json", cwd=tmp_path) == by_file


def test_the_text_form_fits_a_terminal(tmp_path: Path) -> None:
    ran = doctor("triage", SHAPES)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0] == "encoder-wrong (almost certain)"
    assert [line.split()[0] for line in lines if line[2:3].isalpha() and line[:2] == "  "][:4] == [
        "Line", "Cause", "Do", "Next",
    ]  # fmt: skip
    assert max(map(len, lines)) <= 80
    assert "klein-doctor explain encoder-wrong" in ran.out


def test_what_a_log_holds_does_not_steer_a_terminal() -> None:
    hostile = f"\x1b]0;owned\x07\x1b[2J{SHAPES}\x9b31m\u202e\x07\r\n"
    for form in ("text", "json"):
        ran = doctor("triage", "-", "--format", form, stdin=hostile.encode())
        assert ran.code == 0
        assert all(sign.isprintable() or sign == "\n" for sign in ran.out)


def test_the_document_is_ascii_and_a_file_can_take_it(tmp_path: Path) -> None:
    target = tmp_path / "answer.json"
    ran = doctor("triage", "黑图", "--format", "json", "--output", target)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert target.read_bytes().isascii()
    assert json.loads(target.read_text("ascii"))["matches"][0]["line"] == "黑图"


@pytest.mark.parametrize(
    "arguments",
    [["--format", "markdown", "x"], ["--format", "brief", "x"], ["no-such.log"], ["no such.log"],
     ["folder/no-such"], ["--no-such-option"], ["--output", "/no/such/place", "black image"]],
)  # fmt: skip
def test_wrong_usage_is_code_2(arguments: list[str]) -> None:
    ran = doctor("triage", *arguments)
    assert (ran.code, ran.out) == (2, "") and one_line(ran.err), ran


def test_a_folder_is_wrong_usage(tmp_path: Path) -> None:
    ran = doctor("triage", tmp_path)
    assert ran.code == 2 and "it is a folder" in ran.err and one_line(ran.err)


@pytest.mark.skipif(not stranger(), reason="nobody else can be made here")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    log = tmp_path / "comfyui.log"
    log.write_text(SHAPES, encoding="utf-8")
    log.chmod(0)
    ran = doctor("triage", log, before=stranger())
    assert ran.code == 2 and "ermission" in ran.err and one_line(ran.err)


@pytest.mark.parametrize("stdin", [b"", b"\n\n", b"\xff\xfe", b"\0" * 100])
def test_nothing_to_read_is_nothing_known(stdin: bytes, tmp_path: Path) -> None:
    assert doctor("triage", "-", stdin=stdin).code == 1
    (tmp_path / "x.log").write_bytes(stdin)
    assert doctor("triage", tmp_path / "x.log").code == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a device of POSIX")
def test_a_device_that_is_empty_is_read_too() -> None:
    assert doctor("triage", "/dev/null").code == 1


# --- the newest log of a ComfyUI -------------------------------------------------------------


def put_log(path: Path, text: str, age_s: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    return path


def test_the_newest_log_is_read(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    put_log(root / "user" / "comfyui.log", SHAPES, 100)
    put_log(root / "user" / "comfyui_8188.prev.log", NO_CUDA, 200)
    put_log(root / "user" / "notes.log", "HeaderTooLarge", 1)
    ran = doctor("triage", "--comfyui", root, "--format", "json")
    assert ran.document["matches"][0]["check"] == "encoder-wrong"
    assert "reading " in ran.err and "comfyui.log" in ran.err
    put_log(root / "user" / "comfyui_8188.prev.log", NO_CUDA, 50)
    assert top("--comfyui", root) == "torch-cpu-only"
    put_log(root.parent / "logs" / "run.log", "HeaderTooLarge", 10)
    assert top("--comfyui", root) == "asset-damaged"
    put_log(root / "user" / "comfyui_8189.log", "", 1)
    assert top("--comfyui", root) == "asset-damaged", "an empty one is none"


def test_without_any_log_it_says_what_it_takes(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    ran = doctor("triage", "--comfyui", root)
    assert ran.code == 2 and one_line(ran.err) and "no log of ComfyUI" in ran.err
    assert doctor("triage", cwd=tmp_path, env={"HOME": str(tmp_path / "empty")}).code == 2


def test_a_log_of_this_machine_is_seen_beside_its_facts(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    put_log(root / "user" / "comfyui.log", OLD_OR_TYPE, 1)
    assert top("--comfyui", root) == "workflow-mismatch"
    put_comfyui(root, "0.9.1", klein=False)
    assert top("--comfyui", root) == "comfyui-too-old"


@contextmanager
def serving(answers: dict[str, bytes]) -> Iterator[int]:
    """A server on loopback with the answers of a ComfyUI."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def configured(home: Path, root: Path, port: int) -> dict[str, str]:
    """The environment of a user whose comfy-cli knows a background server."""
    folder = home / ".config" / "comfy-cli"
    folder.mkdir(parents=True)
    text = f"[DEFAULT]\ndefault_workspace = {root}\nbackground = ('127.0.0.1', {port}, 1)\n"
    (folder / "config.ini").write_text(text, encoding="utf-8")
    return {"HOME": str(home)}


def of_itself(root: Path) -> dict[str, bytes]:
    """What a ComfyUI says of itself and its folders."""
    system = {"comfyui_version": "0.33.0", "argv": ["main.py"]}
    folders = {"custom_nodes": [str(root / "custom_nodes")]}
    return {
        "/system_stats": json.dumps({"system": system, "devices": []}).encode(),
        "/internal/folder_paths": json.dumps(folders).encode(),
    }


def raw(*pieces: str) -> bytes:
    """What ComfyUI answers to /internal/logs/raw: pieces as they were written, not lines."""
    entries = [{"t": "2026-11-20T10:11:12", "m": piece} for piece in pieces]
    return json.dumps({"entries": entries, "size": {"cols": 80, "rows": 24}}).encode()


def test_a_running_server_is_asked_for_its_log(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    put_log(root / "user" / "comfyui.log", NO_CUDA, 1)
    answers = {
        **of_itself(root),
        "/internal/logs/raw": raw("got prompt\n", SHAPES[:30], SHAPES[30:], "\n"),
    }
    with serving(answers) as port:
        ran = doctor("triage", "--format", "json", env=configured(tmp_path, root, port),
                     cwd=tmp_path)  # fmt: skip
    assert ran.code == 0, ran
    assert ran.document["matches"][0]["check"] == "encoder-wrong"
    assert f"port {port}" in ran.err


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{", b'{"entries": 3}', b'{"entries": []}', b'{"entries": [1, null]}',
     b'{"entries": [{"m": null}]}', b'{"entries": [{"m": ["x"]}]}'],
)  # fmt: skip
def test_a_server_with_other_answers_leaves_it_to_the_files(tmp_path: Path, answer: bytes) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    put_log(root / "user" / "comfyui.log", SHAPES, 1)
    with serving({**of_itself(root), "/internal/logs/raw": answer}) as port:
        ran = doctor("triage", "--format", "json", env=configured(tmp_path, root, port),
                     cwd=tmp_path)  # fmt: skip
    assert ran.code == 0 and ran.document["matches"][0]["check"] == "encoder-wrong", ran


# --- facts break ties ------------------------------------------------------------------------


def report_of(machine: str) -> Path:
    """A recorded machine as a report that --from takes."""
    return recorded.golden(machine, "json")


def test_a_new_comfyui_is_not_called_too_old() -> None:
    assert top(OLD_OR_TYPE) == "comfyui-too-old"
    assert top(OLD_OR_TYPE, "--from", report_of("healthy-rtx5070-linux-cu130")) == (
        "workflow-mismatch"
    )
    assert top(OLD_OR_TYPE, "--from", report_of("old-comfyui-new-nodes")) == "comfyui-too-old"


def test_a_fact_is_shown_beside_the_guess() -> None:
    ran = doctor("triage", OLD_OR_TYPE, "--from", report_of("old-comfyui-new-nodes"))
    assert "  Here   fail: " in ran.out


@pytest.mark.parametrize(
    ("machine", "check"),
    [("cpu-wheel-on-windows", "torch-cpu-only"), ("no-driver-at-all", "gpu-not-found")],
)
def test_why_the_card_is_not_seen_is_told_by_the_facts(machine: str, check: str) -> None:
    assert top("torch.cuda.is_available() returns False", "--from", report_of(machine)) == check


@pytest.mark.parametrize("machine", ["cpu-wheel-on-windows", "no-driver-at-all"])
def test_what_stands_first_is_never_less_certain_than_the_next(machine: str) -> None:
    for text in ("Device: cpu", "Device: cpu\n['main.py', '--cpu']", OLD_OR_TYPE):
        ran = doctor("triage", "--format", "json", "-", "--from", report_of(machine),
                     stdin=text.encode())  # fmt: skip
        grades = [CERTAINTIES.index(each["certainty"]) for each in ran.document["matches"]]
        assert grades == sorted(grades) and len(grades) > 1


def test_cpu_among_the_arguments_explains_a_card_that_is_not_used() -> None:
    assert top("Device: cpu") == "torch-cpu-only"
    assert top("-", stdin=b"Device: cpu\n['main.py', '--cpu']") == "comfyui-flags-harmful"
    usage = b"Device: cpu\nusage: main.py [-h] [--cpu] [--cpu-vae]"
    assert top("-", stdin=usage) == "torch-cpu-only"


def test_a_report_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}", encoding="utf-8")
    ran = doctor("triage", OLD_OR_TYPE, "--from", tmp_path / "r.json")
    assert ran.code == 2 and one_line(ran.err)
