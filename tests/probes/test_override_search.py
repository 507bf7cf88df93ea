"""The search for overrides in a process of its own, and sources cut down before they are parsed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import put_comfyui

from klein_doctor.attention import Scan
from klein_doctor.privacy import Redactor
from klein_doctor.probes import override_search
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.override_search import search_overrides, together
from klein_doctor.probes.override_source import read_source
from klein_doctor.probes.override_trim import trimmed
from klein_doctor.probes.overrides import read_overrides
from klein_doctor.probes.scripts import own_scripts

FORCES = 'X.from_pretrained("a/b", attn_implementation="flash_attention_2")\n'
MANY = 12
PADDING = "".join(f"def f{n}(a):\n    return [a, {n}]\n\n\n" for n in range(200))


def outside(root: Path) -> Outside:
    return Outside(Path("/"), {"HOME": str(root)}, "linux", Redactor(("jane",), (str(root),), ()))


def tree(root: Path, nodes: int = MANY) -> Path:
    found = put_comfyui(root / "ComfyUI") / "custom_nodes"
    for number in range(nodes):
        folder = found / f"Node{number:02}"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(FORCES if number % 3 == 0 else "import this\n")
    return found


def test_beside_or_not_it_finds_the_same(tmp_path: Path) -> None:
    nodes = tree(tmp_path)
    here = outside(tmp_path)
    beside = search_overrides(here, [nodes.parent, nodes], nodes, 20)
    assert beside == read_overrides(here, [nodes.parent, nodes], (), nodes, 20)
    assert [each.node for each in beside.overrides] == ["Node00", "Node03", "Node06", "Node09"]
    assert beside.overrides[0].path.local.startswith("~/ComfyUI/custom_nodes/Node00")


@pytest.mark.parametrize("text", ["", "raise SystemExit(3)", "print('no JSON')", "print('[1]')"])
def test_where_the_process_comes_to_nothing_it_is_searched_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    child = tmp_path / "child.py"
    if text:
        child.write_text(text)
    monkeypatch.setattr(override_search, "_CHILD", child)
    nodes = tree(tmp_path)
    found = search_overrides(outside(tmp_path), [nodes], nodes, 20)
    assert len(found.overrides) == 4


def test_a_process_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = tmp_path / "child.py"
    child.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(override_search, "_CHILD", child)
    monkeypatch.setattr(override_search, "_GRACE_S", 0.3)
    nodes = tree(tmp_path)
    start = time.monotonic()
    search_overrides(outside(tmp_path), [nodes], nodes, 0.2)
    assert time.monotonic() - start < 30


def test_searches_add_up() -> None:
    one, two = Scan((), 3, True, 1), Scan((), 4, False, 0)
    assert together(one, two) == Scan((), 7, False, 1)


# --- cut down --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        PADDING + FORCES,
        PADDING + "def load():\n    return " + FORCES,
        PADDING + "@decorated\n@twice\ndef load():\n    return " + FORCES,
        PADDING + 'def doc():\n    """One\nat the margin\n    """\n' + FORCES,
        PADDING + "def wide(\na,\nb\n):\n    pass\n" + FORCES,
        PADDING + 'T = """\ndef not_a_function(:\n"""\n' + FORCES,
        PADDING + "def klein():\n    pass\n" + FORCES,
        "try:\n    import flash_attn\n    HAS = True\nexcept ImportError:\n    HAS = False\n"
        + PADDING
        + "def load():\n    if HAS:\n        return " + FORCES,
    ],
)  # fmt: skip
def test_a_cut_source_says_the_same(text: str) -> None:
    cut = trimmed(text)
    assert cut.count("\n") == text.count("\n")
    assert len(cut) < len(text)
    lines = text.splitlines()
    found = read_source(text, library=True)
    assert found is not None
    for hit in found.hits:
        assert "flash_attention_2" in lines[hit.line - 1]
    alone = read_source(text.replace(PADDING, ""), library=True)
    assert alone is not None
    assert [hit[1:] for hit in alone.hits] == [hit[1:] for hit in found.hits]
    assert alone.klein == found.klein


@given(st.text(alphabet="def clas@\n\"'():#x =", max_size=300))
def test_lines_keep_their_numbers(text: str) -> None:
    assert trimmed(PADDING + text).count("\n") == (PADDING + text).count("\n")


# --- the user's own scripts ------------------------------------------------------------------


def test_only_a_folder_of_sources_is_one_of_scripts(tmp_path: Path) -> None:
    here = Outside(tmp_path, {"HOME": str(tmp_path / "home")}, "linux", Redactor((), (), ()))
    assert own_scripts(here) == []
    (tmp_path / "run.py").write_text(FORCES)
    assert own_scripts(here) == [tmp_path]
    at_home = Outside(tmp_path, {"HOME": str(tmp_path)}, "linux", Redactor((), (), ()))
    assert own_scripts(at_home) == []
