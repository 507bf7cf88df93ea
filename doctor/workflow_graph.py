"""A text-to-image workflow for Klein 4B in the form ComfyUI's editor saves, from a small table."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

_SIDE = 1024  # pixels
_PROMPT = "a lighthouse on a rocky coast at dawn, light fog over the water"
_PREFIX = "klein-4b"
_WIDTH, _GAP = 320, 60  # of a node, in the editor's units
_COLUMN = _WIDTH + 80


class _Box(NamedTuple):
    """A node. column, row: its place. values: of its widgets, in the editor's order.

    takes: (input, type, name of the node it comes from, slot there). gives: (output, type).
    """

    name: str
    kind: str
    column: int
    row: int
    height: int
    values: tuple[Any, ...]
    takes: tuple[tuple[str, str, str, int], ...]
    gives: tuple[tuple[str, str], ...]


def text_to_image(transformer: str, encoder: str, vae: str, steps: int, cfg: float) -> bytes:
    """The workflow as a file.

    Args:
        transformer, encoder, vae: as the loaders list them: below their folders, by the separator
            of the system. steps, cfg: of the distilled weights.
    """
    graph = _graph(_boxes(transformer, encoder, vae, steps, cfg))
    return (json.dumps(graph, indent=2, ensure_ascii=False) + "\n").encode()


def _boxes(transformer: str, encoder: str, vae: str, steps: int, cfg: float) -> list[_Box]:
    text, nothing = ("CONDITIONING", "CONDITIONING"), ()
    return [
        _Box("unet", "UNETLoader", 0, 0, 90, (transformer, "default"), nothing,
             (("MODEL", "MODEL"),)),
        _Box("clip", "CLIPLoader", 0, 150, 110, (encoder, "flux2", "default"), nothing,
             (("CLIP", "CLIP"),)),
        _Box("vae", "VAELoader", 0, 320, 60, (vae,), nothing, (("VAE", "VAE"),)),
        _Box("prompt", "CLIPTextEncode", 1, 150, 180, (_PROMPT,),
             (("clip", "CLIP", "clip", 0),), (text,)),
        # At cfg 1 the negative side is not computed; it only has to be there.
        _Box("none", "ConditioningZeroOut", 1, 390, 40, (),
             (("conditioning", "CONDITIONING", "prompt", 0),), (text,)),
        _Box("guider", "CFGGuider", 2, 0, 110, (cfg,),
             (("model", "MODEL", "unet", 0), ("positive", "CONDITIONING", "prompt", 0),
              ("negative", "CONDITIONING", "none", 0)), (("GUIDER", "GUIDER"),)),
        _Box("sampler", "KSamplerSelect", 2, 170, 60, ("euler",), nothing,
             (("SAMPLER", "SAMPLER"),)),
        _Box("sigmas", "Flux2Scheduler", 2, 290, 110, (steps, _SIDE, _SIDE), nothing,
             (("SIGMAS", "SIGMAS"),)),
        _Box("noise", "RandomNoise", 2, 460, 90, (0, "randomize"), nothing,
             (("NOISE", "NOISE"),)),
        _Box("latent", "EmptyFlux2LatentImage", 2, 610, 110, (_SIDE, _SIDE, 1), nothing,
             (("LATENT", "LATENT"),)),
        _Box("sample", "SamplerCustomAdvanced", 3, 0, 130, (),
             (("noise", "NOISE", "noise", 0), ("guider", "GUIDER", "guider", 0),
              ("sampler", "SAMPLER", "sampler", 0), ("sigmas", "SIGMAS", "sigmas", 0),
              ("latent_image", "LATENT", "latent", 0)),
             (("output", "LATENT"), ("denoised_output", "LATENT"))),
        _Box("decode", "VAEDecode", 3, 190, 60, (),
             (("samples", "LATENT", "sample", 0), ("vae", "VAE", "vae", 0)),
             (("IMAGE", "IMAGE"),)),
        _Box("save", "SaveImage", 4, 0, 360, (_PREFIX,), (("images", "IMAGE", "decode", 0),), ()),
    ]  # fmt: skip


def _graph(boxes: list[_Box]) -> dict[str, Any]:
    numbers = {box.name: number for number, box in enumerate(boxes, 1)}
    links: list[list[Any]] = []
    nodes = []
    for order, box in enumerate(boxes):
        inputs = []
        for slot, (name, kind, source, out) in enumerate(box.takes):
            link = len(links) + 1
            links.append([link, numbers[source], out, numbers[box.name], slot, kind])
            inputs.append({"name": name, "type": kind, "link": link})
        nodes.append(
            {
                "id": numbers[box.name],
                "type": box.kind,
                "pos": [_GAP + box.column * _COLUMN, _GAP + box.row],
                "size": [_WIDTH, box.height],
                "flags": {},
                "order": order,
                "mode": 0,
                "inputs": inputs,
                "outputs": [],
                "properties": {"Node name for S&R": box.kind},
                "widgets_values": list(box.values),
            }
        )
    for node, box in zip(nodes, boxes, strict=True):
        node["outputs"] = [
            {
                "name": name,
                "type": kind,
                "links": [n for n, source, out, *_ in links if (source, out) == (node["id"], slot)],
                "slot_index": slot,
            }
            for slot, (name, kind) in enumerate(box.gives)
        ]
    return {
        "last_node_id": len(nodes), "last_link_id": len(links), "nodes": nodes, "links": links,
        "groups": [], "config": {}, "extra": {}, "version": 0.4,
    }  # fmt: skip
