"""Where files come from and go to, on this machine: links, names, locks, disks."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import faulty as f
import model_files
import pytest
from command import clean_environment, doctor
from faulty import SIZE, Faulty, World
from huggingface_hub import try_to_load_from_cache
from miniature import TMPFS, Place
from trees import put_comfyui

from klein_doctor.download import run
from klein_doctor.download.claim import claim
from klein_doctor.download.command import point
from klein_doctor.download.faults import DownloadError, of_disk, of_error
from klein_doctor.download.jobs import Ask, Job, plan
from klein_doctor.download.part import Part, lock_of, note_of, part_of, xet_of
from klein_doctor.download.place import bring, settle
from klein_doctor.download.run import perform, survey
from klein_doctor.download.sources import MirrorSource, retry_after
from klein_doctor.exits import UsageError
from klein_doctor.identity.digest import DigestStore
from klein_doctor.privacy import without_signature
from klein_doctor.probes.outside import Outside
from klein_doctor.recipe_assets import load_assets
from klein_doctor.recipe_downloads import load_downloads
from klein_doctor.rehearse.hub import HubFile, Repository
from klein_doctor.target import Wish

# --- what lies elsewhere ---------------------------------------------------------------------


def elsewhere(world: World, *paths: Path) -> list[str]:
    """The states of one job where these files are known; the Hub must not be asked."""
    tools = world.tools(sources=[])
    job = Job(world.asset, world.destination)
    steps = survey([job], paths, tools)
    return [done.state for done in perform(steps, tools, 1)]


def test_a_right_file_is_found_by_size_and_proven_by_digest(world: World, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    (stick / "a.safetensors").write_bytes(f.content(SIZE, seed=8))
    (stick / "b.bin").write_bytes(world.data)
    (stick / "c.safetensors.part").write_bytes(world.data)
    assert elsewhere(world, stick) in (["linked"], ["cloned"])
    assert world.right and (stick / "b.bin").read_bytes() == world.data


def test_a_file_that_changes_after_it_was_found_is_not_trusted(
    world: World, tmp_path: Path
) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(world.data)
    tools = world.tools(sources=[])
    job = Job(world.asset, world.destination)
    steps = survey([job], [tmp_path], tools)
    other.write_bytes(f.content(SIZE, seed=9))
    (done,) = perform(steps, tools, 1)
    assert done.state == "failed" and not world.destination.exists()


def test_where_nothing_can_be_linked_it_is_copied(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(world.data)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    if bring(other, tmp_path / "probe" / "x") == "cloned":
        pytest.skip("this file system clones: there is no copy to see")
    assert elsewhere(world, tmp_path) == ["copied"]
    assert world.right and other.stat().st_nlink == 1


def test_the_other_genuine_build_is_kept(world: World) -> None:
    other = f.content(SIZE - 100, seed=3)
    builds = (*world.asset.builds, (len(other), hashlib.sha256(other).hexdigest()))
    world.destination.parent.mkdir(parents=True)
    world.destination.write_bytes(other)
    tools = world.tools(sources=[])
    job = Job(world.asset._replace(builds=builds), world.destination)
    (done,) = perform(survey([job], (), tools), tools, 1)
    assert done.state == "here" and world.destination.read_bytes() == other


def test_a_right_file_in_a_second_folder_is_enough(world: World, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    (second / world.asset.name).write_bytes(world.data)
    tools = world.tools(sources=[])
    job = Job(world.asset, world.destination, (second,))
    (done,) = perform(survey([job], (), tools), tools, 1)
    assert done.state == "here" and done.job.destination.parent == second
    assert not world.destination.exists()


# --- giving it its name ----------------------------------------------------------------------


def settled(destination: Path) -> Path | None:
    part_of(destination).write_bytes(b"new")
    aside = settle(destination, load_assets(), DigestStore(None))
    assert destination.read_bytes() == b"new" and not part_of(destination).exists()
    return aside


def test_what_had_the_name_is_called_what_it_is(tmp_path: Path) -> None:
    destination = tmp_path / "flux2-vae.safetensors"
    model_files.put(destination, model_files.table("flux1-ae"))
    size = destination.stat().st_size
    aside = settled(destination)
    assert aside is not None and aside.name == "flux2-vae.flux1-vae.safetensors"
    assert aside.stat().st_size == size
    destination.write_bytes(b"<!DOCTYPE html>")
    first = settled(destination)
    destination.write_bytes(b"<!DOCTYPE html>2")
    second = settled(destination)
    assert first is not None and first.name == "flux2-vae.safetensors.damaged"
    assert second is not None and second.name == "flux2-vae.safetensors.2.damaged"
    assert first.read_bytes() == b"<!DOCTYPE html>"


def test_a_link_to_nothing_gives_way(tmp_path: Path) -> None:
    destination = tmp_path / "flux2-vae.safetensors"
    destination.symlink_to(tmp_path / "gone")
    aside = settled(destination)
    assert aside is not None and aside.is_symlink()


def test_where_the_new_one_cannot_be_named_the_old_one_has_its_name_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "flux2-vae.safetensors"
    destination.write_bytes(b"old")
    part_of(destination).write_bytes(b"new")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "in use")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(DownloadError, match="may not write"):
        settle(destination, load_assets(), DigestStore(None))
    assert destination.read_bytes() == b"old" and part_of(destination).read_bytes() == b"new"


@pytest.mark.skipif(sys.platform == "win32", reason="rights as POSIX has them")
def test_folders_for_models_are_as_the_user_makes_them(world: World) -> None:
    mask = os.umask(0o022)
    try:
        assert world.run().state == "fetched"
    finally:
        os.umask(mask)
    assert stat.S_IMODE(world.destination.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(world.destination.stat().st_mode) == 0o644


def test_a_part_that_is_a_link_is_not_written_through(world: World, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    world.destination.parent.mkdir()
    part_of(world.destination).symlink_to(victim)
    assert world.run().state == "fetched" and world.right
    assert victim.read_bytes() == b"precious"


def test_a_part_that_is_a_link_to_another_file_is_never_cut_short(
    world: World, tmp_path: Path
) -> None:
    """A kill between linking and renaming leaves a part that is somebody's own file."""
    other = tmp_path / "mine.safetensors"
    other.write_bytes(b"precious" * 1000)
    world.destination.parent.mkdir()
    os.link(other, part_of(world.destination))
    assert world.run().state == "fetched" and world.right
    assert other.read_bytes() == b"precious" * 1000


def test_a_right_file_that_cannot_be_read_is_not_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.destination.parent.mkdir()
    world.destination.write_bytes(world.data)
    path = world.destination
    refused = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(run, "hash_files", lambda *_, **__: {path: refused})
    found = world.fault()
    assert found.cause == "permission" and "cannot be read" in found.says
    assert world.names == [world.destination.name] and world.hub.sent == 0


def test_a_whole_part_of_an_earlier_try_needs_no_network(world: World) -> None:
    world.destination.parent.mkdir()
    part_of(world.destination).write_bytes(world.data)
    note = {"schema": "klein-doctor/part/1", "sha256": world.asset.sha256, "size": SIZE}
    note_of(world.destination).write_text(json.dumps(note))
    assert world.run(world.tools(sources=[])).state == "fetched" and world.right


# --- one writer ------------------------------------------------------------------------------


def test_a_holder_that_gets_no_further_is_not_waited_for(tmp_path: Path) -> None:
    destination = tmp_path / "x"
    said: list[str] = []
    stop = threading.Event()
    with claim(destination, 1, stop, said.append):
        begun = time.monotonic()
        with pytest.raises(DownloadError) as caught:
            with claim(destination, 0.6, stop, said.append):
                raise AssertionError("two hold it")
        assert 0.5 < time.monotonic() - begun < 5
    assert (caught.value.cause, caught.value.again) == ("locked", True)
    assert len(said) == 1 and "waiting" in said[0]
    with claim(destination, 1, stop, said.append):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_the_dead_is_taken_over(tmp_path: Path) -> None:
    destination = tmp_path / "x"
    script = (
        "import os, sys, threading; from pathlib import Path; "
        "from klein_doctor.download.claim import claim; "
        "c = claim(Path(sys.argv[1]), 1, threading.Event(), print); c.__enter__(); os._exit(9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(destination)], env=clean_environment(), check=False
    )
    assert done.returncode == 9 and destination.with_name("x.part.lock").exists()
    with claim(destination, 1, threading.Event(), print):
        pass


def test_what_a_kill_left_beside_a_finished_file_is_tidied_up(world: World) -> None:
    assert world.run().state == "fetched"
    for path in (part_of(world.destination), lock_of(world.destination)):
        path.write_bytes(b"x")
    note_of(world.destination).write_text('{"schema": "klein-doctor/part/1"}')
    (xet_of(world.destination) / "x").mkdir(parents=True)
    assert world.run().state == "here" and world.right


# --- disks -----------------------------------------------------------------------------------

_FULL = """
import sys
sys.path[:0] = sys.argv[1].split(":")
from pathlib import Path
import faulty as f
with f.Faulty() as hub:
    world = f.world(Path(sys.argv[2]), hub, 6 << 20)
    world.destination.parent.mkdir()
    world.destination.write_bytes(b"old")
    done = world.run()
    print(done.state, done.fault.cause, done.fault.says, sep="|")
    print(done.kept, world.destination.read_bytes())
    ballast = Path(sys.argv[2]) / "ballast"
    print(sorted(path.name for path in world.destination.parent.iterdir()))
"""


@pytest.mark.skipif(not TMPFS, reason="no unprivileged mounts on this machine")
def test_a_disk_that_fills_half_way(tmp_path: Path) -> None:
    tests = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [*TMPFS, sys.executable, "-c", _FULL, f"{tests}:{tests / 'download'}", str(tmp_path)],
        env={**clean_environment(), "KLEIN_DOCTOR_DEST": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    state, cause, says = first.split("|")
    assert (state, cause) == ("failed", "space") and str(tmp_path) in says and "full" in says
    kept, old = second.split(" ")
    assert int(kept) > 2 << 20 and old == "b'old'"
    assert third == str(
        ["flux2-vae.safetensors", *[f"flux2-vae.safetensors.part{x}" for x in ("", ".json")]]
    )


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ENOSPC, "space"), (errno.EDQUOT, "space"), (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"), (errno.EFBIG, "space"), (errno.ENAMETOOLONG, "name"),
        (errno.EIO, "disk"),
    ],
)  # fmt: skip
def test_what_a_disk_says(number: int, cause: str) -> None:
    found = of_disk(OSError(number, os.strerror(number)), "/models")
    assert found.cause == cause and "/models" in found.says and not found.again


def test_too_long_a_name_is_told(world: World, tmp_path: Path) -> None:
    long = world._replace(destination=tmp_path / ("x" * 250) / "y")
    assert long.run().state == "fetched"
    longer = world._replace(destination=tmp_path / ("x" * 260) / "y")
    assert longer.fault().cause == "name"


# --- words -----------------------------------------------------------------------------------


def test_a_signed_address_and_a_password_are_never_told() -> None:
    text = "GET https://cdn.example/x?Signature=abc&Key=d failed via http://me:pw@proxy:3128"
    said = without_signature(text)
    assert "abc" not in said and "pw" not in said and "cdn.example/x" in said


def test_an_error_nobody_knows_is_not_explained_away() -> None:
    assert of_error(KeyError("x"), "host", 1) is None


def test_a_certificate_nobody_trusts(world: World) -> None:
    import ssl

    cause = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
    error = RuntimeError("outer")
    error.__cause__ = cause
    found = of_error(error, "huggingface.co", 1)
    assert found is not None and found.cause == "tls" and "SSL_CERT_FILE" in found.says
    assert not found.passing and not found.again


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("", 0, 0), ("12", 12, 12), ("x", 0, 0), ("-5", 0, 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
     ("Wed, 21 Oct 2099 07:28:00 GMT", 1e9, 1e11), ("9" * 40, 0, 0)],
)  # fmt: skip
def test_a_pause_as_a_number_or_a_date(text: str, low: float, high: float) -> None:
    assert low <= retry_after(text) <= high


def test_a_plain_mirror_is_resumed_and_refused_where_it_has_another_size(
    world: World, tmp_path: Path
) -> None:
    source = MirrorSource(f"{world.hub.endpoint}/{f.REPOSITORY}/resolve/main/parts", 1.0)
    tools = world.tools(sources=[source])
    world.hub.plan["store", "GET"] = [f.cut(SIZE // 2)]
    assert world.run(tools).state == "fetched" and world.right
    assert world.hub.sent <= SIZE + (1 << 18)
    bigger = world.asset._replace(builds=((SIZE + 1, "0" * 64),))
    with pytest.raises(DownloadError, match="has no flux2-vae"):
        source.check(bigger)


# --- routes ----------------------------------------------------------------------------------


def outside(home: Path) -> Outside:
    env = {**clean_environment(), "HOME": str(home)}
    return Outside.real().__class__(
        root=Path("/"), env=env, platform=sys.platform, redactor=Outside.real().redactor
    )


def test_comfyui_gets_its_files_where_it_searches(tmp_path: Path) -> None:
    root = put_comfyui(tmp_path / "ComfyUI")
    for name in ("diffusion_models", "text_encoders", "vae"):
        (root / "models" / name).mkdir(parents=True, exist_ok=True)
    ask = Ask(Wish(comfyui=str(root), route="comfyui"), variants=("fp8",))
    errand = plan(ask, load_downloads(), outside(tmp_path))
    found = {job.asset.role: job.destination for job in errand.jobs}
    models = root / "models"
    assert found == {
        "transformer": models / "diffusion_models" / "flux-2-klein-4b-fp8.safetensors",
        "encoder": models / "text_encoders" / "qwen_3_4b_fp8_mixed.safetensors",
        "vae": models / "vae" / "flux2-vae.safetensors",
    }
    assert models / "vae" in errand.places


def test_diffusers_gets_a_snapshot_without_the_single_file(tmp_path: Path) -> None:
    errand = plan(Ask(Wish(route="diffusers")), load_downloads(), outside(tmp_path))
    cache = (
        tmp_path / ".cache" / "huggingface" / "hub" / "models--black-forest-labs--FLUX.2-klein-4B"
    )
    assert errand.reference is not None
    path, revision = errand.reference
    assert path == cache / "refs" / "main"
    names = {
        job.destination.relative_to(cache / "snapshots" / revision).as_posix()
        for job in errand.jobs
    }
    assert "model_index.json" in names and "text_encoder/model.safetensors.index.json" in names
    assert "flux-2-klein-4b.safetensors" not in names and len(names) == 18
    assert sum(job.asset.size for job in errand.jobs) == 15_980_131_745


def test_without_a_comfyui_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--dest DIR"):
        plan(Ask(Wish()), load_downloads(), outside(tmp_path))


def test_the_finished_snapshot_is_what_diffusers_finds(tmp_path: Path, hub: Faulty) -> None:
    """The cache as the Hub's own client reads it, offline."""
    place = Place(tmp_path, hub)
    files = {"model_index.json": b'{"_class_name": "Flux2KleinPipeline"}', "vae/config.json": b"{}"}
    served = {name: HubFile(data, large=False) for name, data in files.items()}
    hub.add(Repository(f.REPOSITORY, f.REVISION, served))
    rows = [
        f'[[asset]]\nroute = "diffusers"\nrole = "index"\nrepository = "mini"\npath = "{name}"\n'
        f'bytes = {len(data)}\nsha256 = "{hashlib.sha256(data).hexdigest()}"\n'
        'source = "here"\nas_of = "2026-11-24"\n'
        for name, data in files.items()
    ]
    recipe = tmp_path / "recipe" / "downloads.toml"
    recipe.write_text(recipe.read_text().split("[[asset]]")[0] + "\n".join(rows))
    ran = doctor(
        "download", "--route", "diffusers", "--recipe", str(tmp_path / "recipe"), "--only", "index",
        "--state-dir", str(place.state), env=place.environment,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    cache = place.home / ".cache" / "huggingface" / "hub"
    found = [
        try_to_load_from_cache(f.REPOSITORY, name, cache_dir=cache, revision=f.REVISION)
        for name in files
    ]
    assert [Path(str(path)).read_bytes() for path in found] == list(files.values())


def test_a_finished_snapshot_becomes_the_current_one_where_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "refs" / "main"
    point((path, f.REVISION))
    assert path.read_text() == f.REVISION
    point((path, "f" * 40))
    assert path.read_text() == f.REVISION


def test_a_part_is_hashed_while_it_is_written(tmp_path: Path) -> None:
    data = f.content(1 << 20, seed=4)
    digest = hashlib.sha256(data).hexdigest()
    with Part(tmp_path / "x", digest, len(data), lambda *_: None, threading.Event()) as part:
        part.write(data[:1000])
        part.write(data[1000:])
        assert part.digest() == digest
        part.restart()
        part.write(data)
        assert part.digest() == digest
        part.finish()
    assert note_of(tmp_path / "x").exists()
