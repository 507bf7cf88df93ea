"""A ComfyUI as far as its files tell, with an environment of its own: small, and nothing runs."""

from __future__ import annotations

import io
import os
import venv
import zipfile
from pathlib import Path

# What ComfyUI 0.33.0 asks for, as far as anything here looks at it.
PINS = {
    "comfyui-frontend-package": "1.49.6",
    "comfyui-workflow-templates": "0.11.44",
    "comfyui-embedded-docs": "0.5.10",
    "comfy-kitchen": "0.2.31",
    "comfy-aimdo": "0.4.13",
}
VERSION = "0.33.0"
_KLEIN = "class KleinTokenizer:\n    pass\n\n\ndef klein_te():\n    pass\n"
_TYPES = "class CLIPType:\n    FLUX = 6\n    FLUX2 = 21\n"
_FOLDERS = ("comfy/text_encoders", "comfy_extras", "comfy_api", "custom_nodes", "output", "user")
_CATEGORIES = ("unet", "diffusion_models", "text_encoders", "clip", "vae")


def put_comfyui(root: Path, version: str = VERSION, klein: bool = True) -> Path:
    """The code folder of a ComfyUI; returns root."""
    for folder in (*_FOLDERS, *(f"models/{category}" for category in _CATEGORIES)):
        (root / folder).mkdir(parents=True, exist_ok=True)
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


def put_environment(folder: Path) -> Path:
    """A real environment with pip; returns its interpreter.

    Raises:
        OSError, subprocess.CalledProcessError: this Python cannot make one (Debian's without the
            package python3-venv).
    """
    venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(folder)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def site_packages(folder: Path) -> Path:
    """Where the packages of such an environment lie."""
    found = [folder / "Lib" / "site-packages", *folder.glob("lib/python*/site-packages")]
    return next(path for path in found if path.is_dir())


def unpack(wheel: bytes, site: Path) -> None:
    """What installing a wheel of plain packages leaves behind."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        archive.extractall(site)
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    (site / name).with_name("INSTALLER").write_text("pip\n", encoding="utf-8")
