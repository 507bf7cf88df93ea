"""``klein-doctor download`` as a user runs it, against a Hub on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faulty as f
import jsonschema
import pytest
from command import COMMAND, Ran, clean_environment, doctor, one_line
from faulty import Faulty

from klein_doctor.rehearse.hub import HubFile, Repository

FILES = {
    "transformer": ("diffusion_models", "flux-2-klein-4b-fp8.safetensors", 3 << 20),
    "encoder": ("text_encoders", "qwen_3_4b.safetensors", 2 << 20),
    "vae": ("vae", "flux2-vae.safetensors", 1 << 20),
}
DOCS = Path(__file__).resolve().parents[2] / "docs"


def data_of(role: str) -> bytes:
    """The content of a role's file."""
    return f.content(FILES[role][2], seed=list(FILES).index(role) + 10)


class Place:
    """A Hub, a recipe that names its files, and a folder to download to."""

    def __init__(self, folder: Path, hub: Faulty, license: str = "Apache-2.0") -> None:
        self.folder, self.hub = folder, hub
        self.dest = folder / "models"
        self.state = folder / "state"
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        (folder / "recipe").mkdir(exist_ok=True)
        files = {f"parts/{name}": HubFile(data_of(role)) for role, (_, name, _) in FILES.items()}
        hub.add(Repository(f.REPOSITORY, f.REVISION, files))
        rows = [
            f'[[repository]]\nid = "mini"\nname = "{f.REPOSITORY}"\nrevision = "{f.REVISION}"\n'
            f'license = "{license}"\nsource = "here"\nas_of = "2026-11-24"\n'
        ]
        for role, (_, name, size) in FILES.items():
            digest = hashlib.sha256(data_of(role)).hexdigest()
            rows.append(
                f'[[asset]]\nroute = "comfyui"\nrole = "{role}"\nrepository = "mini"\n'
                f'path = "parts/{name}"\nbytes = {size}\nsha256 = "{digest}"\n'
                'source = "here"\nas_of = "2026-11-24"\n'
            )
        (folder / "recipe" / "downloads.toml").write_text(
            '[sources]\nhere = "made for this"\n' + "\n".join(rows)
        )

    @property
    def environment(self) -> dict[str, str]:
        return {"HF_ENDPOINT": self.hub.endpoint, "HOME": str(self.home)}

    @property
    def options(self) -> list[str]:
        recipe = ["--recipe", str(self.folder / "recipe"), "--state-dir", str(self.state)]
        return [*recipe, "--dest", str(self.dest)]

    def run(self, *arguments: str, **changes: Any) -> Ran:
        return doctor(
            "download", *self.options, *arguments,
            env={**self.environment, **changes.pop("env", {})}, **changes,
        )  # fmt: skip

    def path(self, role: str) -> Path:
        folder, name, _ = FILES[role]
        return self.dest / folder / name

    @property
    def right(self) -> bool:
        return all(self.path(role).read_bytes() == data_of(role) for role in FILES)

    @property
    def names(self) -> list[str]:
        return sorted(p.name for p in self.dest.rglob("*") if p.is_file())


WANTED = sorted(name for _, name, _ in FILES.values())
TOTAL = sum(size for _, _, size in FILES.values())


@pytest.fixture
def hub() -> Iterator[Faulty]:
    yield from f.serving()


@pytest.fixture
def place(tmp_path: Path, hub: Faulty) -> Place:
    return Place(tmp_path, hub)


def document(ran: Ran) -> dict[str, Any]:
    """Standard output as the document it must be, by its schema."""
    schema = json.loads((DOCS / "download.schema.json").read_text("utf-8"))
    jsonschema.validate(ran.document, schema)
    assert ran.document["exit_code"] == ran.code
    return ran.document


def states(ran: Ran) -> list[str]:
    return [file["state"] for file in document(ran)["files"]]


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
    recipe = place.folder / "recipe" / "downloads.toml"
    limits = "".join(f"{name} = {value}\n" for name, value in {**LIMITS, "tries": 1}.items())
    recipe.write_text(recipe.read_text() + "[[limits]]\n" + limits)
    mirror = ("--assets-from", "http://127.0.0.1:9/models", "--only", "vae")
    ran = place.run(*mirror, "--dry-run", "--format", "json")
    assert (ran.code, states(ran)) == (0, ["to fetch"])
    ran = place.run(*mirror, "--format", "json")
    assert (ran.code, states(ran)) == (0, ["fetched"])
    assert "127.0.0.1:9" in ran.err and "the next source is asked" in ran.err


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


def started(place: Place, *arguments: str) -> subprocess.Popen[bytes]:
    """The command, running."""
    return subprocess.Popen(
        [*COMMAND, "download", *place.options, *arguments],
        env={**clean_environment(), **place.environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def slowly(place: Place, rate: int = 2_000_000) -> None:
    """Content comes at so many bytes a second."""
    place.hub.always["store", "GET"] = f.trickle(rate)


def wait_for_content(place: Place, at_least: int) -> None:
    until = time.monotonic() + 20
    while place.hub.sent < at_least and time.monotonic() < until:
        time.sleep(0.02)
    assert place.hub.sent >= at_least


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


def kill_at_random(place: Place, times: int) -> None:
    """Kill it so often, at random instants, and let it finish: nothing wrong, little twice."""
    chance = random.Random(times)
    # So slow that most of the kills come before the end.
    slowly(place, 3_000_000 if times < 10 else 400_000)
    for _ in range(times):
        process = started(place)
        time.sleep(chance.uniform(0.2, 1.6))
        process.kill()
        process.communicate()
        for role in FILES:
            path = place.path(role)
            assert not path.exists() or path.read_bytes() == data_of(role)
    place.hub.always.clear()
    assert place.run().code == 0
    assert place.right and place.names == WANTED
    read = 1 << 18  # of the network, for each of two files at once
    assert place.hub.sent <= 1.05 * TOTAL + 2 * read * times


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
    assert ran.code == 7 and "proxy" in ran.out
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
    recipe = place.folder / "recipe" / "downloads.toml"
    limits = "".join(f"{name} = {value}\n" for name, value in {**LIMITS, "tries": 2}.items())
    recipe.write_text(recipe.read_text() + "[[limits]]\n" + limits)
    ran = place.run("--only", "vae", "--format", "json", env=changes)
    (file,) = document(ran)["files"]
    assert (file["cause"], ran.code) == (cause, code), ran.out
    if "HTTP_PROXY" in changes:
        assert "HTTP_PROXY" in file["says"]


LIMITS: dict[str, object] = {
    "hub": '"https://huggingface.co"', "read_s": 2, "slow_bytes_per_s": 1, "slow_window_s": 9,
    "tries": 6, "first_pause_s": 0, "longest_pause_s": 0, "retry_after_s": 1, "mismatches": 2,
    "at_once": 2, "lock_idle_s": 60, "orphan_age_s": 86400, "source": '"here"',
    "as_of": '"2026-11-24"',
}  # fmt: skip


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


def on_tmpfs(size: str) -> tuple[str, ...]:
    """A command that runs another with a small file system of its own; () where none can."""
    if sys.platform != "linux":
        return ()
    script = f'mount -t tmpfs -o size={size} none "$KLEIN_DOCTOR_DEST" && exec "$@"'
    command = ("unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-c", script, "sh")
    try:
        done = subprocess.run(
            [*command, "true"], env={**os.environ, "KLEIN_DOCTOR_DEST": "/mnt"},
            capture_output=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return command if done.returncode == 0 else ()


TMPFS = on_tmpfs("4m")


@pytest.mark.skipif(not TMPFS, reason="no unprivileged mounts on this machine")
def test_too_small_a_disk_is_told_before_the_first_byte(place: Place) -> None:
    place.dest.mkdir()
    ran = place.run("--format", "json", before=TMPFS, env={"KLEIN_DOCTOR_DEST": str(place.dest)})
    assert ran.code == 1, ran.err
    assert {file["cause"] for file in document(ran)["files"]} == {"space"}
    says = document(ran)["files"][0]["says"]
    assert str(place.dest) in says and "missing" in says
    assert place.hub.sent == 0
