"""Readers of what pip, uv and Python say: requirements, wheels, missing and moved names."""

from __future__ import annotations

import re

from klein_doctor.triage.values import Say, Seen

_COMPILED = re.compile(
    r"^(?:torch\w*|xformers|flash[-_]attn|sageattention|triton\S{0,10}|bitsandbytes|onnxruntime\S{0,6}|"
    r"numpy|tokenizers|safetensors|sentencepiece|av|insightface|pillow|scipy|numba)$",
    re.IGNORECASE,
)

# As an argument that was given, not as one that a usage line offers in brackets.
_CPU_ASKED = re.compile(rb"(?m)(?:^|[\s'\"=])--cpu(?=$|[\s'\",])")


def requirement(seen: Seen) -> Say | None:
    """``A requires B, but you have C``: by whose requirement it is."""
    who, what = (_plain(seen.groups.get(name, "")) for name in ("who", "what"))
    if who in ("torchvision", "torchaudio") and what == "torch":
        return Say(
            ("torch-trio-mismatch",),
            f"{who} is made for another torch ({seen.groups.get('spec', '').strip(' ,')}) than the "
            f"one installed ({seen.groups.get('version', 'none').strip(' ,')}).",
            "Install torch, torchvision and torchaudio together from one index.",
            "high",
        )
    if who == "xformers" and what == "torch":
        return Say(
            ("package-conflicts", "attention-extension-broken"),
            "xformers is made for another torch than the one installed.",
            "Uninstall xformers: this model does not need it, and installing it would replace "
            "torch.",
        )
    if {who, what} & {"transformers", "diffusers", "tokenizers", "huggingface-hub"}:
        return Say(
            ("transformers-incompatible", "package-conflicts"),
            f"{who} and {what} do not go together in these versions.",
            "Update diffusers, transformers and huggingface_hub together.",
        )
    if who.startswith("comfy"):
        return Say(("comfyui-requirements-stale", "package-conflicts"), grade="warning")
    return Say(("package-conflicts",), certainty="low", grade="warning")


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.partition("[")[0]).lower()


def submodule(seen: Seen) -> Say | None:
    """A part that a package does not have: by whose part it is."""
    package = seen.groups["package"].lower()
    if package == "transformers":
        return Say(("transformers-incompatible", "package-conflicts"))
    if package == "diffusers":
        return Say(("diffusers-too-old", "package-conflicts"))
    return None


def extension_build(seen: Seen) -> Say | None:
    """A compilation that fails: of an attention package, or of something else."""
    if seen.text.holds("flash", "xformers", "sage"):
        return None
    return Say(("package-conflicts",), "A package is being compiled here and does not find a CUDA "
               "toolkit that fits this PyTorch.", "Look for a ready-made build of it.",
               "low")  # fmt: skip


def accelerate(seen: Seen) -> Say | None:
    """Not where pip says that it is there, nor where a card (an accelerator) is what is missing."""
    there = ("already satisfied: accelerate", "requires accelerator")
    return Say(()) if seen.text.holds(*there) else None


def replaced(seen: Seen) -> Say | None:
    """Which torch went, and which came."""
    old, new = seen.groups.get("old", ""), seen.groups.get("new", "")
    if old:
        return Say(
            ("torch-replaced",),
            f"An installation removed torch {old} and put another in its place.",
        )
    if new:
        pinned = " xformers pins an exact torch." if seen.text.holds("xformers") else ""
        return Say(
            ("torch-replaced",),
            f"pip fetches torch {new} because a package pins it: it replaces the installed "
            f"one.{pinned}",
        )
    return Say(("torch-replaced", "torch-cpu-only"), certainty="medium")


def device_cpu(seen: Seen) -> Say | None:
    """Whether it was asked for by an argument that the text shows."""
    if not _CPU_ASKED.search(seen.text.low):
        return None
    return Say(
        ("comfyui-flags-harmful", "torch-cpu-only", "gpu-not-found"),
        "ComfyUI was started with --cpu, so it does not use the card, whatever PyTorch it has.",
        "Take --cpu out of the file that starts ComfyUI; then look whether the card is used.",
    )


def no_torch(seen: Seen) -> Say | None:
    """While a package is built, pip hides torch from it: a build that had better not happen."""
    if seen.text.holds("building wheel", "build wheel", "build dependencies", "flash-attn"):
        return Say(
            ("flash-attention-forced", "torch-missing"),
            "A package is being compiled here and does not see torch while it is built "
            "(flash-attn, for one, has no ready-made build on PyPI).",
            "Go without it: FLUX.2 [klein] uses PyTorch's own attention.",
            "medium",
        )
    return None


_GONE = ("_six", "string_classes", "container_abcs", "symeig", "lstsq", "gels", "sharedtensor",
         "_dynamo_", "is_compiling", "_linalg_utils")  # fmt: skip


def torch_name(seen: Seen) -> Say | None:
    """A name torch lost long ago speaks for an old program, not for an old torch."""
    name = seen.groups.get("name", "").lower()
    if name in _GONE or not name:
        return Say(())
    if name in ("cuda", "tensor", "nn", "__version__", "float32", "no_grad"):
        return Say(())
    if name.startswith(("float8", "float4", "uint", "int1", "int2", "custom_op", "compiler",
                        "xpu", "rms", "flexattention", "flex_attention")):  # fmt: skip
        return Say(("torch-too-old",), certainty="high")
    return None


def wheel(seen: Seen) -> Say | None:
    """The wheel's Python against the one that runs, where the text tells it."""
    tag = re.search(r"-cp3(\d{1,2})-", seen.line)
    around = "\n".join(seen.text.lines)
    runs = re.search(r"(?i)\bpython(?: version)?\W{1,4}3\.(\d{1,2})", around)
    if tag is None:
        return None
    if runs is not None and int(runs[1]) < int(tag[1]):
        return Say(("python-too-old", "python-too-new"),
                   f"The wheel is for Python 3.{tag[1]}; 3.{runs[1]} runs.")  # fmt: skip
    return Say(
        ("python-too-new", "python-too-old"),
        f"The wheel is for Python 3.{tag[1]}, and another Python runs.",
        f"Use the wheel for this Python, or an environment with Python 3.{tag[1]}.",
    )


def no_version(seen: Seen) -> Say | None:
    """What pip could not find: only compiled packages say something of Python's version."""
    name = _plain(seen.groups["name"])
    if seen.text.holds(
        "newconnectionerror", "name resolution", "retrying (retry", "connection broken"
    ):
        return Say(("hub-unreachable",), "pip did not reach its index.",
                   "Look at network, proxy and PIP_INDEX_URL.", "medium")  # fmt: skip
    if name.startswith("comfy"):
        return Say(())  # a row of its own
    if not _COMPILED.match(name):
        return Say(())
    index = re.search(r"/whl/(cu[\w.]{1,12})", "\n".join(seen.text.lines).lower())
    if index is not None and not re.fullmatch(r"cu\d{3}", index[1]):
        return Say(
            ("python-too-new", "python-too-old", "torch-cpu-only"),
            f"The index address ends in {index[1]}, which does not exist; the tags are written "
            "cu126, cu128, cu130 and name PyTorch's CUDA, not the driver's.",
            "Use the whole command that the doctor prints.",
        )
    return None


def other_python(seen: Seen) -> Say | None:
    """Which Python it was."""
    version = seen.groups.get("version", "")
    minor = int(version.partition(".")[2]) if version else 0
    if minor >= _NEW_PYTHON:
        return Say(("python-too-new",), f"The package is not made for Python {version} yet.")
    if minor:
        return Say(("python-too-old",), f"The package wants a newer Python than {version}.")
    return None


_NEW_PYTHON = 13
