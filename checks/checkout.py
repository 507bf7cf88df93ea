"""Is the diffusers folder of Klein complete?"""

from __future__ import annotations

from klein_doctor.model import Facts, Harm, Outcome, Repair, Unknown, Verdict
from klein_doctor.modelfiles import PipelineFolder
from klein_doctor.outcomes import gib, passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.routes import route_of


@check(
    "checkout-incomplete",
    family="assets",
    title="The diffusers folder is complete",
    harm=Harm.STOPS,
    reads="In the Hub's cache: model_index.json of FLUX.2-klein-4B, the configuration of each part "
    "and every file its lists of parts name, and the headers of the weights.",
    why="A download that broke off leaves a folder in which one part is missing; from_pretrained "
    "then fails or begins to download again.",
    by_hand="'klein-doctor download --route diffusers' fetches what is missing, proving all of it. "
    "'hf download black-forest-labs/FLUX.2-klein-4B --exclude flux-2-klein-4b.safetensors' does so "
    "without proof; the excluded file is a copy that diffusers does not read.",
)
def checkout_incomplete(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    if route_of(facts, recipe) != "diffusers":
        return ()
    if isinstance(facts.models, Unknown):
        return unknown("Whether the diffusers folder is complete is not known", facts.models)
    folders = facts.models.value.pipelines
    good = [each for each in folders if each.verdict in ("wanted", "variant")]
    if good:
        proof = "digests verified" if good[0].digest == "verified" else "digests not computed"
        return passed(f"The diffusers folder of Klein 4B is complete ({proof})")
    if folders:
        return _broken(folders[0], recipe)
    return Outcome(
        Verdict.FAIL,
        "Klein 4B is not in the Hub's cache",
        "diffusers loads the model from there; the first from_pretrained would fetch "
        f"{_size(recipe)}, with a copy of 7 GiB that it does not read.",
        fixes=(_fetch(recipe),),
    )


def _broken(folder: PipelineFolder, recipe: Recipe) -> Outcome:
    return Outcome(
        Verdict.FAIL,
        "The diffusers folder of Klein 4B is not complete",
        f"It is {folder.says}.",
        subject=folder.path,
        evidence={"missing": folder.missing[:10], "kind": folder.kind},
        fixes=(_fetch(recipe),),
    )


def _size(recipe: Recipe) -> str:
    return gib(next(row.bytes for row in recipe.memory.downloads if row.route == "diffusers"))


def _fetch(recipe: Recipe) -> Repair:
    command = ("klein-doctor", "download", "--route", "diffusers")
    summary = f"fetch what is missing ({_size(recipe)} in all, Apache-2.0)"
    return Repair("fetch-assets", "download", "ask", summary, (command,))
