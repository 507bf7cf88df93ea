"""Model files on a real search path, at true size."""

from __future__ import annotations

import os
from pathlib import Path

import model_files
import pytest
from model_files import put_real
from test_pipelines import put_pipeline
from trees import put_comfyui, put_klein

from klein_doctor.identity.digest import DigestStore
from klein_doctor.installation import ComfyUI, ModelFolder
from klein_doctor.model import Known, Private, Unknown
from klein_doctor.modelfiles import ModelFile, Models
from klein_doctor.privacy import Redactor
from klein_doctor.probes.models import holds, read_models
from klein_doctor.probes.outside import Outside

CATEGORIES = ("diffusion_models", "text_encoders", "vae", "checkpoints")


def fresh() -> DigestStore:
    return DigestStore(None)


def machine(home: Path) -> Outside:
    redactor = Redactor(("jane",), (str(home),), ())
    return Outside(Path("/"), {"HOME": str(home)}, "linux", redactor)


def comfyui(root: Path, *more: tuple[str, Path]) -> ComfyUI:
    folders = [(category, root / "models" / category) for category in CATEGORIES]
    return ComfyUI(
        root=Private.plain(str(root)),
        kind="manual",
        base=Private.plain(str(root)),
        version=Unknown("not read"),
        klein=Unknown("not read"),
        flux2=Unknown("not read"),
        checkout=Known(None),
        requirements=Known(()),
        custom_nodes=Unknown("not read"),
        launchers=(),
        folders=Known(
            tuple(
                ModelFolder(category, Private.plain(str(path)), "models", path.is_dir())
                for category, path in (*folders, *more)
            )
        ),
        path_files=(),
    )


def read(home: Path, *more: tuple[str, Path], **options: object) -> Models:
    found = comfyui(home / "ComfyUI", *more)
    return read_models(machine(home), found, fresh, **options)  # type: ignore[arg-type]


def by_name(found: Models) -> dict[str, ModelFile]:
    return {file.name.real: file for file in found.files}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    put_klein(put_comfyui(tmp_path / "ComfyUI"))
    return tmp_path


def test_the_three_files(home: Path) -> None:
    found = read(home)
    assert found.total == 3 and found.left == 0 and found.duplicates is None
    assert [file.verdict for file in found.files] == ["wanted"] * 3
    assert {file.named_for for file in found.files} == {"transformer", "encoder", "vae"}
    vae = by_name(found)["flux2-vae.safetensors"]
    assert vae.path.public == "~/ComfyUI/models/vae/flux2-vae.safetensors"


def test_the_first_of_a_name_wins(home: Path) -> None:
    shared = home / "shared"
    put_real(shared / "flux2-vae.safetensors", "flux1-ae")
    put_real(shared / "sub" / "other.safetensors", "flux2-vae-diffusers")
    files = [file for file in read(home, ("vae", shared)).files if file.category == "vae"]
    assert [file.shadowed for file in files] == [False, True, False]
    assert files[2].name.real == os.path.join("sub", "other.safetensors")


def test_one_folder_listed_twice_shadows_nothing(home: Path) -> None:
    twice = read(home, ("vae", home / "ComfyUI" / "models" / "vae"))
    assert not any(file.shadowed for file in twice.files)


def test_files_directly_below_models_and_in_other_folders(home: Path) -> None:
    models = home / "ComfyUI" / "models"
    os.rename(models / "vae" / "flux2-vae.safetensors", models / "flux2-vae.safetensors")
    put_real(models / "checkpoints" / "mine.safetensors", "flux-2-klein-4b-fp8")
    found = by_name(read(home))
    assert found["flux2-vae.safetensors"].category == ""
    assert found["mine.safetensors"].category == "checkpoints"  # by its size


def test_many_others_do_not_crowd_out_what_matters(home: Path) -> None:
    for number in range(80):
        folder = home / "ComfyUI" / "models" / "diffusion_models"
        put_real(folder / f"a-{number}.safetensors", "flux-2-klein-9b")
        put_real(home / "ComfyUI" / "models" / "vae" / f"b-{number}.safetensors", "sdxl-vae")
    found = read(home)
    assert found.total == 163 and len(found.files) < 30
    assert sum(file.verdict == "wanted" for file in found.files) == 3


def test_without_time_what_is_likely_comes_first(home: Path) -> None:
    put_real(home / "ComfyUI" / "models" / "vae" / "a.safetensors", "sdxl-vae")
    found = read(home, limit_s=-1.0)
    assert found.left == 4 and found.files == ()


def test_what_cannot_be_read_is_named(home: Path) -> None:
    models = home / "ComfyUI" / "models"
    (models / "vae" / "gone.safetensors").symlink_to("nowhere")
    (models / "vae" / "loop").symlink_to(models)
    reasons = {path.real.rpartition(os.sep)[2]: why for path, why in read(home).unread}
    assert reasons["gone.safetensors"] == "it is a link to nothing"
    assert any("leads back" in why for why in reasons.values())


def test_deep_hashes_what_matters_and_finds_copies(home: Path) -> None:
    for each in (home / "ComfyUI" / "models").rglob("*.safetensors"):
        each.unlink()
    start, length = model_files.header(model_files.table("taef2-decoder"))
    vae = home / "ComfyUI" / "models" / "vae"
    one = model_files.sparse(vae / "flux2-vae.safetensors", start, len(start) + length)
    two = model_files.sparse(vae / "copy.safetensors", start, len(start) + length)
    os.link(one, vae / "linked.safetensors")
    found = read(home, deep=True)
    assert all(file.digest == "mismatch" for file in found.files)
    assert found.duplicates is not None
    ((size, paths),) = found.duplicates
    assert size == two.stat().st_size and len(paths) == 2


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "", "flux2-vae.safetensors"])
def test_names_of_strangers_stay_within_the_folders(home: Path, name: str) -> None:
    (home / "etc").mkdir()
    (home / "etc" / "passwd").write_text("x")
    there = holds(comfyui(home / "ComfyUI"))
    assert there("vae", name) is (name == "flux2-vae.safetensors")


def test_the_hubs_cache_holds_a_folder_of_klein(home: Path) -> None:
    hub = home / ".cache" / "huggingface" / "hub"
    repository = hub / "models--black-forest-labs--FLUX.2-klein-4B"
    put_pipeline(repository / "snapshots" / "e7b7dc27")
    put_pipeline(repository / "snapshots" / "older", is_distilled=False)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("e7b7dc27")
    put_pipeline(hub / "models--black-forest-labs--FLUX.2-klein-9B" / "snapshots" / "x")
    (found,) = read_models(machine(home), None, fresh).pipelines
    assert (found.verdict, found.distilled) == ("wanted", True)
    (repository / "refs" / "main").write_text("../../../..")
    assert len(read_models(machine(home), None, fresh).pipelines) == 1
