"""Files that only a folder of --recipe knows: for identify, for the checks, and for a download."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import model_files
import pytest
from command import Ran, doctor, one_line
from trees import put_comfyui, put_own_python

from klein_doctor.identity.digest import DigestStore
from klein_doctor.identity.layouts import Expected
from klein_doctor.identity.look import Looked, look
from klein_doctor.identity.recognise import schema_of
from klein_doctor.recipe import load
from klein_doctor.recipe_assets import load_assets
from klein_doctor.rehearse.hub import Hub, HubFile, Repository
from klein_doctor.rows import RecipeError

COMMIT = "a" * 40
# Tensors that no rule of the doctor's own knows.
TENSORS = {
    "transformer": {"mini.blocks.0.weight": Expected("BF16", (8, 8))},
    "encoder": {"mini.layers.0.weight": Expected("BF16", (4, 16))},
    "vae": {"mini.decoder.weight": Expected("F32", (3, 3))},
}
NAMES = {
    "transformer": "diffusion_models/flux-2-klein-4b-fp8.safetensors",
    "encoder": "text_encoders/qwen_3_4b.safetensors",
    "vae": "vae/flux2-vae.safetensors",
}
FAMILIES = {"transformer": "flux2-klein-4b", "encoder": "qwen3-4b", "vae": "flux2-vae"}
TAIL = 'source = "made here"\nas_of = "2026-11-24"\n'


def data_of(role: str) -> bytes:
    """A miniature: a sound file of a few hundred bytes."""
    start, size = model_files.header(TENSORS[role])
    return start + random.Random(role).randbytes(size)


def digest_of(role: str) -> str:
    return hashlib.sha256(data_of(role)).hexdigest()


def file_row(role: str = "vae", **more: object) -> str:
    """A [[file]] row of a miniature, by its digest unless more says otherwise."""
    values: dict[str, object] = {
        "id": f"mini-{role}", "name": Path(NAMES[role]).name, "family": FAMILIES[role],
        "quantisation": "bf16", "bytes": len(data_of(role)), "sha256": digest_of(role),
        "wanted": True, **more,
    }  # fmt: skip
    lines = (f"{k} = {str(v).lower() if isinstance(v, bool) else repr(v)}\n"
             for k, v in values.items())  # fmt: skip
    return f"[[file]]\n{''.join(lines)}{TAIL}"


def downloads() -> str:
    """A downloads.toml that fetches the three miniatures."""
    rows = [
        f'[[repository]]\nid = "mini"\nname = "me/mini"\nrevision = "{COMMIT}"\n'
        f'license = "Apache-2.0"\n{TAIL}'
    ]
    rows += [
        f'[[asset]]\nroute = "comfyui"\nrole = "{role}"\nrepository = "mini"\n'
        f'path = "{name}"\nbytes = {len(data_of(role))}\nsha256 = "{digest_of(role)}"\n{TAIL}'
        for role, name in NAMES.items()
    ]
    return "".join(rows)


def recipe(folder: Path, **tables: str) -> Path:
    """A folder with these tables."""
    found = folder / "recipe"
    found.mkdir()
    for name, text in tables.items():
        (found / f"{name}.toml").write_text(text, encoding="utf-8")
    return found


def looked(path: Path, extra: Path | str, *, hashed: bool = True) -> Looked:
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if hashed else ""
    return look(path, load_assets(str(extra)), DigestStore(None), digest)


def put(folder: Path, role: str = "vae") -> Path:
    path = folder / NAMES[role]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data_of(role))
    return path


# --- from one end to the other ---------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Ran]:
    """The doctor on a ComfyUI without models, with a recipe that fetches miniatures."""
    root = put_comfyui(tmp_path / "ComfyUI")
    put_own_python(root)
    extra = recipe(tmp_path, downloads=downloads())

    def run(*arguments: str | Path, with_recipe: bool = True, **env: str) -> Ran:
        more = ("--recipe", extra) if with_recipe else ()
        state = ("--state-dir", tmp_path / "state", "--format", "json")
        return doctor(*arguments, *more, *state, env=env)

    return run


def test_what_a_recipe_fetches_is_what_it_says_it_is(
    machine: Callable[..., Ran], tmp_path: Path
) -> None:
    root = tmp_path / "ComfyUI"
    here = ("--comfyui", root)
    judged = (*here, "--assume", "RTX 5070,driver=580")
    before = machine(*judged)
    assert before.finding("vae-missing")["verdict"] == "fail"
    assert "me/mini" in before.finding("vae-missing")["fixes"][0]["summary"]
    with Hub() as hub:
        files = {name: HubFile(data_of(role)) for role, name in NAMES.items()}
        hub.add(Repository("me/mini", COMMIT, files))
        ran = machine("download", *here, HF_ENDPOINT=hub.endpoint)
    assert ran.code == 0, ran.err
    after = machine(*judged)
    verdicts = after.verdicts()
    assert {verdicts[f"{role}-missing"] for role in NAMES} == {"pass"}
    assert not {"vae-wrong", "encoder-wrong", "transformer-wrong"} & {
        name for name, verdict in verdicts.items() if verdict in ("fail", "warn")
    }
    assert after.finding("asset-unverified")["verdict"] == "pass"
    assert "All 3 files" in after.finding("asset-unverified")["title"]
    named = machine("identify", root / "models").document["files"]
    assert [(f["verdict"], f["digest"], f["license"]) for f in named] == [
        ("wanted", "verified", "Apache-2.0")
    ] * 3
    assert {f["role"] for f in named} == set(NAMES)
    bare = machine("identify", root / "models", with_recipe=False).document["files"]
    assert {f["verdict"] for f in bare} == {"unknown"}


def test_the_disk_is_asked_for_what_the_recipe_fetches(tmp_path: Path) -> None:
    extra = recipe(tmp_path, downloads=downloads())
    rows = {row.route: row.bytes for row in load(extra=str(extra)).memory.downloads}
    usual = {row.route: row.bytes for row in load().memory.downloads}
    assert rows["comfyui"] == sum(len(data_of(role)) for role in NAMES)
    assert rows["diffusers"] == usual["diffusers"]


# --- rows of files ---------------------------------------------------------------------------


def test_a_row_names_a_file_by_its_digest(tmp_path: Path) -> None:
    path, extra = put(tmp_path), recipe(tmp_path, files=file_row())
    assert looked(path, "").identity.verdict == "unknown"
    identity = looked(path, extra).identity
    assert (identity.role, identity.verdict, identity.digest) == ("vae", "wanted", "verified")
    assert looked(path, extra, hashed=False).identity.verdict == "unknown"


def test_a_row_names_a_file_by_its_table_of_tensors(tmp_path: Path) -> None:
    path = put(tmp_path)
    entries = {name: {"dtype": e.dtype, "shape": list(e.shape)} for name, e in
               TENSORS["vae"].items()}  # fmt: skip
    extra = recipe(tmp_path, files=file_row(schema=schema_of(entries)))
    identity = looked(path, extra, hashed=False).identity
    assert (identity.verdict, identity.structure, identity.digest) == (
        "wanted", "exact", "unchecked",
    )  # fmt: skip
    other = tmp_path / "other.safetensors"
    other.write_bytes(data_of("encoder"))
    assert looked(other, extra, hashed=False).identity.verdict == "unknown"


def test_a_row_overrides_one_of_the_same_id(tmp_path: Path) -> None:
    usual = next(f for f in load_assets().files if f.wanted and f.family == "flux2-vae")
    rules = load_assets(str(recipe(tmp_path, files=file_row(id=usual.id))))
    (row,) = [f for f in rules.files if f.id == usual.id]
    assert row.sha256 == digest_of("vae")
    assert usual.sha256 not in rules.digests


def test_what_is_not_wanted_any_more_is_a_variant(tmp_path: Path) -> None:
    rules = load_assets(str(recipe(tmp_path, files=file_row())))
    assert [f.id for f in rules.files if f.wanted and f.family == "flux2-vae"] == ["mini-vae"]
    assert [f.family for f in rules.files if f.wanted and f.family == "qwen3-4b"]


def test_a_later_model_has_a_family_and_a_rule_of_its_own(tmp_path: Path) -> None:
    family = (
        '[[family]]\nid = "later"\nrole = "vae"\nsays = "a later VAE"\nverdict = "variant"\n'
        f'license = "Apache-2.0"\nbelongs_in = "vae"\n{TAIL}'
        f'[[rule]]\nfamily = "later"\nhas = ["mini.decoder.weight"]\n{TAIL}'
    )
    path, extra = put(tmp_path), recipe(tmp_path, assets=family)
    identity = looked(path, extra, hashed=False).identity
    assert (identity.family, identity.verdict, identity.license) == (
        "later", "variant", "Apache-2.0",
    )  # fmt: skip


# --- what no recipe may say ------------------------------------------------------------------

NOT_FREE = [
    row
    for row in load_assets().files
    if row.sha256 and load_assets().families[row.family].verdict == "refused"
]
FAMILY = (
    '[[family]]\nid = "{id}"\nrole = "vae"\nsays = "x"\nverdict = "wanted"\n'
    f'license = "{{license}}"\n{TAIL}'
)


@pytest.mark.parametrize("row", NOT_FREE, ids=lambda row: row.id)
def test_what_is_not_free_cannot_be_called_klein(row, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for number, changes in enumerate(({"sha256": row.sha256}, {"id": row.id})):
        folder = tmp_path / str(number)
        folder.mkdir()
        extra = recipe(folder, files=file_row("transformer", **changes))
        with pytest.raises(RecipeError, match=r"files\.toml: .* is "):
            load_assets(str(extra))


@pytest.mark.parametrize(
    ("table", "text", "words"),
    [
        ("assets", FAMILY.format(id="mine", license="FLUX Non-Commercial License"), "licence"),
        ("assets", FAMILY.format(id="mine", license=""), "licence"),
        ("assets", FAMILY.format(id="flux2-klein-9b", license="Apache-2.0"), "there is already"),
        ("assets", f'[[rule]]\nfamily = "nobody"\nhas = ["x"]\n{TAIL}', "no family nobody"),
        ("files", file_row(family="nobody"), "no family nobody"),
        ("files", "[[file]]\nid = 5\n", "row 1"),
        ("files", "[[file", "cannot be read"),
    ],
)
def test_a_table_that_is_not_sound_is_told_in_one_line(
    table: str, text: str, words: str, tmp_path: Path
) -> None:
    extra = recipe(tmp_path, **{table: text})
    for arguments in ((), ("identify", tmp_path), ("download", "--dry-run", "--offline")):
        ran = doctor(*arguments, "--recipe", extra)
        assert ran.code == 2, ran.err
        assert one_line(ran.err)
        assert words in ran.err and f"{table}.toml" in ran.err


def test_a_file_whose_tensors_are_refused_stays_refused(tmp_path: Path) -> None:
    path = model_files.put_real(tmp_path / "x.safetensors", "flux-2-klein-9b-fp8")
    row = file_row("transformer", sha256="c" * 64, bytes=path.stat().st_size)
    rules = load_assets(str(recipe(tmp_path, files=row)))
    assert look(path, rules, DigestStore(None), "c" * 64).identity.verdict == "refused"
