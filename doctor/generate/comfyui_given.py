"""What the facts give a run over ComfyUI: its files, its server, and how one is started."""

from __future__ import annotations

from pathlib import PurePath
from typing import NamedTuple

from klein_doctor.assets import loadable, told
from klein_doctor.environment import isolated
from klein_doctor.generate.comfyui_server import Start
from klein_doctor.installation import ComfyUI, Server
from klein_doctor.klein_graph import Parts
from klein_doctor.model import Facts, known
from klein_doctor.recipe import Recipe


class Given(NamedTuple):
    """What the facts give a run.

    port: of the server of this installation that runs, None: one is started, as ``start`` says.
    pid: of that server, None where the system does not tell.
    """

    parts: Parts
    start: Start
    port: int | None
    pid: int | None


def given_by(
    facts: Facts,
    recipe: Recipe,
    device: str,
    arguments: tuple[str, ...] = (),
    *,
    custom_nodes: bool = False,
) -> Given | str:
    """What a run needs, or in words why there can be none.

    Args:
        device: ``cuda`` or ``cpu``. arguments: of a server that is started, as the plan for the
            card's memory asks for. custom_nodes: load the user's custom nodes there.
    """
    comfyui: ComfyUI | None = known(facts.comfyui)
    if comfyui is None:
        return "no ComfyUI was found"
    models = told(facts, recipe)
    if models is None:
        return "ComfyUI's model files could not be read"
    files = loadable(models)
    if files is None:
        return (
            "transformer, text encoder and VAE are not all there as ComfyUI's own nodes load them"
        )
    root, base = comfyui.root.real, comfyui.base.real
    main = comfyui.root.below("main.py").real
    python = known(facts.interpreter)
    start = Start(
        main=main,
        base=base if base != root else "",
        isolated=python is not None and isolated(python),
        path_files=tuple(
            file.path.real
            for file in comfyui.path_files
            # The one beside the code is read without being told of.
            if not file.fault and str(PurePath(file.path.real).parent) != root
        ),
        arguments=arguments,
        custom_nodes=custom_nodes,
    )
    server = _running(facts, comfyui, device)
    return Given(
        Parts(*(file.name.real for file in files)),
        start,
        server.port if server is not None else None,
        server.pid if server is not None else None,
    )


def _running(facts: Facts, comfyui: ComfyUI, device: str) -> Server | None:
    """The server of this installation that runs on the device."""
    search = known(facts.search)
    judged = search.judged() if search is not None else None
    if judged is None or judged.port is None or judged.root.real != comfyui.root.real:
        return None
    for server in known(facts.servers, ()):
        if server.port == judged.port and server.outcome == "ok":
            on_cpu = any(flag.name == "--cpu" for flag in server.flags)
            return server if on_cpu == (device == "cpu") else None
    return None
