"""The closed list of environment variables, and what of their values may be kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.codec import decode, encode
from klein_doctor.installation import Setting
from klein_doctor.model import Private
from klein_doctor.privacy import Redactor
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.settings import ALLOWED, read_settings, without_secrets

TOKEN = "hf_" + "aB3" * 12


def read(platform: str = "linux", **env: str) -> dict[str, Private]:
    redactor = Redactor(("jane",), ("/home/jane", r"C:\Users\Jane"), ("tower",))
    found = read_settings(Outside(Path("/"), env, platform, redactor))
    return {setting.name: setting.value for setting in found}


def test_only_what_is_listed_and_set() -> None:
    assert read(PATH="/bin", HF_TOKEN_PATH="/x", SECRET="1", HF_HUB_OFFLINE="") == {}
    found = read(OMP_NUM_THREADS="8", HF_HUB_OFFLINE="1")
    assert {name: value.public for name, value in found.items()} == {
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "8",
    }
    names = [name for name, _ in ALLOWED]
    assert len(names) == len(set(names)) and list(found) == sorted(found, key=names.index)


def test_paths_have_twins() -> None:
    found = read(HF_HOME="/home/jane/hf", LD_LIBRARY_PATH="/usr/local/cuda/lib64:/home/jane/lib")
    assert (found["HF_HOME"].real, found["HF_HOME"].public) == ("/home/jane/hf", "~/hf")
    assert found["LD_LIBRARY_PATH"].public == "/usr/local/cuda/lib64:~/lib"
    assert found["LD_LIBRARY_PATH"].local == "/usr/local/cuda/lib64:~/lib"
    windows = read("win32", PYTHONPATH=r"C:\Users\Jane\a;D:\b", CUDA_PATH=r"C:\CUDA")
    assert windows["PYTHONPATH"].public == r"~\a;D:\b"
    assert windows["CUDA_PATH"].public == r"C:\CUDA"


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "HTTP_PROXY", "https_proxy", "NO_PROXY", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL",
     "UV_INDEX_URL"],
)  # fmt: skip
def test_of_secrets_only_that_they_are_set(name: str) -> None:
    assert read(**{name: "https://jane:hunter2@proxy.corp:3128"})[name] == Private.plain("set")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://hf-mirror.com", "https://hf-mirror.com"),
        ("hf-mirror.com", "hf-mirror.com"),
        ("https://jane:hunter2@mirror.corp:8443/api/hf", "https://mirror.corp:8443/api/hf"),
        ("https://hunter2@mirror.corp", "https://mirror.corp"),
        ("jane:hunter2@mirror.corp", "mirror.corp"),
        ("https://mirror.corp/x?token=hunter2#hunter2", "https://mirror.corp/x"),
        ("https://mirror.corp/x;hunter2", "https://mirror.corp/x"),
        ("https://jane:hun/hunter2@mirror.corp", "https://mirror.corp"),
        ("https://jane:hunter2?x@mirror.corp", None),
        ("https://jane:hunter2#x@mirror.corp", None),
        ("https://mirror.corp/?mail=hunter2@x", None),
        ("jane:hunter2@host://x", None),
    ],
)
def test_addresses_lose_what_could_be_a_secret(url: str, kept: str | None) -> None:
    assert without_secrets(url) == kept
    value = read(HF_ENDPOINT=url)["HF_ENDPOINT"]
    assert value.public == (kept if kept is not None else "set")
    assert "hunter2" not in repr(value)


def test_secrets_in_the_wrong_place_do_not_stay() -> None:
    found = read(
        HF_HUB_OFFLINE=TOKEN,
        HF_HOME=f"/x/{TOKEN}",
        PIP_CONSTRAINT="https://jane:hunter2@host/c.txt",
        UV_CONSTRAINT="a.txt https://jane:hunter2@host/c.txt",
        PYTHONPATH="https://jane:hunter2@host:/x",
        OMP_NUM_THREADS="jane:hunter2@host",
    )
    assert TOKEN not in repr(found) and "hunter2" not in repr(found)
    assert found["PIP_CONSTRAINT"].public == "https://host/c.txt"
    # A folder that is only called like the beginning of a token is a folder.
    assert read(HF_HOME="/data/hf_cachefolder")["HF_HOME"].public == "/data/hf_cachefolder"


def test_names_in_words_have_twins() -> None:
    assert read(HF_ENDPOINT="http://tower:8080/x")["HF_ENDPOINT"].public == "http://host:8080/x"
    found = read(PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True,max_split_size_mb:128")
    assert found["PYTORCH_CUDA_ALLOC_CONF"].public == (
        "expandable_segments:True,max_split_size_mb:128"
    )


def test_long_values_are_cut_without_cutting_a_name_open() -> None:
    path = "/home/jane/" + "x" * 1000
    found = read(HF_HOME=path, LD_LIBRARY_PATH=":".join([path] * 50))
    for value in found.values():
        assert all(len(form) <= 300 for form in (value.real, value.local, value.public))
        assert "jane" not in value.public
    edge = "/data/" + "x" * 290 + "/jane"
    assert not {"j", "ja", "jan", "jane"} & set(read(HF_HOME=edge)["HF_HOME"].public.split("/"))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from([name for name, _ in ALLOWED]),
                       st.text(st.characters(), max_size=500), max_size=6),
       st.sampled_from(["linux", "win32"]))  # fmt: skip
def test_any_value_fits_into_a_report(env: dict[str, str], platform: str) -> None:
    found = read_settings(Outside(Path("/"), env, platform, Redactor(("jane",), (), ())))
    assert len(decode(tuple[Setting, ...], encode(found, "public"))) == len(found)
    for setting in found:
        for form in ("real", "local", "public"):
            text = getattr(setting.value, form)
            assert len(text) <= 300 and text.isprintable()


@settings(max_examples=100, deadline=None)
@given(
    st.text("abc:/?#;@!%", max_size=8),
    st.text("abc:/?#;@!%", max_size=8),
    st.sampled_from(["https://", "http://", ""]),
    st.sampled_from(["", "/x", "/x?q=1", "#f"]),
)
def test_no_password_survives_in_an_address(user: str, more: str, scheme: str, rest: str) -> None:
    url = f"{scheme}{user}:{more}SECRET{more}@host.example{rest}"
    assert "SECRET" not in (without_secrets(url) or "")
    assert "SECRET" not in repr(read(HF_ENDPOINT=url))
