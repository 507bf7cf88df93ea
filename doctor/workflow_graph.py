"""A text-to-image workflow for Klein 4B in the form ComfyUI's editor saves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from klein_doctor.klein_graph import Node, Parts, Sampling, nodes

_SIDE = 1024  # pixels
_PROMPT = "a lighthouse on a rocky coast at dawn, light fog over the water"
_PREFIX = "klein-4b"
_WIDTH, _GAP = 320, 60  # of a node, in the editor's units
_COLUMN = _WIDTH + 80
# Column, row and height of each node.
_PLACES = {
    "unet": (0, 0, 90), "clip": (0, 150, 110), "vae": (0, 320, 60), "prompt": (1, 150, 180),
    "none": (1, 390, 40), "guider": (2, 0, 110), "sampler": (2, 170, 60), "sigmas": (2, 290, 110),
    "noise": (2, 460, 90), "latent": (2, 610, 110), "sample": (3, 0, 130), "decode": (3, 190, 60),
    "save": (4, 0, 360),
}  # fmt: skip
# Of the editor alone: what it does with the seed after a run.
_MORE = {"noise": ("randomize",)}


def text_to_image(parts: Parts, steps: int, cfg: float) -> bytes:
    """The workflow as a file. steps, cfg: of the distilled weights."""
    how = Sampling(_PROMPT, _SIDE, _SIDE, steps, cfg, 0)
    graph = _graph(nodes(parts, how, _PREFIX))
    return (json.dumps(graph, indent=2, ensure_ascii=False) + "\n").encode()


def _graph(boxes: Sequence[Node]) -> dict[str, Any]:
    numbers = {box.name: number for number, box in enumerate(boxes, 1)}
    links: list[list[Any]] = []
    made = []
    for order, box in enumerate(boxes):
        inputs = []
        for slot, (name, kind, source, out) in enumerate(box.takes):
            link = len(links) + 1
            links.append([link, numbers[source], out, numbers[box.name], slot, kind])
            inputs.append({"name": name, "type": kind, "link": link})
        column, row, height = _PLACES[box.name]
        made.append(
            {
                "id": numbers[box.name],
                "type": box.kind,
                "pos": [_GAP + column * _COLUMN, _GAP + row],
                "size": [_WIDTH, height],
                "flags": {},
                "order": order,
                "mode": 0,
                "inputs": inputs,
                "outputs": [],
                "properties": {"Node name for S&R": box.kind},
                "widgets_values": [*(value for _, value in box.widgets), *_MORE.get(box.name, ())],
            }
        )
    for node, box in zip(made, boxes, strict=True):
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
        "last_node_id": len(made), "last_link_id": len(links), "nodes": made, "links": links,
        "groups": [], "config": {}, "extra": {}, "version": 0.4,
    }  # fmt: skip
