"""Pictures over a running ComfyUI: recorded exchanges replayed over real sockets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from comfyui_double import Double, jobs, png, recording
from watching import Watch, given, job, means

from klein_doctor.generate.comfyui_run import run
from klein_doctor.generate.job import Attempt
from klein_doctor.recipe_messages import load_known
from klein_doctor.triage.rank import guesses
from klein_doctor.triage.text import excerpt_of

REFUSALS: dict[str, Any] = recording("refusals")["refusals"]
THREE = jobs("success", 3)


def attempt(double: Double, tmp_path: Path, watch: Watch | None = None, **limits: float) -> Attempt:
    with double:
        made = run(job(tmp_path), watch or Watch(), given(double.port), means(**limits))
    assert made.gone
    return made


def explained(made: Attempt) -> list[str]:
    return [guess.check for guess in guesses(excerpt_of([made.text.encode()]), load_known())]


# --- it goes well ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["success", "success_0.9.2"])
def test_three_pictures_with_their_phases(tmp_path: Path, name: str) -> None:
    watch, double = Watch(), Double(jobs(name, 3), version="0.33.0")
    made = attempt(double, tmp_path, watch)
    assert (made.outcome, made.kind, made.says, made.text) == ("done", "", "", "")
    assert [each.seed for each in made.made] == [7, 8, 7]
    assert [each.path.read_bytes() for each in made.made] == [png(1), png(2), png(3)]
    assert len({each.path for each in made.made}) == 3
    assert not any(each.cached for each in made.made)
    assert watch.phases[0] == ("start", 0)
    for picture in (1, 2, 3):
        phases = [phase for phase, number in watch.phases if number == picture]
        assert set(phases) == {"load", "encode", "denoise", "decode", "save"}
        assert phases[0] == "load" and phases[-3:] == ["denoise", "decode", "save"]
    assert (4, 4) in watch.steps and all(total == 4 for _, total in watch.steps)
    assert dict(made.versions) == {
        "comfyui": "0.33.0", "torch": "2.13.0+cpu", "python": "3.11.7", "comfy-kitchen": "0.2.31",
    }  # fmt: skip


def test_every_job_has_a_client_of_its_own_and_the_seed_it_is_for(tmp_path: Path) -> None:
    double = Double(THREE)
    attempt(double, tmp_path)
    sent = double.posts("/prompt")
    assert len({each["client_id"] for each in sent}) == 3
    assert double.clients == [each["client_id"] for each in sent]
    assert len({each["prompt_id"] for each in sent}) == 3
    seeds = [
        node["inputs"]["noise_seed"]
        for each in sent
        for node in each["prompt"].values()
        if node["class_type"] == "RandomNoise"
    ]
    assert seeds == [7, 8, 7]


def test_nothing_of_the_users_is_freed_cleared_or_interrupted(tmp_path: Path) -> None:
    double = Double(THREE)
    attempt(double, tmp_path)
    assert {path for method, path, _ in double.asked if method == "POST"} == {"/prompt"}
    saved = {n["class_type"] for each in double.posts("/prompt") for n in each["prompt"].values()}
    assert "PreviewImage" in saved and "SaveImage" not in saved


def test_a_run_in_which_the_sampler_did_nothing_is_marked(tmp_path: Path) -> None:
    made = attempt(Double([*jobs("success_cached"), *jobs("success")]), tmp_path)
    assert [each.cached for each in made.made] == [False, True, False]


@pytest.mark.parametrize("name", ["success", "success_cached"])
def test_a_silent_websocket_costs_the_phases_not_the_pictures(tmp_path: Path, name: str) -> None:
    double = Double(jobs(name, 3), silent=True)
    made = attempt(double, tmp_path)
    assert made.outcome == "done" and len(made.made) == 3
    assert any(path.startswith("/history/") for _, path, _ in double.asked)
    assert [each.cached for each in made.made] == [
        name == "success_cached" and n == 1 for n in range(3)
    ]


def test_a_websocket_that_is_refused_is_done_without(tmp_path: Path) -> None:
    double = Double(THREE)
    double.attach = lambda client, connection: connection.close()  # type: ignore[method-assign]
    assert attempt(double, tmp_path).outcome == "done"


def test_the_log_is_read_from_when_the_run_began(tmp_path: Path) -> None:
    before = ["clip missing: ['old']\n"]
    printed = ["\x1b[33mclip missing: ['/home/jane/x']\n", "got prompt\n",
               "RuntimeWarning: invalid value encountered in cast\n"]  # fmt: skip
    made = attempt(Double(THREE, log=before, printed=printed), tmp_path)
    assert [(each.kind, each.line) for each in made.remarks] == [
        ("encoder-incomplete", "clip missing: ['~/x']"),
        ("not-finite", "RuntimeWarning: invalid value encountered in cast"),
    ]


# --- it goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "stage", "says"),
    [
        ("missing_file", "value_not_in_list", "load", "flux-2-klein-4b-fp8.safetensors"),
        ("missing_file_0.9.2", "value_not_in_list", "load", "flux-2-klein-4b-fp8.safetensors"),
        ("all_missing", "value_not_in_list", "load", "not in"),
        ("unknown_type", "value_not_in_list", "load", "flux3"),
        ("unknown_node", "missing_node_type", "load", "NoSuchScheduler"),
        ("unknown_node_0.9.2", "invalid_prompt", "load", "NoSuchScheduler"),
    ],
)
def test_a_job_that_is_not_taken(
    tmp_path: Path, name: str, kind: str, stage: str, says: str
) -> None:
    made = attempt(Double([], refusal=REFUSALS[name]), tmp_path)
    assert (made.outcome, made.kind, made.stage) == ("failed", kind, stage)
    assert says in made.says and "\n" not in made.says
    assert made.text.startswith("{") and made.made == ()


@pytest.mark.parametrize(
    ("name", "kind", "stage", "check"),
    [
        ("oom", "out-of-memory", "denoise", "vram-too-small"),
        ("no_kernel_image", "RuntimeError", "load", "torch-lacks-arch"),
        ("cpu_out_of_memory", "out-of-memory", "load", "ram-too-small"),
        ("klein_on_0.9.1", "RuntimeError", "denoise", "comfyui-too-old"),
        ("wrong_encoder", "RuntimeError", "denoise", "encoder-wrong"),
    ],
)
@pytest.mark.parametrize("silent", [False, True])
def test_a_job_that_fails(
    tmp_path: Path, name: str, kind: str, stage: str, check: str, silent: bool
) -> None:
    made = attempt(Double([THREE[0], *jobs(name)], silent=silent), tmp_path)
    assert (made.outcome, made.kind) == ("failed", kind)
    if not silent:
        assert made.stage == stage
    assert [each.seed for each in made.made] == [7]
    assert "Traceback" in made.text and check in explained(made)[:2]


def test_an_interruption_in_comfyui_is_no_failure(tmp_path: Path) -> None:
    made = attempt(Double(jobs("interrupt")), tmp_path)
    assert (made.outcome, made.kind, made.stage) == ("interrupted", "interrupted", "denoise")


def test_a_server_that_dies_in_the_middle(tmp_path: Path) -> None:
    made = attempt(Double(jobs("server_dies_mid_run")), tmp_path)
    assert (made.outcome, made.kind, made.stage) == ("failed", "server-died", "denoise")


def test_a_job_that_does_not_move_any_more_is_withdrawn(tmp_path: Path) -> None:
    double = Double(THREE, stops_at=len(THREE[0]["events"]) - 6)
    made = attempt(double, tmp_path)
    assert (made.outcome, made.kind, made.stage) == ("failed", "hung", "denoise")
    (ours,) = double.posts("/prompt")
    assert double.posts("/interrupt") == [{"prompt_id": ours["prompt_id"]}]


def test_a_job_somebody_took_out_of_the_queue(tmp_path: Path) -> None:
    double = Double([{"events": [], "history": None}])
    made = attempt(double, tmp_path)
    assert (made.outcome, made.kind) == ("interrupted", "interrupted")


@pytest.mark.parametrize(
    ("picture", "status", "kind"),
    [
        (png()[:-20], 200, "picture-damaged"),
        (b"<html>", 200, "picture-damaged"),
        (b"", 404, "picture-missing"),
    ],
)
def test_a_picture_that_is_none(tmp_path: Path, picture: bytes, status: int, kind: str) -> None:
    made = attempt(Double(THREE, picture=picture, view_status=status), tmp_path)
    assert (made.outcome, made.kind, made.stage) == ("failed", kind, "save")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("[Errno 28] No space left on device: 'output/x.png'", "disk-full"),
        ("[WinError 112] There is not enough space on the disk", "disk-full"),
        ("Unable to determine the device handle for GPU: GPU is lost", "gpu-lost"),
    ],
)
def test_faults_have_their_names(tmp_path: Path, message: str, kind: str) -> None:
    (broken,) = jobs("wrong_encoder")
    for event in broken["events"]:
        if event["type"] == "execution_error":
            event["data"] |= {"node_type": "SaveImage", "exception_type": "OSError",
                              "exception_message": message}  # fmt: skip
    made = attempt(Double([broken]), tmp_path)
    assert (made.outcome, made.kind, made.stage) == ("failed", kind, "save")
    assert message in made.text


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_no_room_for_the_pictures_here(tmp_path: Path) -> None:
    (tmp_path / "1-7.png").symlink_to("/dev/full")
    made = attempt(Double(THREE), tmp_path)
    assert (made.outcome, made.kind, made.stage) == ("failed", "disk-full", "save")


# --- the user's own queue --------------------------------------------------------------------


def test_a_queue_that_stays_busy_is_left_alone(tmp_path: Path) -> None:
    watch, double = Watch(), Double(THREE, others=["theirs", "theirs too"])
    made = attempt(double, tmp_path, watch)
    assert (made.outcome, made.kind) == ("refused", "queue-busy")
    assert double.others == ["theirs", "theirs too"]
    assert all(method == "GET" for method, _, _ in double.asked)
    assert len(watch.notes) == 2 and "2 job" in watch.notes[1]


def test_a_queue_that_empties_is_waited_for(tmp_path: Path) -> None:
    double = Double(THREE, others=["theirs"])
    answer = double.answer

    def then_done(method: str, path: str, *more: Any) -> tuple[int, Any]:
        said = answer(method, path, *more)
        if path == "/queue":
            double.others.clear()
        return said

    double.answer = then_done  # type: ignore[method-assign]
    assert attempt(double, tmp_path, queue=30).outcome == "done"


def test_no_time_left_with_a_busy_queue_is_refused(tmp_path: Path) -> None:
    made = attempt(Double(THREE, others=["theirs"]), tmp_path, Watch(left=0), queue=600)
    assert made.outcome == "refused"


def test_a_deadline_in_the_middle_withdraws_our_job_alone(tmp_path: Path) -> None:
    double = Double(THREE, stops_at=5)
    watch = Watch()
    watch._at = lambda phase, picture: setattr(watch, "_left", 0 if picture else None)
    made = attempt(double, tmp_path, watch, quiet=60)
    assert (made.outcome, made.kind) == ("interrupted", "deadline")
    (ours,) = double.posts("/prompt")
    assert double.posts("/interrupt") == [{"prompt_id": ours["prompt_id"]}]


def test_a_stop_withdraws_our_job_and_leaves_theirs(tmp_path: Path) -> None:
    double = Double(THREE, stops_at=len(THREE[0]["events"]) - 6)
    watch = Watch()

    def at(phase: str, picture: int) -> None:
        if phase == "denoise":
            double.others.append("queued meanwhile")
            watch.stop.set()

    watch._at = at
    made = attempt(double, tmp_path, watch, quiet=60)
    assert (made.outcome, made.kind, made.stage) == ("interrupted", "stopped", "denoise")
    (ours,) = double.posts("/prompt")
    assert double.posts("/interrupt") == [{"prompt_id": ours["prompt_id"]}]
    assert double.posts("/queue") == [{"delete": [ours["prompt_id"]]}]
    assert double.others == ["queued meanwhile"]
