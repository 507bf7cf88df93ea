"""``klein-doctor download`` as a user runs it, against a Hub on loopback."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import faulty as f
import pytest
from command import doctor, one_line
from faulty import Faulty
from miniature import (
    FILES,
    LIMITS,
    TMPFS,
    TOTAL,
    WANTED,
    Place,
    data_of,
    document,
    kill_at_random,
    slowly,
    started,
    states,
    wait_for_content,
)

from klein_doctor.rehearse.hub import HubFile, Repository


def test_it_fetches_the_three_files_and_the_second_time_nothing(place: Place) -> None:
    first = place.run()
    assert first.code == 0, first.err
    assert place.right and place.names == WANTED
    assert first.out.count("digest verified") == 3
    assert "6.29 MB in all" in first.err.replace("  ", " ")
    sent = place.hub.sent
    assert TOTAL <= sent <= TOTAL * 1.05
    second = place.run("--format", "json")
    assert (second.code, states(second)) == (0, ["here"] * 3)
    assert place.hub.sent == sent and "on this machine already" in second.err


def test_a_dry_run_writes_nothing_and_asks_whether_it_is_there(place: Place) -> None:
    ran = place.run("--dry-run", "--format", "json")
    assert ran.code == 0 and states(ran) == ["to fetch"] * 3
    assert not place.dest.exists() and place.hub.sent == 0
    place.hub.repositories.clear()
    ran = place.run("--dry-run", "--format", "json")
    assert ran.code == 1 and states(ran) == ["failed"] * 3


def test_only_one_role(place: Place) -> None:
    assert place.run("--only", "vae").code == 0
    assert place.names == ["flux2-vae.safetensors"]


def test_what_lies_elsewhere_is_linked_and_not_fetched(place: Place) -> None:
    stick = place.folder / "stick" / "deep"
    stick.mkdir(parents=True)
    for role, (_, name, _) in FILES.items():
        (stick / f"old-{name}").write_bytes(data_of(role))
    ran = place.run("--assets-from", str(stick.parent), "--offline", "--format", "json")
    assert ran.code == 0 and set(states(ran)) <= {"linked", "cloned", "copied"}
    assert place.right and place.hub.sent == 0 and place.hub.requests == []
    assert "on this machine already" in ran.err


def test_a_wrong_file_of_the_right_size_is_not_taken(place: Place) -> None:
    stick = place.folder / "stick"
    stick.mkdir()
    (stick / "flux2-vae.safetensors").write_bytes(b"\0" * FILES["vae"][2])
    ran = place.run("--assets-from", str(stick), "--only", "vae", "--format", "json")
    assert states(ran) == ["fetched"]
    ran = place.run("--assets-from", str(stick), "--offline", "--format", "json")
    assert ran.code == 1 and states(ran) == ["failed", "failed", "here"]
    assert document(ran)["files"][0]["cause"] == "offline"


def test_the_hubs_cache_is_looked_through(place: Place) -> None:
    blobs = place.home / ".cache" / "huggingface" / "hub" / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / ("0" * 64)).write_bytes(data_of("encoder"))
    ran = place.run("--offline", "--only", "encoder", "--format", "json")
    assert ran.code == 0 and states(ran)[0] in ("linked", "cloned")


def test_a_mirror_is_asked_first_and_the_hub_where_it_lacks_a_file(place: Place) -> None:
    files = {name: HubFile(data_of("vae"), large=False) for name in ("flux2-vae.safetensors",)}
    place.hub.add(Repository("mirror/plain", "main", files))
    mirror = f"{place.hub.endpoint}/mirror/plain/resolve/main"
    ran = place.run("--assets-from", mirror, "--format", "json")
    assert ran.code == 0 and place.right, ran.err
    asked = [request.path for request in place.hub.requests if request.method == "GET"]
    assert any(path == "/mirror/plain/resolve/main/flux2-vae.safetensors" for path in asked)
    assert sum(path.startswith(f"/{f.REPOSITORY}/resolve/") for path in asked) == 2


def test_where_the_mirror_is_down_the_hub_is_asked(place: Place) -> None:
    place.impatient(1)
    mirror = ("--assets-from", "http://127.0.0.1:9/models", "--only", "vae")
    ran = place.run(*mirror, "--dry-run", "--format", "json")
    assert (ran.code, states(ran)) == (0, ["to fetch"])
    ran = place.run(*mirror, "--format", "json")
    assert (ran.code, states(ran)) == (0, ["fetched"])
    assert "127.0.0.1:9" in ran.err and "the next source is asked" in ran.err


def test_a_hub_that_is_away_is_waited_for_once_and_not_for_every_file(place: Place) -> None:
    place.impatient(4)
    ran = place.run("--format", "json", env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert (ran.code, set(states(ran))) == (7, {"failed"})
    waited = {line.split(": ")[1] for line in ran.err.splitlines() if "again in" in line}
    assert 0 < len(waited) <= LIMITS["at_once"] < len(states(ran)), ran.err
    assert "no connection to 127.0.0.1:9" in ran.err


def test_what_is_replaced_is_renamed_to_what_it_is(place: Place) -> None:
    old = place.path("vae")
    old.parent.mkdir(parents=True)
    old.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    ran = place.run("--only", "vae", "--format", "json")
    assert ran.code == 0
    (file,) = document(ran)["files"]
    assert file["aside"] == str(old.with_name("flux2-vae.safetensors.damaged"))
    assert Path(file["aside"]).read_bytes().startswith(b"version https")
    assert old.read_bytes() == data_of("vae")


@pytest.mark.parametrize(
    ("license", "words"),
    [("FLUX Non-Commercial License", "FLUX Non-Commercial License"), ("", "not known")],
)
def test_what_is_not_free_is_refused(tmp_path: Path, hub: Faulty, license: str, words: str) -> None:
    ran = Place(tmp_path, hub, license).run()
    assert ran.code == 2 and one_line(ran.err) and words in ran.err
    assert "Apache-2.0" in ran.err and hub.sent == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "lora"], "transformer, encoder, vae"),
        (["--variant", "encoder=fp12"], "the variants are"),
        (["--variant", "9b"], "Non-Commercial"),
        (["--deadline", "soon"], "--deadline soon"),
        (["--assets-from", "/nowhere/at/all"], "no such folder"),
        (["--assets-from", "ftp://x/y"], "--assets-from"),
        (["--format", "markdown"], "text or json"),
        (["--recipe", "/nowhere/at/all"], "--recipe"),
    ],
)
def test_wrong_usage_is_one_line(place: Place, arguments: list[str], words: str) -> None:
    ran = place.run(*arguments)
    assert ran.code == 2 and one_line(ran.err) and words in ran.err


def test_its_help_lists_its_options() -> None:
    ran = doctor("download", "--help")
    assert ran.code == 0 and "--assets-from" in ran.out and "--variant" in ran.out
    assert "--strict" not in ran.out


def test_an_option_of_download_says_where_it_belongs() -> None:
    ran = doctor("--dest", "/tmp")
    assert ran.code == 2 and one_line(ran.err) and "klein-doctor download --dest" in ran.err


def test_progress_as_json_lines(place: Place) -> None:
    ran = place.run("--progress", "json", "--format", "json")
    assert ran.code == 0
    lines = [line for line in ran.err.splitlines() if not line.startswith("klein-doctor: ")]
    events = [json.loads(line) for line in lines]
    assert {"begin", "file", "progress", "done", "note"} <= {event["event"] for event in events}
    last = [event for event in events if event["event"] == "progress"][-1]
    assert last["done"] == last["total"] == TOTAL


# --- what breaks it off -----------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_end_keeps_what_came_and_says_how_to_go_on(
    place: Place, number: signal.Signals
) -> None:
    slowly(place, 1_000_000)
    process = started(place)
    wait_for_content(place, 500_000)
    begun = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - begun < 5
    assert process.returncode == 130, err.decode()
    assert b"the same command again" in out and b"are kept" in out
    assert b"Traceback" not in err
    assert not any(place.path(role).exists() for role in FILES)
    place.hub.always.clear()
    assert place.run().code == 0 and place.right and place.names == WANTED
    assert place.hub.sent <= TOTAL + 4 * (1 << 18)


def test_the_deadline_ends_it_with_seven(place: Place) -> None:
    slowly(place, 300_000)
    ran = place.run("--deadline", "2", "--format", "json")
    assert ran.code == 7, ran.err
    assert {file["cause"] for file in document(ran)["files"]} == {"deadline"}
    assert sum(file["kept"] for file in document(ran)["files"]) > 0


def test_where_nothing_came_nothing_stays(place: Place) -> None:
    place.impatient(1)
    ran = place.run(env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert ran.code == 7 and not place.dest.exists()
    place.dest.mkdir()
    place.hub.always["store", "GET"] = f.status(500)
    assert place.run().code == 7
    assert place.dest.is_dir() and not list(place.dest.iterdir())


def test_what_a_dead_doctor_left_that_nobody_can_use_is_removed(place: Place) -> None:
    path = place.path("vae")
    path.parent.mkdir(parents=True)
    note = {"schema": "klein-doctor/part/1", "sha256": "0" * 64, "size": 1 << 20, "pid": 1}
    left = [path.with_name(f"{path.name}.part{end}") for end in ("", ".json", ".lock")]
    for each, text in zip(left, ("", json.dumps(note), ""), strict=True):
        each.write_text(text)
    foreign = path.with_name("another.safetensors.part")
    foreign.write_text("")
    place.impatient(1)
    ran = place.run("--only", "vae", env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert ran.code == 7 and list(path.parent.iterdir()) == [foreign]


def test_killed_at_random(place: Place) -> None:
    kill_at_random(place, 5)


def test_two_at_once_fetch_once(place: Place) -> None:
    slowly(place, 3_000_000)
    both = [started(place) for _ in range(2)]
    ends = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert place.right and place.names == WANTED
    assert place.hub.sent <= TOTAL * 1.05
    said = b"".join(err for _, err in ends).decode()
    assert "another klein-doctor (process" in said and "waiting" in said


def test_what_it_met_is_known_to_the_next_diagnosis_until_it_succeeds(place: Place) -> None:
    place.hub.always["hub", "HEAD"] = f.status(407)
    ran = place.run()
    assert ran.code == 7 and "proxy" in ran.out and "What to do: mend or unset" in ran.out
    found = json.loads((place.state / "hub.json").read_text("utf-8"))
    assert (found["schema"], found["cause"]) == ("klein-doctor/hub/1", "proxy")
    assert found["endpoint"] == place.hub.endpoint and found["repo"] == f.REPOSITORY
    judged = ("--route", "diffusers", "--state-dir", str(place.state), "--format", "json")
    finding = doctor(*judged, env=place.environment).finding("hub-unreachable")
    assert finding["verdict"] == "fail" and "proxy" in finding["title"]
    place.hub.always.clear()
    assert place.run().code == 0
    assert not (place.state / "hub.json").exists()
    assert doctor(*judged, env=place.environment).verdicts()["hub-unreachable"] == "pass"


@pytest.mark.parametrize(
    ("changes", "cause", "code"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "offline", 1),
        ({"HF_ENDPOINT": "http://no-such-host.invalid"}, "dns", 7),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "connect", 7),
        ({"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}, "connect", 7),
    ],
)
def test_what_stands_between_here_and_the_hub_is_named(
    place: Place, changes: dict[str, str], cause: str, code: int
) -> None:
    place.impatient(2)
    ran = place.run("--only", "vae", "--format", "json", env=changes)
    (file,) = document(ran)["files"]
    assert (file["cause"], ran.code) == (cause, code), ran.out
    if "HTTP_PROXY" in changes:
        assert "HTTP_PROXY" in file["says"]


def test_an_endpoint_that_is_no_address(place: Place) -> None:
    ran = place.run(env={"HF_ENDPOINT": "hf-mirror.example"})
    assert ran.code == 2 and one_line(ran.err) and "HF_ENDPOINT" in ran.err


def test_no_token_is_sent_to_another_host_even_when_asked(place: Place) -> None:
    token = "hf_" + "b" * 34
    ran = place.run("--use-hf-token", env={"HF_TOKEN": token})
    assert ran.code == 0 and "no token is sent" in ran.err
    assert not any("authorization" in request.headers for request in place.hub.requests)
    assert token not in ran.out + ran.err


def test_by_the_hubs_own_client_it_is_proven_all_the_same(place: Place) -> None:
    ran = place.run("--xet", "--only", "vae")
    assert ran.code == 0 and place.names == ["flux2-vae.safetensors"]
    assert place.path("vae").read_bytes() == data_of("vae") and "Xet:" not in ran.err
    place.path("vae").unlink()
    place.hub.plan["store", "GET"] = [f.flip]
    ran = place.run("--xet", "--only", "vae")
    assert ran.code == 0 and "what came is not the published file" in ran.err
    assert place.path("vae").read_bytes() == data_of("vae")
    assert place.names == ["flux2-vae.safetensors"]


# --- leftovers of the Hub's own client --------------------------------------------------------


def test_leftovers_are_offered_and_removed_only_when_asked(place: Place) -> None:
    blobs = place.home / ".cache" / "huggingface" / "hub" / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    old, young = blobs / "abc.123.incomplete", blobs / "abc.456.incomplete"
    for path in (old, young):
        path.write_bytes(b"x" * 1000)
    os.utime(old, (time.time() - 200_000,) * 2)
    ran = place.run("--only", "vae")
    assert ran.code == 0 and "--sweep" in ran.out and old.exists()
    ran = place.run("--only", "vae", "--sweep", "--format", "json")
    assert not old.exists() and young.exists()
    assert document(ran)["freed"] == 1000


# --- disks -----------------------------------------------------------------------------------


@pytest.mark.skipif(not TMPFS, reason="no unprivileged mounts on this machine")
def test_too_small_a_disk_is_told_before_the_first_byte(place: Place) -> None:
    place.dest.mkdir()
    ran = place.run("--format", "json", before=TMPFS, env={"KLEIN_DOCTOR_DEST": str(place.dest)})
    assert ran.code == 1, ran.err
    assert {file["cause"] for file in document(ran)["files"]} == {"space"}
    says = document(ran)["files"][0]["says"]
    assert str(place.dest) in says and "missing" in says
    assert place.hub.sent == 0
