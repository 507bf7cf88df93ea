"""Builders of literal facts about attention packages and what asks for them."""

from __future__ import annotations

import around as a

from klein_doctor.attention import Override, Replaced, Scan
from klein_doctor.compiled import Binary, Extension
from klein_doctor.model import Facts, Known, Private, Unknown

SITE = "~/ComfyUI/.venv/lib/python3.12/site-packages"
plain = Private.plain


def binary(
    file: str = "flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so",
    archs: tuple[str, ...] | None = ("sm_80", "sm_90", "sm_100", "sm_120"),
    python: str = "3.12",
    absent: tuple[str, ...] = (),
    undefined: tuple[str, ...] | None = (),
) -> Binary:
    """A compiled file; None for what could not be read."""
    return Binary(
        file=file,
        archs=Unknown(f"{file} cannot be read: cut short") if archs is None else Known(archs),
        python=python,
        absent=absent,
        undefined=Unknown("torch's libraries were not found")
        if undefined is None
        else Known(undefined),
        torch=Known("exact"),
    )


def extension(name: str = "flash-attn", version: str = "2.8.3", *binaries: Binary) -> Extension:
    """A package; flash-attn with code for every card unless changed."""
    return Extension(name, version, plain(SITE), binaries or (binary(),))


def xformers(version: str = "0.0.30", *archs: str) -> Extension:
    """xformers with its main library."""
    found = archs or ("sm_75", "sm_80", "sm_90", "compute_80")
    return extension("xformers", version, binary("xformers/_C.so", found, ""))


def override(**changes: object) -> Override:
    """A custom node that loads Klein with FlashAttention-2."""
    return Override(
        kind="source",
        path=plain("~/ComfyUI/custom_nodes/KleinWrapper/nodes.py"),
        line=41,
        how="attn_implementation",
        asks="flash_attention_2",
        owner="Qwen3ForCausalLM",
        model="",
        node="KleinWrapper",
        klein=True,
    )._replace(**changes)


def has(facts: Facts, *extensions: Extension) -> Facts:
    """A machine with these packages, listed as pip would."""
    return facts._replace(
        extensions=Known(extensions),
        packages=Known(a.packages({item.name: item.version for item in extensions})),
    )


def asks(facts: Facts, *overrides: Override) -> Facts:
    """A machine in whose sources these stand."""
    return facts._replace(overrides=Known(Scan(overrides, 120, True, 0)))


def replaced(**changes: object) -> Replaced:
    """A custom node that puts flash-attn in the place of PyTorch's attention, as it stands."""
    return Replaced(
        path=plain("~/ComfyUI/custom_nodes/fast_attn/__init__.py"),
        line=6,
        target="torch.nn.functional.scaled_dot_product_attention",
        by="_fast",
        calls=("flash_attn_func",),
        needs=("flash_attn",),
        turns=False,
        masked=False,
        when="import",
        node="fast_attn",
    )._replace(**changes)


def replaces(facts: Facts, *places: Replaced) -> Facts:
    """A machine in whose sources these stand."""
    return facts._replace(overrides=Known(Scan((), 120, True, 0, places)))
