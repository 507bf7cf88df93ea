"""What the facts give a run: the files found, the server that runs, how one is started."""

from __future__ import annotations

from pathlib import Path

import around as a
import construct as c
from judging import RECIPE
from model_facts import healthy, model_file, models

from klein_doctor.generate.comfyui_given import Given, given_by
from klein_doctor.installation import Flag, Install, PathsFile, Search, Server
from klein_doctor.model import Facts, Known, Private

ROOT = "/home/jane/ComfyUI"


def facts(**changes: object) -> Facts:
    made = c.machine()._replace(
        comfyui=Known(a.comfyui(ROOT)), models=Known(healthy(ROOT)), servers=Known(())
    )
    return made._replace(**changes)


def found(of: Facts, device: str = "cuda", arguments: tuple[str, ...] = ()) -> Given:
    made = given_by(of, RECIPE, device, arguments)
    assert isinstance(made, Given), made
    return made


def running(*flags: str, outcome: str = "ok") -> dict[str, object]:
    listed = tuple(Flag(name, Private.plain("")) for name in flags)
    server = Server(8188, outcome, "", 4242, None, "0.33.0", "", "", "loopback", listed, ())
    plain = Private.plain(ROOT)
    install = Install(plain, "manual", "server", None, "", plain, None, 8188)
    return {"servers": Known((server,)), "search": Known(Search((install,), 0, "", ()))}


def test_the_files_by_their_names_below_their_folders() -> None:
    parts = found(facts()).parts
    assert parts.transformer == "flux-2-klein-4b-fp8.safetensors"
    assert parts.encoder == "qwen_3_4b.safetensors" and parts.vae == "flux2-vae.safetensors"


def test_one_is_started_from_the_code_with_its_own_models() -> None:
    start = found(facts(), arguments=("--lowvram",)).start
    assert start.main == f"{ROOT}/main.py" and start.base == ""
    assert start.path_files == () and start.arguments == ("--lowvram",)


def test_models_that_lie_elsewhere_are_told_of() -> None:
    base = Private.plain("/data/comfy")
    beside = PathsFile(Private.plain(f"{ROOT}/extra_model_paths.yaml"), "", 0, (), 1)
    other = PathsFile(Private.plain("/data/desktop.yaml"), "", 0, (), 1)
    broken = PathsFile(Private.plain("/data/broken.yaml"), "no YAML", 3, (), 0)
    comfyui = a.comfyui(ROOT)._replace(base=base, path_files=(beside, other, broken))
    start = found(facts(comfyui=Known(comfyui))).start
    assert (start.base, start.path_files) == ("/data/comfy", ("/data/desktop.yaml",))


def test_the_running_server_of_this_installation_is_used() -> None:
    given = found(facts(**running()))
    assert (given.port, given.pid) == (8188, 4242)
    assert found(facts(**running("--cpu")), "cpu").port == 8188


def test_one_on_another_device_or_that_does_not_answer_is_not() -> None:
    assert found(facts(**running()), "cpu").port is None
    assert found(facts(**running("--cpu"))).port is None
    assert found(facts(**running(outcome="slow"))).port is None


def test_without_all_parts_it_says_so() -> None:
    lacking = models(*(file for file in healthy(ROOT).files if file.role != "vae"))
    assert "not all there" in str(given_by(facts(models=Known(lacking)), RECIPE, "cuda"))
    assert "no ComfyUI" in str(given_by(facts(comfyui=Known(None)), RECIPE, "cuda"))


def test_a_base_transformer_is_not_taken_for_the_distilled_one() -> None:
    base = model_file("flux-2-klein-4b-fp8", root=ROOT, variant="base")
    others = [file for file in healthy(ROOT).files if file.role != "transformer"]
    assert isinstance(given_by(facts(models=Known(models(base, *others))), RECIPE, "cuda"), str)
    assert Path(found(facts()).parts.transformer).suffix == ".safetensors"
