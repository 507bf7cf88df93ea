"""A ComfyUI read from its files: version, git state, requirements, nodes, model folders."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import put_comfyui

from klein_doctor.installation import ComfyUI, Flag, Launcher
from klein_doctor.model import Known, Private, Unknown
from klein_doctor.privacy import Redactor
from klein_doctor.probes.comfyui_paths import _parse, read_folders
from klein_doctor.probes.comfyui_tree import read_comfyui
from klein_doctor.probes.found import Found
from klein_doctor.probes.git_state import _entries, read_checkout
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.requirements import parse, wanted

PYTHON = (3, 12, 3)


def outside(root: Path, platform: str = "linux", **env: str) -> Outside:
    return Outside(root, {"HOME": str(root), **env}, platform, Redactor((), (), ()))


def found(root: Path) -> Found:
    return Found(root, "manual", "home folder", None, "", root)


def read(root: Path, **versions: str) -> ComfyUI:
    return read_comfyui(outside(root), found(root), versions, PYTHON, (), None)


def given_flag(kind: str, name: str, value: str) -> Launcher:
    return Launcher(kind, Private.plain(""), 0, (Flag(name, Private.plain(value)),), "", None)


# --- what it is -------------------------------------------------------------------------------


def test_a_current_and_an_old_one(tmp_path: Path) -> None:
    new = read(put_comfyui(tmp_path / "new"))
    assert (new.version, new.klein, new.flux2) == (Known("0.33.0"), Known(True), Known(True))
    assert new.checkout == Known(None)
    old = read(put_comfyui(tmp_path / "old", "0.9.1", klein=False))
    assert (old.version, old.klein, old.flux2) == (Known("0.9.1"), Known(False), Known(True))


def test_a_comment_is_no_support(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    (root / "comfy/text_encoders/flux.py").write_text("# klein_te comes later\nx = 1\n")
    (root / "comfy/sd.py").write_text("class CLIPType:\n    # FLUX2 = 9\n    FLUX = 1\n")
    assert (read(root).klein, read(root).flux2) == (Known(False), Known(False))


def test_what_is_missing_is_unknown(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    for name in ("comfyui_version.py", "comfy/text_encoders/flux.py", "requirements.txt"):
        (root / name).unlink()
    comfyui = read(root)
    for fact in (comfyui.version, comfyui.klein, comfyui.requirements):
        assert isinstance(fact, Unknown) and fact.reason
    (root / "pyproject.toml").write_text('[project]\nname = "ComfyUI"\nversion = "0.3.40"\n')
    assert read(root).version == Known("0.3.40")


def test_requirements_beside_what_is_installed(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    text = ('torch\ncomfy-kitchen==0.2.31 # pinned\nPyOpenGL>=3.1; sys_platform == "win32"\n'
            "-r other.txt\nnot a requirement!\naio\\\nhttp>=3\n")  # fmt: skip
    (root / "requirements.txt").write_text(text)
    listed = read(root, **{"comfy-kitchen": "0.2.10"}).requirements
    assert isinstance(listed, Known)
    rows = [(item.name, item.installed, item.applies) for item in listed.value]
    assert rows == [("torch", None, True), ("comfy-kitchen", "0.2.10", True),
                    ("pyopengl", None, False), ("aiohttp", None, True)]  # fmt: skip


def test_requirement_files_of_windows_editors(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    for raw in ("numpy>=1\r\ntorch==2\r\n".encode("utf-16"), b"\xef\xbb\xbfnumpy>=1\r\ntorch==2"):
        path.write_bytes(raw)
        assert [w.name for w in wanted(path, {}, outside(tmp_path), PYTHON)] == ["numpy", "torch"]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_no_requirement_text_makes_it_raise(text: str) -> None:
    for line in parse(text):
        assert line.number >= 1 and len(line.text) <= 120 and line.text.isprintable()


def test_passwords_of_an_index_are_left_out() -> None:
    (line,) = parse("--index-url https://jane:secret@example.org/simple")
    assert "secret" not in line.text


def test_custom_nodes_and_what_would_move_torch(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    nodes = root / "custom_nodes"
    for name in ("a", "b.disabled", "__pycache__", ".hidden", "c"):
        (nodes / name).mkdir()
    (nodes / "single.py").write_text("")
    (nodes / "example.py.example").write_text("")
    (nodes / "gone").symlink_to(nodes / "nowhere")
    (nodes / "a" / "requirements.txt").write_text(
        "numpy\ntorch>=2.0\ntorch\nxformers==0.0.30\n--index-url https://download.pytorch.org/x\n"
        "https://x.org/torch-2.1.0-cp310-cp310-win_amd64.whl\n"
    )
    (nodes / "c" / "pyproject.toml").write_text(
        '[project]\nname = "c"\ndependencies = [\n "torchvision<0.20", "torch",\n]\n'
    )
    (nodes / "b.disabled" / "requirements.txt").write_text("torch==1.0\n")
    told = read(root).custom_nodes
    assert isinstance(told, Known)
    assert (told.value.total, told.value.disabled) == (3, 1)
    assert [name.public for name in told.value.names] == ["a", "c", "single.py"]
    assert [(pin.node, pin.line, pin.text) for pin in told.value.pins] == [
        ("a", 2, "torch>=2.0"), ("a", 4, "xformers==0.0.30"),
        ("a", 5, "--index-url https://download.pytorch.org/x"),
        ("a", 6, "https://x.org/torch-2.1.0-cp310-cp310-win_amd64.whl"),
        ("c", 0, "torchvision<0.20"),
    ]  # fmt: skip


# --- git --------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    names = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *names, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    root.mkdir()
    git(root, "init", "-q", "-b", "master")
    (root / "a.py").write_text("one\n")
    (root / "sub").mkdir()
    (root / "sub" / "b.py").write_text("two\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def state(root: Path) -> tuple[str, str, object]:
    told = read_checkout(root)
    assert isinstance(told, Known) and told.value is not None
    return told.value.commit, told.value.branch, told.value.dirty


def test_a_clean_checkout(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    assert state(checkout) == (head, "master", Known(False))
    os.utime(checkout / "a.py", (1, 1))  # touched, not changed
    (checkout / "untracked").write_text("")
    assert state(checkout) == (head, "master", Known(False))
    git(checkout, "pack-refs", "--all")
    assert state(checkout) == (head, "master", Known(False))


def test_a_checkout_with_windows_line_ends_is_clean(checkout: Path) -> None:
    git(checkout, "config", "core.autocrlf", "true")
    (checkout / "a.py").write_bytes(b"one\r\n")
    git(checkout, "add", "a.py")
    os.utime(checkout / "a.py", (1, 1))
    assert state(checkout)[2] == Known(False)


@pytest.mark.parametrize("change", ["edited", "longer", "deleted"])
def test_a_changed_checkout(checkout: Path, change: str) -> None:
    path = checkout / "sub" / "b.py"
    if change == "deleted":
        path.unlink()
    else:
        path.write_text("TWO\n" if change == "edited" else "two and more\n")
        os.utime(path, (1, 1))
    assert state(checkout)[2] == Known(True)


def test_detached_worktrees_and_the_newer_index(checkout: Path, tmp_path: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    git(checkout, "update-index", "--index-version", "4")
    git(checkout, "checkout", "-q", "--detach")
    assert state(checkout) == (head, "", Known(False))
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    assert state(tmp_path / "tree") == (head, "other", Known(False))


@pytest.mark.parametrize(
    "head", ["", "ref: refs/heads/none", "ref: ../../etc/passwd", "garbage", "ref: " + "x/" * 400]
)
def test_a_broken_git_folder_is_unknown(tmp_path: Path, head: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(head)
    assert isinstance(read_checkout(tmp_path), Unknown)


def test_an_index_cut_short_leaves_the_rest(checkout: Path) -> None:
    index = checkout / ".git" / "index"
    raw = index.read_bytes()
    for size in (0, 5, 12, 40, 100):
        index.write_bytes(raw[:size])
        assert isinstance(state(checkout)[2], Unknown)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(2, 4), st.integers(0, 2**32 - 1))
def test_no_index_makes_it_hang(body: bytes, version: int, count: int) -> None:
    data = b"DIRC" + version.to_bytes(4, "big") + count.to_bytes(4, "big") + body
    try:
        assert len(list(_entries(data))) <= len(body)
    except Exception as error:
        assert type(error).__name__ in ("_Odd", "error", "ValueError", "IndexError")


# --- model folders ----------------------------------------------------------------------------


def searched(root: Path, category: str, *launchers: Launcher, **env: str) -> list[str]:
    folders, _ = read_folders(outside(root, **env), root, root, launchers, None)
    assert isinstance(folders, Known)
    place = str(root) + "/"
    return [f.path.real.removeprefix(place) for f in folders.value if f.category == category]


def test_the_order_without_a_file(tmp_path: Path) -> None:
    assert searched(tmp_path, "diffusion_models") == [
        "models/unet", "models/diffusion_models", "output/diffusion_models",
    ]  # fmt: skip
    assert searched(tmp_path, "text_encoders") == [
        "models/text_encoders", "models/clip", "output/clip",
    ]  # fmt: skip
    assert searched(tmp_path, "vae") == ["models/vae", "output/vae"]


def test_a_file_adds_in_order_and_maps_old_names(tmp_path: Path) -> None:
    (tmp_path / "shared" / "clips").mkdir(parents=True)
    (tmp_path / "extra_model_paths.yaml").write_text(
        "one:\n  base_path: shared\n  clip: clips\n  unet: |\n    first\n    second\n"
        "two:\n  base_path: ${STORE}\n  is_default: yes\n  vae: v\n  clip: models/clip\n"
        "three:\n"
    )
    env = {"STORE": str(tmp_path)}
    assert searched(tmp_path, "diffusion_models", **env) == [
        "models/unet", "models/diffusion_models", "shared/first", "shared/second",
        "output/diffusion_models",
    ]  # fmt: skip
    # A default that is there already moves to the front.
    assert searched(tmp_path, "text_encoders", **env) == [
        "models/clip", "models/text_encoders", "shared/clips", "output/clip",
    ]  # fmt: skip
    assert searched(tmp_path, "vae", **env) == ["v", "models/vae", "output/vae"]
    _, (told,) = read_folders(outside(tmp_path, **env), tmp_path, tmp_path, (), None)
    assert (told.fault, told.folders) == ("", 5)
    assert "one/unet" in [where for where, _ in told.missing]


def test_arguments_move_folders_and_the_server_knows_best(tmp_path: Path) -> None:
    models = given_flag("desktop", "--models-directory", str(tmp_path / "m"))
    assert searched(tmp_path, "vae", models)[0] == "m/vae"
    running = given_flag("server", "--output-directory", str(tmp_path / "o"))
    assert searched(tmp_path, "vae", models, running) == ["models/vae", "o/vae"]
    told, _ = read_folders(outside(tmp_path), tmp_path, tmp_path, (), {"vae": ("/x", "/y")})
    assert isinstance(told, Known)
    assert [(f.path.real, f.source) for f in told.value] == [("/x", "server"), ("/y", "server")]


BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n\tb: c\n", 2),
        ("a: [1, 2\n", 0),
        ("- a\n- b\n", 1),
        ("just words\n", 1),
        ("", 0),
        ("a:\n  vae: [x]\n", 0),
        ("a: text\n", 0),
        (BOMB, 0),
        ("a: {" * 400, 0),
        ("a: !!python/object/apply:os.system [x]\n", 0),
        ("x: " + "y" * (300 << 10), 0),
    ],
)
def test_a_broken_file_is_told_with_its_place(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "extra_model_paths.yaml").write_text(text)
    folders, (told,) = read_folders(outside(tmp_path), tmp_path, tmp_path, (), None)
    assert told.fault and told.fault.isprintable()
    assert not line or told.line == line
    assert isinstance(folders, Known)


def test_what_pyyaml_takes_is_taken(tmp_path: Path) -> None:
    text = "a:\n  base_path: x\n  vae: one\n  vae: two\n"
    (tmp_path / "extra_model_paths.yaml").write_text(text)
    assert searched(tmp_path, "vae") == ["models/vae", "x/two", "output/vae"]
    (tmp_path / "extra_model_paths.yaml").write_bytes(b"a:\n  vae: \xff\n")
    _, (told,) = read_folders(outside(tmp_path), tmp_path, tmp_path, (), None)
    assert told.line == 2


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:&*[]{}-\n \t!|>'\"#%@,0"), max_size=60))
def test_no_yaml_makes_it_raise(text: str) -> None:
    data, fault, line = _parse(text)
    assert isinstance(data, dict) and line >= 0 and (not fault or not data)
