"""Where ComfyUI is found, and with which Python, over folder trees that stand for machines."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from homes import machine, venv, write
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import put_comfyui

from klein_doctor.probes.comfyui_launcher_files import path_of
from klein_doctor.probes.comfyui_places import configured_ports, is_comfyui, places
from klein_doctor.probes.found import Found
from klein_doctor.probes.outside import Outside

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX links and layouts")


def only(outside: Outside) -> Found:
    """The one installation of a machine."""
    (found,) = places(outside)
    return found


def roots(outside: Outside) -> list[Path]:
    return [found.root for found in places(outside)]


def put_json(path: Path, value: Any) -> Path:
    return write(path, json.dumps(value))


# --- clones of one's own ---------------------------------------------------------------------


def test_a_clone_in_the_home_folder_with_its_own_environment(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    root = put_comfyui(tmp_path / "home" / "jane" / "ComfyUI")
    python = venv(root / "venv")
    found = only(outside)
    assert (found.root, found.kind, found.found_by) == (root, "manual", "home folder")
    assert (found.python, found.python_from, found.base) == (python, "own", root)
    assert found.port is None and found.saved == ()


@pytest.mark.parametrize(
    ("missing", "is_one"),
    [((), True), (("comfy_api",), True), (("main.py",), True), (("comfy_api", "nodes.py"), False)],
)
def test_four_of_five_marks_make_a_comfyui(
    tmp_path: Path, missing: tuple[str, ...], is_one: bool
) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    for name in missing:
        path = root / name
        path.rename(tmp_path / name)
    assert is_comfyui(root) is is_one
    assert bool(roots(machine(tmp_path))) is is_one


@pytest.mark.parametrize(
    ("place", "found_by"),
    [
        ("ComfyUI", "current folder"),
        ("ComfyUI_windows_portable/ComfyUI", "current folder"),
        ("home/jane/comfyui", "home folder"),
        ("home/jane/ComfyUI-0.33.0", "home folder"),
        ("home/jane/comfy/ComfyUI", "home folder"),
        ("home/jane/Documents/comfy/ComfyUI", "home folder"),
        ("home/jane/Documents/ComfyUI", "home folder"),
        ("home/jane/Downloads/ComfyUI-master/ComfyUI", "home folder"),
        ("home/jane/Desktop/ComfyUI", "home folder"),
        ("workspace/ComfyUI", "usual folder"),
        ("opt/ComfyUI", "usual folder"),
        ("app/ComfyUI", "usual folder"),
    ],
)
def test_where_people_keep_it(tmp_path: Path, place: str, found_by: str) -> None:
    root = put_comfyui(tmp_path / place)
    found = only(machine(tmp_path))
    assert (found.root, found.found_by) == (root, found_by)


def test_folders_that_macos_guards_are_not_opened(tmp_path: Path) -> None:
    for name in ("Documents", "Desktop", "Downloads"):
        put_comfyui(tmp_path / "home" / "jane" / name / "ComfyUI")
    root = put_comfyui(tmp_path / "home" / "jane" / "ComfyUI")
    assert roots(machine(tmp_path, "darwin")) == [root]


def test_other_peoples_homes_are_left_alone(tmp_path: Path) -> None:
    put_comfyui(tmp_path / "home" / "eve" / "ComfyUI")
    root = put_comfyui(tmp_path / "root" / "ComfyUI")
    assert places(machine(tmp_path)) == ()
    found = only(machine(tmp_path, HOME="/root"))  # as in most containers
    assert (found.root, found.found_by) == (root, "home folder")


def test_pictures_called_comfyui_hide_nothing(tmp_path: Path) -> None:
    downloads = tmp_path / "home" / "jane" / "Downloads"
    downloads.mkdir(parents=True)
    for number in range(60):
        (downloads / f"ComfyUI_{number:05}_.png").write_bytes(b"")
    root = put_comfyui(downloads / "comfyui")
    assert roots(machine(tmp_path)) == [root]


@posix
@pytest.mark.parametrize("here", ["ComfyUI", "ComfyUI/models/vae", "ComfyUI/custom_nodes"])
def test_the_current_folder_may_lie_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    monkeypatch.chdir(tmp_path / here)
    outside = machine(Path("/"), HOME=str(tmp_path / "nobody"))
    found = [each for each in places(outside) if tmp_path in each.root.parents]
    assert [(each.root, each.found_by) for each in found] == [(root, "current folder")]


@posix
def test_beside_the_current_folder_of_a_portable_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put_comfyui(tmp_path / "outer" / "ComfyUI")
    write(tmp_path / "outer" / "python_embeded" / "python.exe", "")
    (tmp_path / "outer" / "update").mkdir()
    monkeypatch.chdir(tmp_path / "outer" / "update")
    found = [each for each in places(machine(Path("/"))) if tmp_path in each.root.parents]
    assert [(each.root, each.kind) for each in found] == [(root, "portable")]


def test_one_that_two_ways_lead_to_is_listed_once(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "home" / "jane" / "ComfyUI")
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "ComfyUI").symlink_to(root)
    assert roots(machine(tmp_path)) == [root]


def test_loops_of_links_end(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    home = tmp_path / "home" / "jane"
    (home / "ComfyUI").symlink_to(home / "ComfyUI")
    (home / "comfyui").symlink_to(home)
    (home / "ComfyUI-2").mkdir()
    for name in ("main.py", "comfy", "nodes.py", "comfy_extras", "comfy_api"):
        (home / "ComfyUI-2" / name).symlink_to(home / "ComfyUI-2" / name)
    assert places(outside) == ()


# --- which Python ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "wanted"),
    [((".venv", "venv", "env"), ".venv"), (("venv", "env"), "venv"), (("env",), "env")],
)
def test_the_environment_inside_a_clone(
    tmp_path: Path, there: tuple[str, ...], wanted: str
) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    pythons = {name: venv(root / name) for name in there}
    venv(tmp_path / "active")
    found = only(machine(tmp_path, VIRTUAL_ENV=str(tmp_path / "active")))
    assert (found.python, found.python_from) == (pythons[wanted], "own")


def test_a_damaged_environment_gives_way_to_a_whole_one_only(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    write(root / ".venv" / "pyvenv.cfg", "home = /usr/bin\n")
    (root / "env").mkdir()  # holds nothing: not an environment
    assert only(machine(tmp_path)).python == root / ".venv"
    python = venv(root / "venv")
    assert only(machine(tmp_path)).python == python


@posix
def test_a_link_that_leads_nowhere_is_still_its_python(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python3").symlink_to(tmp_path / "gone")
    assert only(machine(tmp_path)).python == root / ".venv" / "bin" / "python3"


def test_the_active_environment_of_a_clone_without_its_own(tmp_path: Path) -> None:
    put_comfyui(tmp_path / "ComfyUI")
    active, conda = venv(tmp_path / "active"), venv(tmp_path / "conda")
    both = {"VIRTUAL_ENV": str(tmp_path / "active"), "CONDA_PREFIX": str(tmp_path / "conda")}
    found = only(machine(tmp_path, **both))
    assert (found.python, found.python_from) == (active, "VIRTUAL_ENV")
    found = only(machine(tmp_path, **{**both, "VIRTUAL_ENV": str(tmp_path / "deleted")}))
    assert (found.python, found.python_from) == (conda, "CONDA_PREFIX")
    found = only(machine(tmp_path, VIRTUAL_ENV="relative", CONDA_PREFIX=""))
    assert (found.python, found.python_from) == (None, "")


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_the_doctors_own_environment_counts_only_with_torch(tmp_path: Path, variable: str) -> None:
    put_comfyui(tmp_path / "ComfyUI")
    own = venv(tmp_path / "doctor")
    outside = machine(tmp_path, **{variable: str(tmp_path / "doctor")})
    assert (only(outside).python, only(outside).python_from) == (None, "")
    (tmp_path / "doctor" / "lib" / "python3.12" / "site-packages" / "torch").mkdir(parents=True)
    assert (only(outside).python, only(outside).python_from) == (own, variable)


def test_the_doctors_own_environment_on_windows(tmp_path: Path) -> None:
    put_comfyui(tmp_path / "ComfyUI")
    own = venv(tmp_path / "doctor", windows=True)
    outside = machine(tmp_path, "win32", VIRTUAL_ENV=str(tmp_path / "doctor"))
    assert only(outside).python is None
    (tmp_path / "doctor" / "Lib" / "site-packages" / "torch").mkdir(parents=True)
    assert only(outside).python == own


# --- when it was used ------------------------------------------------------------------------


@pytest.mark.parametrize("witness", ["user/comfyui_8188.log", "user/comfyui.log", "comfyui.log",
                                     "user/default", "output", "user/comfyui.db"])  # fmt: skip
def test_last_use_is_the_newest_of_what_a_run_leaves(tmp_path: Path, witness: str) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    others = [root / "user" / "default", root / "output", root / "user" / "comfyui.prev.log"]
    (root / "user" / "default").mkdir(parents=True)
    write(root / "user" / "comfyui.prev.log", "")
    if not (root / witness).exists():
        write(root / witness, "")
    for path in others:
        os.utime(path, (1_600_000_000, 1_600_000_000))
    os.utime(root / witness, (1_700_000_000, 1_700_000_000))
    assert only(machine(tmp_path)).last_used == 1_700_000_000


def test_never_used_is_not_known(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    (root / "output").rmdir()
    assert only(machine(tmp_path)).last_used is None


# --- Windows portable ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outer",
    [
        "C/ComfyUI_windows_portable",
        "D/ComfyUI_windows_portable_nvidia/ComfyUI_windows_portable",
        "E/AI/ComfyUI_windows_portable_nvidia_cu128",
        "H/comfyui portable",
        "home/jane/Downloads/ComfyUI_windows_portable",
        "home/jane/OneDrive/Desktop/ComfyUI_windows_portable",
    ],
)
def test_a_portable_build_uses_the_python_beside_it(tmp_path: Path, outer: str) -> None:
    root = put_comfyui(tmp_path / outer / "ComfyUI")
    python = write(tmp_path / outer / "python_embeded" / "python.exe", "")
    venv(tmp_path / "active", windows=True)
    found = only(machine(tmp_path, "win32", VIRTUAL_ENV=str(tmp_path / "active")))
    assert (found.root, found.kind, found.python) == (root, "portable", python)
    assert found.python_from == "own"


def test_a_portable_build_without_its_python_borrows_none(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "C" / "ComfyUI" / "ComfyUI")
    (root.parent / "python_embeded").mkdir()
    venv(tmp_path / "active", windows=True)
    found = only(machine(tmp_path, "win32", VIRTUAL_ENV=str(tmp_path / "active")))
    assert found.python == root.parent / "python_embeded"


@posix
def test_a_link_to_a_portable_build_is_one(tmp_path: Path) -> None:
    real = put_comfyui(tmp_path / "data" / "build" / "ComfyUI")
    python = write(real.parent / "python_embeded" / "python.exe", "")
    (tmp_path / "ComfyUI").symlink_to(real)
    found = only(machine(tmp_path))
    assert (found.root, found.kind, found.python) == (tmp_path / "ComfyUI", "portable", python)


# --- Comfy Desktop ---------------------------------------------------------------------------

WINDOWS_CODE = "AppData/Local/Programs/ComfyUI/resources/ComfyUI"
OLDER_CODE = "AppData/Local/Programs/@comfyorgcomfyui-electron/resources/ComfyUI"


@pytest.mark.parametrize("code", [WINDOWS_CODE, OLDER_CODE])
def test_desktop_one_keeps_code_and_data_apart(tmp_path: Path, code: str) -> None:
    home = tmp_path / "home" / "jane"
    base = tmp_path / "D" / "Mine"
    root, python = put_comfyui(home / code), venv(base / ".venv", windows=True)
    config = home / "AppData/Roaming/ComfyUI"
    put_json(config / "config.json", {"basePath": "D:\\Mine", "installState": "installed"})
    extra = write(config / "extra_models_config.yaml", "comfyui_desktop:\n  base_path: D:\\Mine\n")
    launch = {"listen": "0.0.0.0", "lowvram": "", "port": 8001, "cpu": False, "bad name;": "x"}
    stored = base / "user/default/comfy.settings.json"
    put_json(stored, {"Comfy.Server.LaunchArgs": launch})
    os.utime(stored.parent, (1_700_000_000, 1_700_000_000))
    found = only(machine(tmp_path, "win32", VIRTUAL_ENV=str(tmp_path)))
    assert (found.root, found.kind, found.base) == (root, "desktop", base)
    assert (found.python, found.found_by) == (python, "Comfy Desktop")
    assert found.last_used == 1_700_000_000
    first, second = found.saved
    assert first.arguments == (
        "--base-directory", str(base), "--extra-model-paths-config", str(extra),
    )  # fmt: skip
    assert second.path == stored
    assert second.arguments == ("--listen", "0.0.0.0", "--lowvram", "--port", "8001")
    assert configured_ports(machine(tmp_path, "win32")) == (8001,)


@pytest.mark.parametrize("section", ["comfyui_desktop", "comfyui"])
def test_desktop_one_before_it_wrote_its_base_down(tmp_path: Path, section: str) -> None:
    home = tmp_path / "home" / "jane"
    put_comfyui(home / WINDOWS_CODE)
    text = (
        f"# written by the app\nother:\n  base_path: 'C:/no'\n{section}:\n  base_path: 'E:/x y'\n"
    )
    write(home / "AppData/Roaming/ComfyUI/extra_models_config.yaml", text)
    assert only(machine(tmp_path, "win32")).base == tmp_path / "E" / "x y"


def test_desktop_one_on_macos(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "Applications/ComfyUI.app/Contents/Resources/ComfyUI")
    base = tmp_path / "home" / "jane" / "Documents" / "ComfyUI"
    python = venv(base / ".venv")
    config = tmp_path / "home/jane/Library/Application Support/ComfyUI/config.json"
    put_json(config, {"basePath": "~/Documents/ComfyUI"})
    found = only(machine(tmp_path, "darwin"))
    assert (found.root, found.kind, found.base, found.python) == (root, "desktop", base, python)


@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
def test_desktop_two_and_an_adopted_base(tmp_path: Path, platform: str) -> None:
    home = tmp_path / "home" / "jane"
    data = {
        "linux": home / ".local/share",
        "win32": home / "AppData/Roaming",
        "darwin": home / "Library/Application Support",
    }[platform] / "comfyui-desktop-2"
    windows = platform == "win32"
    first, second, third = home / "one", tmp_path / "two", home / "ComfyUI-Installs" / "three"
    for install in (first, second, third):
        put_comfyui(install / "ComfyUI")
    own = venv(first / "ComfyUI" / ".venv", windows)
    adopted = venv(home / "old" / ".venv", windows)
    older = venv(third / "envs" / "default", windows)
    venv(third / "standalone-env", windows)
    shared = write(data / "shared_model_paths.yaml", "")
    its = write(data / "instance-model-paths" / "inst-2.yaml", "")
    listed = [
        {"installPath": str(first), "sourceId": "standalone", "lastLaunchedAt": 1900000000123,
         "launchArgs": "--enable-manager --port 8195 --output-directory '/x y/z'"},
        {"installPath": str(second), "adopted": True, "adoptedBaseDir": str(home / "old"),
         "sourceId": "standalone", "useSharedModels": False, "id": "inst-2", "launchArgs": ""},
        {"installPath": "https://cloud", "sourceId": "cloud"}, {"installPath": 7}, "nonsense",
    ]  # fmt: skip
    put_json(data / "installations.json", listed)
    found = {each.root.parent.name: each for each in places(machine(tmp_path, platform))}
    assert {each.kind for each in found.values()} == {"desktop-2"}
    assert [found[name].python for name in ("one", "two", "three")] == [own, adopted, older]
    assert found["two"].base == home / "old"
    assert found["one"].last_used == 1_900_000_000
    assert [each.arguments for each in found["one"].saved] == [
        ("--extra-model-paths-config", str(shared), "--enable-manager", "--port", "8195",
         "--output-directory", "/x y/z")
    ]  # fmt: skip
    assert [each.arguments for each in found["two"].saved] == [
        ("--base-directory", str(home / "old"), "--extra-model-paths-config", str(its))
    ]
    assert configured_ports(machine(tmp_path, platform)) == (8195,)


def test_what_else_desktop_two_keeps_track_of(tmp_path: Path) -> None:
    home = tmp_path / "home" / "jane"
    portable = put_comfyui(tmp_path / "D" / "p" / "ComfyUI_windows_portable" / "ComfyUI")
    embedded = write(portable.parent / "python_embeded" / "python.exe", "")
    clone = put_comfyui(tmp_path / "D" / "clone")
    python = venv(tmp_path / "D" / "envs" / "c", windows=True)
    base = put_comfyui(tmp_path / "D" / "base")  # of the first Desktop: not that one's code
    listed = [
        {"installPath": "D:\\p", "sourceId": "portable"},
        {"installPath": "D:\\clone", "sourceId": "git", "venvPath": "D:\\envs\\c"},
        {"installPath": "D:\\base", "sourceId": "desktop"},
    ]
    put_json(home / "AppData/Roaming/comfyui-desktop-2/installations.json", listed)
    found = {each.root: each for each in places(machine(tmp_path, "win32"))}
    assert (found[portable].kind, found[portable].python) == ("portable", embedded)
    assert (found[clone].kind, found[clone].python) == ("desktop-2", python)
    assert base not in found


def test_an_adopted_base_is_the_second_desktops_first(tmp_path: Path) -> None:
    home, base = tmp_path / "home" / "jane", tmp_path / "D" / "Mine"
    put_comfyui(home / WINDOWS_CODE)
    put_comfyui(tmp_path / "D" / "two" / "ComfyUI")
    python = venv(base / ".venv", windows=True)
    put_json(home / "AppData/Roaming/ComfyUI/config.json", {"basePath": "D:\\Mine"})
    record = {"installPath": "D:\\two", "adopted": True, "adoptedBaseDir": "D:\\Mine",
              "adoptedPythonPath": str(python)}  # fmt: skip
    put_json(home / "AppData/Roaming/comfyui-desktop-2/installations.json", [record])
    found = places(machine(tmp_path, "win32"))
    assert [(each.kind, each.base, each.python) for each in found] == [
        ("desktop-2", base, python), ("desktop", base, python),
    ]  # fmt: skip


# --- StabilityMatrix -------------------------------------------------------------------------

PACKAGE = {
    "LibraryPath": "Packages\\Mine",
    "LaunchArgs": [
        {"Name": "--listen", "OptionValue": "0.0.0.0"},
        {"Name": "--port", "OptionValue": "8200"},
        {"Name": "--lowvram", "OptionValue": False},
        {"Name": "--cpu", "OptionValue": True},
        {"Name": "--cache-lru", "OptionValue": 3},
        {"Name": "--odd", "OptionValue": {"a": 1}},
        {"Name": "", "OptionValue": '--output-directory "D:\\my pictures"'},
    ],
}
PACKAGE_WORDS = ("--listen", "0.0.0.0", "--port", "8200", "--cpu", "--cache-lru", "3", "--odd",
                 "--output-directory", "D:\\my pictures")  # fmt: skip


def test_stability_matrix_packages_and_their_arguments(tmp_path: Path) -> None:
    data = tmp_path / "E" / "SM"
    root, other = put_comfyui(data / "Packages" / "Mine"), put_comfyui(data / "Packages" / "Other")
    python = venv(root / "venv", windows=True)
    (data / "Packages" / "forge").mkdir()
    library = tmp_path / "home/jane/AppData/Roaming/StabilityMatrix/library.json"
    write(library, "\ufeff" + json.dumps({"LibraryPath": "E:\\SM"}))
    put_json(data / "settings.json", {"InstalledPackages": [PACKAGE, {"LibraryPath": None}]})
    venv(tmp_path / "active", windows=True)  # no launcher's own environment
    outside = machine(tmp_path, "win32", VIRTUAL_ENV=str(tmp_path / "active"))
    first, second = places(outside)
    assert (first.root, first.kind, first.python) == (root, "stability-matrix", python)
    assert (first.found_by, second.root) == ("StabilityMatrix", other)
    assert [(each.kind, each.path) for each in first.saved] == [
        ("stability-matrix", data / "settings.json")
    ]
    assert first.saved[0].arguments == PACKAGE_WORDS
    assert (second.python, second.saved) == (None, ())
    assert configured_ports(outside) == (8200,)


@pytest.mark.parametrize("app", ["home/jane/Downloads/StabilityMatrix", "D/StabilityMatrix", "."])
def test_a_portable_stability_matrix(tmp_path: Path, app: str) -> None:
    data = tmp_path / app / "Data"
    root = put_comfyui(data / "Packages" / "ComfyUI")
    assert places(machine(tmp_path, "win32")) == ()
    write(data / ".sm-portable", "")
    assert only(machine(tmp_path, "win32")).root == root


@pytest.mark.parametrize(
    ("platform", "place"),
    [("linux", ".config"), ("darwin", ".config"), ("darwin", "Library/Application Support")],
)
def test_stability_matrix_elsewhere(tmp_path: Path, platform: str, place: str) -> None:
    data = tmp_path / "home" / "jane" / place / "StabilityMatrix"
    root = put_comfyui(data / "Packages" / "ComfyUI")
    python = venv(root / "venv")
    found = only(machine(tmp_path, platform))
    assert (found.root, found.kind, found.python) == (root, "stability-matrix", python)


@posix
def test_a_package_is_told_from_inside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = put_comfyui(tmp_path / "lib" / "Packages" / "Mine")
    put_json(tmp_path / "lib" / "settings.json", {"InstalledPackages": [PACKAGE]})
    monkeypatch.chdir(root)
    (found,) = (each for each in places(machine(Path("/"))) if each.root == root)
    assert (found.kind, found.found_by) == ("stability-matrix", "current folder")
    assert found.saved[0].arguments[:2] == ("--listen", "0.0.0.0")


# --- Pinokio ---------------------------------------------------------------------------------


def test_pinokio_below_the_home_folder(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "home/jane/pinokio/api/comfy.git/app")
    python = venv(root / "env")
    found = only(machine(tmp_path))
    assert (found.kind, found.root, found.python) == ("pinokio", root, python)
    assert found.found_by == "Pinokio"


@pytest.mark.parametrize("way", ["config", "variable", "drive"])
def test_pinokio_elsewhere(tmp_path: Path, way: str) -> None:
    letter = "C" if way == "drive" else "F"
    root = put_comfyui(tmp_path / letter / "pinokio" / "api" / "comfyui.git" / "app")
    python = venv(root / "env", windows=True)
    env = {"PINOKIO_HOME": "F:\\pinokio"} if way == "variable" else {}
    if way == "config":
        put_json(tmp_path / "home/jane/.pinokio/config.json", {"home": "F:\\pinokio"})
    found = only(machine(tmp_path, "win32", **env))
    assert (found.kind, found.root, found.python) == ("pinokio", root, python)


# --- comfy-cli -------------------------------------------------------------------------------

CLI = {
    "linux": "home/jane/.config/comfy-cli/config.ini",
    "darwin": "home/jane/Library/Application Support/comfy-cli/config.ini",
    "win32": "home/jane/AppData/Local/comfy-cli/config.ini",
}


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_comfy_cli_names_workspaces_arguments_and_port(tmp_path: Path, platform: str) -> None:
    windows = platform == "win32"
    root, recent = put_comfyui(tmp_path / "ws" / "ComfyUI"), put_comfyui(tmp_path / "other")
    active = venv(tmp_path / "active", windows)
    venv(root / ".venv", windows)
    text = (
        "[DEFAULT]\n; a comment = 1\nenable_tracking = False\n"
        f"default_workspace = {root}\nrecent_workspace = {recent}\n"
        "default_launch_extras = --listen  0.0.0.0 --port=8190\n"
        "background = ('127.0.0.1', 8388, 77)\n"
    )
    config = write(tmp_path / CLI[platform], text)
    outside = machine(tmp_path, platform, VIRTUAL_ENV=str(tmp_path / "active"))
    first, second = places(outside)
    assert (first.root, first.kind, first.found_by) == (root, "comfy-cli", "comfy-cli")
    assert (first.python, first.python_from) == (active, "VIRTUAL_ENV")
    assert [(each.path, each.arguments) for each in first.saved] == [
        (config, ("--listen", "0.0.0.0", "--port=8190"))
    ]
    assert (second.root, second.saved) == (recent, ())  # they go with the default one alone
    assert configured_ports(outside) == (8388, 8190)
    still = machine(tmp_path, platform)
    assert (places(still)[0].python_from, places(still)[0].root) == ("own", root)


def test_comfy_cli_ignores_where_other_programs_keep_settings(tmp_path: Path) -> None:
    put_comfyui(tmp_path / "ws")
    write(tmp_path / "xdg/comfy-cli/config.ini", f"[DEFAULT]\nrecent_workspace = {tmp_path / 'ws'}")
    assert places(machine(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "xdg"))) == ()


def test_comfy_cli_writes_percent_signs_twice(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "100% mine")
    write(tmp_path / CLI["linux"], f"[DEFAULT]\nrecent_workspace = {tmp_path}/100%% mine\n")
    assert roots(machine(tmp_path)) == [root]


@pytest.mark.parametrize(("platform", "place"), [("linux", "comfy"), ("win32", "Documents/comfy")])
def test_comfy_clis_usual_workspace(tmp_path: Path, platform: str, place: str) -> None:
    root = put_comfyui(tmp_path / "home" / "jane" / place / "ComfyUI")
    assert only(machine(tmp_path, platform)).kind == "manual"
    write(tmp_path / CLI[platform], "default_launch_extras = --fast\n")  # the section is missing
    found = only(machine(tmp_path, platform))
    assert (found.root, found.kind) == (root, "comfy-cli")
    assert found.saved[0].arguments == ("--fast",)


def test_a_workspace_that_is_a_portable_build_starts_its_own_python(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "D" / "p" / "ComfyUI")
    python = write(root.parent / "python_embeded" / "python.exe", "")
    write(tmp_path / CLI["win32"], "[DEFAULT]\ndefault_workspace = D:\\p\\ComfyUI\n")
    venv(tmp_path / "active", windows=True)
    found = only(machine(tmp_path, "win32", VIRTUAL_ENV=str(tmp_path / "active")))
    assert (found.kind, found.found_by, found.python) == ("portable", "comfy-cli", python)


def test_two_programs_that_name_one_folder(tmp_path: Path) -> None:
    """The kind is the more specific one's, the arguments are both's."""
    data = tmp_path / "home/jane/.config/StabilityMatrix"
    root = put_comfyui(data / "Packages" / "Mine")
    put_json(data / "settings.json", {"InstalledPackages": [PACKAGE]})
    write(
        tmp_path / CLI["linux"],
        f"[DEFAULT]\ndefault_workspace = {root}\ndefault_launch_extras = --fast\n",
    )
    found = only(machine(tmp_path))
    assert found.kind == "stability-matrix"
    assert [each.kind for each in found.saved] == ["stability-matrix", "comfy-cli"]


# --- ports -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("background = ('127.0.0.1', 8388, 77)", (8388,)),
        ("background = ('127.0.0.1', '8388', 77)", (8388,)),
        ("background = ('127.0.0.1', 8188, 77)", ()),
        ("background = 8388", ()),
        ("background = ('127.0.0.1', 0, 77)", ()),
        ("background = ('127.0.0.1', 65536, 77)", ()),
        ("background = ('127.0.0.1', -1, 77)", ()),
        (f"background = ('127.0.0.1', 00001{'0' * 5000}, 77)", ()),
        ("background = ('127.0.0.1', ٨٣٨٨, 77)", ()),
        ("default_launch_extras = --port 8190 --port", (8190,)),
        ("default_launch_extras = --port --listen", ()),
        ("default_launch_extras = " + " ".join(f"--port {9000 + n}" for n in range(20)),
         tuple(range(9000, 9008))),
    ],
)  # fmt: skip
def test_ports_that_settings_name(tmp_path: Path, text: str, ports: tuple[int, ...]) -> None:
    write(tmp_path / CLI["linux"], f"[DEFAULT]\n{text}\n")
    assert configured_ports(machine(tmp_path)) == ports


# --- paths that settings name ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "text", "place"),
    [
        ("linux", "/srv/x", "srv/x"),
        ("linux", "~", "home/jane"),
        ("linux", "~/x", "home/jane/x"),
        ("linux", " /srv/x\n", "srv/x"),
        ("linux", "C:\\x", None),
        ("linux", "~eve/x", None),
        ("linux", "x/y", None),
        ("linux", ".", None),
        ("linux", "", None),
        ("linux", "/a\0b", None),
        ("linux", "/" + "x" * 5000, None),
        ("linux", "/\ud800", None),
        ("win32", "D:\\AI\\x", "D/AI/x"),
        ("win32", "d:/AI//x", "D/AI/x"),
        ("win32", "\\\\?\\D:\\x", "D/x"),
        ("win32", "~\\x", "home/jane/x"),
        ("win32", "\\\\nas\\share\\x", None),
        ("win32", "//nas/share/x", None),
        ("win32", "\\x", None),
        ("win32", "D:x", None),
    ],
)
def test_what_counts_as_a_path(tmp_path: Path, platform: str, text: str, place: str | None) -> None:
    expected = None if place is None else tmp_path / place
    assert path_of(machine(tmp_path, platform), text) == expected


def test_a_machine_without_a_home_folder(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "opt" / "ComfyUI")
    for home in ("", "~", "~/x", "relative"):
        outside = machine(tmp_path)
        outside.env["HOME"] = home  # type: ignore[index]
        assert roots(outside) == [root]


# --- broken settings -------------------------------------------------------------------------

FILES = (
    "AppData/Roaming/ComfyUI/config.json",
    "AppData/Roaming/ComfyUI/extra_models_config.yaml",
    "AppData/Roaming/comfyui-desktop-2/installations.json",
    "AppData/Roaming/StabilityMatrix/library.json",
    "AppData/Roaming/StabilityMatrix/settings.json",
    "AppData/Local/comfy-cli/config.ini",
    ".pinokio/config.json",
    "base/user/default/comfy.settings.json",
)
BROKEN = [
    b"", b"{", b"[", b'{"basePath": "C:\\\\', b"null", b"[]", b"7", b'"text"', b"\xff\xfe{\x00}",
    b"\xef\xbb\xbf{}", b"\x00" * 100, b"[" * 100_000, b'{"basePath": 7, "LibraryPath": [], '
    b'"home": {}, "InstalledPackages": {"a": 1}, "Comfy.Server.LaunchArgs": [1]}',
    b'[{"installPath": null}, {"installPath": "\\ud800"}, [], 3, {"installPath": "\\u0000"}]',
    b"=\n= =\nbackground\nbackground = (\ndefault_workspace =\n", b"9" * 5000,
    b'{"basePath": "' + b"x" * (2 << 20) + b'"}',
]  # fmt: skip


@pytest.mark.parametrize("raw", BROKEN, ids=range(len(BROKEN)))
def test_broken_settings_name_nothing(tmp_path: Path, raw: bytes) -> None:
    home = tmp_path / "home" / "jane"
    for name in FILES:
        write(home / name, "")
        (home / name).write_bytes(raw)
    assert places(machine(tmp_path, "win32")) == ()
    assert configured_ports(machine(tmp_path, "win32")) == ()
    root = put_comfyui(home / "ComfyUI")
    assert roots(machine(tmp_path, "win32")) == [root]


@posix
def test_folders_pipes_and_links_in_place_of_settings(tmp_path: Path) -> None:
    home = tmp_path / "home" / "jane"
    for number, name in enumerate(FILES):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % 3 == 0:
            path.mkdir()
        elif number % 3 == 1:
            os.mkfifo(path)
        else:
            path.symlink_to(path)
    assert places(machine(tmp_path, "win32")) == ()


def _settings_texts(root: Path) -> st.SearchStrategy[bytes]:
    """Bytes, or JSON with the right keys, some values of which name what is there."""
    there = [str(root / name) for name in ("code", "code/ComfyUI", "code/ComfyUI/venv", "base")]
    word = st.sampled_from([*there, "Packages\\ComfyUI", "../code/ComfyUI", "\ud800", "a\0b", "",
                            "--port", "9000", "\\\\nas\\x", "~", "portable", "git"])  # fmt: skip
    keys = ["basePath", "LibraryPath", "InstalledPackages", "LaunchArgs", "Name", "OptionValue",
            "installPath", "adopted", "adoptedBaseDir", "adoptedPythonPath", "sourceId", "venvPath",
            "launchArgs", "lastLaunchedAt", "useSharedModels", "id", "home",
            "Comfy.Server.LaunchArgs"]  # fmt: skip
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | word | st.text(max_size=6)
    tree = st.recursive(
        leaf,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(keys), inner, max_size=6)
        ),
        max_leaves=15,
    )
    ini = st.lists(
        st.tuples(
            st.sampled_from(["default_workspace", "recent_workspace", "default_launch_extras",
                             "background", "[DEFAULT]"]),
            word | st.text(max_size=20),
        ),
        max_size=5,
    )  # fmt: skip
    return st.one_of(
        st.binary(max_size=200),
        tree.map(lambda value: json.dumps(value).encode()),
        ini.map(lambda rows: "\n".join(f"{k} = {v}" for k, v in rows).encode("utf-8", "replace")),
    )


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_settings_make_it_raise(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.getbasetemp() / "any-settings"
    if not root.exists():
        venv(put_comfyui(root / "code" / "ComfyUI") / "venv", windows=True)
        put_comfyui(root / "home" / "jane" / WINDOWS_CODE)
    for name in data.draw(st.sets(st.sampled_from(FILES), min_size=1, max_size=4)):
        path = root / "home" / "jane" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.draw(_settings_texts(root)))
    outside = machine(root, "win32")
    found = places(outside)
    assert all(is_comfyui(each.root) for each in found)
    assert len({os.path.realpath(each.root) for each in found}) == len(found)
    for each in found:
        for text in (str(each.root), str(each.base), str(each.python)):
            assert "\0" not in text and os.fsencode(text)
    assert all(0 < port < 65536 for port in configured_ports(outside))
