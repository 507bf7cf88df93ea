"""A ComfyUI as far as its files tell, with an environment of its own: small, and nothing runs."""

from __future__ import annotations

import io
import os
import shutil
import venv
import zipfile
from importlib import metadata
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

    pip is copied from beside the doctor where it has one, which takes a tenth of the time that
    unpacking Python's own does.

    Raises:
        OSError, subprocess.CalledProcessError: this Python cannot make one (Debian's without the
            package python3-venv).
    """
    files = _own_pip()
    venv.EnvBuilder(with_pip=not files, symlinks=os.name != "nt").create(folder)
    site = site_packages(folder)
    for name, path in files.items():
        place = site / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)  # with its time, or what was compiled counts as stale
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _own_pip() -> dict[str, Path]:
    """The files of pip beside the doctor by their names in site-packages; none where it has none.

    Its commands are left out: it is called as a module.
    """
    try:
        listed = metadata.distribution("pip").files or []
    except metadata.PackageNotFoundError:
        return {}
    files = {str(name): Path(str(name.locate())) for name in listed if ".." not in name.parts}
    return {name: path for name, path in files.items() if path.is_file()}


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
