"""Readers of messages in which tensor shapes decide: which encoder, transformer, VAE."""

from __future__ import annotations

import re

from packaging.version import InvalidVersion, Version

from klein_doctor.recipe_messages import TransformerShape, load_known
from klein_doctor.triage.values import Say, Seen

_SIZE = re.compile(r"(?:torch\.size\()?\[(\d{1,7}(?:, ?\d{1,7}){0,5})\]")
_VERSION = re.compile(r"comfyui(?: version)?\W{1,4}v?(\d{1,2}\.\d{1,3}\.\d{1,3})\b")
_KLEIN_FROM = Version("0.9.2")  # github.com/Comfy-Org/ComfyUI commit 3b832231
_QWEN_VOCABULARY, _LLAMA_VOCABULARY = 151936, 128256
_LATENT = {16: "FLUX.1 or SD 3", 4: "Stable Diffusion or SDXL", 8: "an older or video model"}
_FLUX2_LATENT, _FLUX2_PACKED = 32, 128
_INSIDE_ENCODERS = (1024, 2560, 4096, 5120, 9728)
_LEAST_TOLD = 5120  # a narrower row is met in any model
_KIN = ("klein", "refused")
_IDENTIFY = "Look what the files are: klein-doctor identify on the models folder."
_OURS = ("klein", "flux.2", "flux2", "flux-2", "qwen3", "qwen_3", "z-image", "z_image")


def shapes(seen: Seen) -> Say | None:
    """``(A x B and C x D)``: B is what the encoder gave, C x D what the transformer takes."""
    gave = int(seen.groups["b"])
    takes, gives = int(seen.groups["c"]), int(seen.groups["d"])
    known = load_known()
    row = known.transformers.get((takes, gives)) or _by_what_it_takes(takes)
    if row is None:
        return _unknown_layer(seen, gave, takes, gives)
    if row.kind == "picture":
        return _picture(gave, row)
    encoder = known.encoders.get(gave, f"an encoder {gave} wide")
    if row.kind == "klein":
        return _old_or_wrong_type(seen) if gave == _as_zimage() else _wrong_encoder(encoder, row)
    if row.kind == "refused":
        return _refused(encoder, gave, row)
    return Say(
        ("transformer-wrong", "pair-mismatch"),
        f"The text encoder gave numbers {gave} wide ({encoder}); the transformer takes {takes}: it "
        f"is {row.says}, not Klein 4B.",
        "Load Klein's transformer in Load Diffusion Model. " + _IDENTIFY,
    )


def _by_what_it_takes(takes: int) -> TransformerShape | None:
    """A transformer of another size that takes what Klein or its kin take, from their encoders."""
    rows = load_known().transformers.values()
    return next((row for row in rows if row.takes == takes and row.kind in _KIN), None)


def _as_zimage() -> int:
    return next(width for width, says in load_known().encoders.items() if "Z-Image" in says)


def _old_or_wrong_type(seen: Seen) -> Say:
    """Qwen3-4B read as Z-Image's encoder: an old ComfyUI, or Load CLIP with another type."""
    version = _comfyui_version(seen)
    cause = (
        "The right text encoder (Qwen3-4B) was read in the way of Z-Image: it gives numbers 2560 "
        "wide, Klein 4B takes 7680. "
    )
    old = "ComfyUI, or the GGUF node, is older than Klein (0.9.2)"
    kind = "Load CLIP has another type than flux2"
    do = "Set type to flux2 in Load CLIP; update ComfyUI to 0.10.0 or newer, and GGUF nodes."
    if version is not None and version >= _KLEIN_FROM:
        return Say(("workflow-mismatch", "comfyui-too-old"), f"{cause}{kind}.", do, "high")
    if version is not None:
        cause += f"ComfyUI {version} is older than Klein (0.9.2)."
        return Say(("comfyui-too-old",), cause, "Update ComfyUI and its requirements.", "high")
    return Say(
        ("comfyui-too-old", "workflow-mismatch", "encoder-wrong"),
        f"{cause}Either {old}, or {kind}.",
        do,
        "medium",
    )


def _comfyui_version(seen: Seen) -> Version | None:
    # The last one: a log appended to over months begins with old ones.
    found = [match[1] for match in _VERSION.finditer("\n".join(seen.text.lines).lower())]
    try:
        return Version(found[-1]) if found else None
    except InvalidVersion:
        return None


def _wrong_encoder(encoder: str, row: TransformerShape) -> Say:
    return Say(
        ("encoder-wrong", "pair-mismatch"),
        f"The text encoder is the wrong one: {encoder}. The transformer is {row.says}, which takes "
        "Qwen3-4B alone.",
        "Load qwen_3_4b.safetensors in Load CLIP, with type flux2.",
        "high",
    )


def _refused(encoder: str, gave: int, row: TransformerShape) -> Say:
    return Say(
        ("pair-mismatch", "license-non-commercial"),
        f"The transformer is {row.says} (it takes {row.takes}); the text encoder gave {gave}: "
        f"{encoder}. The encoder may be right and the transformer another than meant: {row.says} "
        "is not free for commercial use, Klein 4B is.",
        "Load flux-2-klein-4b-fp8.safetensors with qwen_3_4b.safetensors. " + _IDENTIFY,
        "high",
    )


def _picture(gave: int, row: TransformerShape) -> Say:
    if row.takes == _FLUX2_PACKED:
        return Say(
            ("workflow-mismatch",),
            f"Klein was given a picture to begin with ({gave} wide) that was made for another "
            "model.",
            "Use Empty Flux 2 Latent, and flux2-vae.safetensors for pictures to edit.",
            "medium",
        )
    return Say(
        ("transformer-wrong", "vae-wrong", "workflow-mismatch"),
        f"A FLUX.1 transformer was given a picture in FLUX.2's form ({gave} wide).",
        "Load Klein's transformer, or use FLUX.1's own VAE and latent node with FLUX.1. "
        + _IDENTIFY,
        "medium",
    )


def _unknown_layer(seen: Seen, gave: int, takes: int, gives: int) -> Say | None:
    if gave == 2 * takes and gave in _INSIDE_ENCODERS:
        return Say(
            ("quantisation-unsupported", "encoder-wrong"),
            f"A weight matrix is half as tall ({takes}) as what it is multiplied with ({gave}): it "
            "is stored as packed 4-bit numbers, and the program takes it for plain ones.",
            "Use a text encoder that is not quantised: qwen_3_4b.safetensors.",
            "medium",
        )
    inside = takes in _INSIDE_ENCODERS and gives in _INSIDE_ENCODERS
    if inside and (seen.text.holds("clip missing") or gave in _INSIDE_ENCODERS):
        return Say(
            ("encoder-wrong", "pair-mismatch"),
            f"The fault is inside the text encoder ({gave} against {takes}): its file has another "
            "size than the model it is loaded as, a Qwen3 of 4B in place of 8B or the like.",
            "Load qwen_3_4b.safetensors in Load CLIP, with type flux2. " + _IDENTIFY,
            "medium",
        )
    if gave in load_known().encoders and gave not in _INSIDE_ENCODERS and gave > _LEAST_TOLD:
        return Say(
            ("pair-mismatch", "transformer-wrong"),
            f"The text encoder gave {gave} ({load_known().encoders[gave]}), and the transformer "
            f"takes {takes}: they are of different models.",
            _IDENTIFY,
            "medium",
        )
    if seen.text.holds(*_OURS) and not seen.text.holds("lora"):
        return None
    return Say(())


# --- sizes of a file's tensors ---------------------------------------------------------------


def size_mismatch(seen: Seen) -> Say | None:
    """Which part of the model a tensor belongs to, and whose shape the file has."""
    key = seen.groups.get("key") or seen.line
    around = seen.text.near(seen.number, 0, 3)
    sizes = [[int(number) for number in found[1].split(",")] for found in _SIZE.finditer(around)]
    file, model = (sizes[0], sizes[1]) if len(sizes) > 1 else ([], [])
    if "embed_tokens" in around and file and model:
        return _vocabulary(file, model)
    if re.search(r"lora|adapter|controlnet|ip_?adapter", key.lower()):
        return Say(())
    if re.search(
        r"(?:decoder|encoder)\.(?:conv_in|conv_out|mid|up|down)|quant_conv|bn\.running", key
    ):
        return _vae_sizes(key, file, model)
    if re.search(r"img_in|txt_in|double_blocks|single_blocks|x_embedder|context_embedder|"
                 r"transformer_blocks|final_layer|time_in|vector_in", key):  # fmt: skip
        return _transformer_sizes(key, file, model)
    if re.search(r"model\.layers|text_model|q_proj|self_attn|mlp\.(?:gate|up|down)_proj", key):
        return Say(
            ("comfyui-too-old", "encoder-wrong", "pair-mismatch"),
            f"A tensor of the text encoder ({_cut(key)}) is {_by(file)} in the file and "
            f"{_by(model)} in the model it is loaded into. ComfyUI sizes an encoder after its "
            "file where it knows it, so this one is older than the encoder, or an old GGUF node "
            "loads it; else the file is another than meant.",
            "Update ComfyUI and GGUF nodes; load qwen_3_4b.safetensors with type flux2.",
            "medium",
        )
    return None if seen.text.holds(*_OURS) else Say(())


def _vocabulary(file: list[int], model: list[int]) -> Say:
    if file[0] == _QWEN_VOCABULARY and model[0] == _LLAMA_VOCABULARY:
        return Say(
            ("comfyui-too-old", "encoder-wrong"),
            "A Qwen3-8B is taken for a Llama 3: this ComfyUI is older than Klein. The file has "
            f"Qwen's vocabulary of {_QWEN_VOCABULARY} words.",
            "Update ComfyUI and its requirements. Klein 4B takes Qwen3-4B, not 8B.",
            "high",
        )
    return Say(
        ("encoder-wrong", "comfyui-too-old"),
        f"The text encoder file is {_by(file)} where {_by(model)} is expected: another encoder "
        "than the one it is loaded as.",
        "Load qwen_3_4b.safetensors in Load CLIP, with type flux2. " + _IDENTIFY,
    )


def _vae_sizes(key: str, file: list[int], model: list[int]) -> Say | None:
    if len(file) < 2 or len(model) < 2:
        return Say(("vae-wrong",), certainty="medium")
    if file[1] == model[1] == _FLUX2_LATENT and "decoder.conv_in" in key:
        return Say(
            ("comfyui-too-old",),
            "The VAE is FLUX.2's with the small decoder, which ComfyUI knows from 0.19.0 on.",
            "Update ComfyUI, or load flux2-vae.safetensors.",
            "high",
        )
    file_is, model_is = _family(file), _family(model)
    return Say(
        ("vae-wrong",),
        f"The VAE file is {file_is}, and it is loaded as {model_is} ({_cut(key)}: {_by(file)} "
        f"against {_by(model)}).",
        "Load flux2-vae.safetensors with Klein, and another model's own VAE with that model.",
        "high",
    )


def _family(size: list[int]) -> str:
    for channels in size[:2]:
        if channels in (_FLUX2_LATENT, 2 * _FLUX2_LATENT):
            return "FLUX.2's"
        if channels in _LATENT:
            return f"that of {_LATENT[channels]}"
    return "of another family"


def _transformer_sizes(key: str, file: list[int], model: list[int]) -> Say:
    if "img_in" in key and file[1:2] == [_FLUX2_PACKED]:
        return Say(
            ("comfyui-too-old", "transformer-wrong"),
            "A FLUX.2 transformer is loaded as a FLUX.1: this ComfyUI is older than FLUX.2.",
            "Update ComfyUI to 0.10.0 or newer and install its requirements.",
        )
    return Say(
        ("transformer-wrong", "comfyui-too-old"),
        f"A tensor of the transformer ({_cut(key)}) is {_by(file)} in the file and {_by(model)} in "
        "the model it is loaded into: another model or variant than the one it is taken for, or a "
        "ComfyUI older than the variant.",
        _IDENTIFY + " Then update ComfyUI.",
        "medium",
    )


def _by(size: list[int]) -> str:
    return " x ".join(map(str, size)) if size else "of one size"


def _cut(key: str) -> str:
    return key.rstrip(":")[:60]


# --- channels of a picture -------------------------------------------------------------------


def channels(seen: Seen) -> Say | None:
    """``to have W channels, but got G channels``: which VAE meets which latent."""
    want, got = int(seen.groups["want"]), int(seen.groups["got"])
    if got == _FLUX2_PACKED and want in _LATENT:
        return Say(
            ("vae-wrong",),
            f"The VAE is that of {_LATENT[want]} ({want} channels); Klein's pictures have "
            f"{_FLUX2_PACKED}.",
            "Load flux2-vae.safetensors in Load VAE.",
        )
    if want in (_FLUX2_PACKED, _FLUX2_LATENT) and got in (*_LATENT, _FLUX2_LATENT):
        return Say(
            ("workflow-mismatch", "vae-wrong"),
            f"FLUX.2's VAE was given a picture of {got} channels, made for another model.",
            "Use Empty Flux 2 Latent; encode pictures to edit with flux2-vae.safetensors.",
        )
    if {want, got} <= {*_LATENT, _FLUX2_LATENT, _FLUX2_PACKED, 64} and min(want, got) >= min(
        _LATENT
    ):
        return Say(
            ("vae-wrong", "workflow-mismatch"),
            f"The VAE wants {want} channels and got {got}: it belongs to another model family.",
            certainty="medium",
        )
    return Say(())


# --- what the loaders log --------------------------------------------------------------------


def zimage(seen: Seen) -> Say | None:
    """Z-Image's encoder class is of interest only beside a FLUX.2 transformer."""
    return None if seen.text.holds("flux2", "klein", "7680x3072", "7680 x 3072") else Say(())


def clip_missing(seen: Seen) -> Say | None:
    """Which of the encoder's weights are missing: all of them, the later layers, or none used."""
    keys = re.findall(r"[\w.]{4,120}", seen.groups.get("keys", ""))
    layers = [int(found) for key in keys for found in re.findall(r"\blayers\.(\d{1,3})\.", key)]
    if not layers:
        return Say(())  # logit_scale, text_projection: not used here
    if min(layers) > 0:
        return Say(
            ("encoder-wrong", "checkout-incomplete"),
            f"The text encoder's file ends before layer {min(layers)}: it is one part of several "
            "(model-00001-of-...). The pictures will be noise, without an error.",
            "Load qwen_3_4b.safetensors, which is whole.",
            "high",
        )
    return Say(
        ("encoder-wrong", "pair-mismatch"),
        "Nearly all weights are missing from the text encoder's point of view: the file is of "
        "another size or another model than the type it is loaded as.",
        "Load qwen_3_4b.safetensors with type flux2. " + _IDENTIFY,
        "high",
    )


def model_type(seen: Seen) -> Say | None:
    """A file whose name is Klein's speaks for an old ComfyUI; another for a wrong file."""
    name = re.split(r"[\\/]", seen.groups.get("file", "").lower())[-1]
    if re.search(r"vae|qwen|clip|text_?enc|(?<![a-z])t5|lora", name):
        return Say(
            ("transformer-wrong", "workflow-mismatch"),
            "By its name the file loaded as the transformer is another part: a VAE, a text encoder "
            "or a LoRA.",
            "Choose flux-2-klein-4b-fp8.safetensors in Load Diffusion Model.",
            "high",
        )
    if re.search(r"klein|flux[-_. ]?2", name):
        return Say(
            ("comfyui-too-old", "transformer-wrong", "asset-damaged"),
            "ComfyUI does not know this transformer although its name is Klein's: ComfyUI is older "
            "than the model, or the file is something else.",
        )
    return None
