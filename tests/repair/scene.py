"""A machine on which everything people trip over is wrong at once, and what mends it on loopback.

A ComfyUI with an environment of its own: a torch without code for the card, a torchvision for
another torch, FlashAttention asked for in three kinds of file, a wrong VAE under the right name, a
launcher that opens the server to everybody; beside it a stand-in of an RTX 5070.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import package_index as p
from command import COMMAND, Ran, clean_environment, doctor_in
from model_files import header, put_real
from standin import build_libcuda, build_standin, describe, gpu
from targets import copy_venv, put_record, site_packages, venv_with_pip
from trees import PINS, put_comfyui

from klein_doctor.identity.layouts import Expected
from klein_doctor.rehearse.hub import Hub, HubFile, Repository

LIMIT_S = 180
_PART = 8 << 20  # of a large file, from either end
REPOSITORY, REVISION = "somebody/parts", "1" * 40
CARD = gpu(0, name="NVIDIA GeForce RTX 5070", cc="12.0", total=12821987328, used=1092616192,
           free=11333009408, reserved=395313152, display=1)  # fmt: skip
OLD = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
NODE = '''"""Klein in one node."""
from transformers import AutoModelForCausalLM


def load(path):
    # FLUX.2 [klein] takes its text encoder from here
    return AutoModelForCausalLM.from_pretrained(
        path,
        attn_implementation='flash_attention_2',   # fast
    )
'''
CONFIG = '{\n  "_name": "qwen",\n\t"attn_implementation":  "flash_attention_2"\n}\n'
INDEX = '{"_class_name": "Flux2KleinPipeline", "is_distilled": true}\n'
LAUNCHER = (
    "#!/bin/sh\n# --listen and --use-flash-attention, as the guide says\n"
    '"$(dirname "$0")/.venv/bin/python" main.py --listen --use-flash-attention --port 8188\n'
)
STATE = "state"
# What a run may write besides what its plan lists.
CACHES = (STATE, "caches")


class Scene:
    """The machine below a folder; hub and index serve what mends it.

    healthy: everything is right from the beginning. small: the VAE that is fetched has a few
    megabytes, which the recipe says are it.
    """

    def __init__(self, top: Path, index: p.PackageIndex, hub: Hub, libraries: tuple[Path, ...],
                 *, healthy: bool = False, vae: bool = True, small: bool = False):  # fmt: skip
        self.top, self.index, self.hub = top, index, hub
        self.comfyui = top / "home" / "ComfyUI"
        self.venv = self.comfyui / ".venv"
        self.launcher = self.comfyui / "run.sh"
        self.vae = self.comfyui / "models" / "vae" / "flux2-vae.safetensors"
        self.libraries, self._small = libraries, small
        self._build(healthy, vae)
        self.env = self._environment()

    def doctor(
        self, *arguments: str, env: Mapping[str, str] | None = None, state: str = STATE
    ) -> Ran:
        """Run the doctor on this machine to its end. state: "" for where a user's would be."""
        return doctor_in(
            self._arguments(*arguments, state=state), {**self.env, **(env or {})}, cwd=self.top,
            limit_s=LIMIT_S,
        )  # fmt: skip

    def command(self, *arguments: str) -> list[str]:
        """The doctor's command line for this machine."""
        return [*COMMAND, *self._arguments(*arguments)]

    def _arguments(self, *arguments: str, state: str = STATE) -> list[str]:
        kept = ["--state-dir", str(self.top / state)] if state else []
        return [
            *arguments, "--comfyui", str(self.comfyui), *kept,
            "--recipe", str(self.top / "recipe"),
        ]  # fmt: skip

    def tree(self) -> dict[str, str]:
        """Every file and link of the machine by its digest or target, caches left out."""
        found = {}
        for path in sorted(self.top.rglob("*")):
            name = path.relative_to(self.top).as_posix()
            if name.startswith((*CACHES, "libraries")) or "__pycache__" in path.parts:
                continue
            if path.is_symlink():
                found[name] = f"-> {os.readlink(path)}"
            elif path.is_file():
                found[name] = _content(path)
        return found

    def packages(self) -> list[str]:
        """The environment's packages and their versions, by their metadata."""
        found = metadata.distributions(path=[str(site_packages(self.venv))])
        return sorted(f"{package.name}=={package.version}" for package in found)

    def freeze(self) -> list[str]:
        """What pip says is installed."""
        python = str(self.venv / "bin" / "python")
        done = subprocess.run(
            [python, "-m", "pip", "freeze", "--all"], env=self.env, capture_output=True,
            text=True, timeout=LIMIT_S, check=True,
        )  # fmt: skip
        return sorted(done.stdout.split("\n"))

    def transformer_is_the_base(self) -> Path:
        """Put the base model under the distilled one's name; the Hub has a small stand-in."""
        place = self.comfyui / "models/diffusion_models/flux-2-klein-4b-fp8.safetensors"
        place.unlink()
        with (self.top / "recipe" / "downloads.toml").open("a") as stream:
            stream.write(_asset("transformer", f"small/{place.name}", small_file()))
        return put_real(place, "flux-2-klein-base-4b-fp8")

    def _build(self, healthy: bool, vae: bool) -> None:
        put_comfyui(self.comfyui)
        (self.comfyui / "user").mkdir(exist_ok=True)
        self._packages(healthy)
        models = self.comfyui / "models"
        put_real(models / "diffusion_models" / "flux-2-klein-4b-fp8.safetensors",
                 "flux-2-klein-4b-fp8")  # fmt: skip
        put_real(models / "text_encoders" / "qwen_3_4b.safetensors", "qwen3-4b")
        put_real(self.vae, "flux2-vae" if healthy or not vae else "flux1-ae")
        site = site_packages(self.venv)
        for name, version in PINS.items():
            put_record(site, name.replace("-", "_"), version)
        if healthy:
            self.launcher.write_text("#!/bin/sh\n.venv/bin/python main.py\n")
        else:
            node = self.comfyui / "custom_nodes" / "KleinNode"
            node.mkdir()
            (node / "__init__.py").write_bytes(NODE.replace("\n", "\r\n").encode())
            self._pipeline()
            self.launcher.write_text(LAUNCHER)
        self.launcher.chmod(0o755)
        self._recipe()

    def _pipeline(self) -> None:
        """A folder of diffusers in the Hub's cache, whose encoder asks for FlashAttention."""
        place = self.top / "home/.cache/huggingface/hub/models--black-forest-labs--FLUX.2-klein-4B"
        folder = place / "snapshots" / REVISION
        (folder / "text_encoder").mkdir(parents=True)
        (folder / "model_index.json").write_text(INDEX)
        (folder / "text_encoder" / "config.json").write_text(CONFIG)

    def _packages(self, healthy: bool) -> None:
        """The environment with its torch, by pip; made once of each kind, then copied."""
        kept = _scratch() / ("well" if healthy else "ill")
        if kept.exists():
            copy_venv(kept, self.venv)
            return
        venv_with_pip(self.venv)
        if healthy:
            self._install("torch==2.14.1+cu130", "torchvision==0.29.1+cu130", index="cu130")
        else:
            self._install("torch==2.11.0+cu126", index="old")
            self._install("torchvision==0.25.0+cu126", index="old")
        copy_venv(self.venv, kept)

    def _install(self, *what: str, index: str) -> None:
        # Without its requirements: that is how a torchvision comes to stand beside another torch.
        subprocess.run(
            [str(self.venv / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps",
             "--index-url", self.index.url(index), *what],
            env=self._environment(), check=True, timeout=LIMIT_S,
        )  # fmt: skip

    def _recipe(self) -> None:
        recipe = self.top / "recipe"
        recipe.mkdir()
        (recipe / "torch.toml").write_text(
            f'[[install]]\nvariant = "cu130"\nindex_url = "{self.index.url("cu130")}"\n'
        )
        folder, file = ("small", small_file()) if self._small else ("parts", vae_file())
        rows = (
            f'[[repository]]\nid = "mini"\nname = "{REPOSITORY}"\nrevision = "{REVISION}"\n'
            'license = "Apache-2.0"\nsource = "here"\nas_of = "2026-11-24"\n'
            + _asset("vae", f"{folder}/flux2-vae.safetensors", file)
        )
        (recipe / "downloads.toml").write_text(f'[sources]\nhere = "made for this"\n{rows}')

    def _environment(self) -> dict[str, str]:
        home = self.top / "home"
        caches = self.top / "caches"
        caches.mkdir(exist_ok=True)
        told = describe(caches, CARD, *self.libraries)
        return {
            **clean_environment(), "HOME": str(home), "HF_ENDPOINT": self.hub.endpoint,
            "NO_PROXY": "*", "XDG_CONFIG_DIRS": str(caches), "PIP_NO_CACHE_DIR": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_INDEX_URL": self.index.url("simple"),
            "LD_LIBRARY_PATH": told["LD_LIBRARY_PATH"], "NVML_STANDIN": told["NVML_STANDIN"],
            "TMPDIR": str(caches),
            "RUSTUP_HOME": str(caches / "rustup"),  # pip asks rustc for its version
        }  # fmt: skip


def _asset(role: str, path: str, file: Path) -> str:
    """A row of downloads.toml."""
    return (
        f'[[asset]]\nroute = "comfyui"\nrole = "{role}"\nrepository = "mini"\n'
        f'path = "{path}"\nbytes = {file.stat().st_size}\nsha256 = "{_digest(file)}"\n'
        'source = "here"\nas_of = "2026-11-24"\n'
    )


def serve(index: p.PackageIndex, hub: Hub) -> None:
    """Fill them with what a scene begins with, and with what mends it."""
    p.put_trio(index, "cu130")
    index.add(p.torch_wheel("2.11.0+cu130"), p.torchvision_wheel("0.26.0+cu130", "2.11.0"),
              index="cu130")  # fmt: skip
    p.put_trio(index, "old", torch="2.11.0", torchvision="0.26.0", cuda="12.6", archs=OLD)
    index.add(p.torchvision_wheel("0.25.0+cu126", "2.10.0"), index="old")
    files = {
        "parts/flux2-vae.safetensors": HubFile(vae_file(), sha256=_digest(vae_file())),
        **{
            f"small/{name}.safetensors": HubFile(small_file(), sha256=_digest(small_file()))
            for name in ("flux2-vae", "flux-2-klein-4b-fp8")
        },
    }
    hub.add(Repository(REPOSITORY, REVISION, files))


def libraries(folder: Path) -> tuple[Path, ...]:
    """The stand-in driver, compiled."""
    nvml = build_standin(folder / "nvml").parent
    return nvml, build_libcuda(folder / "cuda", "loads").parent


_TEMPLATES = Path(os.environ.get("TMPDIR") or "/tmp") / f"scene-{os.getpid()}"


@lru_cache(maxsize=1)
def _scratch() -> Path:
    """What is made once in a process, and gone at its end."""
    _TEMPLATES.mkdir()
    atexit.register(shutil.rmtree, _TEMPLATES, ignore_errors=True)
    return _TEMPLATES


@lru_cache(maxsize=1)
def vae_file() -> Path:
    """A FLUX.2 VAE as far as its header and size tell."""
    return put_real(_scratch() / "flux2-vae.safetensors", "flux2-vae")


@lru_cache(maxsize=1)
def small_file() -> Path:
    """A sound file of 6 MB that no table of the doctor's own knows."""
    start, size = header({"small.weight": Expected("F32", (1200, 1250))})
    path = _scratch() / "small.safetensors"
    path.write_bytes(start + random.Random(1).randbytes(size))
    return path


@lru_cache(maxsize=4)
def _digest(path: Path) -> str:
    """Of a file that is made once."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _content(path: Path) -> str:
    """What tells one content of a file from another."""
    found = path.stat()
    return _content_of(path, found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)


@lru_cache(maxsize=1 << 16)
def _content_of(path: Path, size: int, *_: int) -> str:
    # Nothing can write to a file and keep the time of its inode's change.
    with open(path, "rb") as stream:
        data = stream.read(_PART)
        if size > 2 * _PART:  # sparse in between
            stream.seek(-_PART, os.SEEK_END)
        return f"{size} {hashlib.sha256(data + stream.read()).hexdigest()}"


def red(ran: Ran) -> list[str]:
    """The checks that fail or warn, of a JSON report."""
    found = json.loads(ran.out)["findings"]
    return sorted({f["check"] for f in found if f["verdict"] in ("fail", "warn")})


def contained(ran: Ran) -> bool:
    """Whether the machine of a JSON report is a container."""
    system = ran.document["facts"]["system"]["known"]
    return bool(system["container"])
