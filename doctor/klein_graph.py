"""The nodes of a text-to-image graph for Klein 4B: what the editor's form and the API's share."""

from __future__ import annotations

from typing import Any, NamedTuple

SAVE = "save"


class Parts(NamedTuple):
    """The model files as the loaders list them: below their folders, by the system's separator."""

    transformer: str
    encoder: str
    vae: str


class Sampling(NamedTuple):
    """How the picture is made; width and height in pixels."""

    prompt: str
    width: int
    height: int
    steps: int
    cfg: float
    seed: int


class Node(NamedTuple):
    """A node of ComfyUI's.

    widgets: (input, value), in the editor's order. takes: (input, type, name of the node it comes
    from, slot there). gives: (output, type).
    """

    name: str
    kind: str
    widgets: tuple[tuple[str, Any], ...]
    takes: tuple[tuple[str, str, str, int], ...] = ()
    gives: tuple[tuple[str, str], ...] = ()


def nodes(parts: Parts, how: Sampling, prefix: str) -> tuple[Node, ...]:
    """The graph. prefix: what the names of saved pictures begin with."""
    text = (("CONDITIONING", "CONDITIONING"),)
    size = (("width", how.width), ("height", how.height))
    return (
        Node("unet", "UNETLoader", (("unet_name", parts.transformer), ("weight_dtype", "default")),
             gives=(("MODEL", "MODEL"),)),
        Node("clip", "CLIPLoader",
             (("clip_name", parts.encoder), ("type", "flux2"), ("device", "default")),
             gives=(("CLIP", "CLIP"),)),
        Node("vae", "VAELoader", (("vae_name", parts.vae),), gives=(("VAE", "VAE"),)),
        Node("prompt", "CLIPTextEncode", (("text", how.prompt),),
             (("clip", "CLIP", "clip", 0),), text),
        # At cfg 1 the negative side is not computed; it only has to be there.
        Node("none", "ConditioningZeroOut", (),
             (("conditioning", "CONDITIONING", "prompt", 0),), text),
        Node("guider", "CFGGuider", (("cfg", how.cfg),),
             (("model", "MODEL", "unet", 0), ("positive", "CONDITIONING", "prompt", 0),
              ("negative", "CONDITIONING", "none", 0)), (("GUIDER", "GUIDER"),)),
        Node("sampler", "KSamplerSelect", (("sampler_name", "euler"),),
             gives=(("SAMPLER", "SAMPLER"),)),
        Node("sigmas", "Flux2Scheduler", (("steps", how.steps), *size),
             gives=(("SIGMAS", "SIGMAS"),)),
        Node("noise", "RandomNoise", (("noise_seed", how.seed),), gives=(("NOISE", "NOISE"),)),
        Node("latent", "EmptyFlux2LatentImage", (*size, ("batch_size", 1)),
             gives=(("LATENT", "LATENT"),)),
        Node("sample", "SamplerCustomAdvanced", (),
             (("noise", "NOISE", "noise", 0), ("guider", "GUIDER", "guider", 0),
              ("sampler", "SAMPLER", "sampler", 0), ("sigmas", "SIGMAS", "sigmas", 0),
              ("latent_image", "LATENT", "latent", 0)),
             (("output", "LATENT"), ("denoised_output", "LATENT"))),
        Node("decode", "VAEDecode", (),
             (("samples", "LATENT", "sample", 0), ("vae", "VAE", "vae", 0)),
             (("IMAGE", "IMAGE"),)),
        Node(SAVE, "SaveImage", (("filename_prefix", prefix),),
             (("images", "IMAGE", "decode", 0),)),
    )  # fmt: skip
