"""A message is found however it was saved, pasted, wrapped or translated on the way."""

from __future__ import annotations

import codecs
import json

import pytest
from asking import asked, first
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.recipe_messages import CERTAINTIES, load_known
from klein_doctor.triage.text import excerpt_of, wrapped

SHAPES = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (512x15360 and 7680x3072)"
ARCH = (
    "NVIDIA GeForce RTX 5070 with CUDA capability sm_120 is not compatible with the current "
    "PyTorch installation."
)
SYMBOL = (
    "ImportError: /opt/venv/lib/python3.12/site-packages/flash_attn_2_cuda.so: undefined symbol: "
    "_ZN3c104cuda9SetDeviceEi"
)
CLIP = "clip missing: ['model.layers.0.self_attn.q_proj.weight', 'model.norm.weight']"
LACKS_NAME = "AttributeError: module {}torch{} has no attribute {}float8_e8m0fnu{}"
LOG = f"Starting server\n\ngot prompt\n{SHAPES}\nPrompt executed in 0.31 seconds\n"
WRONG = "encoder-wrong"


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (b"", "utf-8"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
        (b"", "cp1252"),
        (b"", "gbk"),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_encoding_and_line_end(mark: bytes, encoding: str, ending: str) -> None:
    greeting = {"cp1252": "Gerät wählen: «größer»", "gbk": "正在加载模型 页面文件太小"}.get(
        encoding, "Modèle chargé: 页面" if encoding.startswith("utf") else ""
    )
    text = (greeting + "\n" + LOG).replace("\n", ending)
    (guess, *_) = asked(mark + text.encode(encoding))
    assert (guess.check, guess.line) == (WRONG, SHAPES)


def test_a_text_that_comes_in_small_chunks() -> None:
    data = codecs.BOM_UTF16_LE + LOG.encode("utf-16-le")
    excerpt = excerpt_of([data[place : place + 1] for place in range(len(data))])
    assert SHAPES in excerpt.lines
    cut = LOG.encode()
    assert SHAPES in excerpt_of([b"", cut[:1], b"", cut[1:50], cut[50:]]).lines


@pytest.mark.parametrize("number", [1, 4, 10, 4000, 5000])
def test_zeros_that_a_crash_left_in_front(number: int) -> None:
    assert first(bytes(number) + b"\n" + LOG.encode()) == WRONG
    assert first(LOG.encode() + bytes(number)) == WRONG
    assert first(LOG.replace("\n", "\0\n").encode()) == WRONG


@pytest.mark.parametrize(
    "text",
    [
        "  5%|▌         | 1/20 [00:01<00:20]\r 10%|█         | 2/20 [00:02<00:18]\r" + SHAPES,
        "\x1b[31m\x1b[1m" + SHAPES + "\x1b[0m",
        "\x1b]0;ComfyUI\x07\x1b[2K\x1b[38;5;196mRuntimeError\x1b[0m: mat1 and mat2 shapes cannot "
        "be \x1b[1mmultiplied\x1b[0m (512x15360 and \x1b[33m7680x3072\x1b[0m)",
        f"> > {SHAPES}",
        f"```python\n{SHAPES}\n```",
        f"```{SHAPES}```",
        f"- **{SHAPES}**",
        f"| Symptom | `{SHAPES}` |",
        f"│ {SHAPES} │",
        f"<details><pre>{SHAPES}</pre></details>",
        f"[ERROR] {SHAPES}",
        f"2026-11-20T10:11:12.345Z {SHAPES}",
        f"[2026-11-20 10:11:12,345] [ERROR] {SHAPES}",
        f"[2026-11-20 10:11:12.345] {SHAPES}",
        f"10:11:12 AM - {SHAPES}",
        f"comfyui-1  | 10:11:12 {SHAPES}",
        SHAPES.replace("x", "\u00d7"),
        SHAPES.replace(" ", "\u00a0"),
        SHAPES.replace("(", "\uff08").replace(")", "\uff09").replace(":", "\uff1a"),
        "".join(chr(ord(sign) + 0xFEE0) if sign in "0123456789()" else sign for sign in SHAPES),
        "\u202a" + SHAPES + "\u200b",
        SHAPES.upper().replace("X", "x"),
        "\t" + SHAPES + "   ",
    ],
)
def test_what_terminals_forums_and_keyboards_make_of_a_line(text: str) -> None:
    assert first(text) == WRONG
    assert first(f"Hello,\nwhat is wrong?\n\n{text}\n\nThanks") == WRONG


@pytest.mark.parametrize(
    ("text", "check"),
    [
        (LACKS_NAME.format(*["&#39;"] * 4), "torch-too-old"),
        (LACKS_NAME.format(*["&apos;"] * 4), "torch-too-old"),
        (LACKS_NAME.format("\u2018", "\u2019", "\u2018", "\u2019"), "torch-too-old"),
        ("ImportError: cannot import name &quot;Qwen3Config&quot; from &quot;transformers&quot;",
         "transformers-incompatible"),
        ("docker: could not select device driver &quot;&quot; with capabilities: [[gpu]].",
         "gpu-not-found"),
        ("ModuleNotFoundError: No module named \u2018torch\u2019", "torch-missing"),
        ("Error\u00a0while\u00a0deserializing\u00a0header:\u00a0HeaderTooLarge", "asset-damaged"),
        ("clip missing: [\u2018model.layers.18.mlp.up_proj.weight\u2019]", "encoder-wrong"),
    ],
)  # fmt: skip
def test_entities_and_curly_quotes(text: str, check: str) -> None:
    assert first(text) == check


def test_a_trace_escaped_in_json() -> None:
    trace = (
        f'Traceback (most recent call last):\n  File "/opt/ComfyUI/nodes.py", line 1\n{SHAPES}\n'
    )
    for document in ({"exception_message": trace}, [trace], trace):
        text = json.dumps(document)
        assert first(text) == WRONG
        assert asked(text)[0].line.startswith("RuntimeError: mat1")
    assert first("data: " + json.dumps({"exception_message": trace})) == WRONG


@pytest.mark.parametrize(
    ("line", "check"),
    [(SHAPES, WRONG), (ARCH, "torch-lacks-arch"), (SYMBOL, "attention-extension-broken"),
     (CLIP, WRONG)],
)  # fmt: skip
@pytest.mark.parametrize("width", [47, 60, 72, 80])
def test_a_line_that_a_window_wrapped(line: str, check: str, width: int) -> None:
    """Cut at every so many signs, as a console does, inside words and all."""
    cut = [line[place : place + width] for place in range(0, len(line), width)]
    if len(cut) <= 3:
        assert first("\n".join(["got prompt", *cut, "Prompt executed in 0.31 seconds"])) == check
        assert first("\r\n".join(cut)) == check


@pytest.mark.parametrize("width", [40, 55, 70])
def test_a_line_that_an_editor_wrapped(width: int) -> None:
    """Cut between words, with an indent or a quote mark before what follows."""
    import textwrap

    for line, check in ((SHAPES, WRONG), (ARCH, "torch-lacks-arch")):
        cut = textwrap.wrap(line, width)
        assert first("\n".join(cut)) == check
        assert first("\n".join("> " + piece for piece in cut)) == check
        assert first("\n    ".join(cut)) == check


def test_lines_side_by_side_are_not_taken_for_one() -> None:
    assert first("Found no\nkernel panic\nimage of the moon\n\nno CUDA\n4 GPUs are available") == ""


def test_only_short_texts_are_joined() -> None:
    assert wrapped(excerpt_of([b"one line"])) == ()
    assert wrapped(excerpt_of([b"a line\n" * 100_000])) == ()


def test_nothing_at_all() -> None:
    for text in ("", "\n", " \r\n\t", "\ufeff", "\0\0\0\0", "```\n```"):
        assert asked(text) == []


_WORDS = sorted({word for row in load_known().messages for word in (*row.any, row.example)})
_BITS = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(_WORDS).map(lambda word: word.encode()),
    st.sampled_from([codecs.BOM_UTF8, codecs.BOM_UTF16_LE, b"\r", b"\r\n", b"\n", b"\x1b[31m",
                     b"\x1b]", b"\0", b"&#39;", b"{", b'"', b"\\n", b"[", b" not in ["]),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(_BITS, max_size=12), st.integers(1, 64))
def test_any_bytes_give_an_answer(bits: list[bytes], size: int) -> None:
    data = b"".join(bits)
    known = {row.id for row in (*load_known().messages, *load_known().symptoms)}
    whole = excerpt_of([data])
    for guess in asked(data):
        assert guess.check and guess.cause and guess.do
        assert guess.certainty in CERTAINTIES and guess.row in known
        assert 0 < guess.place <= 1
    chunks = [data[place : place + size] for place in range(0, len(data), size)]
    assert excerpt_of(chunks).whole == whole.whole
    ranks = [guess.rank for guess in asked(data)]
    assert ranks == sorted(ranks, reverse=True)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_any_description_gives_an_answer(text: str) -> None:
    found = asked(text.encode("utf-8", "surrogatepass"))
    assert len({guess.check for guess in found}) == len(found)
