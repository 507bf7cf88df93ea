"""A picture of Klein 4B as a job for ComfyUI: the graph in the form its API takes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from klein_doctor.klein_graph import SAVE, Node, Parts, Sampling, nodes

# The phase of a run (generation.Phase) by the node at work; the others take no time to speak of.
PHASES = {
    "UNETLoader": "load",
    "CLIPLoader": "load",
    "VAELoader": "load",
    "CLIPTextEncode": "encode",
    "ConditioningZeroOut": "encode",
    "SamplerCustomAdvanced": "denoise",
    "VAEDecode": "decode",
    "SaveImage": "save",
    "PreviewImage": "save",
}

_SAMPLER = "SamplerCustomAdvanced"

Graph = dict[str, dict[str, Any]]


def text_to_image(parts: Parts, how: Sampling, mark: str, prefix: str | None) -> Graph:
    """The graph by node number.

    Args:
        mark: makes the job another than all before, so that ComfyUI cannot answer it from what it
            remembers; the pictures do not depend on it. prefix: of the saved picture's name, None:
            it goes to ComfyUI's temporary folder, which it clears at its next start.
    """
    made = nodes(parts, how, prefix or "")
    numbers = {node.name: str(number) for number, node in enumerate(made, 1)}
    graph: Graph = {}
    for node in made:
        inputs: dict[str, Any] = dict(node.widgets)
        for name, _, source, slot in node.takes:
            inputs[name] = [numbers[source], slot]
        graph[numbers[node.name]] = {"class_type": node.kind, "inputs": inputs}
    # An input that no node knows is not read, but it is part of what ComfyUI tells jobs apart by.
    graph[numbers["noise"]]["inputs"]["klein_doctor"] = mark
    if prefix is None:
        graph[numbers[SAVE]] = _preview(made[-1], numbers)
    return graph


def phase_of(graph: Graph, number: str) -> str:
    """The phase in which a node is at work, "" for none."""
    return PHASES.get(str(graph.get(number, {}).get("class_type")), "")


def is_cached(graph: Graph, cached: Collection[str]) -> bool:
    """Whether the sampler is among the nodes that did nothing."""
    return any(graph[number]["class_type"] == _SAMPLER for number in cached if number in graph)


def _preview(save: Node, numbers: dict[str, str]) -> dict[str, Any]:
    return {
        "class_type": "PreviewImage",
        "inputs": {name: [numbers[source], slot] for name, _, source, slot in save.takes},
    }
