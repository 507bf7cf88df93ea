"""Write the constructed machines of tests/machines/ anew: ``python tests/constructed.py``.

None was read off a real machine, and each file says so. Recorded machines are left alone. Here are
the troubles of ComfyUI, memory and disks; construct.py has those of card, driver and PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import around as a
import attention_facts as f
import construct as c
import model_facts as m

from klein_doctor.codec import encode
from klein_doctor.installation import (
    Checkout,
    CustomNodes,
    Hub,
    HubTrouble,
    NodePin,
    PathsFile,
    Setting,
)
from klein_doctor.model import Facts, GpuProcess, Known, Target
from klein_doctor.modelfiles import ModelFile

MACHINES = Path(__file__).parent / "machines"
CREATED = "2026-11-23T12:00:00Z"
GIB = 1 << 30
plain = a.plain


def windows(root: str, kind: str, **changes: object) -> Facts:
    """A healthy Windows machine with one ComfyUI of a kind."""
    facts = c.on_windows(c.machine(windows=True))
    return facts._replace(
        search=Known(a.search(a.install(root, kind))),
        comfyui=Known(a.comfyui(root, kind, **changes)),
        disks=Known(a.disks(root)),
        memory=Known(a.memory(commit_limit=40 * GIB, commit_free=31 * GIB, swap_total=0)),
        models=Known(m.healthy(root)),
    )


def _desktop() -> Facts:
    line = a.launcher(
        "desktop",
        r"~\Documents\ComfyUI\user\default\comfy.settings.json",
        a.flag("--base-directory", r"~\Documents\ComfyUI"),
        line=0,
    )
    return windows(
        r"~\AppData\Local\Programs\ComfyUI\resources\ComfyUI",
        "desktop",
        base=plain(r"~\Documents\ComfyUI"),
        folders=Known(a.folders(r"~\Documents\ComfyUI")),
        launchers=(line,),
    )


def _desktop_2() -> Facts:
    return windows(r"~\ComfyUI-Installs\main\ComfyUI", "desktop-2")


def _stability_matrix() -> Facts:
    root = r"C:\StabilityMatrix\Data\Packages\ComfyUI"
    shared = PathsFile(plain(a.join(root, "extra_model_paths.yaml")), "", 0, (), 9)
    line = a.launcher(
        "stability-matrix", r"C:\StabilityMatrix\Data\settings.json", a.flag("--preview-method"),
        line=0,
    )  # fmt: skip
    return windows(root, "stability-matrix", path_files=(shared,), launchers=(line,))


def _comfy_cli() -> Facts:
    root = "~/comfy/ComfyUI"
    line = a.launcher(
        "comfy-cli", "~/.config/comfy-cli/config.ini", a.flag("--listen", "0.0.0.0"),
        listen="any", line=0,
    )  # fmt: skip
    return c.machine()._replace(
        search=Known(a.search(a.install(root, "comfy-cli", found_by="comfy-cli"))),
        comfyui=Known(a.comfyui(root, "comfy-cli", launchers=(line,))),
        disks=Known(a.disks(root)),
    )


def _listen_in_bat() -> Facts:
    bat = r"~\ComfyUI_windows_portable\run_nvidia_gpu_lan.bat"
    flags = (a.flag("--windows-standalone-build"), a.flag("--listen"))
    line = a.launcher("bat", bat, *flags, listen="any", isolated=True)
    return windows(a.PORTABLE, "portable", launchers=(line,))


def _two_installs() -> Facts:
    running = a.install("~/ai/ComfyUI", found_by="server", python_from="server", port=8188)
    found = a.search(
        a.install(), running, chosen=1, why="the one that is running on port 8188"
    )  # fmt: skip
    line = a.launcher("server", "~/ai/ComfyUI", line=0)
    facts = c.machine()
    assert isinstance(facts.nvml, Known)
    (card,) = facts.nvml.value.gpus
    held = (
        GpuProcess(5120, "python", Known(5200 << 20)),
        GpuProcess(2211, "Xorg", Known(412 << 20)),
    )
    card = card._replace(processes=Known(held), free_bytes=Known(6220 << 20))
    return facts._replace(
        nvml=Known(c.nvml(card)),
        search=Known(found),
        comfyui=Known(a.comfyui("~/ai/ComfyUI", launchers=(line,))),
        servers=Known((a.server(),)),
        disks=Known(a.disks("~/ai/ComfyUI")),
    )


def _old_comfyui() -> Facts:
    nodes = CustomNodes(
        3, 1, tuple(plain(name) for name in ("ComfyUI-Manager", "ComfyUI-Old", "ComfyUI-Trellis")),
        (NodePin("ComfyUI-Trellis", "requirements.txt", 4, "torch==2.7.0"),),
    )  # fmt: skip
    return c.machine()._replace(
        comfyui=Known(
            a.comfyui(
                version=Known("0.9.1"),
                klein=Known(False),
                checkout=Known(Checkout(a.COMMIT, "", Known(True))),
                requirements=Known(()),
                custom_nodes=Known(nodes),
            )
        )
    )


def _stale_requirements() -> Facts:
    stale: dict[str, str | None] = {"comfy-kitchen": "0.2.10", "comfy-aimdo": None}
    return c.machine()._replace(
        comfyui=Known(a.comfyui(requirements=Known(a.wanted(stale)))),
        packages=Known(a.packages(stale)),
    )


def _broken_yaml() -> Facts:
    broken = PathsFile(
        plain("~/ComfyUI/extra_model_paths.yaml"), "a tab stands where only spaces may", 7, (),
        0, "tabs become spaces",
    )  # fmt: skip
    return c.machine()._replace(comfyui=Known(a.comfyui(path_files=(broken,))))


def _files(*files: ModelFile) -> Facts:
    """A healthy machine with these model files."""
    return c.machine()._replace(models=Known(m.models(*files)))


def _flux1_vae() -> Facts:
    impostor = m.model_file("flux1-ae", "vae", "flux2-vae.safetensors")
    return _files(m.model_file("flux-2-klein-4b-fp8"), m.model_file("qwen3-4b"), impostor)


def _nine_b_encoder() -> Facts:
    encoder = m.model_file("qwen_3_8b", "text_encoders", "qwen_3_8b.safetensors")
    return _files(m.model_file("flux-2-klein-4b-fp8"), encoder, m.model_file("flux2-vae"))


def _cut_off() -> Facts:
    cut = m.model_file("flux-2-klein-4b-fp8", cut=1_600_000_000)
    return _files(cut, m.model_file("qwen3-4b"), m.model_file("flux2-vae"))


def _base_as_distilled() -> Facts:
    base = m.model_file(
        "flux-2-klein-base-4b-fp8", "diffusion_models", "flux-2-klein-4b-fp8.safetensors"
    )
    return _files(base, m.model_file("qwen3-4b"), m.model_file("flux2-vae"))


def _no_models() -> Facts:
    return c.machine()._replace(models=Known(m.models()))


def _offline() -> Facts:
    return _no_models()._replace(settings=Known((Setting("HF_HUB_OFFLINE", plain("1")),)))


def _foreign_certificate() -> Facts:
    says = "the certificate of huggingface.co is not trusted here (self-signed certificate)"
    last = HubTrouble(
        when="2026-11-22T18:04:09Z",
        endpoint=plain("https://huggingface.co"),
        cause="tls",
        says=says,
        repo="black-forest-labs/FLUX.2-klein-4B",
    )
    proxy = Setting("HTTPS_PROXY", plain("set"))
    return diffusers(
        models=Known(m.models()), hub=Known(Hub(last)), settings=Known((proxy,))
    )  # fmt: skip


def _shard_for_diffusers() -> Facts:
    return diffusers(
        models=Known(
            m.models(
                pipelines=(
                    m.pipeline(
                        verdict="damaged",
                        says="an incomplete diffusers folder: text_encoder/model-00002-of-00002"
                        ".safetensors missing",
                        missing=("text_encoder/model-00002-of-00002.safetensors",),
                    ),
                )
            )
        )
    )


def _no_comfyui() -> Facts:
    return c.machine()._replace(search=Known(a.search()), comfyui=Known(None))


def _eight_gib(free_mib: int) -> Facts:
    programs = (
        GpuProcess(3901, "chrome", Known(1430 << 20)),
        GpuProcess(4711, "obs", Known(2630 << 20)),
        GpuProcess(2211, "Xorg", Known(380 << 20)),
    )
    card = c.gpu(
        name="NVIDIA GeForce RTX 4060",
        compute_capability=Known((8, 9)),
        total_bytes=Known(8188 << 20),
        reserved_bytes=Known(246 << 20),
        used_bytes=Known((8188 - 246 - free_mib) << 20),
        free_bytes=Known(free_mib << 20),
        processes=Known(programs),
    )
    return c.machine()._replace(nvml=Known(c.nvml(card)))


def diffusers(**changes: object) -> Facts:
    """A healthy machine with 64 GiB and without ComfyUI, for the diffusers route."""
    versions: dict[str, str | None] = {
        **dict.fromkeys(a.PINS), "diffusers": "0.42.1", "accelerate": "1.15.0",
    }  # fmt: skip
    return c.machine()._replace(
        search=Known(a.search()),
        comfyui=Known(None),
        packages=Known(a.packages(versions)),
        **{
            "memory": Known(a.memory(64, 51)),
            "models": Known(m.models(pipelines=(m.pipeline(),))),
            **changes,
        },
    )


def _limited_container() -> Facts:
    return c.machine()._replace(
        system=Known(c.system(container="docker")),
        memory=Known(
            a.memory(64, 51, limit=4 * GIB, limit_free=(7 * GIB) // 2, limited_by="cgroup v2")
        ),
    )


def _half_ram_wsl() -> Facts:
    facts = c.MADE["wsl2-healthy"][0]()
    return facts._replace(memory=Known(a.memory(8)._replace(available=(5 * GIB) // 2)))


def _zram() -> Facts:
    memory = a.memory(8, 4, swap_total=0, swap_free=0, zram_total=8 * GIB, zram_free=8 * GIB)
    return c.machine()._replace(memory=Known(memory))


def _managed() -> Facts:
    facts = diffusers()
    assert isinstance(facts.interpreter, Known)
    site = plain("/usr/local/lib/python3.12/dist-packages")
    python = facts.interpreter.value._replace(
        path=plain("/usr/bin/python3"), kind="system", prefix=plain("/usr"), site_packages=(site,)
    )
    marker = plain("/usr/lib/python3.12/EXTERNALLY-MANAGED")
    words = "To install Python packages system-wide, try apt install"
    around = a.surroundings(
        managed=marker, managed_by=words, path_python_is_target=True, path_pip_is_target=True
    )
    return facts._replace(interpreter=Known(python), surroundings=Known(around))


def _user_site() -> Facts:
    facts = c.machine(windows=True)
    leak = a.surroundings(
        user_site=plain(r"~\AppData\Roaming\Python\Python312\site-packages"),
        user_packages=("numpy", "transformers"),
    )
    return c.on_windows(facts)._replace(surroundings=Known(leak))


def _hopper_xformers() -> Facts:
    three = f.binary("xformers/_C_flashattention3.so", ("sm_90a",), "")
    main = f.binary("xformers/_C.so", ("sm_75", "sm_80", "sm_90a", "compute_80"), "")
    return f.has(c.machine(), f.extension("xformers", "0.0.30", main, three))


def _flash_of_another_torch() -> Facts:
    broken = f.binary(undefined=("_ZN3c104cuda29c10_cuda_check_implementationEiPKcS2_ib",))
    facts = f.has(c.machine(), f.extension("flash-attn", "2.8.3", broken))
    line = a.launcher("sh", "~/ComfyUI/run.sh", a.flag("--use-flash-attention"), line=4)
    return facts._replace(comfyui=Known(a.comfyui(launchers=(line,))))


def _attention_replaced() -> Facts:
    return f.replaces(f.has(c.machine(), f.extension()), f.replaced())


def _flash_in_config() -> Facts:
    place = f.override(
        kind="config",
        path=plain("~/models/FLUX.2-klein-4B/text_encoder/config.json"),
        line=12,
        how="_attn_implementation",
        owner="",
        node="",
    )
    return f.asks(diffusers(), place)


MADE: dict[str, tuple[Callable[[], Facts], str | None, int]] = {
    "desktop-1-windows": (_desktop, None, 0),
    "desktop-2-windows": (_desktop_2, None, 0),
    "stability-matrix-windows": (_stability_matrix, None, 0),
    "comfy-cli-listening": (_comfy_cli, "comfyui-exposed:1", 0),
    "listen-in-a-bat": (_listen_in_bat, "comfyui-exposed:1", 0),
    "two-installs-one-running": (_two_installs, None, 0),
    "old-comfyui-new-nodes": (_old_comfyui, "comfyui-too-old:1", 1),
    "stale-requirements": (_stale_requirements, "comfyui-requirements-stale:1", 1),
    "broken-model-paths": (_broken_yaml, "model-paths-broken:1", 1),
    "flux1-vae-named-flux2": (_flux1_vae, "vae-wrong:1", 1),
    "encoder-of-9b": (_nine_b_encoder, "encoder-wrong:1", 1),
    "transformer-cut-off": (_cut_off, "asset-damaged:1", 1),
    "base-named-distilled": (_base_as_distilled, "base-for-distilled:1", 1),
    "no-models-yet": (_no_models, "transformer-missing:1", 1),
    "diffusers-part-missing": (_shard_for_diffusers, "checkout-incomplete:1", 1),
    "no-models-and-offline": (_offline, "transformer-missing:1", 1),
    "diffusers-behind-a-foreign-certificate": (_foreign_certificate, "checkout-incomplete:1", 1),
    "no-comfyui": (_no_comfyui, "comfyui-missing:1", 1),
    "rtx4060-8gb-browser": (lambda: _eight_gib(5300), None, 0),
    "rtx4060-8gb-crowded": (lambda: _eight_gib(2400), "vram-busy:1", 1),
    "healthy-diffusers": (diffusers, None, 0),
    "diffusers-16gb-ram": (
        lambda: diffusers(memory=Known(a.memory(16, 13))), "ram-too-small:1", 0,
    ),
    "container-memory-limit": (_limited_container, "ram-too-small:1", 1),
    "wsl2-half-ram": (_half_ram_wsl, "ram-too-small:1", 1),
    "only-zram": (_zram, "ram-too-small:1", 1),
    "full-disk": (
        lambda: c.machine()._replace(disks=Known(a.disks(free=0))), "disk-too-small:1", 1,
    ),
    "pep668-system-python": (_managed, "python-externally-managed:1", 0),
    "xformers-ends-at-hopper": (_hopper_xformers, "attention-extension-lacks-arch:1", 1),
    "flash-attn-of-another-torch": (_flash_of_another_torch, "flash-attention-forced:1", 1),
    "attention-replaced-by-a-node": (_attention_replaced, "flash-attention-forced:1", 1),
    "flash-attention-in-config": (_flash_in_config, "flash-attention-forced:1", 1),
    "user-site-leak": (_user_site, "python-wrong-interpreter:1", 0),
}  # fmt: skip


def target(facts: Facts) -> Target:
    """The target that facts stand for."""
    python = facts.interpreter.value.path if isinstance(facts.interpreter, Known) else plain("")
    found = facts.comfyui.value if isinstance(facts.comfyui, Known) else None
    return Target(
        python=python,
        python_from="comfyui" if found is not None else "--python",
        gpu=plain(""),
        assumed="",
        comfyui=found.root if found is not None else plain(""),
        comfyui_from="home folder" if found is not None else "",
        route=facts.route.value if isinstance(facts.route, Known) else "auto",
    )


def main() -> None:
    """Write every constructed machine."""
    for name, (make, first, code) in {**c.MADE, **MADE}.items():
        facts = make()
        data = {
            "about": {"kind": "constructed", "first": first, "exit_code": code},
            "created": CREATED,
            "target": encode(target(facts), "public"),
            "facts": encode(facts, "public"),
        }
        path = MACHINES / f"{name}.json"
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
