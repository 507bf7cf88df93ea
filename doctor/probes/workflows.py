"""Saved ComfyUI workflows that use FLUX.2: which files they load, and with which settings.

Two forms are read: the one the editor saves (LiteGraph nodes, subgraphs in ``definitions``) and
the one the API takes. Anybody may have written these files, so nothing in them is trusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from klein_doctor.modelfiles import ModelFile, Workflow, WorkflowFile
from klein_doctor.privacy import hub_token
from klein_doctor.probes.outside import Outside, read_text
from klein_doctor.probes.secrets_scan import workflow_files
from klein_doctor.values import Private, printable

Exists = Callable[[str, str], bool]

# Node: the category of its first widget, which names a file.
_LOADERS = {
    "UNETLoader": "diffusion_models",
    "UnetLoaderGGUF": "diffusion_models",
    "CLIPLoader": "text_encoders",
    "CLIPLoaderGGUF": "text_encoders",
    "VAELoader": "vae",
    "CheckpointLoaderSimple": "checkpoints",
}
# Node: its widgets in the order in which the editor saves their values.
_WIDGETS = {
    "UNETLoader": ("unet_name",),
    "UnetLoaderGGUF": ("unet_name",),
    "CLIPLoader": ("clip_name", "type"),
    "CLIPLoaderGGUF": ("clip_name", "type"),
    "VAELoader": ("vae_name",),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "Flux2Scheduler": ("steps",),
    "BasicScheduler": ("scheduler", "steps"),
    "CFGGuider": ("cfg",),
    "KSampler": ("seed", "control_after_generate", "steps", "cfg"),
}
_OF_FLUX2 = frozenset({"Flux2Scheduler", "EmptyFlux2LatentImage"})
_ENCODERS = frozenset({"CLIPLoader", "CLIPLoaderGGUF"})
_OFF = (2, 4)  # muted, bypassed
_PLAIN = frozenset({"COMBO", "STRING", "INT", "FLOAT", "BOOLEAN"})  # inputs that are widgets
_OWN = object()  # a subgraph's input that nobody sets: the value inside it holds

_LONGEST = 2 << 20
_LONGEST_IN_ALL = 40 << 20
_MOST_FOUND = 40
_MOST_NODES = 5000
_MOST_INSTANCES = 200
_MOST_INPUTS = 200  # of a node, and of links that carry one of them in
_MOST_FILES = 40
_MOST_VALUES = 20
_LONGEST_NAME = 300
_LONGEST_WORD = 40
_TOKEN = re.compile(hub_token(30))
_OUTSIDE = re.compile(r"[\\/]|[A-Za-z]:|(?:.*[\\/])?\.\.(?:[\\/]|\Z)", re.DOTALL)


class _Node(NamedTuple):
    """A node with the values of those widgets that matter, by name."""

    id: str
    kind: str
    active: bool
    values: Mapping[str, Any]


class _Graph(NamedTuple):
    """Nodes of one level. given: what reaches it through links from outside, by link."""

    nodes: list[Any]
    active: bool
    given: Mapping[int, Any]


def read_workflows(
    outside: Outside, base: Path, files: tuple[ModelFile, ...], exists: Exists
) -> tuple[Workflow, ...]:
    """The saved workflows of every user that use FLUX.2.

    Args:
        files: the model files that matter to Klein. exists: whether the search path of a category
            holds such a name, asked for names that are not among these.
    """
    found: list[Workflow] = []
    left = _LONGEST_IN_ALL
    for path in workflow_files(base):
        text = read_text(path, _LONGEST + 1)
        left -= len(text)
        read = _read(text) if len(text) <= _LONGEST else None
        if read is not None:
            form, nodes = read
            if _uses_flux2(nodes):
                loaded = _loaded(outside, nodes, files, exists)
                found.append(_workflow(_shown(outside, str(path)), form, nodes, loaded))
        if left <= 0 or len(found) >= _MOST_FOUND:
            break
    return tuple(found)


def workflow_of(outside: Outside, text: str) -> Workflow | None:
    """A workflow from its text alone, its files taken as found; None where it uses no FLUX.2."""
    read = _read(text) if len(text) <= _LONGEST else None
    if read is None or not _uses_flux2(read[1]):
        return None
    files = _loaded(outside, read[1], (), lambda category, name: True)
    return _workflow(Private.plain(""), read[0], read[1], files)


def _workflow(
    path: Private, form: str, nodes: list[_Node], files: tuple[WorkflowFile, ...]
) -> Workflow:
    active = [node for node in nodes if node.active]
    types = [node.values.get("type") for node in active if node.kind in _ENCODERS]
    return Workflow(
        path=path,
        form=form,
        files=files,
        encoder_types=_few(
            printable(word, _LONGEST_WORD) for word in types if isinstance(word, str)
        ),
        steps=_few(_numbers(active, "steps", 1, 10_000)),
        cfg_tenths=_few(_numbers(active, "cfg", 10, 1000)),
    )


def _few(values: Iterator[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))[:_MOST_VALUES]


def _numbers(nodes: list[_Node], name: str, times: int, most: int) -> Iterator[int]:
    for node in nodes:
        value = node.values.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most:
            yield round(value * times)


# --- the files it names ----------------------------------------------------------------------


def _loaded(
    outside: Outside, nodes: list[_Node], files: tuple[ModelFile, ...], exists: Exists
) -> tuple[WorkflowFile, ...]:
    known = {
        (file.category, _slashed(file.name.real)): file
        for file in reversed(files)
        if not file.shadowed
    }
    found: dict[WorkflowFile, None] = {}
    for node in nodes:
        name, category = _file(node), _LOADERS.get(node.kind, "")
        if not name:
            continue
        file = known.get((category, _slashed(name)))
        there = file is not None or (_lies_below(name) and exists(category, name))
        found[
            WorkflowFile(
                node=f"{node.kind} #{node.id}" if node.id else node.kind,
                category=category,
                name=_shown(outside, printable(name)),
                active=node.active,
                found=there,
                family=file.family if file else "",
                variant=file.variant if file else "",
            )
        ] = None
        if len(found) >= _MOST_FILES:
            break
    return tuple(found)


def _file(node: _Node) -> str:
    """The name of the file a loader asks for; "" for other nodes and for names from elsewhere."""
    if node.kind not in _LOADERS:
        return ""
    value = node.values.get(_WIDGETS[node.kind][0])
    return value[:_LONGEST_NAME] if isinstance(value, str) else ""


def _lies_below(name: str) -> bool:
    """Whether it is a name ComfyUI could have in a list, and nothing that leads elsewhere."""
    return name.isprintable() and not _OUTSIDE.match(name)


def _slashed(name: str) -> str:
    return name.replace("\\", "/")


def _shown(outside: Outside, text: str) -> Private:
    return outside.redactor.path(_TOKEN.sub("hf_(token)", printable(text)))


def _uses_flux2(nodes: list[_Node]) -> bool:
    for node in nodes:
        if node.kind in _OF_FLUX2:
            return True
        if node.kind in _ENCODERS and node.values.get("type") == "flux2":
            return True
        name = _file(node).lower()
        if "klein" in name and not re.search(r"flux[-_.]?3", name):
            return True
    return False


# --- the two forms ---------------------------------------------------------------------------


def _read(text: str) -> tuple[str, list[_Node]] | None:
    """The form and the nodes of a file, None for what is no workflow with FLUX.2 in it."""
    lower = text.lower()
    if "flux2" not in lower and "klein" not in lower:
        return None  # parsing takes far longer than this
    try:
        data = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    if isinstance(data.get("nodes"), list):
        return "ui", _ui_nodes(data)
    return "api", _api_nodes(data)


def _api_nodes(data: dict[str, Any]) -> list[_Node]:
    found = []
    for key, item in data.items():
        if not isinstance(item, dict) or not isinstance(item.get("class_type"), str):
            continue
        inputs = item.get("inputs")
        values = inputs if isinstance(inputs, dict) else {}
        found.append(_Node(_id(key), item["class_type"], True, values))
        if len(found) >= _MOST_NODES:
            break
    return found


def _ui_nodes(data: dict[str, Any]) -> list[_Node]:
    """The nodes of every level, once for each use of the subgraph they lie in."""
    subgraphs = _subgraphs(data)
    waiting = [_Graph(data["nodes"], True, {})]
    found: list[_Node] = []
    left = _MOST_NODES
    for graph in waiting:  # grows while it is walked
        for item in graph.nodes:
            left -= 1
            if left < 0:
                return found
            kind = item.get("type") if isinstance(item, dict) else None
            if not isinstance(kind, str):
                continue
            active = graph.active and item.get("mode") not in _OFF
            if kind not in subgraphs:
                values = _values(item, _WIDGETS.get(kind, ()), graph.given)
                found.append(_Node(_id(item.get("id")), kind, active, values))
            elif len(waiting) < _MOST_INSTANCES:
                inner = subgraphs[kind]
                given = _given(item, inner, graph.given)
                waiting.append(_Graph(_list(inner, "nodes", _MOST_NODES), active, given))
    return found


def _subgraphs(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    definitions = data.get("definitions")
    if not isinstance(definitions, dict):
        return {}
    return {
        item["id"]: item
        for item in _list(definitions, "subgraphs")
        if isinstance(item, dict) and isinstance(item.get("id"), str)
    }


def _values(
    item: dict[str, Any], widgets: tuple[str, ...], given: Mapping[int, Any]
) -> dict[str, Any]:
    """A node's widgets by name; one that a link from another node sets is left out."""
    saved = item.get("widgets_values")
    if isinstance(saved, dict):
        values = {name: saved.get(name) for name in widgets}
    else:
        values = dict(zip(widgets, _list(item, "widgets_values"), strict=False))
    for name, link in _links(item).items():
        value = given.get(link)
        if name in widgets and value is not _OWN:
            values[name] = value
    return values


def _given(item: dict[str, Any], inner: dict[str, Any], outer: Mapping[int, Any]) -> dict[int, Any]:
    """What an instance hands to the inputs of its subgraph, by the link that carries it in."""
    inputs = [each for each in _list(inner, "inputs") if isinstance(each, dict)]
    values, links = _instance_values(item, inputs), _links(item)
    given: dict[int, Any] = {}
    for each in inputs:
        name = each.get("name")
        if not isinstance(name, str):
            continue
        value = values.get(name, _OWN)
        if name in links and outer.get(links[name]) is not _OWN:
            value = outer.get(links[name])
        for link in _list(each, "linkIds"):
            if isinstance(link, int):
                given[link] = value
    return given


def _instance_values(item: dict[str, Any], inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """The widgets an instance shows of its subgraph, where it is certain which is which.

    Older editors list them in proxyWidgets as pairs of inner node (-1: an input) and name; newer
    ones save the values of the inputs that are plain values, in order.
    """
    saved = _list(item, "widgets_values")
    properties = item.get("properties")
    shown = properties.get("proxyWidgets") if isinstance(properties, dict) else None
    if isinstance(shown, list):
        names = [
            pair[1] if isinstance(pair, list) and len(pair) == 2 and pair[0] == "-1" else None
            for pair in shown[:_MOST_INPUTS]
        ]
    else:
        names = [each.get("name") for each in inputs if str(each.get("type")) in _PLAIN]
    if len(names) != len(saved):
        return {}
    return {name: value for name, value in zip(names, saved, strict=True) if isinstance(name, str)}


def _links(item: dict[str, Any]) -> dict[str, int]:
    """The inputs of a node that are linked, by name."""
    return {
        each["name"]: each["link"]
        for each in _list(item, "inputs")
        if isinstance(each, dict)
        and isinstance(each.get("name"), str)
        and isinstance(each.get("link"), int)
    }


def _list(item: dict[str, Any], key: str, most: int = _MOST_INPUTS) -> list[Any]:
    value = item.get(key)
    return value[:most] if isinstance(value, list) else []


def _id(value: object) -> str:
    """A node's number for display; "" for what is none."""
    if isinstance(value, int) and abs(value) < 1 << 31:
        return str(value)
    return printable(value, 20) if isinstance(value, str) else ""
