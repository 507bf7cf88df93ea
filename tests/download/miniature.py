"""A Hub on loopback with three small files, and the command that downloads them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import faulty as f
import jsonschema
from command import COMMAND, Ran, clean_environment, doctor
from faulty import Faulty

from klein_doctor.rehearse.hub import HubFile, Repository

FILES = {
    "transformer": ("diffusion_models", "flux-2-klein-4b-fp8.safetensors", 3 << 20),
    "encoder": ("text_encoders", "qwen_3_4b.safetensors", 2 << 20),
    "vae": ("vae", "flux2-vae.safetensors", 1 << 20),
}
DOCS = Path(__file__).resolve().parents[2] / "docs"


def data_of(role: str) -> bytes:
    """The content of a role's file."""
    return f.content(FILES[role][2], seed=list(FILES).index(role) + 10)


class Place:
    """A Hub, a recipe that names its files, and a folder to download to."""

    def __init__(self, folder: Path, hub: Faulty, license: str = "Apache-2.0") -> None:
        self.folder, self.hub = folder, hub
        self.dest = folder / "models"
        self.state = folder / "state"
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        (folder / "recipe").mkdir(exist_ok=True)
        files = {f"parts/{name}": HubFile(data_of(role)) for role, (_, name, _) in FILES.items()}
        hub.add(Repository(f.REPOSITORY, f.REVISION, files))
        rows = [
            f'[[repository]]\nid = "mini"\nname = "{f.REPOSITORY}"\nrevision = "{f.REVISION}"\n'
            f'license = "{license}"\nsource = "here"\nas_of = "2026-11-24"\n'
        ]
        for role, (_, name, size) in FILES.items():
            digest = hashlib.sha256(data_of(role)).hexdigest()
            rows.append(
                f'[[asset]]\nroute = "comfyui"\nrole = "{role}"\nrepository = "mini"\n'
                f'path = "parts/{name}"\nbytes = {size}\nsha256 = "{digest}"\n'
                'source = "here"\nas_of = "2026-11-24"\n'
            )
        (folder / "recipe" / "downloads.toml").write_text(
            '[sources]\nhere = "made for this"\n' + "\n".join(rows)
        )

    def impatient(self, tries: int) -> None:
        """Give up after so many tries in a row, without a pause."""
        recipe = self.folder / "recipe" / "downloads.toml"
        rows = {**LIMITS, "tries": tries}
        limits = "".join(f"{name} = {value}\n" for name, value in rows.items())
        recipe.write_text(recipe.read_text() + "[[limits]]\n" + limits)

    @property
    def environment(self) -> dict[str, str]:
        return {"HF_ENDPOINT": self.hub.endpoint, "HOME": str(self.home)}

    @property
    def options(self) -> list[str]:
        recipe = ["--recipe", str(self.folder / "recipe"), "--state-dir", str(self.state)]
        return [*recipe, "--dest", str(self.dest)]

    def run(self, *arguments: str, **changes: Any) -> Ran:
        return doctor(
            "download", *self.options, *arguments,
            env={**self.environment, **changes.pop("env", {})}, **changes,
        )  # fmt: skip

    def path(self, role: str) -> Path:
        folder, name, _ = FILES[role]
        return self.dest / folder / name

    @property
    def right(self) -> bool:
        return all(self.path(role).read_bytes() == data_of(role) for role in FILES)

    @property
    def names(self) -> list[str]:
        return sorted(p.name for p in self.dest.rglob("*") if p.is_file())


WANTED = sorted(name for _, name, _ in FILES.values())
TOTAL = sum(size for _, _, size in FILES.values())


LIMITS: dict[str, object] = {
    "hub": '"https://huggingface.co"', "read_s": 2, "slow_bytes_per_s": 1, "slow_window_s": 9,
    "tries": 6, "first_pause_s": 0, "longest_pause_s": 0, "retry_after_s": 1, "mismatches": 2,
    "at_once": 2, "lock_idle_s": 60, "orphan_age_s": 86400, "source": '"here"',
    "as_of": '"2026-11-24"',
}  # fmt: skip


def document(ran: Ran) -> dict[str, Any]:
    """Standard output as the document it must be, by its schema."""
    schema = json.loads((DOCS / "download.schema.json").read_text("utf-8"))
    jsonschema.validate(ran.document, schema)
    assert ran.document["exit_code"] == ran.code
    return ran.document


def states(ran: Ran) -> list[str]:
    return [file["state"] for file in document(ran)["files"]]


def started(place: Place, *arguments: str) -> subprocess.Popen[bytes]:
    """The command, running."""
    return subprocess.Popen(
        [*COMMAND, "download", *place.options, *arguments],
        env={**clean_environment(), **place.environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def slowly(place: Place, rate: int = 2_000_000) -> None:
    """Content comes at so many bytes a second."""
    place.hub.always["store", "GET"] = f.trickle(rate)


def wait_for_content(place: Place, at_least: int) -> None:
    until = time.monotonic() + 20
    while place.hub.sent < at_least and time.monotonic() < until:
        time.sleep(0.02)
    assert place.hub.sent >= at_least


def kill_at_random(place: Place, times: int) -> None:
    """Kill it so often, at random instants, and let it finish: nothing wrong, little twice."""
    chance = random.Random(times)
    # So slow that most of the kills come before the end.
    slowly(place, 3_000_000 if times < 10 else 400_000)
    for _ in range(times):
        process = started(place)
        time.sleep(chance.uniform(0.2, 1.6))
        process.kill()
        process.communicate()
        for role in FILES:
            path = place.path(role)
            assert not path.exists() or path.read_bytes() == data_of(role)
    place.hub.always.clear()
    assert place.run().code == 0
    assert place.right and place.names == WANTED
    read = 1 << 18  # of the network, for each of two files at once
    assert place.hub.sent <= 1.05 * TOTAL + 2 * read * times


def on_tmpfs(size: str) -> tuple[str, ...]:
    """A command that runs another with a small file system of its own; () where none can."""
    if sys.platform != "linux":
        return ()
    script = f'mount -t tmpfs -o size={size} none "$KLEIN_DOCTOR_DEST" && exec "$@"'
    command = ("unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-c", script, "sh")
    try:
        done = subprocess.run(
            [*command, "true"], env={**os.environ, "KLEIN_DOCTOR_DEST": "/mnt"},
            capture_output=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return command if done.returncode == 0 else ()


TMPFS = on_tmpfs("4m")
