"""Which of the ComfyUI on a machine is judged, and why, over folder trees that stand for one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from homes import machine, venv, write
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import put_comfyui

from klein_doctor.exits import UsageError
from klein_doctor.installation import Search, Server
from klein_doctor.privacy import Redactor
from klein_doctor.probes.comfyui_find import FindError, find
from klein_doctor.probes.found import Answer, Found
from klein_doctor.probes.outside import Outside

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX links and layouts")
OLD, NEW = 1_700_000_000, 1_760_000_000


def used(root: Path, day: int) -> Path:
    """A ComfyUI whose last picture is of that day; returns root."""
    os.utime(put_comfyui(root) / "output", (day, day))
    return root


def answer(port: int = 8188, outcome: str = "ok") -> Answer:
    """A server of which the system tells nothing."""
    server = Server(port, outcome, "", None, None, "", "", "", "", (), ())
    return Answer(server, (), None, None, None)


def running(root: Path, port: int = 8188, python: Path | None = None) -> Answer:
    """A server started in its own folder."""
    return answer(port)._replace(argv=("main.py",), cwd=root, executable=python)


def searched(outside: Outside, python: str = "", *answers: Answer) -> tuple[Search, Found | None]:
    return find(outside, "", python, answers)


def root_of(found: Found | None) -> Path | None:
    return None if found is None else found.root


# --- none, one, several ----------------------------------------------------------------------


def test_none_says_where_was_looked(tmp_path: Path) -> None:
    (tmp_path / "home" / "jane" / "ComfyUI" / "models").mkdir(parents=True)
    search, chosen = searched(machine(tmp_path))
    assert (search.found, search.chosen, search.why, chosen) == ((), None, "", None)
    assert "the home folder" in search.looked and "servers on this machine" in search.looked


def test_the_only_one_needs_no_reason(tmp_path: Path) -> None:
    put_comfyui(tmp_path / "home" / "jane" / "ComfyUI")
    search, chosen = searched(machine(tmp_path))
    assert (search.chosen, search.why) == (0, "")
    assert chosen is not None and search.found[0].root.real == str(chosen.root)


def test_reports_show_the_home_folder_as_a_tilde(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "home" / "jane" / "ComfyUI")
    venv(root / ".venv")
    (install,) = searched(machine(tmp_path))[0].found
    assert install.python is not None
    public = (install.root.public, install.base.public, install.python.public)
    assert public == ("~/ComfyUI", "~/ComfyUI", "~/ComfyUI/.venv/bin/python3")


def test_of_two_the_last_used_is_judged(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    used(tmp_path / "opt" / "ComfyUI", OLD)
    new = used(tmp_path / "workspace" / "ComfyUI", NEW)
    search, chosen = searched(outside)
    assert (root_of(chosen), search.why) == (new, "used last (2025-10-09)")
    assert len(search.found) == 2 and search.found[search.chosen or 0].last_used == NEW


def test_of_two_never_used_the_first_is_judged(tmp_path: Path) -> None:
    for place in ("opt/ComfyUI", "workspace/ComfyUI"):
        (put_comfyui(tmp_path / place) / "output").rmdir()
    search, chosen = searched(machine(tmp_path))
    assert (search.chosen, search.why) == (0, "the first that was found")
    assert root_of(chosen) == tmp_path / "workspace" / "ComfyUI"


def test_the_one_in_the_current_folder_beats_the_last_used(tmp_path: Path) -> None:
    here = used(tmp_path / "ComfyUI", OLD)
    used(tmp_path / "opt" / "ComfyUI", NEW)
    search, chosen = searched(machine(tmp_path))
    assert (root_of(chosen), search.why) == (here, "the one in the current folder")


def test_a_launchers_own_in_the_current_folder_counts_too(tmp_path: Path) -> None:
    config = tmp_path / "home/jane/.config/comfy-cli/config.ini"
    here = used(tmp_path / "ComfyUI", OLD)
    write(config, f"[DEFAULT]\ndefault_workspace = {here}\n")
    used(tmp_path / "opt" / "ComfyUI", NEW)
    search, chosen = searched(machine(tmp_path))
    assert chosen is not None and (chosen.root, chosen.kind) == (here, "comfy-cli")
    assert search.why == "the one in the current folder"


def test_of_several_in_the_current_folder_the_last_used(tmp_path: Path) -> None:
    used(tmp_path / "ComfyUI", OLD)
    second = used(tmp_path / "ComfyUI_windows_portable" / "ComfyUI", OLD + 86_400)
    (second.parent / "python_embeded").mkdir()
    used(tmp_path / "opt" / "ComfyUI", NEW)
    search, chosen = searched(machine(tmp_path))
    assert (root_of(chosen), search.why) == (second, "used last (2023-11-15)")


@posix
def test_standing_in_the_home_folder_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many terminals open there: what is used last decides."""
    home = tmp_path / "home"
    used(home / "ComfyUI", OLD)
    new = used(home / "projects" / "ComfyUI", NEW + 900_000_000)
    monkeypatch.chdir(home)
    outside = Outside(Path("/"), {"HOME": str(home)}, "linux", Redactor((), (), ()))
    assert root_of(searched(outside)[1]) == new


# --- what runs -------------------------------------------------------------------------------


def test_the_running_one_is_judged_with_the_python_that_runs_it(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    old = used(tmp_path / "opt" / "ComfyUI", OLD)
    venv(old / ".venv")
    used(tmp_path / "ComfyUI", NEW)
    python = venv(tmp_path / "conda")
    search, chosen = searched(outside, "", running(old, 8288, python))
    assert chosen is not None and chosen.root == old
    assert (chosen.python, chosen.python_from, chosen.port) == (python, "server", 8288)
    assert (chosen.found_by, chosen.kind) == ("usual folder", "manual")
    assert search.why == "the one that is running on port 8288"


def test_a_server_whose_process_is_not_told_keeps_the_python_of_the_files(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    own = venv(root / ".venv")
    _, chosen = searched(machine(tmp_path), "", running(root))
    assert chosen is not None
    assert (chosen.python, chosen.python_from, chosen.port) == (own, "own", 8188)


@pytest.mark.parametrize(
    ("argv", "cwd", "folders"),
    [
        (("main.py",), "srv/x/ComfyUI", None),
        (("./main.py", "--listen"), "srv/x/ComfyUI", None),
        (("ComfyUI/main.py",), "srv/x", None),
        (("../x/ComfyUI/main.py",), "srv/y", None),
        (("/srv/x/ComfyUI/main.py",), None, None),
        (("wrapper.py",), "srv/x/ComfyUI", None),
        ((), None, {"custom_nodes": ("/srv/x/ComfyUI/custom_nodes",)}),
        ((), None, {"vae": ("/elsewhere/vae", "/srv/x/ComfyUI/models/vae")}),
        (("main.py",), "gone", {"checkpoints": ("/srv/x/ComfyUI/output/checkpoints",)}),
    ],
)
def test_a_server_nobody_knew_of_tells_its_folder(
    tmp_path: Path,
    argv: tuple[str, ...],
    cwd: str | None,
    folders: dict[str, tuple[str, ...]] | None,
) -> None:
    root = put_comfyui(tmp_path / "srv" / "x" / "ComfyUI")
    (tmp_path / "srv" / "y").mkdir()
    where = None if cwd is None else tmp_path / cwd
    said = answer()._replace(argv=argv, cwd=where, folders=folders)
    search, chosen = searched(machine(tmp_path), "", said)
    assert chosen is not None
    assert (chosen.root, chosen.found_by, chosen.kind) == (root, "server", "manual")
    assert search.found[0].port == 8188


def test_a_server_started_as_a_portable_build_is_told_as_one(tmp_path: Path) -> None:
    outer = tmp_path / "D" / "deep" / "down" / "portable"
    root = put_comfyui(outer / "ComfyUI")
    python = write(outer / "python_embeded" / "python.exe", "")
    said = answer()._replace(argv=("ComfyUI\\main.py", "--windows-standalone-build"), cwd=outer)
    _, chosen = searched(machine(tmp_path, "win32"), "", said)
    assert chosen is not None
    assert (chosen.root, chosen.kind, chosen.python) == (root, "portable", python)


@pytest.mark.parametrize(
    ("place", "own", "kind", "python"),
    [
        ("x/api/comfy.git/app", "env", "pinokio", "env"),
        ("x/resources/ComfyUI", "venv", "desktop", None),
        ("x/Resources/ComfyUI", ".venv", "desktop", None),
        ("x/resources/other", "venv", "manual", "venv"),
        ("x/api/app", "venv", "manual", "venv"),
    ],
)
def test_what_lies_around_a_server_tells_who_installed_it(
    tmp_path: Path, place: str, own: str, kind: str, python: str | None
) -> None:
    root = put_comfyui(tmp_path / place)
    venv(root / own)
    _, chosen = searched(machine(tmp_path), "", running(root))
    expected = None if python is None else root / python / "bin" / "python3"
    assert chosen is not None and (chosen.kind, chosen.python) == (kind, expected)


def test_a_server_that_uses_the_models_of_another_is_not_that_other(tmp_path: Path) -> None:
    mine = put_comfyui(tmp_path / "srv" / "mine")
    other = put_comfyui(tmp_path / "srv" / "other")
    folders = {"vae": (str(other / "models" / "vae"),), "custom_nodes": (f"{mine}/custom_nodes",)}
    _, chosen = searched(machine(tmp_path), "", answer()._replace(folders=folders))
    assert root_of(chosen) == mine


@pytest.mark.parametrize("outcome", ["other", "slow", "redirects"])
def test_what_is_no_comfyui_server_decides_nothing(tmp_path: Path, outcome: str) -> None:
    root = put_comfyui(tmp_path / "srv" / "x" / "ComfyUI")
    said = running(root)._replace(server=answer(8188, outcome).server)
    assert searched(machine(tmp_path), "", said)[1] is None


def test_a_server_from_elsewhere_adds_nothing(tmp_path: Path) -> None:
    """One in a container, say: its folders are not this machine's."""
    said = answer()._replace(
        argv=("main.py",), cwd=Path("/"), folders={"vae": ("/app/models/vae", "x\0", "\ud800")}
    )
    search, chosen = searched(machine(tmp_path), "", said)
    assert (search.found, chosen) == ((), None)


def test_two_servers_of_one_installation_are_one(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    search, chosen = searched(machine(tmp_path), "", running(root, 8188), running(root, 8190))
    assert len(search.found) == 1 and chosen is not None and chosen.port == 8188


# --- the Python that is named ----------------------------------------------------------------


def test_the_one_that_the_named_python_belongs_to(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    first = used(tmp_path / "opt" / "ComfyUI", OLD)
    second = used(tmp_path / "workspace" / "ComfyUI", NEW)
    python = venv(first / ".venv")
    search, chosen = searched(outside, str(python), running(second))
    assert (root_of(chosen), search.why) == (first, "the one that the named Python belongs to")
    # Also another environment inside it, which it does not use.
    inside = venv(first / "tools" / "other")
    assert root_of(searched(outside, str(inside))[1]) == first


def test_a_name_that_goes_on_is_another_folder(tmp_path: Path) -> None:
    used(tmp_path / "opt" / "ComfyUI", NEW)
    second = used(tmp_path / "opt" / "ComfyUI-2", OLD)
    python = venv(second / "tools" / "x")
    search, chosen = searched(machine(tmp_path), str(python))
    assert (root_of(chosen), search.why) == (second, "the one that the named Python belongs to")


def test_a_python_beside_the_code_of_a_portable_build(tmp_path: Path) -> None:
    root = used(tmp_path / "D" / "ComfyUI_windows_portable" / "ComfyUI", OLD)
    python = write(root.parent / "python_embeded" / "python.exe", "")
    used(tmp_path / "C" / "ComfyUI", NEW)
    assert root_of(searched(machine(tmp_path, "win32"), str(python))[1]) == root


def test_of_several_with_the_named_python_the_last_used(tmp_path: Path) -> None:
    python = venv(tmp_path / "active")
    outside = machine(tmp_path, VIRTUAL_ENV=str(tmp_path / "active"))
    used(tmp_path / "opt" / "ComfyUI", OLD)
    new = used(tmp_path / "workspace" / "ComfyUI", NEW)
    search, chosen = searched(outside, str(python))
    assert (root_of(chosen), search.why) == (new, "used last (2025-10-09)")


@pytest.mark.parametrize("inside", ["lib/python3.12/site-packages", "Lib/site-packages"])
def test_a_python_with_diffusers_that_fits_none_chooses_none(tmp_path: Path, inside: str) -> None:
    outside = machine(tmp_path)
    root = put_comfyui(tmp_path / "ComfyUI")
    python = venv(tmp_path / "other")
    write(tmp_path / "other" / "pyvenv.cfg", "version = 3.12.3\n")
    search, chosen = searched(outside, str(python))
    assert (root_of(chosen), search.why) == (root, "")
    (tmp_path / "other" / inside / "diffusers").mkdir(parents=True)
    search, chosen = searched(outside, str(python), running(root))
    assert (chosen, search.chosen) == (None, None) and len(search.found) == 1
    assert "diffusers" in search.why
    # The one it belongs to is judged all the same.
    assert root_of(searched(outside, str(python), running(root, python=python))[1]) == root


# --- the folder that is named ----------------------------------------------------------------


@pytest.mark.parametrize("named", ["srv/p", "srv/p/ComfyUI", "srv/p/ComfyUI/main.py",
                                   "srv/p/ComfyUI/models/..", "./srv/p/"])  # fmt: skip
@pytest.mark.parametrize("absolute", [True, False])
def test_a_portable_build_is_named_by_either_folder(
    tmp_path: Path, named: str, absolute: bool
) -> None:
    root = put_comfyui(tmp_path / "srv" / "p" / "ComfyUI")
    python = write(tmp_path / "srv" / "p" / "python_embeded" / "python.exe", "")
    put_comfyui(tmp_path / "ComfyUI")
    search, chosen = find(machine(tmp_path), f"{tmp_path}/{named}" if absolute else named, "", ())
    assert chosen is not None
    assert (chosen.root, chosen.kind, chosen.python) == (root, "portable", python)
    assert chosen.found_by == "--comfyui"
    assert len(search.found) == 1 and (search.chosen, search.why) == (0, "")


@posix
def test_the_folder_above_is_named_by_two_dots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put_comfyui(tmp_path / "p" / "ComfyUI")
    write(tmp_path / "p" / "python_embeded" / "python.exe", "")
    monkeypatch.chdir(root / "models")
    outside = Outside(Path("/"), {"HOME": str(tmp_path)}, "linux", Redactor((), (), ()))
    _, chosen = find(outside, "..", "", ())
    assert chosen is not None and (chosen.root, chosen.kind) == (root.resolve(), "portable")


def test_a_desktop_is_named_by_its_base_folder(tmp_path: Path) -> None:
    home = tmp_path / "home" / "jane"
    code = put_comfyui(home / "AppData/Local/Programs/ComfyUI/resources/ComfyUI")
    base = tmp_path / "D" / "Mine"
    python = venv(base / ".venv", windows=True)
    write(home / "AppData/Roaming/ComfyUI/config.json", json.dumps({"basePath": "D:\\Mine"}))
    for named in ("D:\\Mine", "D:/Mine/", str(code)):
        _, chosen = find(machine(tmp_path, "win32"), named, "", ())
        assert chosen is not None and (chosen.root, chosen.base) == (code, base)
        assert (chosen.kind, chosen.python, chosen.found_by) == ("desktop", python, "--comfyui")


def test_an_installation_folder_of_desktop_two_is_named(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "srv" / "install" / "ComfyUI")
    (tmp_path / "srv" / "install" / "standalone-env").mkdir()
    python = venv(root / ".venv")
    _, chosen = find(machine(tmp_path), "/srv/install", "", ())
    assert chosen is not None
    assert (chosen.root, chosen.kind, chosen.python) == (root, "desktop-2", python)


def test_a_tilde_is_the_home_folder(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "home" / "jane" / "x")
    assert root_of(find(machine(tmp_path), "~/x", "", ())[1]) == root


def test_the_named_one_that_runs_is_marked_and_others_are_not_added(tmp_path: Path) -> None:
    root, other = put_comfyui(tmp_path / "srv" / "a"), put_comfyui(tmp_path / "srv" / "b")
    search, chosen = find(machine(tmp_path), "srv/a", "", (running(other), running(root, 8190)))
    assert len(search.found) == 1 and chosen is not None
    assert (chosen.root, chosen.port, chosen.found_by) == (root, 8190, "--comfyui")


def test_the_named_one_is_judged_whatever_python_is_named(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "srv" / "a")
    python = venv(tmp_path / "other")
    (tmp_path / "other" / "Lib" / "site-packages" / "diffusers").mkdir(parents=True)
    assert root_of(find(machine(tmp_path), "srv/a", str(python), ())[1]) == root


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("absent", "there is no such folder"),
        ("a file", "it is no folder"),
        ("empty", "no ComfyUI there (main.py, comfy/, nodes.py, comfy_extras/, comfy_api/"),
        ("data", "it has models but not ComfyUI's code (main.py,"),
        ("half", "no ComfyUI there (comfy/, comfy_extras/ not found)"),
        ("a\0b", "there is no such folder"),
        ("x" * 5000, "there is no such folder"),
        ("\ud800", "there is no such folder"),
        ("loop", "there is no such folder"),
    ],
    ids=range(9),
)
def test_what_is_none_is_wrong_usage_and_says_what_is_missing(
    tmp_path: Path, named: str, says: str
) -> None:
    write(tmp_path / "a file", "")
    (tmp_path / "empty").mkdir()
    (tmp_path / "data" / "models").mkdir(parents=True)
    (tmp_path / "data" / "custom_nodes").mkdir()
    for name in ("main.py", "nodes.py", "comfy_api/x"):
        write(tmp_path / "half" / name, "")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(FindError) as raised:
        find(machine(tmp_path), named, "", ())
    assert isinstance(raised.value, UsageError)
    assert says in str(raised.value)


@settings(max_examples=70, deadline=None)
@given(st.text(min_size=1, max_size=400))
def test_any_text_is_a_folder_or_wrong_usage_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, named: str
) -> None:
    outside = machine(tmp_path_factory.getbasetemp() / "nothing-here")
    with pytest.raises(FindError) as raised:
        find(outside, named, "", ())
    said = str(raised.value)
    assert said.startswith("--comfyui ") and said.isprintable()
    assert len(said) < 200 + 120


WORDS = st.sampled_from(
    ["main.py", "../main.py", "/srv/ComfyUI/main.py", "", "\0", "\ud800", "x" * 5000, "/"]
)


@settings(max_examples=70, deadline=None)
@given(
    st.lists(WORDS | st.text(max_size=10), max_size=3),
    st.none() | st.dictionaries(
        st.sampled_from(["custom_nodes", "vae", "loras"]),
        st.lists(WORDS | st.text(max_size=10), max_size=6).map(tuple),
    ),
    st.sampled_from([None, "/", "gone", "srv/ComfyUI"]),
    st.text(max_size=10) | st.sampled_from(["/usr/bin/python3", "/x\0"]),
)  # fmt: skip
def test_no_answer_makes_it_raise(
    tmp_path_factory: pytest.TempPathFactory,
    argv: list[str],
    folders: dict[str, tuple[str, ...]] | None,
    cwd: str | None,
    python: str,
) -> None:
    tree = tmp_path_factory.getbasetemp() / "answers"
    put_comfyui(tree / "srv" / "ComfyUI")
    where = None if cwd is None else tree / cwd
    said = answer()._replace(argv=tuple(argv), cwd=where, folders=folders)
    search, chosen = searched(machine(tree), python, said)
    assert root_of(chosen) in (None, tree / "srv" / "ComfyUI")
    assert (chosen is None) == (search.chosen is None)
