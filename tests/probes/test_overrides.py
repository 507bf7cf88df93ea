"""The search for attention overrides: where it looks, what it leaves out, what it survives."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from klein_doctor.attention import Scan
from klein_doctor.privacy import Redactor
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.override_config import read_config
from klein_doctor.probes.override_source import read_source
from klein_doctor.probes.override_words import KEYS
from klein_doctor.probes.overrides import read_overrides

OUTSIDE = Outside(Path("/"), {}, "linux", Redactor(("jane",), ("/home/jane",), ()))
FORCED = 'X.from_pretrained("a/b", attn_implementation="flash_attention_2")\n'
LINKS = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")


def put(root: Path, *names: str, text: str | bytes = FORCED) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def scan(*roots: Path, nodes: Path | None = None, seconds: float = 20.0) -> Scan:
    return read_overrides(OUTSIDE, roots, (), nodes, seconds)


def found(root: Path, nodes: Path | None = None) -> list[tuple[str, str]]:
    """Where overrides were found below a folder, and in which custom node."""
    return [
        (Path(each.path.real).relative_to(root).as_posix(), each.node)
        for each in scan(root, nodes=nodes).overrides
    ]


def names(root: Path) -> list[str]:
    return [name for name, _ in found(root)]


# --- where it looks --------------------------------------------------------------------------


def test_a_comfyui_and_its_nodes(tmp_path: Path) -> None:
    put(tmp_path, "nodes.py", "custom_nodes/Pack/src/models/load.py", "custom_nodes/one.py")
    put(tmp_path, "models/LLM/remote.py", "custom_nodes/Pack/notes.txt")
    expected = [
        ("custom_nodes/Pack/src/models/load.py", "Pack"),
        ("custom_nodes/one.py", "one.py"),
        ("nodes.py", ""),
    ]
    assert found(tmp_path, tmp_path / "custom_nodes") == expected


@pytest.mark.parametrize(
    "folder",
    [
        "tests", "test", "tests-unit", "docs", "examples", ".git", ".venv", "venv", "env",
        "python_embeded", "node_modules", "__pycache__", "lib/site-packages", "web", "output",
        "input", "temp",
        "custom_nodes/Gone.disabled", "custom_nodes/.disabled/Gone",
    ],
)  # fmt: skip
def test_what_is_left_out(tmp_path: Path, folder: str) -> None:
    put(tmp_path, f"{folder}/a.py", f"{folder}/deep/a.py", "kept.py")
    assert names(tmp_path) == ["kept.py"]


def test_an_environment_by_any_name_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "mine/pyvenv.cfg", "mine/a.py", "conda/conda-meta/history", "conda/a.py")
    assert names(tmp_path) == []


def test_a_custom_node_may_have_any_name(tmp_path: Path) -> None:
    put(tmp_path, "custom_nodes/test/a.py", "custom_nodes/web/a.py")
    assert [node for _, node in found(tmp_path, tmp_path / "custom_nodes")] == ["test", "web"]


def test_scripts_of_a_node_are_not_run_but_those_of_the_user_are(tmp_path: Path) -> None:
    put(tmp_path, "custom_nodes/Pack/test.py", "custom_nodes/Pack/test_x.py", "test.py")
    assert found(tmp_path, tmp_path / "custom_nodes") == [("test.py", "")]


def test_what_a_module_does_when_run_by_itself(tmp_path: Path) -> None:
    alone = f'if __name__ == "__main__":\n    {FORCED}'
    put(tmp_path, "script.py", "pack/a.py", "custom_nodes/Pack/a.py", text=alone)
    put(tmp_path, "pack/__init__.py", text="")
    assert names(tmp_path) == ["custom_nodes/Pack/a.py", "script.py"]
    assert found(tmp_path, tmp_path / "custom_nodes") == [("script.py", "")]


def test_roots_within_roots_are_looked_at_once(tmp_path: Path) -> None:
    put(tmp_path, "custom_nodes/Pack/a.py")
    nodes = tmp_path / "custom_nodes"
    result = scan(nodes / "Pack", tmp_path, nodes, tmp_path / "absent", nodes=nodes)
    assert (len(result.overrides), result.files, result.complete) == (1, 1, True)
    assert result.overrides[0].node == "Pack"


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    put(tmp_path, "run.py")
    assert len(scan(tmp_path / "run.py").overrides) == 1


@LINKS
def test_links(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/a.py", "root/custom_nodes/b.py")
    nodes = tmp_path / "root" / "custom_nodes"
    (nodes / "Linked").symlink_to(tmp_path / "elsewhere")
    (nodes / "Twice").symlink_to(tmp_path / "elsewhere")
    (nodes / "loop").symlink_to(tmp_path / "root")
    (nodes / "c.py").symlink_to(nodes / "b.py")
    (nodes / "gone.py").symlink_to(nodes / "nothing.py")
    assert found(tmp_path / "root", nodes) == [
        ("custom_nodes/Linked/a.py", "Linked"),
        ("custom_nodes/b.py", "b.py"),
    ]


# --- what is told ----------------------------------------------------------------------------


def test_nothing_of_a_user_is_told(tmp_path: Path) -> None:
    put(tmp_path, "a.py", text=FORCED.replace("a/b", "/home/jane/models/qwen"))
    (each,) = scan(tmp_path).overrides
    assert each.model == "~/models/qwen"
    (other,) = read_overrides(
        Outside(Path("/"), {}, "linux", Redactor((), (str(tmp_path),), ())), [tmp_path], (), None
    ).overrides
    assert (other.path.local, other.path.public) == ("~/a.py", "~/a.py")


def test_a_strange_text_is_made_printable_and_cut(tmp_path: Path) -> None:
    value = "flash\\x1b[31m" + "x" * 500
    put(tmp_path, "a.py", text=FORCED.replace("flash_attention_2", value))
    (each,) = scan(tmp_path).overrides
    assert each.asks.startswith("flash?[31mxxx")
    assert len(each.asks) <= 120


# --- what cannot be read ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"print 'python 2'\n" + FORCED.encode(),
        FORCED.encode() + b"\0",
        FORCED.encode() + b"# \xff\xfe not utf-8\n",
        b"# coding: no-such-codec\n" + FORCED.encode(),
        b"# coding: punycode\n" + FORCED.encode(),
        b"# coding: base64\n" + FORCED.encode(),
        FORCED.encode("utf-16"),
        b"\xfe\xff" + FORCED.encode("utf-16-be"),
        FORCED.encode() + b"#" * (600 << 10),
        FORCED.encode() + b"#" * (3 << 20),
        FORCED.encode() + b"x = " + b"(" * 5000,
        FORCED.encode() + b"x = " + b"-" * 100_000 + b"1",
        FORCED.encode() + b"x = a" + b".b" * 15_000,
        FORCED.encode() + b"x = a" + b"()" * 200_000,
        FORCED.encode() + b"import " + b"a." * 200_000 + b"a",
        FORCED.encode() + b"x = f'" + b"{a}" * 100_000 + b"'",
    ],
)
def test_sources_that_nobody_can_parse_are_counted(tmp_path: Path, data: bytes) -> None:
    put(tmp_path, "bad.py", text=data)
    put(tmp_path, "good.py")
    start = time.monotonic()
    result = scan(tmp_path)
    assert "good.py" in {Path(each.path.real).name for each in result.overrides}
    assert result.unread + len(result.overrides) == 2
    assert (result.files, result.complete) == (2, True)
    assert time.monotonic() - start < 10


def test_what_holds_no_telling_word_is_nobodys_loss(tmp_path: Path) -> None:
    put(tmp_path, "a.py", text=b"print 'python 2'\0\xff")
    put(tmp_path, "b.py", text=b"#" * (50 << 20))
    assert scan(tmp_path) == Scan((), 2, True, 0)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\xef\xbb\xbf" + FORCED.encode(), 1),
        (b"# coding: gbk\n# \xd6\xd0\n" + FORCED.encode(), 3),
        (b"#!/usr/bin/python\n# -*- coding: latin-1 -*-\n# \xe4\n" + FORCED.encode(), 4),
        (b"# \xe4\xb8\xad\r\n" + FORCED.encode(), 2),
        (b"x = '\\d'  # an escape that Python warns of\nx is 1\n" + FORCED.encode(), 3),
        (b"x = " + b"+".join([b"a"] * 900) + b"\n" + FORCED.encode(), 2),
    ],
)
def test_sources_of_all_kinds(tmp_path: Path, data: bytes, line: int) -> None:
    put(tmp_path, "a.py", text=data)
    result = scan(tmp_path)
    assert [each.line for each in result.overrides] == [line]
    assert result.unread == 0


def test_a_strangers_warnings_change_nothing_for_others(tmp_path: Path) -> None:
    put(tmp_path, "a.py", text="x = '\\d'\n" + FORCED)
    results: list[Scan] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=lambda: results.append(scan(tmp_path))) for _ in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        warnings.warn("our own", stacklevel=1)
    assert [str(each.message) for each in caught] == ["our own"]
    assert [len(each.overrides) for each in results] == [1, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/custom_nodes/n\xff"
    os.makedirs(folder)
    Path(os.fsdecode(folder + b"/a.py")).write_text(FORCED)
    (each,) = scan(tmp_path, nodes=tmp_path / "custom_nodes").overrides
    assert each.node == "n?"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is closed to root")
def test_what_is_closed_to_us(tmp_path: Path) -> None:
    put(tmp_path, "shut/a.py", "b.py", "open.py")
    (tmp_path / "shut").chmod(0)
    (tmp_path / "b.py").chmod(0)
    assert names(tmp_path) == ["open.py"]
    (tmp_path / "shut").chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.py")
    assert scan(tmp_path, tmp_path / "a.py").overrides == ()


def test_the_time_limit(tmp_path: Path) -> None:
    put(tmp_path, "a.py")
    assert scan(tmp_path, seconds=0) == Scan((), 0, False, 0)


# --- configs ---------------------------------------------------------------------------------


def configs(folder: Path) -> list[tuple[str, int, str, str, str, bool]]:
    result = read_overrides(OUTSIDE, (), [folder], None)
    assert all(each.kind == "config" for each in result.overrides)
    return [
        (Path(each.path.real).parent.name, each.line, each.how, each.asks, each.owner, each.klein)
        for each in result.overrides
    ]


QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}


@pytest.mark.parametrize("key", KEYS)
def test_the_keys_of_a_config(tmp_path: Path, key: str) -> None:
    config = {**QWEN3, key: "flash_attention_2"}
    put(tmp_path, "text_encoder/config.json", text=json.dumps(config, indent=2))
    put(tmp_path, "model_index.json", text="{}")
    expected = [("text_encoder", 6, key, "flash_attention_2", "Qwen3ForCausalLM", True)]
    assert configs(tmp_path) == expected
    assert [each[0] for each in configs(tmp_path / "text_encoder")] == ["text_encoder"]


@pytest.mark.parametrize(
    ("extra", "asked"),
    [
        ({"_attn_implementation": {"text_config": "flash_attention_2", "": "sdpa"}},
         ["flash_attention_2"]),
        ({"text_config": {"_attn_implementation": "kernels-community/flash-attn2"}},
         ["kernels-community/flash-attn2"]),
        ({"_attn_implementation": "sdpa"}, []),
        ({"_attn_implementation": None}, []),
        ({"_attn_implementation": 5}, []),
        ({"_flash_attn_2_enabled": True, "use_flash_attention_2": True}, []),
        ({"note": "attn_implementation flash_attention_2"}, []),
    ],
)  # fmt: skip
def test_values_of_a_config(tmp_path: Path, extra: dict[str, object], asked: list[str]) -> None:
    put(tmp_path, "text_encoder/config.json", text=json.dumps({**QWEN3, **extra}))
    assert [each[3] for each in configs(tmp_path)] == asked


def test_diffusers_own_components_know_no_such_key(tmp_path: Path) -> None:
    config = {"_class_name": "Flux2Transformer2DModel", "_attn_implementation": "flash_attention_2"}
    put(tmp_path, "transformer/config.json", text=json.dumps(config))
    assert configs(tmp_path) == []


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": ' * 50_000, "1" * 5000])
def test_configs_that_are_no_json_are_counted(tmp_path: Path, text: str) -> None:
    put(tmp_path, "text_encoder/config.json", text=text + ' "_attn_implementation"')
    result = read_overrides(OUTSIDE, (), [tmp_path, tmp_path / "absent"], None)
    assert (result.overrides, result.unread, result.complete) == ((), 1, True)


# --- whatever a stranger wrote ---------------------------------------------------------------

FRAGMENTS = st.sampled_from(
    ["attn_implementation", "_attn_implementation", '"flash_attention_2"', "=", "(", ")", "[", "]",
     "{", "}", ":", ",", ".", "\n", "    ", "def f", "class A", "if ", "else", "try:", "except:",
     "lambda ", "kwargs", "self", "*", "**", "X.from_pretrained", "set_attention_backend", "and ",
     "or ", "not ", "None", "True", "import flash_attn", "global a", "a", "f'{a}'", "return ",
     "with ", "as ", "for a in ", "match a:", "case 1:", "@", "del ", "async ", "await ", ":=",
     'os.environ["DIFFUSERS_ATTN_BACKEND"]', "optimized_attention_override", "pop", "get"]
)  # fmt: skip
QUICK = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)


@QUICK
@given(st.lists(FRAGMENTS, max_size=60).map("".join))
def test_any_pieces_of_source(text: str) -> None:
    read_source(text, library=True)


@QUICK
@given(st.lists(st.lists(FRAGMENTS, max_size=12).map("".join), max_size=8))
def test_any_lines_that_parse(lines: list[str]) -> None:
    good = [line for line in lines if read_source(line, library=False) is not None]
    read_source("\n".join(good), library=False)


@QUICK
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xfe", b"# coding: utf-7\n", FORCED.encode()]),
)
def test_any_bytes(tmp_path: Path, data: bytes, start: bytes) -> None:
    put(tmp_path, "a.py", text=start + data + b"\nattn_implementation = 'flash'")
    assert scan(tmp_path).files == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from([*KEYS, "architectures"]), inner)
    ),
)


@QUICK
@given(JSON)
def test_any_config(config: object) -> None:
    assert read_config(json.dumps(config).encode()) is not None


@QUICK
@given(st.binary())
def test_any_bytes_of_a_config(data: bytes) -> None:
    read_config(data)
