"""Where ComfyUI looks for models.

The orders written here are those that ComfyUI 0.33.0 built when its own folder_paths.py and
utils/extra_config.py were run on the same files.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.installation import Flag, Launcher, PathsFile
from klein_doctor.model import Known, Private
from klein_doctor.paths_yaml import Fault, parse
from klein_doctor.privacy import Redactor
from klein_doctor.probes.comfyui_paths import _expanded, base_of, read_folders
from klein_doctor.probes.found import Found
from klein_doctor.probes.outside import Outside

YAML = "extra_model_paths.yaml"


def outside(root: Path, platform: str = "linux", **env: str) -> Outside:
    return Outside(root, {"HOME": str(root), **env}, platform, Redactor(("jane",), (), ()))


def given_flag(kind: str, name: str, *values: str, path: str = "") -> Launcher:
    flags = tuple(Flag(name, Private.plain(value)) for value in values)
    return Launcher(kind, Private.plain(path), 0, flags, "", None)


def searched(root: Path, category: str, *launchers: Launcher, **env: str) -> list[str]:
    base = base_of(Found(root, "manual", "", None, "", root), launchers)
    folders, _ = read_folders(outside(root, **env), root, base, launchers, None)
    assert isinstance(folders, Known)
    place = str(root) + "/"
    return [f.path.real.removeprefix(place) for f in folders.value if f.category == category]


def file_of(root: Path, text: str | bytes, **env: str) -> PathsFile:
    """What is told of a file with this text."""
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    (root / YAML).write_bytes(raw)
    folders, (told,) = read_folders(outside(root, **env), root, root, (), None)
    assert isinstance(folders, Known)
    return told


def added(root: Path, text: str | bytes, category: str = "vae", **env: str) -> list[str]:
    """What a file adds to the folders that are searched anyway."""
    assert file_of(root, text, **env).fault == ""
    own = [f"models/{category}", f"output/{category}"]
    return [each for each in searched(root, category, **env) if each not in own]


# --- the order --------------------------------------------------------------------------------


def test_the_order_without_a_file(tmp_path: Path) -> None:
    assert searched(tmp_path, "diffusion_models") == [
        "models/unet", "models/diffusion_models", "output/diffusion_models",
    ]  # fmt: skip
    assert searched(tmp_path, "text_encoders") == [
        "models/text_encoders", "models/clip", "output/clip",
    ]  # fmt: skip
    for category in ("vae", "checkpoints", "loras"):
        assert searched(tmp_path, category) == [f"models/{category}", f"output/{category}"]


def test_a_file_adds_in_order_and_maps_old_names(tmp_path: Path) -> None:
    (tmp_path / "shared" / "clips").mkdir(parents=True)
    (tmp_path / YAML).write_text(
        "one:\n  base_path: shared\n  clip: clips\n  unet: |\n    first\n\n    second\n"
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
    assert [(where, path.real) for where, path in told.missing] == [
        ("one/unet", str(tmp_path / "shared/first")),
        ("one/unet", str(tmp_path / "shared/second")),
        ("two/vae", str(tmp_path / "v")),
        ("two/clip", str(tmp_path / "models/clip")),
    ]


def test_several_defaults_stand_in_reverse(tmp_path: Path) -> None:
    text = (
        "a:\n  is_default: true\n  vae: |\n    one\n    two\nb:\n  is_default: true\n  vae: three\n"
    )
    (tmp_path / YAML).write_text(text)
    assert searched(tmp_path, "vae") == ["three", "two", "one", "models/vae", "output/vae"]


def test_a_folder_named_twice_is_searched_once(tmp_path: Path) -> None:
    text = "a:\n  vae: |\n    output/vae\n    models/./vae/\n    x\n    x\n"
    (tmp_path / YAML).write_text(text)
    assert searched(tmp_path, "vae") == ["models/vae", "output/vae", "x"]


@pytest.mark.parametrize(
    ("default", "first"),
    [
        ("true", True), ("yes", True), ("On", True), ("1", True), ("'false'", True), ("n", True),
        ("[x]", True), ("false", False), ("no", False), ("0", False), ("0.0", False), ("", False),
        ("~", False), ("''", False), ("[]", False), ("{}", False),
    ],
)  # fmt: skip
def test_what_counts_as_default(tmp_path: Path, default: str, first: bool) -> None:
    (tmp_path / YAML).write_text(f"a:\n  vae: x\n  is_default: {default}\n")
    assert (searched(tmp_path, "vae")[0] == "x") is first


@pytest.mark.parametrize(
    ("base", "folder"),
    [
        ("shared", "shared/v"),
        ("../shared", "/tmp/up/shared/v"),
        ("/abs", "/abs/v"),
        ("", "v"),
        ("~/m", "/home/jane/m/v"),
        ("$STORE/m", "/store/m/v"),
        ("${STORE}m", "/storem/v"),
        ("$STORED/m", "$STORED/m/v"),  # another variable, which is not set
        ("${STORE", "${STORE/v"),
        ("/a/../b//c/.", "/b/c/v"),
        ("~nobody-of-that-name/m", "~nobody-of-that-name/m/v"),
        ("D:\\models", "D:\\models/v"),  # on Linux a name as any other
        ('"D:/models"', "D:/models/v"),
    ],
)
def test_base_paths(tmp_path: Path, base: str, folder: str) -> None:
    root = tmp_path / "ComfyUI"
    root.mkdir()
    env = {"HOME": "/home/jane/", "STORE": "/store"}
    quoted = base if base.startswith('"') else f"'{base}'"
    (seen,) = added(root, f"a:\n  base_path: {quoted}\n  vae: v\n", **env)
    assert seen == folder.replace("/tmp/up", str(tmp_path))


def test_only_the_base_path_is_expanded(tmp_path: Path) -> None:
    text = "a:\n  vae: $STORE/v\n  loras: ~/l\n"
    assert added(tmp_path, text, STORE="/store") == ["$STORE/v"]
    assert added(tmp_path, text, "loras") == ["~/l"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"~\models", r"C:\Users\jane\models"),
        ("~/models", r"C:\Users\jane/models"),
        (r"~jane\models", r"C:\Users\jane\models"),
        (r"%STORE%\models", r"E:\s\models"),
        (r"%store%\models", r"E:\s\models"),
        (r"${Store}\$STORE", r"E:\s\E:\s"),
        (r"%NOPE%\100%%\$$x", r"%NOPE%\100%\$x"),
        ("'%STORE%'", "'%STORE%'"),
    ],
)
def test_base_paths_on_windows(tmp_path: Path, text: str, meant: str) -> None:
    env = {"USERPROFILE": r"C:\Users\jane", "USERNAME": "jane", "STORE": r"E:\s"}
    assert _expanded(outside(tmp_path, "win32", **env), text) == meant


def test_a_linked_checkout_counts_from_where_it_lies(tmp_path: Path) -> None:
    real = tmp_path / "disk" / "ComfyUI"
    real.mkdir(parents=True)
    (real / "main.py").write_text("")
    (real / YAML).write_text("a:\n  base_path: ../shared\n  vae: v\n")
    (tmp_path / "ComfyUI").symlink_to(real)
    assert searched(tmp_path / "ComfyUI", "vae") == [
        str(real / "models/vae"), str(tmp_path / "disk/shared/v"), str(real / "output/vae"),
    ]  # fmt: skip


# --- arguments --------------------------------------------------------------------------------


def test_a_running_server_knows_best(tmp_path: Path) -> None:
    (tmp_path / "y").mkdir()
    answer = {"vae": ("/x", str(tmp_path / "y")), "custom_nodes": ("/z",)}
    (tmp_path / YAML).write_text("a:\n  vae: elsewhere\n")
    told, files = read_folders(outside(tmp_path), tmp_path, tmp_path, (), answer)
    assert isinstance(told, Known)
    assert [(f.category, f.path.real, f.source, f.exists) for f in told.value] == [
        ("vae", "/x", "server", False), ("vae", str(tmp_path / "y"), "server", True),
    ]  # fmt: skip
    assert len(files) == 1  # the file is judged all the same


def test_arguments_move_folders(tmp_path: Path) -> None:
    models = given_flag("desktop", "--models-directory", "/first", str(tmp_path / "m"))
    assert searched(tmp_path, "vae", models) == ["m/vae", "output/vae"]  # the last one counts
    base = given_flag("desktop", "--base-directory", str(tmp_path / "x" / ".." / "b"))
    assert searched(tmp_path, "vae", base) == ["b/models/vae", "b/output/vae"]
    assert searched(tmp_path, "vae", models, base) == ["m/vae", "b/output/vae"]
    running = given_flag("server", "--output-directory", str(tmp_path / "o"))
    assert searched(tmp_path, "vae", models, running) == ["models/vae", "o/vae"]


def test_the_file_stays_with_the_code(tmp_path: Path) -> None:
    (tmp_path / YAML).write_text("a:\n  vae: v\n")
    base = given_flag("desktop", "--base-directory", str(tmp_path / "b"))
    assert searched(tmp_path, "vae", base) == ["b/models/vae", "v", "b/output/vae"]


def test_scripts_count_where_they_agree(tmp_path: Path) -> None:
    one = given_flag("bat", "--models-directory", "/m", path="/x/run.bat")
    two = given_flag("bat", "--models-directory", "/other", path="/x/run2.bat")
    assert searched(tmp_path, "vae", one)[0] == "/m/vae"
    assert searched(tmp_path, "vae", one, one)[0] == "/m/vae"
    assert searched(tmp_path, "vae", one, two)[0] == "models/vae"
    assert searched(tmp_path, "vae", one, given_flag("bat", "--cpu"))[0] == "models/vae"
    saved = given_flag("comfy-cli", "--models-directory", "/saved")
    assert searched(tmp_path, "vae", one, saved)[0] == "/saved/vae"


def test_relative_arguments_count_where_there_is_such_a_path(tmp_path: Path) -> None:
    root = tmp_path / "portable" / "ComfyUI"
    root.mkdir(parents=True)
    (tmp_path / "portable" / "store").mkdir()
    running = given_flag("server", "--models-directory", "store")
    assert searched(root, "loras", running)[0] == str(tmp_path / "portable/store/loras")
    nowhere = given_flag("server", "--models-directory", "nowhere")
    assert searched(root, "loras", nowhere)[0] == "models/loras"


def test_several_files_in_one_argument(tmp_path: Path) -> None:
    (tmp_path / "my files").mkdir()
    one, two = tmp_path / "my files" / "a.yaml", tmp_path / "my files" / "b c.yaml"
    one.write_text("a:\n  vae: one\n")
    two.write_text("b:\n  vae: two\n")
    saved = given_flag("comfy-cli", "--extra-model-paths-config", f"{one} {two}", str(one))
    folders, files = read_folders(outside(tmp_path), tmp_path, tmp_path, (saved,), None)
    assert isinstance(folders, Known)
    assert [file.path.real for file in files] == [str(one), str(two)]
    named = [(f.path.real, f.source) for f in folders.value if f.source.endswith(".yaml")]
    assert named == [(str(one.parent / "one"), "a.yaml"), (str(two.parent / "two"), "b c.yaml")]


def test_a_named_file_that_is_absent(tmp_path: Path) -> None:
    def files(kind: str, name: str) -> list[str]:
        launcher = given_flag(kind, "--extra-model-paths-config", name, path="/x/run.sh")
        _, told = read_folders(outside(tmp_path), tmp_path, tmp_path, (launcher,), None)
        return [file.fault for file in told]

    assert files("desktop", str(tmp_path / "gone.yaml")) == ["there is no such file"]
    # Where a relative one would lie is not known; a script may be one that nobody uses.
    assert files("desktop", "gone.yaml") == []
    assert files("sh", str(tmp_path / "gone.yaml")) == []
    assert files("desktop", "") == []
    (tmp_path / "there.yaml").write_text("- x\n")
    assert files("sh", str(tmp_path / "there.yaml")) != []


def test_a_running_server_names_the_files(tmp_path: Path) -> None:
    for name in ("run", "saved"):
        (tmp_path / f"{name}.yaml").write_text(f"a:\n  vae: {name}\n")
    saved = given_flag("desktop", "--extra-model-paths-config", str(tmp_path / "saved.yaml"))
    running = given_flag("server", "--extra-model-paths-config", str(tmp_path / "run.yaml"))
    assert "saved" in searched(tmp_path, "vae", saved)
    assert searched(tmp_path, "vae", saved, running) == ["models/vae", "run", "output/vae"]


# --- files that end ComfyUI's start -----------------------------------------------------------

BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a:\n\tb: c\n", 2, "a tab stands"),
        ("a:\n  base_path: \"C:\\models\"\n", 2, "a backslash stands in double quotes"),
        ("a:\n  base_path: \"C:\\Users\"\n", 2, "a backslash stands in double quotes"),
        ("a: [1, 2\n", 0, "not valid YAML"),
        ("a: b: c\n", 1, "not valid YAML"),
        ("a:\n  vae: *b\n", 2, "refers (*)"),
        ("a:\n  vae: &b x\n  clip: &b y\n", 3, "one name (&) twice"),
        ("a:\n  vae: x\n---\nb:\n", 4, "more than one document"),
        ("- a\n- b\n", 1, "a list or a text"),
        ("\njust words\n", 2, "a list or a text"),
        ("", 0, "it is empty"),
        ("# all\n# comments\n", 0, "it is empty"),
        ("b:\n  vae: x\na:\n  vae: [x]\n", 4, "a/vae is no text"),
        ("a:\n  vae:\n", 2, "a/vae is no text"),
        ("a:\n  vae: 2024-01-31\n", 2, "a/vae is no text"),
        ("a:\n  vae: 12\n", 2, "a/vae is no text"),
        ("a:\n  custom_nodes: {b: c}\n", 2, "a/custom_nodes is no text"),
        ("a:\n  base_path: ~\n  vae: v\n", 2, "a/base_path is no text"),
        ("a: text\n", 1, "a section holds"),
        ("a:\n  - vae\n", 2, "a section holds"),
        ("base_path: /x\nvae: models/vae\n", 1, "a section holds"),
        ("a: 5\n", 1, "a section holds"),
        ("? [a]\n: b\n", 1, "where a name must be"),
        ("a:\n  <<: x\n", 2, "no section"),
        (BOMB, 1, "a section holds"),
        ("a: {" * 400, 1, "nested deeper"),
        ("[" * 100_000, 1, "nested deeper"),
        ("a: !!python/object/apply:os.system [x]\n", 1, "a tag (!)"),
        ("a:\n  vae: !mine x\n", 2, "a tag (!)"),
        ("x: " + "y" * (300 << 10), 0, "larger"),
        (b"a:\n  vae: \xff\n", 2, "not UTF-8 text"),
        ("a:\n  vae: x\n".encode("utf-16"), 1, "not UTF-8 text"),
        ("a:\n  vae: \0\n", 0, "not valid YAML"),
    ],
)  # fmt: skip
def test_a_broken_file_is_told_with_its_place(
    tmp_path: Path, text: str | bytes, line: int, words: str
) -> None:
    told = file_of(tmp_path, text)
    assert words in told.fault and told.fault.isascii() and told.fault.isprintable()
    assert told.line == line or (not line and told.line >= 0)
    assert told.folders == 0 and searched(tmp_path, "vae") == ["models/vae", "output/vae"]


@pytest.mark.parametrize(
    ("text", "folders"),
    [
        ("a:\n  vae: one\n  vae: two\n", ["two"]),
        ("a:\n  vae: [x]\n  vae: two\n", ["two"]),
        ("a:\n  vae: x\na:\n  vae: y\n", ["y"]),
        ("a:\nb: {}\nc: []\nd: ''\n", []),
        ("[]\n", []),
        ("on:\n  12: x\n  vae: v\n", ["v"]),
        ("a:\n  vae: y\n", ["y"]),
        ("a:\n  vae: ''\n", []),
        ("a:\n  vae: >\n    folded\n    line\n", ["folded line"]),
        ("a:\n  vae: v # the comment\n", ["v"]),
        ("a: &x\n  vae: v\nb:\n  <<: *x\n  base_path: other\n", ["v", "other/v"]),
        ("%YAML 1.1\n---\na:\n  vae: v\n...\n", ["v"]),
        ("\ufeffa:\r\n  vae: v\r\n", ["v"]),
        ("a: {vae: v, is_default: no}\n", ["v"]),
        ("a:\n  vae: !!str 12\n", ["12"]),
        ("a:\n  vae: 'it''s'\n", ["it's"]),
        ('a:\n  vae: "\\0"\n', ["\0"]),
        ('a:\n  base_path: "~\\0x"\n  vae: v\n', ["~\0x/v"]),
        ('a:\n  base_path: "~\\ud800x"\n  vae: v\n', ["~\ud800x/v"]),
    ],
)
def test_what_comfyui_takes_is_taken(tmp_path: Path, text: str, folders: list[str]) -> None:
    assert added(tmp_path, text) == folders


def test_what_stands_in_place_of_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / YAML)  # passed over, as ComfyUI does
    assert read_folders(outside(tmp_path), tmp_path, tmp_path, (), None)[1] == ()
    (tmp_path / YAML).unlink()
    (tmp_path / YAML).symlink_to(tmp_path / YAML)
    assert read_folders(outside(tmp_path), tmp_path, tmp_path, (), None)[1] == ()


def test_what_a_file_names_does_not_name_its_user(tmp_path: Path) -> None:
    told = file_of(tmp_path, "jane:\n  vae: /home/jane/v\n")
    ((where, path),) = told.missing
    assert where == "user/vae" and "jane" not in path.public and path.real == "/home/jane/v"
    told = file_of(tmp_path, "jane:\n  vae: 1\n")
    assert "jane" not in told.fault
    assert "jane" not in file_of(tmp_path, "a: *jane\n").fault


def test_no_file_crowds_out_the_rest(tmp_path: Path) -> None:
    many = "".join(f"    {number}\n" for number in range(5000))
    (tmp_path / YAML).write_text(f"a:\n  unet: |\n{many}")
    assert len(searched(tmp_path, "diffusion_models")) == 40
    assert searched(tmp_path, "vae") == ["models/vae", "output/vae"]


SIGNS = st.text(alphabet=st.sampled_from("ab:&*[]{}-\n \t!|>'\"#%@,0~<=?\\."), max_size=60)


@settings(max_examples=100, deadline=None)
@given(st.one_of(SIGNS, st.text(max_size=60)))
def test_no_yaml_makes_it_raise(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    root = tmp_path_factory.getbasetemp()
    told = file_of(root, text)
    assert told.line >= 0 and told.fault.isprintable()
    assert not (told.fault and told.folders)


@settings(max_examples=70, deadline=None)
@given(SIGNS)
def test_no_section_makes_it_raise(text: str) -> None:
    try:
        parse("a:\n  vae: " + text)
    except Fault as fault:
        assert fault.args[0]
