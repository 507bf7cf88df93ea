"""Which way of running the model is judged: ComfyUI or diffusers."""

from __future__ import annotations

from klein_doctor.model import Facts, Known
from klein_doctor.recipe import Recipe
from klein_doctor.recipe_memory import ROUTES


def route_of(facts: Facts, recipe: Recipe) -> str:
    """``comfyui`` or ``diffusers``: as asked for, else by what is installed; ComfyUI leads."""
    asked = facts.route.value if isinstance(facts.route, Known) else "auto"
    if asked in ROUTES:
        return asked
    if isinstance(facts.comfyui, Known) and facts.comfyui.value is None:
        packages = facts.packages.value if isinstance(facts.packages, Known) else None
        if packages is not None and packages.version("diffusers") is not None:
            return "diffusers"
    return "comfyui"
