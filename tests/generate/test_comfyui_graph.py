"""The graph that is sent: ComfyUI's nodes with the files found here."""

from __future__ import annotations

from klein_doctor.generate.comfyui_graph import is_cached, phase_of, text_to_image
from klein_doctor.klein_graph import Parts, Sampling

PARTS = Parts("flux\\klein.safetensors", "qwen.safetensors", "vae.safetensors")
HOW = Sampling("an apple", 512, 768, 4, 1.0, 42)
# What the distilled template of ComfyUI's own uses.
CLASSES = {
    "UNETLoader", "CLIPLoader", "VAELoader", "CLIPTextEncode", "ConditioningZeroOut", "CFGGuider",
    "KSamplerSelect", "Flux2Scheduler", "RandomNoise", "EmptyFlux2LatentImage",
    "SamplerCustomAdvanced", "VAEDecode", "SaveImage",
}  # fmt: skip


def by_class(prefix: str | None = "doctor") -> dict[str, dict[str, object]]:
    graph = text_to_image(PARTS, HOW, "mark", prefix)
    return {str(node["class_type"]): node["inputs"] for node in graph.values()}


def test_it_is_the_distilled_text_to_image_graph() -> None:
    nodes = by_class()
    assert set(nodes) == CLASSES
    assert nodes["UNETLoader"] == {"unet_name": PARTS.transformer, "weight_dtype": "default"}
    assert nodes["CLIPLoader"]["clip_name"] == "qwen.safetensors"
    assert nodes["CLIPLoader"]["type"] == "flux2"
    assert nodes["CLIPTextEncode"]["text"] == "an apple"
    assert nodes["CFGGuider"]["cfg"] == 1.0
    assert nodes["KSamplerSelect"] == {"sampler_name": "euler"}
    assert nodes["Flux2Scheduler"] == {"steps": 4, "width": 512, "height": 768}
    assert nodes["RandomNoise"]["noise_seed"] == 42
    assert nodes["EmptyFlux2LatentImage"] == {"width": 512, "height": 768, "batch_size": 1}
    assert nodes["SaveImage"]["filename_prefix"] == "doctor"


def test_every_link_leads_to_a_node_of_the_class_that_gives_it() -> None:
    graph = text_to_image(PARTS, HOW, "mark", "doctor")
    wanted = {
        "model": "UNETLoader", "clip": "CLIPLoader", "vae": "VAELoader", "guider": "CFGGuider",
        "positive": "CLIPTextEncode", "negative": "ConditioningZeroOut", "noise": "RandomNoise",
        "sampler": "KSamplerSelect", "sigmas": "Flux2Scheduler", "images": "VAEDecode",
        "latent_image": "EmptyFlux2LatentImage", "samples": "SamplerCustomAdvanced",
        "conditioning": "CLIPTextEncode",
    }  # fmt: skip
    seen = set()
    for node in graph.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                assert graph[value[0]]["class_type"] == wanted[name]
                seen.add(name)
    assert seen == set(wanted)


def test_two_jobs_differ_in_what_comfyui_remembers_them_by() -> None:
    first, second = (text_to_image(PARTS, HOW, mark, "doctor") for mark in ("a", "b"))
    assert first != second
    changed = [number for number in first if first[number] != second[number]]
    assert [first[number]["class_type"] for number in changed] == ["RandomNoise"]


def test_on_a_users_server_the_picture_goes_to_the_temporary_folder() -> None:
    nodes = by_class(None)
    assert "SaveImage" not in nodes
    assert set(nodes["PreviewImage"]) == {"images"}


def test_phases_and_the_cached_sampler() -> None:
    graph = text_to_image(PARTS, HOW, "mark", None)
    numbers = {str(node["class_type"]): number for number, node in graph.items()}
    phases = {phase_of(graph, number) for number in graph}
    assert phases == {"load", "encode", "denoise", "decode", "save", ""}
    assert phase_of(graph, "99") == ""
    assert is_cached(graph, [numbers["SamplerCustomAdvanced"]])
    assert not is_cached(graph, [numbers["UNETLoader"], "99"])
