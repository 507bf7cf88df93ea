"""Are the model's files sound, proven, stored once, and of a format that runs no code?"""

from __future__ import annotations

from klein_doctor.assets import BY_ID, asked, fetch, right, rules, told, usable
from klein_doctor.model import Facts, Harm, Outcome, Repair, Unknown, Verdict
from klein_doctor.modelfiles import Duplicate, ModelFile, Models
from klein_doctor.outcomes import gib, passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check

Judged = Outcome | tuple[Outcome, ...] | tuple[()]
_ROLE_OF = {role.category: role.id for role in BY_ID.values()}


@check(
    "asset-damaged",
    family="assets",
    title="The model's files are sound",
    harm=Harm.STOPS,
    reads="The first bytes, the header, the length and the last bytes of each model file; where a "
    "digest was computed, whether it is the one the Hub's records name.",
    why="A download that broke off or a web page saved under a model's name fails in ComfyUI with "
    "a message about headers, which says nothing of the cause.",
    by_hand="Delete or move the file and fetch it again. A download with its space set aside "
    "beforehand that broke off opens without an error and gives noise: it ends with zeros.",
)
def asset_damaged(facts: Facts, recipe: Recipe) -> Judged:
    title = "Whether the model's files are sound is not known"
    models = asked(facts, recipe)
    if models is None:
        return ()
    if isinstance(models, Unknown):
        return unknown(title, models)
    broken = [f for f in models.files if f.verdict == "damaged" and not f.shadowed]
    if broken:
        return tuple(_broken(facts, recipe, models, file) for file in broken[:8])
    sound = [f for f in models.files if usable(f)]
    return passed(f"{len(sound)} of Klein's files are sound by header and size") if sound else ()


def _broken(facts: Facts, recipe: Recipe, models: Models, file: ModelFile) -> Outcome:
    role = file.named_for or (file.role if file.role in BY_ID else _ROLE_OF.get(file.category, ""))
    needed = bool(role) and not right(models, role) and file.category == BY_ID[role].category
    row = rules(recipe).damages[file.damage]
    fixes = [Repair("quarantine-asset", "move", "ask", "move it aside, where nothing loads it")]
    if needed:
        fixes.append(fetch(facts, recipe, role))
    words = " or ".join(f"'{text}'" for text in row.messages)
    loading = f" Loading it ends with {words}." if words else " It loads without an error."
    return Outcome(
        Verdict.FAIL if needed else Verdict.WARN,
        f"A model file is damaged: {row.says}",
        f"{file.says[:1].upper()}{file.says[1:]}.{loading}",
        subject=file.path,
        evidence={"kind": file.damage, "size": file.size, "role": role},
        fixes=tuple(fixes),
    )


@check(
    "asset-unverified",
    family="assets",
    title="The model's files are published ones",
    harm=Harm.NOTE,
    reads="Digests that were computed earlier, against those of every published build that is "
    "known. Nothing is hashed here unless --deep is given.",
    why="A fine-tune has the same header and often the same size as the original; only the digest "
    "tells them apart. It may be what you want, but its pictures are its own.",
    by_hand="'klein-doctor identify --deep FILE' computes the digest; compare it with the one the "
    "file's page on the Hub shows.",
)
def asset_unverified(facts: Facts, recipe: Recipe) -> Judged:
    models = told(facts, recipe)
    if models is None:
        return ()
    used = [f for f in models.files if usable(f) and not f.shadowed]
    strange = [f for f in used if f.digest == "mismatch"]
    if strange:
        return tuple(_strange(file) for file in strange[:6])
    proven = [f for f in used if f.digest == "verified"]
    if not used:
        return ()
    if len(proven) == len(used):
        return passed(f"All {len(used)} files of Klein have a published digest")
    rest = len(used) - len(proven)
    return passed(f"{rest} of Klein's {len(used)} files are not hashed yet", unhashed=rest)


def _strange(file: ModelFile) -> Outcome:
    return Outcome(
        Verdict.WARN,
        "A model file is no build that is known",
        f"{file.says[:1].upper()}{file.says[1:]}. It loads, but what it draws is not what Klein is "
        "known for; compare with the published file before you look for faults elsewhere.",
        subject=file.path,
        evidence={"family": file.family, "size": file.size, "structure": file.structure},
        fixes=(
            Repair(
                "hash-asset",
                "config",
                "safe",
                "compute its digest anew",
                (("klein-doctor", "identify", "--deep", file.path),),
            ),
        ),
    )


@check(
    "pickle-weights",
    family="assets",
    title="No weights are Python pickles",
    harm=Harm.NOTE,
    reads="The first bytes of .ckpt, .pt, .pth and .bin files under the names of Klein's files.",
    why="Loading a pickle can run any code that is in it. Klein 4B is published as safetensors "
    "and GGUF only, so a pickle under its name comes from elsewhere.",
    by_hand="Use the published .safetensors file; do not load the pickle.",
)
def pickle_weights(facts: Facts, recipe: Recipe) -> Judged:
    models = told(facts, recipe)
    if models is None:
        return ()
    found = [
        f
        for f in models.files
        if f.damage == "pickle" and f.verdict != "damaged" and _picked(models, f)
    ]
    return tuple(
        Outcome(
            Verdict.WARN,
            "Weights under a name of Klein's are a Python pickle",
            "Loading one can run any code that is in it. Klein 4B is not published in this format.",
            subject=file.path,
            evidence={"size": file.size},
        )
        for file in found[:4]
    )


def _picked(models: Models, file: ModelFile) -> bool:
    """Whether a user would pick it: it has a published name, or nothing else is there."""
    role = _ROLE_OF.get(file.category, "")
    return bool(file.named_for) or (bool(role) and not right(models, role))


@check(
    "asset-duplicate",
    family="assets",
    title="No file of the model is stored twice",
    harm=Harm.NOTE,
    reads="With --deep: the digests of Klein's files, and whether equal ones are links to one.",
    why="Each copy takes gigabytes; a cache beside ComfyUI's folder is the usual cause.",
    by_hand="Delete one copy and put a link in its place (ln; on Windows mklink /H).",
)
def asset_duplicate(facts: Facts, recipe: Recipe) -> Judged:
    models = told(facts, recipe)
    if models is None or models.duplicates is None:
        return ()
    return tuple(_twice(each) for each in models.duplicates) or passed(
        "No file of Klein is stored twice"
    )


def _twice(each: Duplicate) -> Outcome:
    spare = each.size * (len(each.paths) - 1)
    summary = f"replace the copies by hard links and gain {gib(spare)}"
    return Outcome(
        Verdict.WARN,
        f"A file of the model is stored {len(each.paths)} times",
        f"The copies are the same to the last byte; {gib(spare)} could be free.",
        subject=each.paths[0],
        evidence={"size": each.size, "paths": each.paths[:6]},
        fixes=(Repair("dedupe-assets", "move", "ask", summary),),
    )
