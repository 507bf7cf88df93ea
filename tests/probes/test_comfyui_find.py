"""The search for ComfyUI over folder trees that stand for machines."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import put_comfyui

from klein_doctor.installation import Search
from klein_doctor.privacy import Redactor
from klein_doctor.probes.comfyui_find import FindError, find
from klein_doctor.probes.comfyui_places import configured_ports, places
from klein_doctor.probes.comfyui_server import _other
from klein_doctor.probes.found import Answer, Found
from klein_doctor.probes.outside import Outside


def machine(root: Path, platform: str = "linux", **env: str) -> Outside:
    """A machine below a folder, with the home folder /home/jane."""
    home = root / "home" / "jane"
    home.mkdir(parents=True, exist_ok=True)
    names = {"HOME": str(home)}
    if platform == "win32":
        names = {
            "USERPROFILE": str(home),
            "APPDATA": str(home / "AppData" / "Roaming"),
            "LOCALAPPDATA": str(home / "AppData" / "Local"),
        }
    redactor = Redactor(("jane",), (str(home),), ())
    return Outside(root, {**names, **env}, platform, redactor, prefix=str(root / "doctor"))


def venv(folder: Path, windows: bool = False) -> Path:
    """The file that makes a folder an environment's; returns the interpreter."""
    python = folder / ("Scripts/python.exe" if windows else "bin/python3")
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_bytes(b"")
    return python


def write(path: Path, text: str) -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def only(outside: Outside) -> Found:
    """The one installation of a machine."""
    (found,) = places(outside)
    return found


def searched(outside: Outside, python: str = "", *answers: Answer) -> tuple[Search, Found | None]:
    return find(outside, "", python, answers)


def running(root: Path, port: int = 8188, python: Path | None = None) -> Answer:
    """A server that tells its command line."""
    answer = _other(port, "ok", "")
    return answer._replace(argv=("main.py",), cwd=root, executable=python)


def test_a_clone_in_the_home_folder_with_its_own_environment(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    root = put_comfyui(tmp_path / "home" / "jane" / "ComfyUI")
    python = venv(root / "venv")
    found = only(outside)
    assert (found.kind, found.found_by, found.python, found.python_from) == (
        "manual", "home folder", python, "own",
    )  # fmt: skip
    assert found.last_used is not None
    search, chosen = searched(outside)
    assert chosen == found and search.found[0].root.public == "~/ComfyUI"


def test_a_folder_with_less_than_the_code_is_none(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    (tmp_path / "home" / "jane" / "ComfyUI" / "models").mkdir(parents=True)
    assert places(outside) == ()
    search, chosen = searched(outside)
    assert chosen is None and search.chosen is None and search.looked


@pytest.mark.parametrize("named", ["ComfyUI_windows_portable", "ComfyUI_windows_portable/ComfyUI"])
def test_the_portable_build_uses_the_python_beside_it(tmp_path: Path, named: str) -> None:
    outside = machine(tmp_path, "win32")
    root = put_comfyui(tmp_path / "ComfyUI_windows_portable" / "ComfyUI")
    python = write(tmp_path / "ComfyUI_windows_portable" / "python_embeded" / "python.exe", "")
    _, found = find(outside, str(tmp_path / named), "", ())
    assert found is not None
    assert (found.root, found.kind, found.python) == (root, "portable", python)


def test_desktop_one_keeps_code_and_data_apart(tmp_path: Path) -> None:
    outside = machine(tmp_path, "win32")
    home = tmp_path / "home" / "jane"
    base = home / "Documents" / "Mine"
    code = put_comfyui(home / "AppData/Local/Programs/ComfyUI/resources/ComfyUI")
    python = venv(base / ".venv", windows=True)
    config = {"basePath": str(base), "installState": "installed"}
    write(home / "AppData/Roaming/ComfyUI/config.json", json.dumps(config))
    settings_ = {"Comfy.Server.LaunchArgs": {"listen": "0.0.0.0", "lowvram": "", "port": "8001"}}
    write(base / "user/default/comfy.settings.json", json.dumps(settings_))
    found = only(outside)
    assert (found.root, found.kind, found.base, found.python) == (code, "desktop", base, python)
    words = [word for saved in found.saved for word in saved.arguments]
    assert {"--base-directory", "--listen", "--lowvram"} <= set(words)
    assert configured_ports(outside) == (8001,)


def test_desktop_two_and_an_adopted_base(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    home = tmp_path / "home" / "jane"
    first, second = home / "ComfyUI-Installs" / "main", home / "elsewhere"
    put_comfyui(first / "ComfyUI")
    put_comfyui(second / "ComfyUI")
    own = venv(first / "ComfyUI" / ".venv")
    adopted = venv(home / "old" / ".venv")
    listed = [{"installPath": str(first)},
              {"installPath": str(second), "adopted": True, "adoptedBaseDir": str(home / "old")},
              {"installPath": 7}, "nonsense"]  # fmt: skip
    write(home / ".local/share/comfyui-desktop-2/installations.json", json.dumps(listed))
    found = {each.root.parent.name: each for each in places(outside)}
    assert {each.kind for each in found.values()} == {"desktop-2"}
    assert (found["main"].python, found["elsewhere"].python) == (own, adopted)
    assert found["elsewhere"].base == home / "old"


def test_comfy_cli_names_workspace_arguments_and_port(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ws" / "ComfyUI")
    outside = machine(tmp_path, VIRTUAL_ENV=str(tmp_path / "active"))
    active = venv(tmp_path / "active")
    venv(root / ".venv")
    text = (f"[DEFAULT]\ndefault_workspace = {root}\ndefault_launch_extras = --listen 0.0.0.0\n"
            "background = ('127.0.0.1', 8388, 77)\n")  # fmt: skip
    write(tmp_path / "home/jane/.config/comfy-cli/config.ini", text)
    found = only(outside)
    assert (found.kind, found.python, found.python_from) == ("comfy-cli", active, "VIRTUAL_ENV")
    assert found.saved[0].arguments == ("--listen", "0.0.0.0")
    assert configured_ports(outside) == (8388,)


def test_stability_matrix_packages_and_their_arguments(tmp_path: Path) -> None:
    outside = machine(tmp_path, "win32")
    data = tmp_path / "SM"
    root = put_comfyui(data / "Packages" / "ComfyUI")
    python = venv(root / "venv", windows=True)
    roaming = tmp_path / "home/jane/AppData/Roaming/StabilityMatrix"
    write(roaming / "library.json", json.dumps({"LibraryPath": str(data)}))
    package = {"LibraryPath": "Packages\\ComfyUI", "LaunchArgs": [
        {"Name": "--listen", "OptionValue": True}, {"Name": "--port", "OptionValue": "8200"},
        {"Name": "--lowvram", "OptionValue": False}]}  # fmt: skip
    write(data / "settings.json", json.dumps({"InstalledPackages": [package]}))
    found = only(outside)
    assert (found.kind, found.python) == ("stability-matrix", python)
    assert found.saved[0].arguments == ("--listen", "--port", "8200")


def test_pinokio(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    root = put_comfyui(tmp_path / "home/jane/pinokio/api/comfy.git/app")
    python = venv(root / "env")
    assert (only(outside).kind, only(outside).python) == ("pinokio", python)


def test_the_active_environment_counts_unless_it_is_the_doctors(tmp_path: Path) -> None:
    put_comfyui(tmp_path / "home" / "jane" / "ComfyUI")
    own = venv(tmp_path / "doctor")
    outside = machine(tmp_path, VIRTUAL_ENV=str(tmp_path / "doctor"))
    assert only(outside).python is None
    (tmp_path / "doctor" / "lib" / "python3.12" / "site-packages" / "torch").mkdir(parents=True)
    assert (only(outside).python, only(outside).python_from) == (own, "VIRTUAL_ENV")


def test_the_running_one_is_chosen_then_the_last_used(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    home = tmp_path / "home" / "jane"
    old, new = put_comfyui(home / "ComfyUI"), put_comfyui(home / "comfy" / "ComfyUI")
    for root, day in ((old, 1_700_000_000), (new, 1_760_000_000)):
        os.utime(root / "output", (day, day))
    search, chosen = searched(outside)
    assert chosen is not None and chosen.root == new and search.why == "used last (2025-10-09)"
    python = venv(tmp_path / "conda")
    search, chosen = searched(outside, "", running(old, 8188, python))
    assert chosen is not None and chosen.root == old
    assert (chosen.python, chosen.python_from, chosen.port) == (python, "server", 8188)
    assert search.why == "the one that is running on port 8188"


def test_a_running_one_nobody_knew_of_is_added(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    root = put_comfyui(tmp_path / "srv" / "deep" / "ComfyUI")
    _, chosen = searched(outside, "", running(root))
    assert chosen is not None and (chosen.found_by, chosen.root) == ("server", root)
    nobody = running(tmp_path)._replace(cwd=None, folders={"vae": (str(root / "models" / "vae"),)})
    assert searched(outside, "", nobody)[1] == chosen
    assert searched(outside, "", nobody._replace(folders={"vae": ("/none\0",)}))[1] is None


def test_the_python_that_is_named_decides(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    home = tmp_path / "home" / "jane"
    first, second = put_comfyui(home / "ComfyUI"), put_comfyui(home / "comfy" / "ComfyUI")
    python = venv(first / ".venv")
    os.utime(second / "output", (2e9, 2e9))
    assert getattr(searched(outside, str(python))[1], "root", None) == first
    other = venv(tmp_path / "other")
    assert getattr(searched(outside, str(other))[1], "root", None) == second
    (tmp_path / "other" / "lib" / "python3.12" / "site-packages" / "diffusers").mkdir(parents=True)
    search, chosen = searched(outside, str(other))
    assert chosen is None and "diffusers" in search.why


def test_naming_what_is_none_is_wrong_usage(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    for named in (str(tmp_path / "absent"), str(tmp_path), "a\0b", "x" * 5000, "\x1b[31m"):
        with pytest.raises(FindError, match="--comfyui") as raised:
            find(outside, named, "", ())
        assert str(raised.value).isprintable() and len(str(raised.value)) < 400


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    home = tmp_path / "home" / "jane"
    (home / "ComfyUI").symlink_to(home / "ComfyUI")
    (home / "comfyui").symlink_to(home)
    assert places(outside) == ()


CONFIGS = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=12),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.sampled_from(["basePath", "LibraryPath", "InstalledPackages", "LaunchArgs", "Name",
                             "installPath", "adoptedBaseDir", "OptionValue", "home"]), inner),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(CONFIGS)
def test_no_settings_make_it_raise(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    root = tmp_path_factory.mktemp("m")
    home = root / "home" / "jane"
    for name in ("AppData/Roaming/ComfyUI/config.json", ".pinokio/config.json",
                 "AppData/Roaming/comfyui-desktop-2/installations.json",
                 "AppData/Roaming/StabilityMatrix/library.json",
                 "AppData/Roaming/StabilityMatrix/settings.json",
                 "AppData/Local/comfy-cli/config.ini"):  # fmt: skip
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(raw)
    outside = machine(root, "win32")
    assert places(outside) == ()
    assert all(0 < port < 65536 for port in configured_ports(outside))
