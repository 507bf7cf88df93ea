"""ComfyUI trees made in a temporary folder, small and large: real files, nothing of ComfyUI's."""

from __future__ import annotations

from pathlib import Path

from targets import make_venv, put_package, put_record, site_packages

# What ComfyUI 0.33.0 asks for, as far as the checks look at it.
PINS = {
    "comfyui-frontend-package": "1.49.6",
    "comfyui-workflow-templates": "0.11.44",
    "comfyui-embedded-docs": "0.5.10",
    "comfy-kitchen": "0.2.31",
    "comfy-aimdo": "0.4.13",
}
_KLEIN = "class KleinTokenizer:\n    pass\n\n\ndef klein_te():\n    pass\n"
_TYPES = "class CLIPType:\n    FLUX = 6\n    FLUX2 = 21\n"


def put_comfyui(root: Path, version: str = "0.33.0", klein: bool = True) -> Path:
    """The code folder of a ComfyUI; returns root."""
    for folder in ("comfy/text_encoders", "comfy_extras", "comfy_api", "custom_nodes", "output"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for category in ("unet", "diffusion_models", "text_encoders", "clip", "vae"):
        (root / "models" / category).mkdir(parents=True, exist_ok=True)
    texts = {
        "main.py": "raise SystemExit('never started by the doctor')\n",
        "nodes.py": "",
        "comfyui_version.py": f'__version__ = "{version}"\n',
        "comfy/text_encoders/flux.py": _KLEIN if klein else "class FluxTokenizer:\n    pass\n",
        "comfy/sd.py": _TYPES,
        "requirements.txt": "torch\n" + "".join(f"{n}=={v}\n" for n, v in PINS.items()),
    }
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    return root


def put_own_python(root: Path, torch: str = "2.14.1+cu130", cuda: str = "13.0") -> Path:
    """The environment of an installation with what ComfyUI needs; returns its interpreter."""
    python = make_venv(root / ".venv")
    site = site_packages(root / ".venv")
    put_package(site, "torch", torch, cuda)
    put_package(site, "torchvision", "0.29.1" + torch[torch.find("+") :], cuda)
    for name, version in PINS.items():
        put_record(site, name.replace("-", "_"), version)
    return python


def fill(root: Path, nodes: int = 200, models: int = 1000) -> None:
    """Custom nodes and sparse model files, as a collector has them."""
    for number in range(nodes):
        node = root / "custom_nodes" / f"ComfyUI-Node-{number:03}"
        (node / "web").mkdir(parents=True)
        (node / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n" * 40, encoding="utf-8")
        lines = ["numpy>=1.25\n", "opencv-python\n", "torch>=2.0\n"] * 5
        (node / "requirements.txt").write_text("".join(lines), encoding="utf-8")
    for number in range(models):
        category = ("diffusion_models", "text_encoders", "vae")[number % 3]
        folder = root / "models" / category / f"set {number % 25}"
        folder.mkdir(exist_ok=True)
        with (folder / f"model-{number:04}.safetensors").open("wb") as stream:
            stream.truncate(2 << 30)
