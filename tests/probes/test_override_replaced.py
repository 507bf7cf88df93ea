"""Which places of a Python source replace the attention of all models, and which do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from klein_doctor.attention import Replaced
from klein_doctor.privacy import Redactor
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.override_replaced import Swap
from klein_doctor.probes.override_search import search_overrides
from klein_doctor.probes.override_source import read_source
from klein_doctor.probes.override_words import may_replace
from klein_doctor.probes.scripts import run_at_start

OUTSIDE = Outside(Path("/"), {}, "linux", Redactor((), (), ()))
SDPA = "torch.nn.functional.scaled_dot_product_attention"
COMFY = "comfy.ldm.modules.attention"
GUARDED = """import torch
try:
    from flash_attn import flash_attn_func
    def _fast(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, **kw):
        return flash_attn_func(q, k, v, causal=is_causal)
    torch.nn.functional.scaled_dot_product_attention = _fast
except ImportError:
    pass
"""
IMPORT = "import torch.nn.functional as F\n"
SET = "F.scaled_dot_product_attention = fast\n"


def swaps(source: str) -> tuple[Swap, ...]:
    found = read_source(source, True)
    assert found is not None
    if found.swaps:
        assert may_replace(source.encode()), "it would never have been parsed"
    return found.swaps


def test_a_guarded_one_says_what_it_hangs_on_and_what_it_does() -> None:
    assert swaps(GUARDED) == (
        Swap(6, SDPA, "_fast", ("flash_attn_func",), ("flash_attn",), False, False, "import"),
    )


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.nn.functional.scaled_dot_product_attention = fast",
        "import torch.nn.functional\ntorch.nn.functional.scaled_dot_product_attention = fast",
        IMPORT + SET,
        "from torch.nn import functional as F\n" + SET,
        "from torch.nn import functional\nfunctional.scaled_dot_product_attention = fast",
        "from torch import nn\nnn.functional.scaled_dot_product_attention = fast",
        "import torch\nF = torch.nn.functional\n" + SET,
        "import torch as t\nF = t.nn.functional\n" + SET,
        IMPORT + 'setattr(F, "scaled_dot_product_attention", fast)',
        "import torch\nsetattr(torch.nn.functional, 'scaled_dot_product_attention', fast)",
        IMPORT + "other = F.scaled_dot_product_attention = fast",
        IMPORT + "if torch.cuda.is_available():\n    " + SET,
        IMPORT + "def patch():\n    " + SET + "patch()\n",
        "def patch():\n    import torch.nn.functional as F\n    " + SET + "patch()\n",
        IMPORT + "old = F.scaled_dot_product_attention\n" + SET,
    ],
)
def test_by_whatever_name_the_module_goes(source: str) -> None:
    (found,) = swaps(source)
    assert (found.target, found.by, found.when) == (SDPA, "fast", "import")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (f"import {COMFY} as a\na.optimized_attention = fast", f"{COMFY}.optimized_attention"),
        ("from comfy.ldm.modules import attention as a\na.optimized_attention_masked = fast",
         f"{COMFY}.optimized_attention_masked"),
        ("import comfy.ldm.flux.math\ncomfy.ldm.flux.math.optimized_attention = fast",
         "comfy.ldm.flux.math.optimized_attention"),
    ],
)  # fmt: skip
def test_comfyuis_own(source: str, target: str) -> None:
    assert [each.target for each in swaps(source)] == [target]


@pytest.mark.parametrize(
    "source",
    [
        IMPORT + "x = F.scaled_dot_product_attention(q, k, v)",
        IMPORT + "if F.scaled_dot_product_attention == fast: pass",
        IMPORT + "# F.scaled_dot_product_attention = fast\n",
        "class F: pass\n" + SET,
        "from . import functional as F\n" + SET,
        "self.scaled_dot_product_attention = fast",
        "import other as F\n" + SET,
        # What was there before, put back.
        IMPORT + "old = F.scaled_dot_product_attention\nF.scaled_dot_product_attention = old\n",
        IMPORT + "F.scaled_dot_product_attention = saved['sdpa']\n",
        # For the time of a call.
        IMPORT + "def f():\n    old = F.scaled_dot_product_attention\n    " + SET
        + "    run()\n    F.scaled_dot_product_attention = old\n",
        # A node, which acts where a workflow holds it.
        IMPORT + "class Patch:\n    def run(self):\n        " + SET,
        IMPORT + "def test_it(monkeypatch):\n    " + SET,
        IMPORT + "def wrap():\n    def inner():\n        " + SET,
        # Never, or on other cards.
        IMPORT + "if False:\n    " + SET,
        IMPORT + "if torch.version.hip:\n    " + SET,
        IMPORT + "if is_npu():\n    pass\nif hasattr(torch, 'npu'):\n    " + SET,
        IMPORT + 'if __name__ == "__main__":\n    ' + SET,
    ],
)  # fmt: skip
def test_what_replaces_nothing(source: str) -> None:
    assert swaps(source) == ()


@pytest.mark.parametrize(
    ("source", "when"),
    [
        (IMPORT + "def patch():\n    " + SET, "call"),
        (IMPORT + 'if os.environ.get("FAST"):\n    ' + SET, "choice"),
        (IMPORT + 'FAST = os.getenv("FAST")\nif FAST:\n    ' + SET, "choice"),
        (IMPORT + "if args.fast:\n    " + SET, "choice"),
        (IMPORT + "def patch(on):\n    if on:\n        " + SET + "patch(True)\n", "choice"),
        (IMPORT + "try:\n    a()\nexcept OSError:\n    " + SET, "choice"),
    ],
)
def test_when_it_comes_to_it(source: str, when: str) -> None:
    assert [each.when for each in swaps(source)] == [when]


@pytest.mark.parametrize(
    ("body", "turns", "masked"),
    [
        ("def fast(q, k, v, attn_mask=None, **kw):\n    return g(q, k, v)", False, False),
        ("def fast(q, k, v, attn_mask=None):\n    if attn_mask is not None:\n        return o()",
         False, True),
        ("def fast(q, k, v, bias=None):\n    return g(q.transpose(1, 2))", True, False),
        ("def fast(q, k, v, m, p):\n    return g(q, m)", False, True),
        ("def fast(*args, **kw):\n    return old(*args, **kw)", False, True),
        ("def fast(q, k, v, **kw):\n    return g(q, k, v)", False, False),
        ("def g(q):\n    return q.permute(0, 2, 1, 3)\ndef fast(q, k, v, attn_mask):\n"
         "    return g(q)", True, False),
        ("from elsewhere import fast", False, True),
    ],
)  # fmt: skip
def test_what_it_does_with_axes_and_mask(body: str, turns: bool, masked: bool) -> None:
    (found,) = swaps(IMPORT + body + "\n" + SET)
    assert (found.turns, found.masked) == (turns, masked)


def test_a_function_of_a_package_as_it_stands() -> None:
    (found,) = swaps(
        IMPORT + "from sageattention import sageattn as s\nF.scaled_dot_product_attention = s"
    )
    assert (found.calls, found.needs) == (("sageattn",), ("sageattention",))


def test_what_is_imported_only_when_it_runs_is_no_condition() -> None:
    (found,) = swaps(
        IMPORT + "def fast(q, k, v, attn_mask):\n    from flash_attn import flash_attn_func\n"
        "    return flash_attn_func(q, k, v)\n" + SET
    )
    assert (found.calls, found.needs) == (("flash_attn_func",), ())


def test_a_long_file_is_read_whole() -> None:
    body = "def fast(q, k, v, attn_mask):\n    return q.transpose(1, 2)\n"
    (found,) = swaps(IMPORT + body + "def other():\n    pass\n" * 400 + SET)
    assert found.turns


# --- in folders ------------------------------------------------------------------------------


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def search(root: Path, *startup: Path) -> tuple[Replaced, ...]:
    nodes = root / "custom_nodes"
    return search_overrides(OUTSIDE, [*startup, root, nodes], nodes, 20.0).replaced


@pytest.mark.parametrize("others", [0, 12])  # so many that a process of its own reads them
def test_a_custom_node_is_named_with_file_and_line(tmp_path: Path, others: int) -> None:
    put(tmp_path / "custom_nodes/fast_attn/__init__.py", GUARDED)
    for number in range(others):
        put(tmp_path / f"custom_nodes/other{number}/__init__.py", "x = 1\n")
    (found,) = search(tmp_path)
    assert found.path.real.endswith("fast_attn/__init__.py")
    assert (found.node, found.line, found.target) == ("fast_attn", 6, SDPA)
    assert (found.calls, found.needs) == (("flash_attn_func",), ("flash_attn",))


def test_a_disabled_node_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path / "custom_nodes/fast_attn.disabled/__init__.py", GUARDED)
    assert search(tmp_path) == ()


def test_what_python_runs_at_its_start(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    put(site / "sitecustomize.py", IMPORT + SET)
    line = "import torch; torch.nn.functional.scaled_dot_product_attention = torch.fast"
    put(site / "fast.pth", f"../not there\n{line}\n")
    put(site / "plain.pth", "../src\n")
    put(site / "torch/nn/functional.py", IMPORT + SET)
    root = tmp_path / "ComfyUI"
    root.mkdir()
    found = search(root, *run_at_start([site]))
    assert [(Path(each.path.real).name, each.line, each.node) for each in found] == [
        ("fast.pth", 2, ""),
        ("sitecustomize.py", 2, ""),
    ]
