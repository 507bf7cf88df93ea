"""The record of a test generation: what it ran on, what it took, how it ended.

A pure function of facts and tables, made to be shared: nothing in it names a person, a place or a
particular card. Its shape is docs/record.schema.json.
"""

from __future__ import annotations

from typing import Any

from klein_doctor.assets import ROLES, right, rules
from klein_doctor.card import chosen_gpu
from klein_doctor.generation import Generation, Phase, Proof
from klein_doctor.model import Facts, known
from klein_doctor.modelfiles import ModelFile
from klein_doctor.recipe import Recipe

SCHEMA = "klein-doctor/record/1"
_MIB = 1 << 20


def record_of(
    facts: Facts, recipe: Recipe, ran: Generation, verdict: str, created: str, doctor: str
) -> dict[str, Any]:
    """The record as JSON-ready data; what nobody could tell is null.

    verdict: ``verified``, ``ran as recorded``, ``not verified``, ``failed``, ``interrupted`` or
    ``refused``.
    """
    return {
        "schema": SCHEMA,
        "created": created,
        "doctor": {"version": doctor, "recipe": recipe.as_of},
        "verdict": verdict,
        "failure": _failure(ran),
        "machine": _machine(facts),
        "software": _software(facts, ran),
        "route": ran.route,
        "plan": _plan(recipe, ran),
        "files": _files(facts, recipe, ran.route),
        "picture": {
            "prompt": ran.prompt,
            "seeds": [picture.seed for picture in ran.pictures],
            "width": ran.width,
            "height": ran.height,
            "steps": ran.steps,
            "guidance": ran.guidance,
            "expectation": ran.expectation,
            "repeated": _rounded(ran.repeated),
            "differed": _rounded(ran.differed),
        },
        "seconds": {
            "cold": _seconds(ran.cold_s),
            "warm": _seconds(ran.warm_s),
            "pictures": [_seconds(picture.seconds) for picture in ran.pictures],
            "phases": [_phase(phase) for phase in ran.phases],
        },
        "memory_mib": {
            "free_before": _count(ran.free_mib),
            "predicted_peak": _count(ran.predicted_mib or -1),
            "peak": _count(ran.peak_mib),
            "ram_peak": _count(ran.ram_mib),
        },
        "kernels": _kernels(known(facts.proof)),
        "remarks": sorted({remark.kind for remark in ran.remarks}),
    }


def _failure(ran: Generation) -> dict[str, Any] | None:
    if ran.outcome == "done":
        return None
    return {"outcome": ran.outcome, "stage": ran.stage, "kind": ran.kind,
            "explained": list(ran.explained)}  # fmt: skip


def _machine(facts: Facts) -> dict[str, Any]:
    gpu, system, memory = chosen_gpu(facts), known(facts.system), known(facts.memory)
    capability = known(gpu.compute_capability) if gpu is not None else None
    total = known(gpu.total_bytes) if gpu is not None else None
    return {
        "card": known(gpu.name) if gpu is not None else None,
        "capability": "{}.{}".format(*capability) if capability else None,
        "card_mib": total // _MIB if total else None,
        "display": known(gpu.display_active) if gpu is not None else None,
        "ram_mib": memory.total // _MIB if memory is not None else None,
        "os": system.os if system is not None else None,
        "distribution": system.distribution or None if system is not None else None,
        "wsl": system.wsl if system is not None else None,
        "container": system.container or None if system is not None else None,
    }


def _software(facts: Facts, ran: Generation) -> dict[str, Any]:
    nvml, torch, python = known(facts.nvml), known(facts.torch), known(facts.interpreter)
    version = known(python.version) if python is not None else None
    comfyui = known(facts.comfyui) if ran.route == "comfyui" else None
    checkout = known(comfyui.checkout) if comfyui is not None else None
    return {
        "driver": known(nvml.driver) if nvml is not None else None,
        "python": ".".join(map(str, version)) if version else None,
        "torch": known(torch.version) if torch is not None and torch.present else None,
        "comfyui": known(comfyui.version) if comfyui is not None else None,
        "comfyui_commit": checkout.commit if checkout is not None else None,
        "packages": dict(sorted(ran.versions)),
    }


def _plan(recipe: Recipe, ran: Generation) -> dict[str, Any]:
    row = next(
        (p for p in recipe.memory.plans if p.id == ran.plan and p.route == ran.route), None
    )  # fmt: skip
    return {"id": ran.plan, "name": row.name if row is not None else None}


def _files(facts: Facts, recipe: Recipe, route: str) -> list[dict[str, Any]]:
    """What the model's files are, by the tables: names of a user's own are not told."""
    models = known(facts.models)
    if models is None:
        return []
    if route == "comfyui":
        found = [(role.id, right(models, role.id)) for role in ROLES]
        return [_file(role, files[0], recipe) for role, files in found if files]
    folders = models.pipelines[:1]
    return [
        {"role": "pipeline", "build": None, "quantisation": None, "bytes": None, "sha256": None,
         "digest": each.digest}
        for each in folders
    ]  # fmt: skip


def _file(role: str, file: ModelFile, recipe: Recipe) -> dict[str, Any]:
    row = next((row for row in rules(recipe).files if row.id == file.known), None)
    proven = row is not None and file.digest == "verified"
    return {
        "role": role,
        "build": row.id if row is not None else None,
        "quantisation": file.quantisation or None,
        "bytes": file.size,
        "sha256": row.sha256 or None if row is not None and proven else None,
        "digest": file.digest,
    }


def _kernels(proof: Proof | None) -> dict[str, Any] | None:
    if proof is None:
        return None
    return {
        "outcome": proof.outcome,
        "attention": proof.attention or None,
        "tests": {test.name: test.outcome for test in proof.tests},
    }


def _phase(phase: Phase) -> dict[str, Any]:
    return {"name": phase.name, "picture": phase.picture,
            "seconds": round(phase.ended_s - phase.began_s, 3)}  # fmt: skip


def _seconds(value: float) -> float | None:
    return round(value, 3) if value > 0 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _count(value: int) -> int | None:
    return value if value >= 0 else None
