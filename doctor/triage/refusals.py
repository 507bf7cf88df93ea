"""Readers of refusals: ComfyUI's validation, the Hub, damaged files."""

from __future__ import annotations

import re

from klein_doctor.triage.values import Say, Seen

_MISSING = {"unet_name": "transformer-missing", "ckpt_name": "transformer-missing",
            "clip_name": "encoder-missing", "vae_name": "vae-missing"}  # fmt: skip
_PARTS = {"transformer-missing": "the transformer", "encoder-missing": "the text encoder",
          "vae-missing": "the VAE"}  # fmt: skip
_OF_FLUX2 = re.compile(r"(?i)EmptyFlux2LatentImage|Flux2Scheduler|\bPrimitiveInt\b|ReferenceLatent")
_REFUSED = re.compile(r"(?i)klein[-_]?9b|9b[-_]kv|flux\.?2[-_]dev|flux-2-dev")
_OURS = re.compile(r"(?i)flux\.?-?2[-_]klein[-_](?:base[-_])?4b|qwen_?3_?4b|flux2-vae")
_YAML_PLACE = re.compile(r"in \"(?P<file>[^\"\n]{1,400})\", line (?P<line>\d{1,6})")
_FILE = re.compile(r"[^\s\"'<>|*?]{1,200}\.(?:safetensors|sft|gguf|ckpt|pth?|bin)\b", re.IGNORECASE)


# --- ComfyUI's validation --------------------------------------------------------------------


def not_in_list(seen: Seen) -> Say | None:
    """``Value not in list``: which input, what was asked for, and what there is."""
    field, value = seen.groups["input"].rstrip("0123456789"), seen.groups["value"].strip()
    listed = seen.groups.get("list", "")
    if field in ("type", "clip_type"):
        return _type(value)
    if field == "device":
        return Say(
            ("gpu-hidden", "workflow-mismatch"),
            f"The workflow asks for the device {value!r}, which this ComfyUI does not see: it was "
            "saved on a machine with more cards, or a card is hidden.",
            "Choose another device in that node; unset CUDA_VISIBLE_DEVICES and --cuda-device.",
        )
    check = _MISSING.get(field)
    if check is None:
        return Say(
            ("workflow-mismatch",),
            f"The workflow asks for {field} {value!r}, which this ComfyUI does not have.",
            certainty="medium",
        )
    checks = [check]
    name = re.split(r"[\\/]", value)[-1].lower()
    others = [word for word in re.findall(r"'([^']{1,200})'", listed) if word != value]
    same = next((word for word in others if re.split(r"[\\/]", word)[-1].lower() == name), "")
    part = _PARTS[check]
    if same and name:
        return Say(
            ("asset-misplaced", "workflow-mismatch"),
            f"The workflow asks for {value!r}; the file is there as {same!r}: in another folder "
            "than the workflow was saved with.",
            "Choose it anew in that node.",
        )
    if _REFUSED.search(value):
        checks.append("license-non-commercial")
    checks += ["asset-misplaced", "model-paths-broken"]
    none = "no file at all" if listed.startswith("[]") else "other files"
    return Say(
        tuple(checks),
        f"The workflow asks for {part} {value!r}; the folder that is searched holds {none}. It was "
        "not downloaded, or lies where this ComfyUI does not look.",
        "Put the file into that folder, or choose one that is there in the node; then press R.",
    )


def _type(value: str) -> Say:
    if value == "flux2":
        return Say(
            ("comfyui-too-old",),
            "Load CLIP does not have the type flux2: this ComfyUI is older than FLUX.2.",
            "Update ComfyUI to 0.10.0 or newer and install its requirements.",
        )
    return Say(
        ("workflow-mismatch", "comfyui-too-old"),
        f"The workflow asks Load CLIP for the type {value!r}, which this ComfyUI does not have.",
        "For Klein the type is flux2.",
    )


def missing_node(seen: Seen) -> Say | None:
    """Whose node is missing: FLUX.2's own mean an old ComfyUI."""
    around = "\n".join(seen.text.lines[seen.number : seen.number + 6])
    if _OF_FLUX2.search(around):
        return Say(
            ("comfyui-too-old",),
            "The workflow uses a node for FLUX.2 that this ComfyUI does not have: it is older than "
            "FLUX.2.",
            "Update ComfyUI to 0.10.0 or newer and install its requirements.",
        )
    if re.search(r"(?i)gguf", around):
        return Say(
            ("quantisation-unsupported", "workflow-mismatch"),
            "The workflow loads GGUF files and the custom node for them is not installed.",
            "Install the custom node ComfyUI-GGUF, or use the safetensors files.",
        )
    return Say(
        ("workflow-mismatch",),
        "The workflow uses a node this ComfyUI does not have: a custom node is not installed or "
        "did not load, or ComfyUI is older than the workflow.",
        "Use a workflow of ComfyUI's own nodes; Klein needs no custom node.",
    )


def requirement_of_comfyui(seen: Seen) -> Say | None:
    """A package of ComfyUI's own is certain; one that others use too, only beside ComfyUI."""
    module = seen.groups["module"].lower()
    if module.startswith("comfy"):
        return None
    if "cannot import name" in seen.line.lower() or "has no attribute" in seen.line.lower():
        return Say(())
    if re.search(r"comfy[\\/]|main\.py|nodes\.py|comfy_extras", seen.text.near(seen.number, 30)):
        return Say(("comfyui-requirements-stale", "python-wrong-interpreter"), certainty="medium")
    return Say(())


def paths_loader(seen: Seen) -> Say | None:
    """In a trace, not in a log line that merely names it."""
    around = seen.text.near(seen.number, 12, 25)
    if re.search(r"yaml\.\w+\.\w+error|found character", around):
        return Say(())  # the parser's own line tells more
    return None if re.search(r"error\b|traceback", around) else Say(())


def paths_yaml(seen: Seen) -> Say | None:
    """Which file and line the parser stopped at, and whether at a tab."""
    around = "\n".join(seen.text.lines[seen.number : seen.number + 6])
    stops = list(_YAML_PLACE.finditer(around))  # the last one is where it stopped
    ours = "extra_model_paths" in around or "load_extra_path_config" in seen.text.near(
        seen.number, 60
    )
    certainty = "high" if ours else ""
    if not stops:
        return Say(("model-paths-broken",), certainty=certainty)
    name = re.split(r"[\\/]", stops[-1]["file"])[-1]
    place = f"{name}, line {stops[-1]['line']}"
    if not re.search(r"found character .(?:\\t|\t).", around):
        return Say(
            ("model-paths-broken",),
            f"{place}: not valid YAML; mostly a tab, a lost indent, or a backslash in double "
            "quotes, there or in the line above.",
            certainty=certainty,
        )
    return Say(
        ("model-paths-broken",),
        f"{place}: a tab stands where YAML allows only spaces.",
        "Put spaces in the place of the tab; klein-doctor --fix does that and keeps the original.",
        certainty=certainty,
    )


def portable_hint(seen: Seen) -> Say | None:
    """Printed at every end: it says something only where nothing else was said."""
    return Say(()) if seen.text.holds("error", "traceback", "exception", "to see the gui") else None


def flag_package(seen: Seen) -> Say | None:
    """FlashAttention's argument is judged by the attention family, the other by the arguments."""
    if seen.groups.get("which") == "flash":
        return Say(
            ("flash-attention-forced", "attention-extension-broken", "comfyui-flags-harmful")
        )
    return Say(("comfyui-flags-harmful", "sage-attention-outdated"))


def attention_module(seen: Seen) -> Say | None:
    """Which package is asked for; a probe that goes on without it is no fault."""
    line = seen.line.lower()
    if re.search(r"warning|not found, using|falling back|skipp|optional", line):
        return Say(())
    if seen.groups.get("which") == "sageattention":
        return Say(("comfyui-flags-harmful", "sage-attention-outdated"))
    return Say(("flash-attention-forced",))


def dispatch_none(seen: Seen) -> Say | None:
    """This TypeError is diffusers' only where its dispatcher or variable is named."""
    if seen.text.holds("diffusers_attn_backend", "attention_dispatch"):
        return None
    return Say(())


# --- the Hub ---------------------------------------------------------------------------------


def gated(seen: Seen) -> Say | None:
    """Which repository refused: 9B and dev are gated, 4B is open."""
    around = "\n".join(seen.text.lines[max(0, seen.number - 3) : seen.number + 4])
    if _REFUSED.search(around):
        return Say(
            ("hub-access-refused", "license-non-commercial"),
            "The repository asked for is FLUX.2 [klein] 9B or FLUX.2 [dev]: gated, and not "
            "free for commercial use. Klein 4B is open.",
            "Use black-forest-labs/FLUX.2-klein-4B and its -fp8 twin, without any login.",
            "high",
        )
    if "%5c" in around.lower():
        return Say(())  # a Windows path in a Hub address: a fault of the program that made it
    if _OURS.search(around):
        return Say(
            ("hub-access-refused",),
            "The 4B repositories are open, so a refusal means a mistyped name or file, or a stored "
            "token that is no longer valid.",
            "Check the name; try without HF_TOKEN (hf auth logout).",
            "high",
        )
    return None


_HUB = re.compile(
    r"huggingface|hf\.co|hf-mirror|xethub|cdn-lfs|/resolve/|hf_hub|snapshot_download|from_pretrained"
    r"|pypi\.org|files\.pythonhosted|download\.pytorch\.org|\.safetensors|index-url"
)


def network(seen: Seen) -> Say | None:
    """A connection that failed is of interest where it was one for model files or packages."""
    if re.search(r"127\.0\.0\.1|localhost|0\.0\.0\.0|websocket", seen.line):
        return Say(())
    around = seen.text.near(seen.number, 30, 6)
    return None if _HUB.search(around) else Say(())


def xet(seen: Seen) -> Say | None:
    """The notice that the package is not installed is no fault: downloads go the plain way."""
    return Say(()) if "is not installed" in seen.line else None


# --- files -----------------------------------------------------------------------------------


def safetensors(seen: Seen) -> Say | None:
    """Names the file where the text does."""
    named = _named(seen)
    if not named:
        return None
    return Say(seen.row.checks, f"{named}: {seen.row.cause[0].lower()}{seen.row.cause[1:]}")


def _named(seen: Seen) -> str:
    for number in (seen.number, seen.number + 1, seen.number - 1, seen.number - 2, seen.number + 2):
        if 0 <= number < len(seen.text.lines):
            found = _FILE.search(seen.text.lines[number])
            if found:
                return re.split(r"[\\/]", found[0])[-1]
    return ""


def pickle(seen: Seen) -> Say | None:
    """The first sign of the file tells what it is."""
    key = re.search(r"invalid load key, '(.{1,4})'", seen.line)
    if key is None:
        return None
    if key[1] == "v":
        what = "a git-lfs pointer, some lines of text in place of the weights"
    elif key[1] in "<{":
        what = "a web page or an error message that was saved under its name"
    else:
        return None
    return Say(
        ("asset-damaged",), f"The weights file is {what}.", "Download the file itself.", "high"
    )


def gguf_arch(seen: Seen) -> Say | None:
    """Which architecture the file says it has."""
    name = seen.groups.get("arch", "").strip("'\"")
    if name.startswith(("qwen3vl", "qwen2vl")):
        return Say(
            ("quantisation-unsupported", "encoder-wrong"),
            f"The GGUF file is {name}, the vision model; Klein's encoder is the text model.",
            "Take a GGUF of Qwen3-4B, or qwen_3_4b.safetensors.",
        )
    return None


def cublas(seen: Seen) -> Say | None:
    """Row-wise FP8 or a PyTorch for CUDA 11, where the text tells."""
    if seen.text.holds("+cu118", "cuda 11", "cu117"):
        return Say(("quantisation-unsupported",), "FP8 arithmetic needs a PyTorch for CUDA 12.")
    return None


def nan(seen: Seen) -> Say | None:
    """NaN with SageAttention around is mostly its doing."""
    if seen.text.holds("sage"):
        return Say(
            ("image-blank", "sage-attention-outdated"),
            "The picture holds numbers that are none (NaN) and comes out black; SageAttention is "
            "in use, and some of its kernels overflow with this kind of model.",
            "Start without --use-sage-attention and without a node that patches it in.",
        )
    return None
