"""ComfyUI trees made in a temporary folder, small and large: real files, nothing of ComfyUI's."""

from __future__ import annotations

from pathlib import Path

from model_files import put_real
from targets import make_venv, put_package, put_record, site_packages

from klein_doctor.rehearse.tree import PINS as PINS
from klein_doctor.rehearse.tree import put_comfyui as put_comfyui


def put_own_python(root: Path, torch: str = "2.14.1+cu130", cuda: str = "13.0") -> Path:
    """The environment of an installation with what ComfyUI needs; returns its interpreter."""
    python = make_venv(root / ".venv")
    site = site_packages(root / ".venv")
    put_package(site, "torch", torch, cuda)
    put_package(site, "torchvision", "0.29.1" + torch[torch.find("+") :], cuda)
    for name, version in PINS.items():
        put_record(site, name.replace("-", "_"), version)
    return python


# What a collector has: models of all kinds, and few of them Klein's.
MIXED = ("flux1-dev", "sdxl-vae", "t5xxl_fp16", "clip_l", "z_image_turbo_bf16", "wan21-vae",
         "flux1-ae", "qwen3-0.6b", "flux-2-klein-9b", "qwen_3_8b", "flux2-dev")  # fmt: skip


def put_klein(root: Path) -> None:
    """The three files of Klein, at their true size, where ComfyUI looks for them."""
    for name, category, file in (
        ("flux-2-klein-4b-fp8", "diffusion_models", "flux-2-klein-4b-fp8"),
        ("qwen3-4b", "text_encoders", "qwen_3_4b"),
        ("flux2-vae", "vae", "flux2-vae"),
    ):
        put_real(root / "models" / category / f"{file}.safetensors", name)


def fill(root: Path, nodes: int = 200, models: int = 1000) -> None:
    """Custom nodes and sparse model files with real headers, Klein's among them."""
    put_klein(root)
    for number in range(nodes):
        node = root / "custom_nodes" / f"ComfyUI-Node-{number:03}"
        (node / "web").mkdir(parents=True)
        (node / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n" * 40, encoding="utf-8")
        lines = ["numpy>=1.25\n", "opencv-python\n", "torch>=2.0\n"] * 5
        (node / "requirements.txt").write_text("".join(lines), encoding="utf-8")
    for number in range(models):
        category = ("diffusion_models", "text_encoders", "vae")[number % 3]
        table = MIXED[number % len(MIXED)]
        place = root / "models" / category / f"set {number % 25}"
        put_real(place / f"model-{number:04}.safetensors", table)
