"""A line from anybody's log is shown without tokens, user names, home folders and addresses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import doctor
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.privacy import Redactor
from klein_doctor.triage.shown import shown, without_tokens

REDACTOR = Redactor(("ada",), ("/home/ada",), ("tower",))
LETTERS = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
TOKENS = [
    f"hf_{LETTERS}",
    f"HF_TOKEN=hf_{LETTERS[:34]}",
    f"Authorization: Bearer {LETTERS}.x-y_z/w+v=",
    f"authorization: bearer {LETTERS}",
    f"Authorization: Basic {LETTERS}==",
    f"'Authorization': 'Bearer {LETTERS}'",
    f"sk-{LETTERS}",
    f"sk-proj-{LETTERS}_{LETTERS}",
    f"ghp_{LETTERS}",
    f"github_pat_{LETTERS}",
    f"glpat-{LETTERS}",
    f"https://civitai.com/api/download/models/1?token={LETTERS}&type=Model",
    f"https://civitai.com/api/download/models/1?type=Model&token={LETTERS}",
    f"https://ada:{LETTERS}@mirror.example/simple",
    f"https://{LETTERS}@github.com/a/b.git",
    f"http://proxy:{LETTERS}@10.0.0.1:3128/",
    f"token={LETTERS}",
    f"--token {LETTERS}",
    f"--hf-token={LETTERS}",
    f'"token": "{LETTERS}"',
    f"'api_key': '{LETTERS}'",
    f"api-key: {LETTERS}",
    f"password={LETTERS}",
    f"access_token={LETTERS}",
    f"https://cas-bridge.xethub.hf.co/x?X-Amz-Algorithm=A&X-Amz-Signature={LETTERS}&x=1",
    f"https://cdn-lfs.hf.co/x?Expires=1&Policy=eyJ{LETTERS}&Signature={LETTERS}&Key-Pair-Id=K",
    f"eyJ{LETTERS}.eyJ{LETTERS}.{LETTERS}",
    f"xoxb-{LETTERS}",
    f"aws_secret_access_key={LETTERS}",
]
_MESSAGE = "RuntimeError: HeaderTooLarge in {} while deserializing header"


def secrets_of(text: str) -> bool:
    """Whether any long piece of the token still stands in a text."""
    return any(LETTERS[place : place + 8] in text for place in range(len(LETTERS) - 8))


@pytest.mark.parametrize("token", TOKENS)
def test_no_token_is_shown_in_any_form(token: str) -> None:
    for text in (token, _MESSAGE.format(token), f"('{token}')", token + "\n", f"{token}, then x"):
        private = shown(REDACTOR, text)
        for form in (private.real, private.local, private.public):
            assert not secrets_of(form), form


@pytest.mark.parametrize(
    "text",
    [
        "Fast download using 'hf_transfer' is enabled (HF_HUB_ENABLE_HF_TRANSFER=1)",
        "huggingface_hub.file_download.hf_hub_download, hf_xet 1.5.2, hf_hub_offline",
        "clip missing: ['text_model.encoder.layers.0.self_attn.k_proj.weight']",
        "task-manager disk-usage risk-free",
        "Attempting uninstall: tokenizers",
        "special tokens: 151643",
    ],
)
def test_words_that_only_look_like_tokens_stay(text: str) -> None:
    assert without_tokens(text) == text


HOMES = [
    "/home/{}/ComfyUI/main.py",
    "/home/{}",
    "'/home/{}'",
    "/Users/{}/Library/Application Support/ComfyUI",
    "/Users/{}",
    "C:\\Users\\{}\\AppData\\Roaming\\Python",
    "C:\\\\Users\\\\{}\\\\AppData",
    "C:\\\\\\\\Users\\\\\\\\{}\\\\\\\\AppData",
    "C:/Users/{}/ComfyUI",
    "'C:\\Users\\{}'",
    'File "C:\\Users\\{}\\ComfyUI\\main.py", line 3',
    "d:\\users\\{}\\x",
    "C:\\Documents and Settings\\{}\\x",
    "/mnt/c/Users/{}/ComfyUI",
    "\\\\wsl$\\Ubuntu\\home\\{}\\ComfyUI",
    "\\\\wsl.localhost\\Ubuntu\\home\\{}\\ComfyUI",
    "file:///C:/Users/{}/x.safetensors",
    "file:///home/{}/x.safetensors",
    "HF_HOME=/home/{}/hf",
    "PATH=/usr/bin:/home/{}/.local/bin:/opt",
    "/home/{0}/a and /home/{0}/b",
    "/var/home/{}/x",
    "-v /home/{}:/workspace",
]


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("name", ["ada", "grace", "zoë.hopper", "j_doe-2"])
def test_no_name_of_a_home_folder_is_shown(home: str, name: str) -> None:
    for text in (home.format(name), f"error in {home.format(name)}", f"({home.format(name)})"):
        public = shown(REDACTOR, text).public
        assert name not in public, public


@pytest.mark.parametrize("home", [home for home in HOMES if "sers\\" in home or "Users/" in home])
@pytest.mark.parametrize("name", ["Grace Hopper", "Jean Luc Dupont", "Ада Лавлейс"])
def test_no_name_with_spaces_either(home: str, name: str) -> None:
    public = shown(REDACTOR, home.format(name)).public
    assert not any(part in public for part in name.split()), public


def test_what_stands_around_a_name_stays() -> None:
    text = "Error in C:\\Users\\Grace Hopper\\ComfyUI\\models\\vae\\flux2-vae.safetensors: cut off"
    public = shown(REDACTOR, text).public
    assert public.startswith("Error in C:\\Users\\user") and public.endswith(
        "\\ComfyUI\\models\\vae\\flux2-vae.safetensors: cut off"
    )
    assert shown(REDACTOR, "C:\\Users\\Public\\models").public == "C:\\Users\\Public\\models"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("mail grace.hopper+sd@navy.example.org for help", "grace.hopper"),
        ("<grace@example.com>", "grace"),
        ("ada@tower:~/ComfyUI$ python main.py", "ada"),
        ("grace@mainframe:~/ComfyUI$ python main.py", "grace"),
        ("(venv) grace@mainframe:/data$ python main.py", "grace"),
        ("Linux tower 6.8.0", "tower"),
        ("drwxr-xr-x ada ada 4096", "ada"),
    ],
)
def test_addresses_prompts_and_this_machines_names(text: str, hidden: str) -> None:
    assert hidden not in shown(REDACTOR, text).public


_PLANTED = "\n".join(
    [
        "HTTPSConnectionPool(host='huggingface.co'): Max retries exceeded with url: "
        f"/x?token={LETTERS}",
        f"401 Client Error: Unauthorized for url: https://ada:{LETTERS}@huggingface.co/x/resolve/main",
        f"SafetensorError: Error while deserializing header: HeaderTooLarge sk-{LETTERS} "
        "C:\\Users\\Grace Hopper\\x.safetensors grace@example.com",
        "Value not in list: unet_name: '/home/grace/klein.safetensors' not in []",
        f"OSError: [Errno 28] No space left on device: '/home/grace/hf_{LETTERS}'",
    ]
)  # fmt: skip


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("way", ["file", "stdin", "words", "output"])
def test_nothing_of_it_leaves_the_command(tmp_path: Path, form: str, way: str) -> None:
    log = tmp_path / "my.log"
    log.write_text(_PLANTED, encoding="utf-8")
    options = ["--format", form]
    if way == "output":
        options += ["--output", str(tmp_path / "out")]
    what = {"stdin": ["-"], "words": _PLANTED.split(" ")}.get(way, [str(log)])
    ran = doctor("triage", *options, *what, stdin=_PLANTED.encode())
    assert ran.code == 0, ran.err
    text = (tmp_path / "out").read_text("utf-8") if way == "output" else ran.out
    assert text and not secrets_of(text)
    for name in ("Hopper", "Grace", "grace", "ada:"):
        assert name not in text, text
    told = doctor("triage", "--unredacted", *options[:2], str(log))
    assert not secrets_of(told.out)
    if form == "json":
        lines = [match["line"] for match in json.loads(told.out)["matches"]]
        assert any("Grace Hopper" in line for line in lines)


def test_a_long_line_is_not_cut_inside_a_token() -> None:
    """What is longer than any line is read in pieces; a piece must not begin in a token."""
    from klein_doctor.triage.text import excerpt_of

    token = "hf_" + LETTERS
    for before in range(3640, 3720):
        lines = excerpt_of([(" " * before + token + " " * 5000).encode()]).lines
        assert not any(secrets_of(without_tokens(line)) for line in lines)


@settings(max_examples=70, deadline=None)
@given(st.text(max_size=300), st.sampled_from(TOKENS), st.text(max_size=300))
def test_no_surroundings_bring_a_token_out(before: str, token: str, after: str) -> None:
    private = shown(REDACTOR, f"{before} {token} {after}")
    assert not secrets_of(private.real + private.local + private.public)
    assert private.real.isprintable() and len(private.real) <= 400
