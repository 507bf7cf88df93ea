"""A ComfyUI read from its files: version, support for Klein, requirements, custom nodes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import put_comfyui

from klein_doctor.codec import decode, encode
from klein_doctor.installation import ComfyUI, CustomNodes, Flag, Launcher
from klein_doctor.model import Known, Private, Unknown
from klein_doctor.privacy import Redactor
from klein_doctor.probes.comfyui_tree import read_comfyui
from klein_doctor.probes.found import Found
from klein_doctor.probes.outside import Outside

PYTHON = (3, 12, 3)


def read(root: Path, *launchers: Launcher, **versions: str) -> ComfyUI:
    outside = Outside(root, {"HOME": "/home/jane"}, "linux", Redactor(("jane",), (), ()))
    found = Found(root, "manual", "home folder", None, "", root)
    return read_comfyui(outside, found, versions, PYTHON, launchers, None)


def nodes_of(root: Path) -> CustomNodes:
    told = read(root).custom_nodes
    assert isinstance(told, Known)
    return told.value


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- its code ---------------------------------------------------------------------------------


def test_a_current_and_an_old_one(tmp_path: Path) -> None:
    new = read(put_comfyui(tmp_path / "new"))
    assert (new.version, new.klein, new.flux2) == (Known("0.33.0"), Known(True), Known(True))
    assert new.checkout == Known(None)
    assert new.base == new.root
    old = read(put_comfyui(tmp_path / "old", "0.9.1", klein=False))
    assert (old.version, old.klein, old.flux2) == (Known("0.9.1"), Known(False), Known(True))


@pytest.mark.parametrize(
    ("own", "project", "version"),
    [
        ('# generated\r\n__version__ = "0.33.0"\r\n', "", "0.33.0"),
        ("__version__: str = '0.34.1rc1'\n", "", "0.34.1rc1"),
        ('#__version__ = "1.0"\n__version__="2.0"\n', "", "2.0"),
        ("import os; os.abort()\n", '[project]\nname = "ComfyUI"\nversion = "0.3.40"\n', "0.3.40"),
        (None, '[tool.x]\nversion = "9"\n[project]\nversion = "0.3.41"\n', "0.3.41"),
        (None, '[project]\nname = "x"\n[tool.x]\nversion = "9"\n', ""),
        ("__version__ = 5\n", "", ""),
        ('__version__ = "a b"\n', "", ""),
        ("\n" * 60_000, "\n" * 60_000, ""),
        (b"\xff\xfe\x00", "[project", ""),
    ],
)
def test_versions(tmp_path: Path, own: str | bytes | None, project: str, version: str) -> None:
    root = put_comfyui(tmp_path / "c")
    (root / "comfyui_version.py").unlink()
    if own is not None:
        put(root / "comfyui_version.py", own)
    put(root / "pyproject.toml", project)
    told = read(root).version
    assert told == Known(version) if version else isinstance(told, Unknown)


@pytest.mark.parametrize(
    ("klein", "flux2"),
    [
        ("# klein_te comes later\nx = 1  # KleinTokenizer\n", "class CLIPType:\n    # FLUX2 = 9\n"),
        ("my_klein_te2 = KleinTokenizers\n", "class CLIPType:\n    FLUX2X = 1\n"),
        ("x = 1\n", "class Other:\n    FLUX2 = 1\nclass CLIPType:\n    FLUX = 1\n"),
        ("x = 1\n", "class CLIPType:\n    FLUX = 1\nclass Other:\n    FLUX2 = 1\n"),
        ("\n" * 500_000, " \n" * 500_000),
        ("x" * 1_000_000, "class CLIPType:\n" + " " * 1_000_000),
    ],
)
def test_what_is_no_support(tmp_path: Path, klein: str, flux2: str) -> None:
    root = put_comfyui(tmp_path / "c")
    put(root / "comfy/text_encoders/flux.py", klein)
    put(root / "comfy/sd.py", flux2)
    assert (read(root).klein, read(root).flux2) == (Known(False), Known(False))


def test_support_in_files_with_windows_line_ends(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    put(root / "comfy/text_encoders/flux.py", b"x = 1\r\ndef klein_te(a=1): # x\r\n    pass\r\n")
    types = "x = 1\nclass CLIPType(Enum):\n    FLUX = 6\n\n# note\n    FLUX2 = 25\n"
    put(root / "comfy/sd.py", types.replace("\n", "\r\n"))
    assert (read(root).klein, read(root).flux2) == (Known(True), Known(True))


def test_what_is_missing_is_unknown(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    for name in ("comfyui_version.py", "comfy/text_encoders/flux.py", "comfy/sd.py",
                 "requirements.txt"):  # fmt: skip
        (root / name).unlink()
    (root / "custom_nodes").rmdir()
    comfyui = read(root)
    facts = (comfyui.version, comfyui.klein, comfyui.flux2, comfyui.requirements)
    for fact in (*facts, comfyui.custom_nodes):
        assert isinstance(fact, Unknown) and fact.reason


def test_pipes_loops_and_folders_in_place_of_files(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    for name in ("comfyui_version.py", "comfy/sd.py", "requirements.txt"):
        (root / name).unlink()
    os.mkfifo(root / "comfyui_version.py")
    (root / "comfy/sd.py").mkdir()
    (root / "requirements.txt").symlink_to("requirements.txt")
    node = root / "custom_nodes" / "a"
    node.mkdir()
    os.mkfifo(node / "requirements.txt")
    (node / "pyproject.toml").mkdir()
    (root / "custom_nodes" / "loop").symlink_to("loop")
    os.mkfifo(root / "custom_nodes" / "pipe.py")
    comfyui = read(root)
    assert isinstance(comfyui.version, Unknown) and isinstance(comfyui.flux2, Unknown)
    assert isinstance(comfyui.requirements, Unknown)
    assert (nodes_of(root).total, nodes_of(root).pins) == (1, ())


def test_requirements_beside_what_is_installed(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    text = 'torch\ncomfy-kitchen==0.2.31 # pinned\nPyOpenGL>=3.1; sys_platform == "win32"\n'
    put(root / "requirements.txt", text + "x @ file:///home/jane/x.whl\n")
    listed = read(root, **{"comfy-kitchen": "0.2.10"}).requirements
    assert isinstance(listed, Known)
    rows = [(item.name, item.installed, item.applies) for item in listed.value]
    assert rows == [("torch", None, True), ("comfy-kitchen", "0.2.10", True),
                    ("pyopengl", None, False), ("x", None, True)]  # fmt: skip
    assert "jane" not in listed.value[3].text


def test_the_base_directory_moves_custom_nodes(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    put(tmp_path / "base/custom_nodes/own/__init__.py", "")
    flag = Flag("--base-directory", Private.plain(str(tmp_path / "base")))
    comfyui = read(root, Launcher("server", Private.plain(""), 0, (flag,), "", None))
    assert comfyui.base.real == str(tmp_path / "base")
    assert isinstance(comfyui.custom_nodes, Known)
    assert [name.public for name in comfyui.custom_nodes.value.names] == ["own"]


# --- custom nodes -----------------------------------------------------------------------------


def test_what_counts_as_a_custom_node(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    nodes = root / "custom_nodes"
    for name in ("a", "B", "b.disabled", "__pycache__", ".hidden", ".disabled/parked"):
        (nodes / name).mkdir(parents=True)
    for name in ("single.py", "off.py.disabled", "example_node.py.example", "notes.txt"):
        put(nodes / name, "")
    (nodes / "gone").symlink_to(nodes / "nowhere")
    (nodes / "linked").symlink_to(nodes / "a")
    told = nodes_of(root)
    assert [name.public for name in told.names] == ["B", "a", "linked", "single.py"]
    assert (told.total, told.disabled) == (4, 3)


def test_names_are_bounded_and_name_nobody(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    nodes = root / "custom_nodes"
    names = ["n" * 200, "jane", "two\nlines", *(f"x{number:03}" for number in range(500))]
    for name in [os.fsencode(name) for name in names] + [b"\xff\xfe"]:
        os.mkdir(os.fsencode(nodes) + b"/" + name)
    told = nodes_of(root)
    shown = [name.public for name in told.names]
    assert (told.total, len(shown)) == (504, 400)
    assert "n" * 80 in shown and "two?lines" in shown and "user" in shown
    assert all(len(name) <= 80 and name.isprintable() for name in shown)


PROJECT = """
[project]
name = "c"
dependencies = [
  "uvicorn[standard]",
  "torchvision<0.20",
  "torch",
]
[project.optional-dependencies]
gpu = ["torch==1.0"]
"""


def test_what_would_move_torch(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    nodes = root / "custom_nodes"
    put(nodes / "a/requirements.txt",
        "numpy\ntorch>=2.0\ntorch\nTorch ; sys_platform=='win32'\nxformers==0.0.30 --no-deps\n"
        "--index-url https://download.pytorch.org/x\n-f https://example.org/wheels\n"
        "https://x.org/torch-2.1.0-cp310-cp310-win_amd64.whl\ntorch-ema==1\npytorch-lightning>2\n"
        "torchaudio @ https://me:pass@x.org/torchaudio.whl\n./wheels/torchvision-0.2.0-any.whl\n"
        "torchsde\n# torch==1\n")  # fmt: skip
    put(nodes / "c/pyproject.toml", PROJECT)
    put(nodes / "d/requirements.txt", "torch==2.4.0\r\n".encode("utf-16"))  # as PowerShell writes
    put(nodes / "e/requirements.txt", b"\xef\xbb\xbftorch~=2.5\n")
    put(nodes / "off.disabled/requirements.txt", "torch==1.0\n")
    assert [(pin.node, pin.file, pin.line, pin.text) for pin in nodes_of(root).pins] == [
        ("a", "requirements.txt", 2, "torch>=2.0"),
        ("a", "requirements.txt", 5, "xformers==0.0.30"),
        ("a", "requirements.txt", 6, "--index-url https://download.pytorch.org/x"),
        ("a", "requirements.txt", 8, "https://x.org/torch-2.1.0-cp310-cp310-win_amd64.whl"),
        ("a", "requirements.txt", 11, "torchaudio @ https://x.org/torchaudio.whl"),
        ("a", "requirements.txt", 12, "./wheels/torchvision-0.2.0-any.whl"),
        ("c", "pyproject.toml", 6, "torchvision<0.20"),
        ("d", "requirements.txt", 1, "torch==2.4.0"),
        ("e", "requirements.txt", 1, "torch~=2.5"),
    ]


def test_pins_are_bounded_and_name_nobody(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "c")
    nodes = root / "custom_nodes"
    put(nodes / "jane/requirements.txt", "torch @ file:///home/jane/torch-2.1.0.whl\n")
    for name in ("k", "l"):
        put(nodes / name / "requirements.txt", "torch==2.0\n" * 150)
    pins = nodes_of(root).pins
    assert len(pins) == 200 and pins[0].line == 1
    assert "jane" not in pins[0].text + pins[0].node


@pytest.mark.parametrize(
    "text",
    [
        "torch", "[project]\ndependencies = 'torch==1'\n", "project = 'torch==1'\n",
        "[project]\ndependencies = [1, {a = 'torch==1'}, ['torch==1']]\n",
        "[project]\ndependencies = ['torch==1'\n", "x = " + "[" * 50_000 + "'torch==1'",
    ],
)  # fmt: skip
def test_projects_that_make_no_sense(tmp_path: Path, text: str) -> None:
    root = put_comfyui(tmp_path / "c")
    put(root / "custom_nodes/a/pyproject.toml", text)
    assert nodes_of(root).pins == ()


@settings(max_examples=70, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    root = tmp_path_factory.getbasetemp() / "junk"
    if not root.exists():
        put_comfyui(root)
    for name in ("comfyui_version.py", "comfy/sd.py", "comfy/text_encoders/flux.py",
                 "requirements.txt", "pyproject.toml", "extra_model_paths.yaml", ".git/HEAD",
                 ".git/index", "custom_nodes/a/requirements.txt"):  # fmt: skip
        put(root / name, raw)
    put(root / "custom_nodes/a/pyproject.toml", b"# torch\n" + raw)
    told = read(root)
    assert decode(ComfyUI, encode(told, "public")).version == told.version
