"""Which places of a Python source ask for another attention implementation, and which do not."""

from __future__ import annotations

import pytest

from klein_doctor.probes.override_source import Hit, read_source
from klein_doctor.probes.override_words import is_worth_parsing, tells


def hits(source: str, library: bool = False) -> tuple[Hit, ...]:
    """What a source asks for, by the way every file goes: bytes first.

    "FA2" in it stands for the long name.
    """
    text = source.replace('"FA2"', f'"{FLASH}"')
    data = text.encode()
    found = read_source(text, library)
    assert found is not None
    if found.hits:
        assert tells(data) and is_worth_parsing(data), "it would never have been parsed"
    return found.hits


def shown(source: str) -> list[tuple[int, str, str]]:
    return [(hit.line, hit.how, hit.asks) for hit in hits(source)]


FLASH = "flash_attention_2"


# --- what asks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "how", "asks"),
    [
        ('X.from_pretrained(p, attn_implementation="FA2")', "attn_implementation", FLASH),
        ("X.from_pretrained(p, _attn_implementation='flash_attention_3')", "_attn_implementation",
         "flash_attention_3"),
        ('X.from_config(c, attn_implementation="flash_attention_4")', "attn_implementation",
         "flash_attention_4"),
        ('Config(attn_implementation="flex_attention")', "attn_implementation", "flex_attention"),
        ('f(attn_implementation="paged|flash_attention_2")', "attn_implementation",
         "paged|flash_attention_2"),
        ('f(attn_implementation="kernels-community/flash-attn2")', "attn_implementation",
         "kernels-community/flash-attn2"),
        ('f(attn_implementation="me/mine@v1:fn")', "attn_implementation", "me/mine@v1:fn"),
        ('f(attn_implementation={"text_config": "FA2", "vision_config": "sdpa"})',
         "attn_implementation", FLASH),
        ('kwargs = {"attn_implementation": "FA2"}', "attn_implementation", FLASH),
        ('f(**{"attn_implementation": "FA2"})', "attn_implementation", FLASH),
        ('kwargs = dict(attn_implementation="FA2")', "attn_implementation", FLASH),
        ('kwargs.update(attn_implementation="FA2")', "attn_implementation", FLASH),
        ('kwargs.update({"attn_implementation": "FA2"})', "attn_implementation", FLASH),
        ('kwargs["attn_implementation"] = "FA2"', "attn_implementation", FLASH),
        ('kwargs.setdefault("attn_implementation", "FA2")', "attn_implementation", FLASH),
        ('a = kwargs.pop("attn_implementation", "FA2")', "attn_implementation", FLASH),
        ('a = getattr(c, "_attn_implementation", "FA2")', "_attn_implementation", FLASH),
        ('config._attn_implementation = "FA2"', "_attn_implementation", FLASH),
        ('m.config.text_config._attn_implementation_internal = "FA2"',
         "_attn_implementation_internal", FLASH),
        ('a[0].config._attn_implementation = "FA2"', "_attn_implementation", FLASH),
        ('setattr(config, "_attn_implementation", "FA2")', "_attn_implementation", FLASH),
        ('attn_implementation = "FA2"', "attn_implementation", FLASH),
        ('attn_implementation: str = "FA2"', "attn_implementation", FLASH),
        ('m.set_attn_implementation("FA2")', "set_attn_implementation", FLASH),
        ('X.from_pretrained(p, use_flash_attention_2=True)', "use_flash_attention_2", FLASH),
        ('p.transformer.set_attention_backend("flash")', "set_attention_backend", "flash"),
        ('p.transformer.set_attention_backend(backend="_flash_3_hub")', "set_attention_backend",
         "_flash_3_hub"),
        ("t.set_attention_backend(AttentionBackendName.SAGE)", "set_attention_backend", "sage"),
        ('t.set_attention_backend("_sage_qk_int8_pv_fp8_cuda")', "set_attention_backend",
         "_sage_qk_int8_pv_fp8_cuda"),
        ('with attention_backend("xformers"):\n    pass', "attention_backend", "xformers"),
        ("p.enable_xformers_memory_efficient_attention()",
         "enable_xformers_memory_efficient_attention", "xformers"),
        ('os.environ["DIFFUSERS_ATTN_BACKEND"] = "flash"', "environ", "flash"),
        ('os.environ.setdefault("DIFFUSERS_ATTN_BACKEND", "sage")', "environ", "sage"),
        ('os.putenv("DIFFUSERS_ATTN_BACKEND", "flash")', "environ", "flash"),
        ('os.environ.update({"DIFFUSERS_ATTN_BACKEND": "flash"})', "environ", "flash"),
        ('run(c, env={**os.environ, "DIFFUSERS_ATTN_BACKEND": "flash"})', "environ", "flash"),
        ('p.add_argument("--attn-implementation", default="FA2")',
         "argument default", FLASH),
        ('p.add_argument("--attn", "-a", default="FA2", choices=["sdpa"])',
         "argument default", FLASH),
        ('def load(attn_implementation="FA2"): pass', "parameter default", FLASH),
        ('def load(*, attn_implementation: str = "FA2"): pass', "parameter default",
         FLASH),
        ('f = lambda attn_implementation="FA2": 0', "parameter default", FLASH),
    ],
)  # fmt: skip
def test_asks(source: str, how: str, asks: str) -> None:
    assert shown(source) == [(1, how, asks)]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ('ATTN = "FA2"\nX.from_pretrained(p, attn_implementation=ATTN)', 1),
        ('def f():\n    a = "FA2"\n    X.from_pretrained(p, attn_implementation=a)', 2),
        ('class A:\n    attn = "FA2"\n    def f(self):\n'
         "        X.from_pretrained(p, attn_implementation=self.attn)", 2),
        ('class A:\n    def __init__(self):\n        self.attn = "FA2"\n'
         "    def f(self):\n        X.from_pretrained(p, attn_implementation=self.attn)", 3),
        ('def f(a="FA2"):\n    X.from_pretrained(p, attn_implementation=a)', 1),
        ('def f(a=None):\n    a = a or "FA2"\n    f(attn_implementation=a)', 2),
        ('def f(a=None):\n    if a is None:\n        a = "FA2"\n'
         "    g(attn_implementation=a)", 3),
        ('def f(a=None):\n    g(attn_implementation=a if a else "FA2")', 2),
        # The card alone: a new one passes, and there may be no kernel for it.
        ('a = "FA2" if torch.cuda.get_device_capability()[0] >= 8 else "eager"\n'
         "g(attn_implementation=a)", 1),
        ("supports_flash = torch.cuda.get_device_capability()[0] >= 8\n"
         'g(attn_implementation="FA2" if supports_flash else "sdpa")', 2),
        ('if torch.cuda.is_available():\n    a = "FA2"\nelse:\n    a = "eager"\n'
         "g(attn_implementation=a)", 2),
        ('if device == "cuda":\n    kwargs["attn_implementation"] = "FA2"', 2),
        ('class A:\n    def load(self):\n        if self.model is None:\n'
         '            self.model = X.from_pretrained(p, attn_implementation="FA2")', 4),
        # Switched on in the source.
        ('USE_FLASH = True\nif USE_FLASH:\n    kwargs["attn_implementation"] = "FA2"',
         3),
        ("def f(kwargs, use_flash_attn=True):\n    if use_flash_attn:\n"
         '        kwargs["attn_implementation"] = "FA2"', 3),
        ('if "attn_implementation" not in kwargs:\n'
         '    kwargs["attn_implementation"] = "FA2"', 2),
        ('if kwargs.get("attn_implementation") is None:\n'
         '    kwargs["attn_implementation"] = "FA2"', 2),
        # Demanded, with nothing in its place.
        ('if not has_flash:\n    raise ImportError("flash-attn")\n'
         'X.from_pretrained(p, attn_implementation="FA2")', 3),
        ('try:\n    m = X.from_pretrained(p, attn_implementation="FA2")\n'
         "except Exception as e:\n    raise RuntimeError() from e", 2),
        ('try:\n    m = X.from_pretrained(p, attn_implementation="FA2")\n    m(x)\n'
         "except Exception as e:\n    print(e)", 2),
        ('try:\n    p.transformer.set_attention_backend("flash")\n    image = p(prompt)\n'
         "except Exception as e:\n    print(e)", 2),
        ('try:\n    c._attn_implementation = "FA2"\nexcept Exception:\n    pass\n'
         "X.from_pretrained(p, config=c)", 2),
        # It has the method: that says nothing about the package.
        ('if hasattr(p.transformer, "set_attention_backend"):\n'
         '    p.transformer.set_attention_backend("flash")', 2),
        ('if __name__ == "__main__":\n    os.environ["DIFFUSERS_ATTN_BACKEND"] = "flash"', 2),
        ('@dataclass\nclass A:\n    attn_implementation: str = "FA2"', 3),
        ('@dataclass\nclass A:\n    attn_implementation: str = field(default="FA2")', 3),
    ],
)  # fmt: skip
def test_values_are_followed(source: str, line: int) -> None:
    (hit,) = hits(source)
    assert hit.line == line
    assert hit.asks.startswith("flash")


@pytest.mark.parametrize(
    ("widget", "line"),
    [
        ('(["FA2", "sdpa"], {"default": "FA2"})', 3),
        ('(["sdpa", "FA2"], {"tooltip": "x", "default": "FA2"})', 3),
        ('(["FA2", "sdpa"],)', 3),  # without a default ComfyUI takes the first
        ('(CHOICES, {"tooltip": "x"})', 7),
        ('(["FA2", "sdpa"], {"default": "sdpa"})', 0),
        ('(["sdpa", "FA2"],)', 0),
        ('(CHOICES, {"default": "sdpa"})', 0),
        ('(["sdpa", "eager"], {"default": "FA2"})', 0),  # ComfyUI would refuse it
        ('(["FA2"] if HAS_FLASH else ["sdpa"],)', 0),
        ('(["FA2", "sdpa"], {"default": "FA2" if HAS_FLASH else "sdpa"})',
         0),
        ('("STRING", {"default": "sdpa"})', 0),
    ],
)  # fmt: skip
def test_widgets(widget: str, line: int) -> None:
    source = f"""class Node:
    def INPUT_TYPES(s):
        return {{"required": {{"attention": {widget}}}}}
    def load(self, attention):
        return X.from_pretrained(p, attn_implementation=attention)

CHOICES = ["FA2", "sdpa"]
"""
    expected = [(line, "widget default", FLASH)] if line else []
    assert shown(source) == expected


def test_a_widget_of_the_newer_kind() -> None:
    source = 'io.Combo.Input("attention", options=["FA2", "sdpa"]{})'
    assert shown(source.format("")) == [(1, "widget default", FLASH)]
    assert shown(source.format(', default="FA2"')) == [(1, "widget default", FLASH)]
    assert shown(source.format(', default="sdpa"')) == []


def test_a_widget_of_a_loader_with_an_attention_of_its_own() -> None:
    source = 'w = {"attention_mode": (["sdpa", "flash_attn"], {"default": "flash_attn"})}'
    shape = f"def INPUT_TYPES(s):\n    {source}"
    assert shown(shape) == [(2, "widget default", "flash_attn")]


# --- what does not ask -----------------------------------------------------------------------


@pytest.mark.parametrize("value", ["sdpa", "eager", "auto", "paged|sdpa", "paged|eager", "", "x y"])
def test_defaults_are_no_overrides(value: str) -> None:
    assert hits(f'X.from_pretrained(p, attn_implementation="{value}")') == ()


@pytest.mark.parametrize(
    "value", ['"native"', '"_native_flash"', '"_native_cudnn"', "None", "name"]
)
def test_native_backends_are_no_overrides(value: str) -> None:
    assert hits(f"p.transformer.set_attention_backend({value})") == ()


@pytest.mark.parametrize(
    "source",
    [
        '# X.from_pretrained(p, attn_implementation="FA2")',
        'def f():\n    """attn_implementation="FA2" is faster."""',
        'print("attn_implementation=\\"flash_attention_2\\"")',
        'logger.warning("set attn_implementation to %s", "FA2")',
        'if config._attn_implementation == "FA2":\n    pass',
        'x = config._attn_implementation != "FA2"',
        'x = kwargs.get("attn_implementation", "FA2") == "FA2"',
        'assert f() == {"attn_implementation": "FA2"}',
        "class A:\n    _supports_flash_attn_2 = True\n    attn_implementation = None",
        'CLASSES = {"FA2": Flash, "sdpa": Sdpa}\nx = CLASSES[c._attn_implementation]',
        'is_supported(attn_implementation="FA2")',
        '_flash_attention_forward(q, k, v, attn_implementation="FA2")',
        'if os.environ.get("DIFFUSERS_ATTN_BACKEND", "flash"):\n    pass',
        'os.environ["OTHER"] = "flash"  # DIFFUSERS_ATTN_BACKEND',
        'X.from_pretrained(p, use_flash_attention_2=False)  # attn_implementation',
        'config.use_flash_attention_2 = True  # attn_implementation',
        'p.add_argument("--attn", choices=["FA2", "sdpa"])',
        'p.add_argument("--attn", choices=["FA2"], default="sdpa")',
        'p.add_argument("--mode", default="FA2")',
        'ATTENTIONS = ["FA2", "sdpa"]',
        "def load(attn_implementation): f(attn_implementation=attn_implementation)",
        "def load(attn_implementation='sdpa'): f(attn_implementation=attn_implementation)",
        "X.from_pretrained(p, attn_implementation=pick())",
        "X.from_pretrained(p, attn_implementation=choices[0])",
        'X.from_pretrained(p, attn_implementation=f"flash_{n}")',
        'for a in ("FA2", "sdpa"):\n    f(attn_implementation=a)',
        'a = "FA2"\na = g()\nf(attn_implementation=a)',
        'global_a = "FA2"\ndef s(x):\n    global global_a\n    global_a = x\n'
        "f(attn_implementation=global_a)",
        'a = "FA2"\na = "sdpa"\nf(attn_implementation=a)',
        "attn_implementation: str",
        'x: Literal["FA2"] = f(attn_implementation=y)',
        "m.transformer.set_attention_backend()",
        'def set_attention_backend(self, backend: str = "native"): pass',
    ],
)  # fmt: skip
def test_no_place(source: str) -> None:
    assert hits(source) == ()


@pytest.mark.parametrize(
    "source",
    [
        'f(attn_implementation="FA2" if is_flash_attn_2_available() else "sdpa")',
        'f(attn_implementation="FA2" if HAS_FLASH_ATTN else None)',
        'f(attn_implementation=HAS_FLASH and "FA2" or "sdpa")',
        'f(**({"attn_implementation": "FA2"} if has_flash else {}))',
        'if find_spec("flash_attn"):\n    kwargs["attn_implementation"] = "FA2"',
        'ok = importlib.util.find_spec("flash_attn") is not None\n'
        'f(attn_implementation="FA2" if ok else "sdpa")',
        "def usable():\n    try:\n        import flash_attn\n        return True\n"
        "    except ImportError:\n        return False\n\n"
        'f(attn_implementation="FA2" if usable() else "sdpa")',
        "try:\n    import flash_attn\n    ok = True\nexcept ImportError:\n    ok = False\n"
        'f(attn_implementation="FA2" if ok else "sdpa")',
        'try:\n    import flash_attn\n    attn = "FA2"\nexcept ImportError:\n'
        '    attn = "sdpa"\nf(attn_implementation=attn)',
        'attn = "sdpa"\nif has_flash:\n    attn = "FA2"\nf(attn_implementation=attn)',
        'attn = "FA2"\nif not has_flash:\n    attn = "sdpa"\nf(attn_implementation=attn)',
        'try:\n    import flash_attn\n    kwargs["attn_implementation"] = "FA2"\n'
        "except ImportError:\n    pass",
        "try:\n    import flash_attn\nexcept ImportError:\n    pass\nelse:\n"
        '    kwargs["attn_implementation"] = "FA2"',
        'try:\n    m = X.from_pretrained(p, attn_implementation="FA2")\n'
        "except ImportError:\n    m = X.from_pretrained(p)",
        'try:\n    m = X.from_pretrained(p, attn_implementation="FA2")\n'
        "except Exception:\n    m = None",
        'try:\n    m = X.from_pretrained(p, attn_implementation="FA2")\n'
        'except Exception:\n    m = load(p, attn="sdpa")',
        'kw = {"attn_implementation": "FA2"}\ntry:\n    m = X.from_pretrained(p, **kw)\n'
        'except ImportError:\n    kw["attn_implementation"] = "sdpa"\n'
        "    m = X.from_pretrained(p, **kw)",
        'kw = dict(attn_implementation="FA2")\ntry:\n    m = X.from_pretrained(p, **kw)\n'
        'except Exception:\n    kw.pop("attn_implementation")\n    m = X.from_pretrained(p, **kw)',
        'kw = {"attn_implementation": "FA2"}\nif not has_flash:\n'
        '    kw.pop("attn_implementation")\nX.from_pretrained(p, **kw)',
        'config._attn_implementation = "FA2"\nif not has_flash:\n'
        '    config._attn_implementation = "eager"',
        'try:\n    p.transformer.set_attention_backend("flash")\n    print("on")\n'
        "except Exception as e:\n    print(e)",
        'try:\n    p.transformer.set_attention_backend("_flash_3")\nexcept Exception:\n    try:\n'
        '        p.transformer.set_attention_backend("flash")\n    except Exception as e:\n'
        "        print(e)",
        'with contextlib.suppress(Exception):\n    p.transformer.set_attention_backend("flash")',
        "def f():\n    if not is_flash_attn_2_available():\n        return None\n"
        '    return X.from_pretrained(p, attn_implementation="FA2")',
        'if mode == "FA2":\n    f(attn_implementation="FA2")',
        'match attention:\n    case "fast":\n        f(attn_implementation="FA2")',
        'if args.use_fa2:\n    kwargs["attn_implementation"] = "FA2"',
        'if args.fast:\n    kwargs["attn_implementation"] = "FA2"',
        'if args.disable_flash_attn:\n    a = "sdpa"\nelse:\n    a = "FA2"\n'
        "f(attn_implementation=a)",
        "def f(kwargs, use_flash_attn=False):\n    if use_flash_attn:\n"
        '        kwargs["attn_implementation"] = "FA2"',
        'USE_FLASH = False\nif USE_FLASH:\n    kwargs["attn_implementation"] = "FA2"',
        'if False:\n    kwargs["attn_implementation"] = "FA2"',
        'a = "FA2" if sys.platform == "linux" else "sdpa"\nf(attn_implementation=a)',
        'def enable_flash_attention(p):\n    p.transformer.set_attention_backend("flash")',
        'class SelfFlashAttention2:\n    def f(self):\n'
        '        self.config._attn_implementation = "FA2"',
    ],
)  # fmt: skip
def test_guarded(source: str) -> None:
    assert hits(source) == ()


def test_what_runs_only_by_itself_counts_only_there() -> None:
    source = 'if __name__ == "__main__":\n    os.environ["DIFFUSERS_ATTN_BACKEND"] = "flash"'
    assert len(hits(source)) == 1
    assert hits(source, library=True) == ()


# --- ComfyUI's own hook ----------------------------------------------------------------------


def override(purpose: str, body: str, before: str = "") -> str:
    return f"""
class {purpose}:
    def apply(self, model, mode="x"):
        {before or "pass"}
        def attend(func, *args, **kwargs):
            return {body}(*args, **kwargs)
        model.model_options["transformer_options"]["optimized_attention_override"] = attend
"""


def test_a_hook_that_is_always_set() -> None:
    assert [hit[1:3] for hit in hits(override("Sampler", "sageattn"))] == [("override", "sageattn")]
    assert hits(override("Sampler", "func")) == ()


def test_a_node_that_is_for_nothing_else_acts_where_it_is_placed() -> None:
    assert hits(override("PatchSageAttention", "sageattn")) == ()
    chosen = "if mode == 'sage_disabled': return model"
    assert hits(override("Sampler", "sageattn", chosen)) == ()


# --- whom it is given to ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "owner", "model"),
    [
        ('from transformers import AutoModelForCausalLM as A\n'
         'A.from_pretrained("Qwen/Qwen3-4B", attn_implementation="FA2")',
         "AutoModelForCausalLM", "Qwen/Qwen3-4B"),
        ('transformers.Qwen3ForCausalLM.from_pretrained(path, attn_implementation="FA2")',
         "Qwen3ForCausalLM", ""),
        ('M = "Qwen/Qwen3-4B"\nX.from_pretrained(M, attn_implementation="FA2")',
         "X", "Qwen/Qwen3-4B"),
        ('kw = {"attn_implementation": "FA2"}\nX.from_pretrained("a/b", **kw)',
         "X", "a/b"),
        ('kw = {}\nkw["attn_implementation"] = "FA2"\nX.from_pretrained("a/b", **kw)',
         "X", "a/b"),
        ('c = AutoConfig.from_pretrained("a/b")\nc._attn_implementation = "FA2"\n'
         'X.from_pretrained("c/d", config=c)', "X", "c/d"),
        ('c = AutoConfig.from_pretrained("a/b")\nc._attn_implementation = "FA2"',
         "AutoConfig", "a/b"),
        ('p = Flux2KleinPipeline.from_pretrained("black-forest-labs/FLUX.2-klein-4B")\n'
         'p.transformer.set_attention_backend("flash")',
         "Flux2KleinPipeline", "black-forest-labs/FLUX.2-klein-4B"),
        ('class A:\n    def load(self):\n        self.p = P.from_pretrained(x)\n'
         '    def go(self):\n        self.p.transformer.set_attention_backend("flash")', "P", ""),
        ('super().__init__(attn_implementation="FA2")', "", ""),
        ('os.environ["DIFFUSERS_ATTN_BACKEND"] = "flash"', "", ""),
    ],
)  # fmt: skip
def test_owner(source: str, owner: str, model: str) -> None:
    (hit,) = hits(source)
    assert (hit.owner, hit.model) == (owner, model)


def test_one_literal_for_two_models_is_told_for_both() -> None:
    source = """ATTN = "FA2"
A.from_pretrained("a/a", attn_implementation=ATTN)
B.from_pretrained("b/b", attn_implementation=ATTN)
"""
    assert [(hit.line, hit.owner, hit.model) for hit in hits(source)] == [
        (1, "A", "a/a"),
        (1, "B", "b/b"),
    ]


@pytest.mark.parametrize(
    ("line", "klein"),
    [
        ("from diffusers import Flux2KleinPipeline", True),
        ('NAME = "black-forest-labs/FLUX.2-dev"', True),
        ("def load_qwen3(): pass", True),
        ("# for klein", False),
        ("import torch", False),
    ],
)
def test_klein(line: str, klein: bool) -> None:
    found = read_source(f'{line}\nf(attn_implementation="FA2")', False)
    assert found is not None
    assert found.klein is klein
