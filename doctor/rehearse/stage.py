"""The machine of a rehearsal, below one folder: what is wrong with it, and where its mending is.

Everything is small and made here; the recipe in it says that these files are the model, and that
PyTorch comes from the embedded index.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from klein_doctor.identity.layouts import Expected
from klein_doctor.rehearse import miniature, tree
from klein_doctor.rehearse.hub import Hub, HubFile, Repository
from klein_doctor.rehearse.index import PackageIndex
from klein_doctor.rehearse.miniature_files import Table, write
from klein_doctor.rehearse.wheels import trio
from klein_doctor.rows import RECIPES

CARD = "RTX 5070,driver=580"
REPOSITORY, REVISION = "klein-doctor/rehearsal", "0" * 40
_OLD = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
_DAY = "2026-11-28"
_NODE = '''"""Loads the text encoder of Klein."""
from transformers import AutoModelForCausalLM


def load(path):
    # FLUX.2 [klein] takes its text encoder from here
    return AutoModelForCausalLM.from_pretrained(path, attn_implementation="flash_attention_2")
'''
_LAUNCHER = '#!/bin/sh\n"$(dirname "$0")/.venv/bin/python" main.py --listen --port 8188\n'
_FILES = {
    "transformer": "diffusion_models/flux-2-klein-4b-fp8.safetensors",
    "encoder": "text_encoders/qwen_3_4b.safetensors",
    "vae": "vae/flux2-vae.safetensors",
}
_PARTS = {"transformer": "transformer", "encoder": "text_encoder", "vae": "vae"}


class Fault(NamedTuple):
    """A planted fault: what was done, and the check that should name it."""

    says: str
    check: str


FAULTS = (
    Fault("a PyTorch without code for the RTX 5070", "torch-lacks-arch"),
    Fault("a custom node that asks for FlashAttention-2", "flash-attention-forced"),
    Fault("the VAE of FLUX.1 under the name of FLUX.2's", "vae-wrong"),
    Fault("a text encoder that was cut short", "asset-damaged"),
    Fault("no transformer at all", "transformer-missing"),
    Fault("a launcher that opens the server to everybody", "comfyui-exposed"),
)


class Stage:
    """The folder and the two servers on loopback, which must be running."""

    def __init__(self, top: Path, hub: Hub, index: PackageIndex):
        self.top, self.hub, self.index = top, hub, index
        self.home = top / "home"
        self.comfyui = self.home / "ComfyUI"
        self.recipe = top / "recipe"
        self.state = top / "state"
        self.checkout = (
            self.home / ".cache/huggingface/hub/models--black-forest-labs--FLUX.2-klein-4B"
            / "snapshots" / REVISION
        )  # fmt: skip

    def build(self) -> None:
        """Lay everything out.

        Raises:
            OSError, subprocess.CalledProcessError: as tree.put_environment; no room.
        """
        for folder in (self.home, self.recipe, self.top / "tmp"):
            folder.mkdir(parents=True)
        tree.put_comfyui(self.comfyui)
        self._packages()
        self._models()
        node = self.comfyui / "custom_nodes" / "KleinNode"
        node.mkdir()
        (node / "__init__.py").write_text(_NODE, encoding="utf-8")
        launcher = self.comfyui / "run.sh"
        launcher.write_text(_LAUNCHER, encoding="utf-8")
        launcher.chmod(0o755)

    def environment(self) -> dict[str, str]:
        """What the doctor and the programs it runs are told: nothing of the user's."""
        kept = (
            "PATH", "SYSTEMROOT", "COMSPEC", "PATHEXT", "LANG", "LC_ALL", "TERM", "OMP_NUM_THREADS",
        )  # fmt: skip
        env = {name: os.environ[name] for name in kept if name in os.environ}
        temporary = str(self.top / "tmp")
        return {
            **env, "HOME": str(self.home), "USERPROFILE": str(self.home),
            "LOCALAPPDATA": str(self.home), "APPDATA": str(self.home), "TMPDIR": temporary,
            "TEMP": temporary, "TMP": temporary, "HF_ENDPOINT": self.hub.endpoint, "NO_PROXY": "*",
            "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_INDEX_URL": self.index.url(),
            "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip

    def contents(self) -> dict[str, str]:
        """Every file and link of ComfyUI and of the Hub's cache by its digest or target."""
        found = {}
        for path in sorted((*self.comfyui.rglob("*"), *self.checkout.rglob("*"))):
            name = path.relative_to(self.home).as_posix()
            if path.is_symlink():
                found[name] = f"-> {os.readlink(path)}"
            elif path.is_file():
                found[name] = _digest(path)
        return found

    def _packages(self) -> None:
        old = trio("2.11.0", "0.26.0", cuda="12.6", archs=_OLD)
        self.index.add(*trio(), *trio("2.11.0", "0.26.0")[:2], index="cu130")
        folder = self.comfyui / ".venv"
        tree.put_environment(folder)
        site = tree.site_packages(folder)
        for wheel in old[:2]:
            tree.unpack(wheel, site)
        for name, version in tree.PINS.items():
            info = site / f"{name.replace('-', '_')}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n", encoding="utf-8")
        (self.recipe / "torch.toml").write_text(
            f'[[install]]\nvariant = "cu130"\nindex_url = "{self.index.url("cu130")}"\n',
            encoding="utf-8",
        )

    def _models(self) -> None:
        parts = self.top / "parts"
        miniature.write_single_files(parts)
        miniature.write_checkout(self.checkout)
        models = self.comfyui / "models"
        encoder = (parts / _FILES["encoder"]).read_bytes()
        (models / _FILES["encoder"]).write_bytes(encoder[: len(encoder) * 3 // 5])
        write(models / _FILES["vae"], _flux1(miniature.vae(miniature.MINIATURE, "flux2-vae")),
              "flux1")  # fmt: skip
        served = {path: HubFile(parts / path) for path in _FILES.values()}
        self.hub.add(Repository(REPOSITORY, REVISION, served))
        rows = [
            f'[sources]\nhere = "made for a rehearsal"\n[[repository]]\nid = "rehearsal"\n'
            f'name = "{REPOSITORY}"\nrevision = "{REVISION}"\nlicense = "Apache-2.0"\n'
            f'source = "here"\nas_of = "{_DAY}"\n'
        ]
        rows += [_row("comfyui", role, path, served[path]) for role, path in _FILES.items()]
        for role, part in _PARTS.items():
            for path in sorted((self.checkout / part).glob("*.safetensors")):
                name = path.relative_to(self.checkout).as_posix()
                rows.append(_row("diffusers", role, name, HubFile(path)))
        (self.recipe / "downloads.toml").write_text("\n".join(rows), encoding="utf-8")
        shutil.copyfile(RECIPES / "images_miniature.toml", self.recipe / "images.toml")


def _row(route: str, role: str, path: str, file: HubFile) -> str:
    return (
        f'[[asset]]\nroute = "{route}"\nrole = "{role}"\nrepository = "rehearsal"\n'
        f'path = "{path}"\nbytes = {file.size}\nsha256 = "{file.sha256}"\n'
        f'source = "here"\nas_of = "{_DAY}"\n'
    )


def _flux1(table: Table) -> dict[str, Expected]:
    """The VAE of FLUX.1 as its names and latent channels tell it, from a table of FLUX.2's."""
    found = {}
    for name, tensor in table.items():
        if name.startswith(("bn.", "quant_conv.", "post_quant_conv.")):
            continue
        shape = list(tensor.shape)
        if name.startswith("encoder.conv_out."):
            shape[0] = 32
        elif name == "decoder.conv_in.weight":
            shape[1] = 16
        found[name] = Expected(tensor.dtype, tuple(shape))
    return found


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
