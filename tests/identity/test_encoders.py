"""Every encoder Klein 4B can be run with passes; every other one is told apart by its header."""

from __future__ import annotations

from pathlib import Path

import model_files
import pytest

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.headers import read_header
from klein_doctor.identity.identity import Evidence, Identity, judge_file
from klein_doctor.identity.layouts import Expected
from klein_doctor.identity.look import look
from klein_doctor.recipe_assets import KnownFile, load_assets

ASSETS = load_assets()
NOWHERE = DigestStore(None)
ROWS = {row.id: row for row in ASSETS.of_family("qwen3-4b")}
SCALED = ("qwen3-4b-fp8-mixed", "qwen3-4b-fp4-flux2", "qwen3-4b-fp4-mixed")
OTHER_DIGESTS = (
    "e37269b7ca1301ad72a92627ce95432ab5aad5f89143a06055886aad3419d12f",
    "ad65083f0b6561cc84b9b6a42ff397ee749171e367c28d800c4a6fd612abc169",
)


def scaled(four_bits: bool) -> dict[str, Expected]:
    """A Qwen3-4B with every matrix of its layers in eight or four bits."""
    found: dict[str, Expected] = {}
    for name, tensor in model_files.table("qwen3-4b").items():
        if len(tensor.shape) != 2 or ".layers." not in name:
            found[name] = tensor
            continue
        rows, columns = tensor.shape
        stem = name.removesuffix(".weight")
        found[f"{stem}.comfy_quant"] = Expected("U8", (27,))
        if four_bits:
            found[name] = Expected("U8", (rows, columns // 2))
            found[f"{name}_scale"] = Expected("F8_E4M3", (rows, columns // 16))
            found[f"{name}_scale_2"] = Expected("F32", ())
        else:
            found[name] = Expected("F8_E4M3", (rows, columns))
            found[f"{name}_scale"] = Expected("F32", ())
    return found


def put_scaled(path: Path, row: KnownFile) -> Path:
    """Such a file of exactly the size of a published build."""
    tensors = scaled(row.quantisation.startswith("nvfp4"))
    last = next(name for name in tensors if name.endswith(".comfy_quant"))
    length = 1
    for _ in range(9):  # a longer number makes a longer header, once or twice
        tensors[last] = Expected("U8", (length,))
        start, data = model_files.header(tensors)
        more = row.bytes - len(start) - data
        if not more:
            return model_files.put(path, tensors)
        length += more
        assert length > 0
    raise AssertionError("no length of that tensor gives this size")


def judged(path: Path, sha256: str = "", promised: str = "") -> Identity:
    reading, status = read_header(path)
    evidence = Evidence(path.name, path.parent.name, status.st_size, sha256, promised)
    return judge_file(reading, evidence, ASSETS)


@pytest.mark.parametrize("id", SCALED)
def test_a_quantised_build_by_its_family_and_size(tmp_path: Path, id: str) -> None:
    row = ROWS[id]
    path = put_scaled(tmp_path / "text_encoders" / "renamed.safetensors", row)
    assert path.stat().st_size == row.bytes
    identity = look(path, ASSETS, NOWHERE).identity
    assert (identity.verdict, identity.family, identity.known) == ("variant", "qwen3-4b", id)
    assert (identity.quantisation, identity.structure) == (row.quantisation, "family")
    assert identity.digest == "unchecked" and identity.complete
    assert f"family and size of the published {row.name}" in identity.says


@pytest.mark.parametrize("id", SCALED)
def test_a_quantised_build_by_its_digest(tmp_path: Path, id: str) -> None:
    row = ROWS[id]
    path = put_scaled(tmp_path / "text_encoders" / row.name, row)
    identity = judged(path, sha256=row.sha256)
    assert (identity.verdict, identity.digest, identity.known) == ("variant", "verified", id)
    other = judged(path, sha256="0" * 64)
    assert (other.verdict, other.digest) == ("unknown", "mismatch")


@pytest.mark.parametrize("id", SCALED)
def test_one_byte_more_is_a_build_no_table_lists(tmp_path: Path, id: str) -> None:
    row = ROWS[id]._replace(bytes=ROWS[id].bytes + 1)
    path = put_scaled(tmp_path / "text_encoders" / row.name, row)
    identity = look(path, ASSETS, NOWHERE).identity
    assert (identity.verdict, identity.known, identity.complete) == ("variant", "", True)
    assert "a build no table lists" in identity.says


@pytest.mark.parametrize("id", SCALED)
def test_a_quantised_build_that_lacks_a_layer(tmp_path: Path, id: str) -> None:
    four = ROWS[id].quantisation.startswith("nvfp4")
    tensors = {n: t for n, t in scaled(four).items() if not n.startswith("model.layers.35.")}
    path = model_files.put(tmp_path / "text_encoders" / "q.safetensors", tensors)
    identity = look(path, ASSETS, NOWHERE).identity
    assert (identity.verdict, identity.complete) == ("unknown", False)
    assert "11 tensors are missing" in identity.says


@pytest.mark.parametrize("digest", OTHER_DIGESTS)
def test_other_true_merges_pass(tmp_path: Path, digest: str) -> None:
    folder = tmp_path / "text_encoders"
    path = model_files.put_real(folder / "qwen_3_4b.safetensors", "qwen3-4b")
    identity = judged(path, sha256=digest)
    assert identity.verdict in ("wanted", "variant")
    assert (identity.digest, identity.family) == ("verified", "qwen3-4b")
    assert "digest verified" in identity.says


def test_the_published_file_by_header_digest_and_record(tmp_path: Path) -> None:
    row = ROWS["qwen3-4b-bf16"]
    path = model_files.put_real(tmp_path / "text_encoders" / row.name, "qwen3-4b")
    plain, hashed = judged(path), judged(path, sha256=row.sha256)
    assert (plain.verdict, plain.structure, plain.digest) == ("wanted", "exact", "unchecked")
    assert (hashed.verdict, hashed.structure, hashed.digest) == ("wanted", "exact", "verified")
    assert hashed.known == row.id
    promised = judged(path, promised=row.sha256)
    assert promised.known == row.id and "the Hub's record beside it" in promised.says
    assert promised.digest == "unchecked"  # a record is no proof


def test_a_digest_of_another_file_proves_nothing(tmp_path: Path) -> None:
    path = model_files.put_real(tmp_path / "text_encoders" / "q.safetensors", "qwen3-4b")
    vae = next(row for row in ASSETS.of_family("flux2-vae") if row.sha256)
    identity = judged(path, sha256=vae.sha256)
    assert (identity.verdict, identity.digest) == ("unknown", "mismatch")
    assert judged(path, promised=vae.sha256).known != vae.id


@pytest.mark.parametrize("folder", ["text_encoders", "clip", "Text_Encoders"])
@pytest.mark.parametrize("part", [1, 2])
def test_a_part_of_two_where_comfyui_looks(tmp_path: Path, folder: str, part: int) -> None:
    table = f"klein-4b-diffusers-encoder-{part}of2"
    path = model_files.put_real(tmp_path / folder / f"model-0000{part}.safetensors", table)
    identity = look(path, ASSETS, NOWHERE).identity
    assert (identity.verdict, identity.known) == ("impostor", f"klein4b-diffusers-te-{part}")


@pytest.mark.parametrize("vae", ["flux2-vae", "flux2-vae-diffusers"])
def test_both_published_vaes_are_wanted(tmp_path: Path, vae: str) -> None:
    path = model_files.put_real(tmp_path / "vae" / "any.safetensors", vae)
    identity = look(path, ASSETS, NOWHERE).identity
    assert (identity.verdict, identity.structure, identity.known != "") == ("wanted", "exact", True)
    row = next(row for row in ASSETS.files if row.id == identity.known)
    verified = judged(path, sha256=row.sha256)
    assert (verified.verdict, verified.digest) == ("wanted", "verified")


@pytest.mark.parametrize("table", ["qwen_3_8b", "qwen3-0.6b", "t5xxl_fp16", "clip_l"])
@pytest.mark.parametrize("quantised", [False, True])
def test_encoders_of_other_models_never_pass(tmp_path: Path, table: str, quantised: bool) -> None:
    tensors = model_files.table(table)
    if quantised:
        tensors = {
            name: Expected("F8_E4M3", tensor.shape) if len(tensor.shape) == 2 else tensor
            for name, tensor in tensors.items()
        }
    path = model_files.put(tmp_path / "text_encoders" / "qwen_3_4b.safetensors", tensors)
    identity = look(path, ASSETS, NOWHERE).identity
    assert identity.verdict in ("impostor", "refused") and identity.family != "qwen3-4b"
    for row in ROWS.values():
        if row.sha256:
            assert judged(path, promised=row.sha256).verdict == identity.verdict
