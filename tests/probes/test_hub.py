"""What the last download met, out of real files of the state folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from command import doctor
from hypothesis import given, settings
from hypothesis import strategies as st
from targets import make_venv

from klein_doctor.codec import decode, encode
from klein_doctor.download import remembered
from klein_doctor.download.faults import DownloadError, of_refusal
from klein_doctor.download.jobs import Job
from klein_doctor.download.run import Done
from klein_doctor.installation import Hub, HubTrouble
from klein_doctor.privacy import Redactor
from klein_doctor.probes.hub import CAUSES, SCHEMA, STORE, read_hub
from klein_doctor.probes.outside import Outside
from klein_doctor.recipe_downloads import load_downloads
from klein_doctor.recipe_hub import load_hub

NOTHING = Hub(None)
TROUBLE: dict[str, Any] = {
    "schema": "klein-doctor/hub/1",
    "when": "2026-11-24T07:00:00Z",
    "endpoint": "https://huggingface.co",
    "cause": "dns",
    "says": "the name huggingface.co cannot be looked up",
    "repo": "black-forest-labs/FLUX.2-klein-4b-fp8",
}


def outside() -> Outside:
    return Outside(Path("/"), {}, "linux", Redactor(("jane",), ("/home/jane",), ("tower",)))


def read(folder: Path, content: bytes) -> Hub:
    (folder / "hub.json").write_bytes(content)
    return read_hub(outside(), folder)


def changed(folder: Path, **changes: object) -> HubTrouble | None:
    return read(folder, json.dumps({**TROUBLE, **changes}).encode()).last


def test_a_trouble_is_read_back(tmp_path: Path) -> None:
    last = changed(tmp_path)
    assert last is not None
    assert (last.when, last.cause, last.repo) == tuple(
        TROUBLE[name] for name in ("when", "cause", "repo")
    )
    assert last.says == TROUBLE["says"] and last.endpoint.public == "https://huggingface.co"


def test_no_folder_and_no_file_are_no_trouble(tmp_path: Path) -> None:
    assert read_hub(outside(), None) == NOTHING
    assert read_hub(outside(), tmp_path) == NOTHING
    assert read_hub(outside(), tmp_path / "absent") == NOTHING
    (tmp_path / "hub.json").mkdir()
    assert read_hub(outside(), tmp_path) == NOTHING


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"null", b"[]", b"1" * 5000, b'"text"', b"[" * 60_000,
     b"{}", json.dumps(TROUBLE)[:-9].encode()],
    ids=["empty", "cut", "binary", "null", "list", "digits", "text", "nested", "bare", "torn"],
)  # fmt: skip
def test_a_damaged_file_tells_nothing(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content) == NOTHING


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    assert changed(tmp_path, more="x" * (1 << 17)) is None
    with (tmp_path / "hub.json").open("wb") as stream:
        stream.truncate(1 << 34)  # sparse: reading all of it would not end well
    assert read_hub(outside(), tmp_path) == NOTHING


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hub.json")
    assert read_hub(outside(), tmp_path) == NOTHING


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "klein-doctor/hub/2"}, {"schema": None}, {"when": "yesterday"},
        {"when": "2026-11-24T07:00:00Z; rm"}, {"when": 7}, {"cause": "weather"}, {"cause": ["dns"]},
        {"says": None}, {"endpoint": 1}, {"repo": "no-owner"}, {"repo": "../../etc/passwd"},
        {"repo": "a/b\nc"}, {"repo": "a/" + "b" * 200},
    ],
)  # fmt: skip
def test_what_does_not_fit_tells_nothing(tmp_path: Path, changes: dict[str, object]) -> None:
    assert changed(tmp_path, **changes) is None


def test_secrets_and_names_do_not_stay(tmp_path: Path) -> None:
    token = "hf_" + "aB3" * 12
    last = changed(
        tmp_path,
        endpoint="https://jane:hunter2@tower:8443/hf?token=hunter2",
        says=f"/home/jane/x: https://cdn.hf.co/a?Sig=hunter2, http://u:hunter2@tower {token}",
        repo="jane/private",
    )
    assert last is not None
    assert last.endpoint.public == "https://host:8443/hf" and last.repo == "user/private"
    for form in ("real", "local", "public"):
        told = json.dumps(encode(last, form))
        assert "hunter2" not in told and token not in told
    shown = json.dumps(encode(last, "public"))
    assert "jane" not in shown and "tower" not in shown
    held = changed(tmp_path, endpoint=f"https://huggingface.co/{token}")
    assert held is not None and held.endpoint.real == ""


def test_the_downloader_and_the_tables_use_the_same_words() -> None:
    assert (remembered.STORE, remembered.SCHEMA) == (STORE, SCHEMA)
    # What forbids a download is judged by what is set now.
    assert set(load_hub().troubles) == CAUSES - {"offline"}


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (DownloadError("dns", "the name cannot be looked up"), "dns"),
        (DownloadError("cut", "the connection was lost"), "stalled"),
        (of_refusal(401, "GatedRepo", "huggingface.co", "a file"), "gated"),
        (of_refusal(401, "", "huggingface.co", "a file"), "refused"),
        (of_refusal(404, "", "huggingface.co", "a file"), "missing"),
        (of_refusal(429, "", "huggingface.co", "a file"), "quota"),
        (of_refusal(503, "", "huggingface.co", "a file"), "server"),
        (of_refusal(407, "", "huggingface.co", "a file"), "proxy"),
    ],
)
def test_what_the_downloader_writes_is_read(
    tmp_path: Path, fault: DownloadError, cause: str
) -> None:
    job = Job(load_downloads().assets[0], tmp_path / "file")
    remembered.remember(tmp_path, [Done(job, "failed", fault=fault)], "https://huggingface.co")
    last = read_hub(outside(), tmp_path).last
    assert last is not None
    assert (last.cause, last.says) == (cause, fault.says)
    assert last.repo == load_downloads().assets[0].repository
    remembered.remember(tmp_path, [Done(job, "fetched")], "https://huggingface.co")
    assert read_hub(outside(), tmp_path) == NOTHING


def test_a_diagnosis_finds_it_in_the_state_folder(tmp_path: Path) -> None:
    state, home = tmp_path / "state", tmp_path / "home"
    own = home / ".local" / "state" / "klein-doctor"
    for folder in (state, own):
        folder.mkdir(parents=True)
        (folder / "hub.json").write_text(json.dumps(TROUBLE))
    python = make_venv(tmp_path / "env")
    asked = ("--python", python, "--route", "diffusers", "--assume", "RTX 5070,driver=580",
             "--format", "json")  # fmt: skip
    for where in (("--state-dir", state), ()):
        if not where and os.name != "posix":
            continue
        env = {"HOME": str(tmp_path if where else home)}
        ran = doctor(*asked, *where, env=env)
        assert ran.whole, ran.err
        found = ran.finding("hub-unreachable")
        assert found["verdict"] == "fail" and found["evidence"]["cause"] == "dns"
    assert sorted(p.name for p in state.iterdir()) == ["hub.json"]
    (state / "hub.json").unlink()
    ran = doctor(*asked, "--state-dir", state, env={"HOME": str(tmp_path)})
    assert ran.document["facts"]["hub"] == {"known": {"last": None}}
    assert ran.finding("hub-unreachable")["verdict"] == "pass"


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "says": st.text(max_size=3000),
            "endpoint": st.text(max_size=1000),
            "repo": st.one_of(st.just("jane/x"), st.text(max_size=30)),
            "cause": st.sampled_from([*sorted(CAUSES), "other"]),
        }
    )
)
def test_any_text_fits_into_a_report(
    tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    hub = read(folder, json.dumps({**TROUBLE, **texts}).encode())
    assert decode(Hub, encode(hub, "public")) == decode(Hub, encode(hub, "public"))
    if hub.last is not None:
        assert hub.last.says.isprintable() and len(hub.last.says) <= 600
        assert hub.last.endpoint.real.isprintable()
