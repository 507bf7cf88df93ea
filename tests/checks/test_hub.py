"""The way to the Hub, judged by what is set and by what the last download met."""

from __future__ import annotations

import around as a
import construct as c
import constructed
import model_facts as m
import pytest
from judging import FAIL, PASS, RECIPE, UNKNOWN, WARN, alone, commands, judge_one, silent

from klein_doctor.installation import Hub, HubTrouble, Setting
from klein_doctor.model import Facts, Finding, Known, Outcome, Private, Unknown, Verdict
from klein_doctor.recipe_downloads import load_downloads
from klein_doctor.recipe_hub import load_hub
from klein_doctor.registry import catalogue

GONE = Unknown("not read")
OURS = "black-forest-labs/FLUX.2-klein-4b-fp8"
REACH, ACCESS, CLIENT = "hub-unreachable", "hub-access-refused", "hub-client-outdated"
UNREACHED = ("dns", "connect", "tls", "proxy", "portal", "server", "stalled", "quota")
plain = Private.plain


def with_env(facts: Facts, **env: str) -> Facts:
    return facts._replace(settings=Known(tuple(Setting(k, plain(v)) for k, v in env.items())))


def lacking(**env: str) -> Facts:
    """A ComfyUI without any of Klein's files."""
    return with_env(c.machine()._replace(models=Known(m.models())), **env)


def met(facts: Facts, cause: str, repo: str = OURS) -> Facts:
    """The last download ended so."""
    mirror = plain("https://hf-mirror.com")
    last = HubTrouble("2026-11-24T07:05:09Z", mirror, cause, "It was so.", repo)
    return facts._replace(hub=Known(Hub(last)))


def all_of(name: str, facts: Facts) -> list[Outcome]:
    found = catalogue()[name].judge(facts, RECIPE)
    return [found] if isinstance(found, Outcome) else list(found)


def said(found: Outcome | Finding) -> str:
    return " ".join((found.title, found.detail, *(fix.summary for fix in found.fixes)))


def versions(facts: Facts, **listed: str | None) -> Facts:
    named = {name.replace("_", "-"): version for name, version in listed.items()}
    return facts._replace(packages=Known(a.packages(named)))


# --- hub-unreachable -------------------------------------------------------------------------


def test_where_nothing_is_missing_the_hub_does_not_matter() -> None:
    for facts in (c.machine(), constructed.diffusers()):
        facts = met(with_env(facts, HF_HUB_OFFLINE="1", HF_ENDPOINT="nonsense"), "dns")
        assert silent(REACH, facts) and silent(ACCESS, facts)
        assert silent(ACCESS, met(facts, "gated"))


def test_without_a_comfyui_there_is_no_place_for_files_yet() -> None:
    facts = lacking(HF_HUB_OFFLINE="1")._replace(comfyui=Known(None))
    assert silent(REACH, facts) and silent(ACCESS, met(facts, "gated"))


def test_no_trouble_known() -> None:
    assert alone(REACH, lacking()) is PASS
    assert alone(REACH, constructed.diffusers(models=Known(m.models()))) is PASS
    assert silent(ACCESS, lacking())


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize(
    ("value", "verdict"),
    [("1", FAIL), ("true", FAIL), ("Yes", FAIL), ("ON", FAIL), ("0", PASS), ("false", PASS),
     ("2", PASS), ("off", PASS)],
)  # fmt: skip
def test_switches_that_forbid_downloads(name: str, value: str, verdict: Verdict) -> None:
    found = judge_one(REACH, lacking(**{name: value}))
    assert found.verdict is verdict
    if verdict is FAIL:
        assert name in found.title and name in found.fixes[0].summary


def test_the_first_switch_that_is_set_counts() -> None:
    assert alone(REACH, lacking(HF_HUB_OFFLINE="0", TRANSFORMERS_OFFLINE="1")) is PASS


def test_diffusers_files_count_too() -> None:
    broken = m.models(pipelines=(m.pipeline(verdict="damaged", missing=("vae/config.json",)),))
    for models in (m.models(), broken):
        facts = with_env(constructed.diffusers(models=Known(models)), HF_HUB_OFFLINE="1")
        assert alone(REACH, facts) is FAIL


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("https://hf-mirror.com", PASS), ("http://10.0.0.7:8080/hf/", PASS),
        ("HTTPS://Huggingface.co", PASS), ("http://[::1]:8000", PASS), ("set", PASS),
        ("hf-mirror.com", FAIL), ("https//hf-mirror.com", FAIL), ("https://", FAIL),
        ("ftp://hf-mirror.com", FAIL), ("https://hf-mirror.com:port", FAIL),
        ("https://[::1", FAIL), ("https://hf mirror.com", FAIL),
    ],
)  # fmt: skip
def test_addresses(address: str, verdict: Verdict) -> None:
    found = judge_one(REACH, lacking(HF_ENDPOINT=address))
    assert found.verdict is verdict
    if verdict is FAIL:
        assert found.title == "HF_ENDPOINT is no address" and found.subject is not None


def test_a_token_goes_wherever_the_address_points() -> None:
    mirror = {"HF_ENDPOINT": "https://hf-mirror.com", "HF_TOKEN": "set"}
    found = judge_one(REACH, lacking(**mirror))
    assert found.verdict is WARN and "HF_TOKEN" in found.title
    assert alone(REACH, lacking(**mirror, HF_HUB_DISABLE_IMPLICIT_TOKEN="1")) is PASS
    assert alone(REACH, lacking(**mirror, HF_HUB_DISABLE_IMPLICIT_TOKEN="0")) is WARN
    assert alone(REACH, lacking(HF_TOKEN="set")) is PASS
    for own in ("https://huggingface.co", "https://huggingface.co/", "https://HuggingFace.co:443"):
        assert alone(REACH, lacking(HF_ENDPOINT=own, HF_TOKEN="set")) is PASS
    lookalike = lacking(HF_ENDPOINT="https://huggingface.co.example", HF_TOKEN="set")
    assert alone(REACH, lookalike) is WARN


@pytest.mark.parametrize("cause", UNREACHED)
def test_what_the_last_download_met(cause: str) -> None:
    found = judge_one(REACH, met(lacking(), cause))
    row = load_hub().troubles[cause]
    assert found.verdict is FAIL and row.title in found.title
    assert "On 2026-11-24 at 07:05 UTC: It was so. " in found.detail
    assert found.subject is not None and found.subject.public == "https://hf-mirror.com"
    assert [fix.grade for fix in found.fixes] == ["manual"] and row.do == found.fixes[0].summary
    assert silent(ACCESS, met(lacking(), cause))


def test_proxies_are_named_and_not_shown() -> None:
    facts = met(lacking(HTTPS_PROXY="set", SSL_CERT_FILE="~/ca.pem"), "tls")
    found = judge_one(REACH, facts)
    assert "Set here: SSL_CERT_FILE, HTTPS_PROXY." in found.detail
    assert found.evidence["proxies"] == ("HTTPS_PROXY",) and "ca.pem" not in said(found)


def test_being_offline_is_judged_by_what_is_set_now() -> None:
    assert alone(REACH, met(lacking(), "offline")) is PASS
    assert alone(REACH, met(lacking(), "of-a-later-version")) is PASS


def test_all_that_stands_between_is_told_the_worst_first() -> None:
    env = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "https://hf-mirror.com", "HF_TOKEN": "set"}
    found = all_of(REACH, met(lacking(**env), "stalled"))
    assert [each.verdict for each in found] == [FAIL, FAIL, WARN]
    assert "HF_HUB_OFFLINE" in found[0].title and "stopped moving" in found[1].title


# --- hub-access-refused ----------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["gated", "refused", "missing"])
def test_refusals_say_of_whose_repository(cause: str) -> None:
    ours = judge_one(ACCESS, met(lacking(), cause))
    other = judge_one(ACCESS, met(lacking(), cause, "somebody/else"))
    row = load_hub().troubles[cause]
    assert ours.verdict is FAIL and other.verdict is FAIL
    assert OURS in ours.title and "somebody/else" in other.title
    assert row.open in ours.detail and row.says in other.detail
    assert silent(REACH, met(lacking(), cause)) is False
    assert alone(REACH, met(lacking(), cause)) is PASS


def test_a_gated_repository_is_another_model() -> None:
    found = judge_one(ACCESS, met(lacking(), "gated", "black-forest-labs/FLUX.2-klein-9B"))
    assert "9B" in found.detail and "not free for commercial use" in found.detail
    assert OURS in {asset.repository for asset in load_downloads().assets}


# --- hub-client-outdated ---------------------------------------------------------------------


def test_a_client_matters_where_it_is_used() -> None:
    old = {"HF_HUB_ENABLE_HF_TRANSFER": "1"}
    assert silent(CLIENT, versions(with_env(c.machine(), **old), hf_xet="1.5.1"))
    assert alone(CLIENT, lacking()) is PASS and alone(CLIENT, constructed.diffusers()) is PASS
    for facts in (lacking(**old), with_env(constructed.diffusers(), **old)):
        assert "HF_XET_HIGH_PERFORMANCE" in said(judge_one(CLIENT, facts))


@pytest.mark.parametrize(
    ("hub", "transfer", "verdict", "word"),
    [
        ("1.30.0", None, WARN, "does nothing"), ("2.4.0", "0.1.9", WARN, "does nothing"),
        ("0.36.2", "0.1.9", PASS, ""),
        ("0.36.2", None, WARN, "not there"), (None, None, PASS, ""), ("of old", None, UNKNOWN, ""),
    ],
)  # fmt: skip
def test_hf_transfer(hub: str | None, transfer: str | None, verdict: Verdict, word: str) -> None:
    facts = lacking(HF_HUB_ENABLE_HF_TRANSFER="1")
    found = judge_one(CLIENT, versions(facts, huggingface_hub=hub, hf_transfer=transfer))
    assert found.verdict is verdict and word in found.title
    assert alone(CLIENT, lacking(HF_HUB_ENABLE_HF_TRANSFER="0")) is PASS


@pytest.mark.parametrize("name", ["HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"])
@pytest.mark.parametrize(
    ("value", "bad"),
    [("30", False), (" 30 ", False), ("0", False), ("1.5", True), ("30s", True), ("none", True),
     ("set", True)],
)  # fmt: skip
def test_time_limits_that_end_every_import(name: str, value: str, bad: bool) -> None:
    """Also where nothing is to be downloaded: the packages are imported all the same."""
    facts = with_env(c.machine(), **{name: value})
    if not bad:
        assert silent(CLIENT, facts)
        return
    found = judge_one(CLIENT, facts)
    assert found.verdict is WARN and name in found.title and "ValueError" in found.detail
    assert silent(CLIENT, versions(facts, huggingface_hub=None))


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("1.4.3", WARN), ("1.5.0", WARN), ("1.5.1", WARN), ("1.5.2rc0", PASS), ("1.5.2", PASS),
     ("1.8.0", PASS), (None, PASS), ("nightly", UNKNOWN)],
)  # fmt: skip
def test_transfers_that_hang(version: str | None, verdict: Verdict) -> None:
    facts = versions(lacking(), hf_xet=version)
    found = judge_one(CLIENT, facts)
    assert found.verdict is verdict
    if verdict is WARN:
        assert str(version) in found.detail and "HF_HUB_DISABLE_XET=1" in said(found)
        (command,) = commands(found)
        assert command.startswith("~/ComfyUI/.venv/bin/python -m pip install hf-xet>=")
        unread = judge_one(CLIENT, facts._replace(interpreter=GONE))
        assert unread.fixes[0].grade == "manual" and not unread.fixes[0].commands
    off = with_env(facts, HF_HUB_DISABLE_XET="1")
    assert alone(CLIENT, off) is PASS


def test_every_fault_of_the_client_is_told() -> None:
    env = {"HF_HUB_ENABLE_HF_TRANSFER": "1", "HF_HUB_ETAG_TIMEOUT": "ten"}
    found = all_of(CLIENT, versions(lacking(**env), hf_xet="1.5.1"))
    assert [each.verdict for each in found] == [WARN] * 3


# --- ignorance -------------------------------------------------------------------------------


def test_ignorance() -> None:
    for name in (REACH, ACCESS):
        assert alone(name, lacking()._replace(models=GONE)) is UNKNOWN
        assert alone(name, lacking()._replace(hub=GONE)) is UNKNOWN
        unseen = m.models(left=3)
        assert alone(name, lacking()._replace(models=Known(unseen))) is UNKNOWN
    assert alone(REACH, lacking()._replace(settings=GONE)) is UNKNOWN
    assert alone(REACH, lacking(HF_HUB_OFFLINE="1")._replace(hub=GONE)) is FAIL
    assert alone(REACH, met(lacking(), "dns")._replace(settings=GONE)) is FAIL
    assert alone(ACCESS, met(lacking(), "gated")._replace(settings=GONE)) is FAIL
    assert alone(CLIENT, c.machine()._replace(settings=GONE)) is UNKNOWN
    assert alone(CLIENT, lacking()._replace(packages=GONE)) is UNKNOWN
    # Whether a faulty client is needed at all hangs on what is missing.
    unread = c.machine()._replace(models=GONE)
    assert silent(CLIENT, unread)
    assert alone(CLIENT, versions(unread, hf_xet="1.5.1")) is UNKNOWN
    assert alone(CLIENT, with_env(unread, HF_HUB_ETAG_TIMEOUT="ten")) is WARN
