"""The rows of what is downloaded: free, pinned, and the same as what identify knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from klein_doctor.download.jobs import Ask, choose
from klein_doctor.exits import UsageError
from klein_doctor.recipe import load
from klein_doctor.recipe_assets import load_assets
from klein_doctor.recipe_downloads import Asset, load_downloads
from klein_doctor.rows import RECIPES, RecipeError, read
from klein_doctor.target import Wish

DOWNLOADS = load_downloads()
HEAD = '[sources]\nhere = "made for this"\n'
FREE = (
    '[[repository]]\nid = "mine"\nname = "{name}"\nrevision = "{revision}"\n'
    'license = "Apache-2.0"\nsource = "here"\nas_of = "2026-11-24"\n'
    '[[asset]]\nroute = "comfyui"\nrole = "transformer"\nvariant = "mine"\nrepository = "mine"\n'
    'path = "{path}"\nbytes = {size}\nsha256 = "{sha256}"\nsource = "here"\nas_of = "2026-11-24"\n'
)
SOUND = {
    "name": "me/mine", "revision": "a" * 40, "path": "x/y.safetensors", "size": 5,
    "sha256": "b" * 64,
}  # fmt: skip


def added(folder: Path, **changes: object) -> Path:
    """A recipe with one more asset."""
    text = HEAD + FREE.format(**{**SOUND, **changes})
    (folder / "downloads.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("asset", DOWNLOADS.assets, ids=lambda a: f"{a.route}-{a.path}")
def test_every_file_is_free_and_pinned(asset: Asset) -> None:
    assert DOWNLOADS.licenses == ("Apache-2.0",)
    assert asset.license == "Apache-2.0" and DOWNLOADS.refusal(asset) == ""
    assert len(asset.revision) == 40 and asset.size > 0 and len(asset.sha256) == 64


def test_a_row_of_a_known_file_names_the_repository_the_table_of_files_names() -> None:
    data = read(RECIPES / "downloads.toml")
    repositories = {row["id"]: row["name"] for row in data["repository"]}
    files = {file.id: file for file in load_assets().files}
    rows = [row for row in data["asset"] if "file" in row]
    assert rows
    for row in rows:
        assert files[row["file"]].repo == repositories[row["repository"]], row["file"]


def test_every_genuine_build_of_a_name_is_taken_for_it() -> None:
    by_role = {a.role: a for a in DOWNLOADS.assets if a.route == "comfyui" and not a.variant}
    digests = load_assets().digests
    for asset in by_role.values():
        families = {digests[digest].family for _, digest in asset.builds}
        assert len(families) == 1
    assert len(by_role["vae"].builds) == 2 and len(by_role["encoder"].builds) == 3


NOT_FREE = [file for file in load_assets().files if file.sha256 and file.bytes]
NOT_FREE = [f for f in NOT_FREE if load_assets().families[f.family].verdict == "refused"]


@pytest.mark.parametrize("file", NOT_FREE, ids=lambda f: f.id)
def test_what_is_not_free_is_refused_by_digest_whatever_a_row_says(file, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    extra = added(tmp_path, size=file.bytes, sha256=file.sha256)
    with pytest.raises(UsageError, match="under the"):
        choose(Ask(Wish(), variants=("mine",)), "comfyui", load_downloads(extra))


@pytest.mark.parametrize(
    "name",
    [
        "black-forest-labs/FLUX.2-klein-9B", "black-forest-labs/FLUX.2-klein-9b-fp8",
        "black-forest-labs/FLUX.2-klein-base-9B", "black-forest-labs/FLUX.2-klein-9B-KV",
        "Comfy-Org/vae-text-encorder-for-flux-klein-9b", "Comfy-Org/flux2-klein-9B",
        "black-forest-labs/FLUX.2-dev", "Comfy-Org/flux2-dev",
    ],
)  # fmt: skip
def test_what_is_not_free_is_refused_by_repository(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="FLUX Non-Commercial License"):
        choose(
            Ask(Wish(), variants=("mine",)), "comfyui", load_downloads(added(tmp_path, name=name))
        )


def test_a_row_of_ones_own_is_taken(tmp_path: Path) -> None:
    chosen = choose(
        Ask(Wish(), ("transformer",), ("transformer=mine",)), "comfyui",
        load_downloads(added(tmp_path)),
    )  # fmt: skip
    assert [(a.name, a.folder) for a in chosen] == [("y.safetensors", "diffusion_models")]


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../x.safetensors"}, {"path": "/etc/x"}, {"path": "a//b"}, {"path": ""},
        {"path": "a/C:x"}, {"size": 0}, {"sha256": "B" * 64}, {"revision": "main"},
        {"name": "../../x"}, {"name": "noslash"},
    ],
)  # fmt: skip
def test_a_row_that_is_not_sound_is_named(changes: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"downloads\.toml"):
        load_downloads(added(tmp_path, **changes))


def test_what_the_disk_is_asked_for_is_what_is_downloaded() -> None:
    for row in load().memory.downloads:
        usual = [a for a in DOWNLOADS.assets if a.route == row.route and not a.variant]
        assert sum(asset.size for asset in usual) == row.bytes
