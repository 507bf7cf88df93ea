"""What surrounds a download: variables, readers that leave, signals, what an earlier run left."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import faulty as f
import pytest
from command import COMMAND, clean_environment, one_line
from miniature import Place, data_of, document

from klein_doctor.download.faults import of_disk
from klein_doctor.rehearse.hub import HubFile, Repository

posix = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
SECRET = "sesame-open"


def in_shell(place: Place, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script of bash in which DOCTOR stands for the command."""
    command = shlex.join([*COMMAND, "download", *place.options, *arguments])
    environment = {**clean_environment(), **place.environment, "PYTHONUNBUFFERED": "1"}
    return subprocess.run(
        ["bash", "-c", script.replace("DOCTOR", command)], env=environment, capture_output=True,
        text=True, timeout=30, check=False,
    )  # fmt: skip


def left(place: Place, content: bytes) -> None:
    """A part of the right length, as an earlier run leaves it."""
    path, data = place.path("vae"), data_of("vae")
    path.parent.mkdir(parents=True)
    path.with_name(path.name + ".part").write_bytes(content)
    note = {
        "schema": "klein-doctor/part/1", "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
    }  # fmt: skip
    path.with_name(path.name + ".part.json").write_text(json.dumps(note))


@pytest.mark.parametrize(
    "changes",
    [
        {"HF_ENDPOINT": f"http://me:{SECRET}@127.0.0.1:abc"},
        {"HF_ENDPOINT": "http://[::1"},
        {"HF_HUB_DOWNLOAD_TIMEOUT": "soon"},
        {"HF_HUB_ETAG_TIMEOUT": "soon"},
    ],
)
def test_a_variable_that_cannot_be_read_is_wrong_usage(
    place: Place, changes: dict[str, str]
) -> None:
    ran = place.run(env=changes)
    assert ran.code == 2 and one_line(ran.err) and SECRET not in ran.err, ran.err


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"ALL_PROXY": f"socks9://me:{SECRET}@127.0.0.1:1"}, "proxy"),
        ({"HTTP_PROXY": f"foo://me:{SECRET}@127.0.0.1:1"}, "proxy"),
        ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, "tls"),
    ],
)
def test_proxies_and_certificates_that_cannot_be_used_are_named(
    place: Place, changes: dict[str, str], cause: str
) -> None:
    place.impatient(2)
    ran = place.run("--only", "vae", "--format", "json", env={**changes, "NO_PROXY": ""})
    (file,) = document(ran)["files"]
    assert (ran.code, file["cause"]) == (1, cause)
    assert next(iter(changes)) in file["says"] and SECRET not in ran.out + ran.err


def test_the_host_behind_a_redirect_is_the_one_that_is_named(place: Place) -> None:
    place.impatient(2)
    place.hub.always["hub", "GET"] = f.announced(Location="http://127.0.0.1:9/x?Signature=secret")
    ran = place.run("--only", "vae", "--format", "json")
    (file,) = document(ran)["files"]
    assert "127.0.0.1:9" in file["says"] and "secret" not in ran.out + ran.err


def test_a_redirect_that_is_no_address_is_no_fault_of_the_doctor(place: Place) -> None:
    place.impatient(2)
    place.hub.always["hub", "HEAD"] = f.announced(Location="http://[::1/x")
    ran = place.run("--only", "vae")
    # httpx2 calls it an address that is none, httpx a server that breaks the protocol.
    assert ran.code in (1, 7) and "fault of the doctor" not in ran.err


@posix
@pytest.mark.parametrize("script", ["DOCTOR 2>/dev/full", "DOCTOR 2> >(true)", "DOCTOR 2>&-"])
@pytest.mark.parametrize("progress", ["plain", "json"])
def test_a_standard_error_that_takes_nothing_ends_no_download(
    place: Place, script: str, progress: str
) -> None:
    ran = in_shell(place, script, "--progress", progress)
    assert ran.returncode == 0 and place.right and "Next: klein-doctor" in ran.stdout


@posix
def test_a_reader_that_leaves_does_not_change_the_exit_code(place: Place) -> None:
    ran = in_shell(place, "DOCTOR | true; exit ${PIPESTATUS[0]}")
    assert ran.returncode == 0 and place.right
    assert ran.stderr.count("\n") == 2  # and nothing else is run after it


@posix
def test_what_was_started_with_nohup_outlives_the_terminal(place: Place) -> None:
    place.hub.always["store", "GET"] = f.trickle(1_000_000)
    with subprocess.Popen(
        ["nohup", *COMMAND, "download", *place.options],
        env={**clean_environment(), **place.environment}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        until = time.monotonic() + 20
        while not place.hub.sent and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 0
    assert place.right


def test_a_whole_part_that_is_wrong_is_fetched_from_a_mirror(place: Place) -> None:
    files = {"flux2-vae.safetensors": HubFile(data_of("vae"), large=False)}
    place.hub.add(Repository("mirror/plain", "main", files))
    left(place, bytes(len(data_of("vae"))))
    mirror = f"{place.hub.endpoint}/mirror/plain/resolve/main"
    assert place.run("--only", "vae", "--assets-from", mirror).code == 0
    assert place.path("vae").read_bytes() == data_of("vae")


def test_a_whole_part_gets_its_name_offline(place: Place) -> None:
    left(place, data_of("vae"))
    assert place.run("--only", "vae", "--offline").code == 0
    assert place.names == ["flux2-vae.safetensors"]


def test_what_a_killed_xet_left_is_removed(place: Place) -> None:
    folder = place.path("vae").with_name("flux2-vae.safetensors.part.xet")
    folder.mkdir(parents=True)
    (folder / "much").write_bytes(b"x")
    assert place.run("--only", "vae").code == 0
    assert place.names == ["flux2-vae.safetensors"]


@posix
@pytest.mark.skipif(sys.platform != "win32" and os.geteuid() == 0, reason="root may do everything")
def test_a_folder_that_cannot_be_entered_is_named(place: Place) -> None:
    place.dest.mkdir(mode=0)
    ran = place.run("--only", "vae", "--format", "json")
    place.dest.chmod(0o700)
    assert (ran.code, document(ran)["files"][0]["cause"]) == (1, "permission")


def test_the_deadline_holds_while_files_are_hashed(place: Place) -> None:
    size = 4 << 30
    recipe = place.folder / "recipe" / "downloads.toml"
    recipe.write_text(recipe.read_text().replace(f"bytes = {1 << 20}\n", f"bytes = {size}\n"))
    stick = place.folder / "stick"
    stick.mkdir()
    with open(stick / "hollow", "wb") as stream:
        stream.truncate(size)
    arguments = ("--only", "vae", "--deadline", "1", "--format", "json")
    ran = place.run(*arguments, "--assets-from", str(stick))
    assert (ran.code, document(ran)["files"][0]["cause"]) == (7, "deadline")


def test_a_file_another_program_has_open_is_not_a_matter_of_rights() -> None:
    error = PermissionError(13, "in use")
    error.winerror = 32
    fault = of_disk(error, str(Path("vae")))
    assert "open" in fault.says and fault.again
