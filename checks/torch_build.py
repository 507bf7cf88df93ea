"""Is torch there, whole, and built for this card?"""

from __future__ import annotations

from klein_doctor.card import Card, card
from klein_doctor.environment import NAME_PYTHON
from klein_doctor.model import (
    Evidence,
    Fact,
    Facts,
    Harm,
    Known,
    Outcome,
    Package,
    Private,
    Repair,
    Unknown,
    Verdict,
    known,
)
from klein_doctor.outcomes import (
    install_torch,
    passed,
    release,
    unknown,
    without_card,
)
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.wheels import runs


def place(facts: Facts) -> Private | None:
    return facts.interpreter.value.prefix if isinstance(facts.interpreter, Known) else None


def repairs(facts: Facts, recipe: Recipe, *, again: bool = False) -> tuple[Repair, ...]:
    found = card(facts)
    if isinstance(found, Unknown):
        return (
            Repair(
                "install-torch",
                "packages",
                "manual",
                "install torch and torchvision; which build depends on the card (run the doctor "
                "where the card is, or name it with --assume)",
            ),
        )
    return install_torch(facts, recipe, found.value, again=again)


@check(
    "torch-missing",
    family="torch",
    title="PyTorch is installed in the target",
    harm=Harm.STOPS,
    requires=("python-broken",),
    follows=("python-too-old", "python-too-new", "comfyui-missing"),
    reads="The folders the target imports packages from (site-packages), without starting it.",
    why="PyTorch (the package torch) runs the model. It must be in the very environment that "
    "starts ComfyUI or your script; an installation elsewhere does not count.",
    by_hand="Start the target's own Python with '-m pip show torch'. Name another interpreter with "
    "--python if the doctor looked at the wrong one.",
)
def torch_missing(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.torch, Unknown):
        return unknown("Whether PyTorch is installed is not known", facts.torch)
    torch = facts.torch.value
    if torch.present or torch.distributions:
        return passed(_described(torch))
    return Outcome(
        Verdict.FAIL,
        "PyTorch is not installed in the Python that was looked at",
        "None of its package folders holds torch. ComfyUI often runs from another Python, its "
        "venv or python_embeded; an installation there is not seen from here.",
        subject=place(facts),
        fixes=(_NAME_PYTHON, *repairs(facts, recipe)),
    )


_NAME_PYTHON = Repair(
    "name-python",
    "config",
    "manual",
    "name the Python that runs the model",
    (NAME_PYTHON,),
)


def _described(torch: Package) -> str:
    version = torch.version.value if isinstance(torch.version, Known) else "of unknown version"
    return f"torch {version}"


@check(
    "torch-broken",
    family="torch",
    title="The PyTorch installation is whole",
    harm=Harm.STOPS,
    requires=("torch-missing",),
    reads="torch's folder against its install records (dist-info, RECORD): libraries absent or of "
    "another size, records without a package, two records; and whether the CUDA libraries it asks "
    "for are anywhere on the search path. With --prove, an import in a process of its own.",
    why="An interrupted or mixed installation fails at import with an error that names some "
    "library, or crashes without a word.",
    by_hand="Reinstall torch and torchvision together with --force-reinstall from one index.",
)
def torch_broken(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.torch, Unknown):
        return unknown("Whether PyTorch is whole is not known", facts.torch)
    torch = facts.torch.value
    tried = _import_fault(facts)
    fault = _record_fault(torch) or _file_fault(facts)
    if fault is None and tried is None:
        if _imported(facts):
            return passed("PyTorch is whole: it was loaded just now")
        for fact in (facts.torch_binary, torch.version):
            if isinstance(fact, Unknown):
                return unknown("Whether PyTorch is whole is not known", fact)
        return passed("The PyTorch installation is whole, as far as its files tell")
    title, detail = fault or tried or ("", "")
    if fault is not None and tried is not None:
        detail += f" Tried just now: {tried[1]}"
    return Outcome(
        Verdict.FAIL,
        title,
        detail,
        subject=torch.location,
        evidence=_damage(facts),
        fixes=repairs(facts, recipe, again=True),
    )


def _record_fault(torch: Package) -> tuple[str, str] | None:
    records = torch.distributions
    if not torch.present and not any(item.editable for item in records):
        return (
            "PyTorch is half removed: its record is there, its files are not",
            f"pip believes torch {records[0].version} is installed, but there is no folder torch; "
            "an import fails, and a plain 'pip install torch' does nothing.",
        )
    if len(records) > 1:
        versions = ", ".join(item.version for item in records)
        return (
            "PyTorch is installed twice over itself",
            f"{len(records)} install records stand side by side ({versions}); the files are a "
            "mixture of them.",
        )
    if torch.present and not records:
        return (
            "PyTorch is half removed: its files are there, its record is not",
            "A folder torch lies in site-packages without any install record (dist-info), as an "
            "interrupted pip leaves it. pip can neither update nor remove it.",
        )
    return None


def _file_fault(facts: Facts) -> tuple[str, str] | None:
    if isinstance(facts.torch_binary, Unknown):
        return None
    found = facts.torch_binary.value
    if found.damaged:
        first = found.damaged[0]
        state = f"has {first.found_bytes:,} bytes instead of {first.promised_bytes:,}"
        if first.found_bytes < 0:
            state = "is absent"
        elif first.promised_bytes < 0:
            state = f"({first.found_bytes:,} bytes) is not a library"
        more = f", and {len(found.damaged) - 1} more" if len(found.damaged) > 1 else ""
        return (
            "Libraries of PyTorch are missing or cut short",
            f"{first.name} {state}{more}; the import fails or crashes.",
        )
    if found.unresolved and not _imported(facts):
        return (
            "CUDA libraries that PyTorch needs are missing",
            f"{', '.join(found.unresolved)} cannot be found: not in the environment, nor where the "
            "system looks. The import fails with 'cannot open shared object file'.",
        )
    return None


def _imported(facts: Facts) -> bool:
    """Whether a proof has loaded torch."""
    proof = known(facts.proof)
    return proof is not None and bool(proof.torch)


def _import_fault(facts: Facts) -> tuple[str, str] | None:
    """How loading torch ended in a proof, None where there was none or it went well."""
    proof = known(facts.proof)
    if proof is None or proof.stage != "import" or proof.torch:
        return None
    if proof.outcome == "import-failed":
        return (
            "PyTorch does not load",
            f"'import torch' in the target's Python ends with: {proof.says}. Nothing that uses it "
            "can start.",
        )
    if proof.outcome == "hung":
        return (
            "PyTorch never finishes loading",
            f"'import torch' in the target's Python gave {proof.says}. A program that uses it "
            "hangs at its start without a message.",
        )
    if proof.outcome == "crashed":
        return (
            "PyTorch crashes while it loads",
            f"'import torch' ended the target's Python at once ({proof.says}), without an error "
            "message of its own: mixed or damaged libraries do that.",
        )
    return None


def _damage(facts: Facts) -> dict[str, Evidence]:
    if isinstance(facts.torch_binary, Unknown):
        return {}
    found = facts.torch_binary.value
    return {
        "damaged": tuple(item.name for item in found.damaged[:10]),
        "unresolved": found.unresolved,
    }


@check(
    "torch-cpu-only",
    family="torch",
    title="PyTorch was built for NVIDIA cards",
    harm=Harm.STOPS,
    requires=("torch-missing",),
    follows=("torch-replaced", "torch-broken"),
    reads="torch/version.py: the local tag of the version (+cpu, +cu130) and the CUDA entry.",
    why="A CPU build of PyTorch never uses the card: 'Torch not compiled with CUDA enabled'. On "
    "Windows a plain 'pip install torch' always brings one, and so can a custom node.",
    by_hand="Install torch and torchvision together from PyTorch's own index, pinned with the tag "
    "(+cu130), in the environment that starts ComfyUI.",
)
def torch_cpu_only(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.torch, Unknown):
        return unknown("What PyTorch was built for is not known", facts.torch)
    torch = facts.torch.value
    if isinstance(torch.cuda, Unknown):
        return unknown("What PyTorch was built for is not known", torch.cuda)
    if torch.cuda.value is not None:
        return passed(f"{_described(torch)}, built for CUDA {torch.cuda.value}")
    found = card(facts)
    if isinstance(found, Unknown):
        return without_card(f"{_described(torch)} is a build without CUDA", facts, found)
    other = _other_maker(torch)
    return Outcome(
        Verdict.FAIL,
        f"This PyTorch cannot use your {found.value.name}: it was built for {other}",
        f"{_described(torch)} has no CUDA code at all, so the card stays idle and ComfyUI stops "
        "with 'Torch not compiled with CUDA enabled'.",
        subject=place(facts),
        evidence={"version": _described(torch)},
        fixes=repairs(facts, recipe),
    )


def _other_maker(torch: Package) -> str:
    if torch.hip:
        return "AMD cards (ROCm)"
    return "Intel cards (XPU)" if torch.xpu else "the CPU only"


@check(
    "torch-lacks-arch",
    family="torch",
    title="PyTorch has code for this card",
    harm=Harm.STOPS,
    requires=("torch-missing",),
    follows=("torch-replaced", "torch-cpu-only", "torch-broken"),
    reads="The list of GPU architectures inside libtorch_python; where it cannot be read, the "
    "doctor's table of PyTorch builds.",
    why="A PyTorch build contains machine code for some card generations only. Without code for "
    "yours every operation ends in 'no kernel image is available for execution on the device'.",
    by_hand="Install a build that names your generation: RTX 50 cards (sm_120) need a +cu128 or "
    "+cu130 build of torch 2.7 or newer.",
)
def torch_lacks_arch(facts: Facts, recipe: Recipe) -> Outcome:
    if isinstance(facts.torch, Unknown):
        return unknown("Whether PyTorch has code for the card is not known", facts.torch)
    torch = facts.torch.value
    if isinstance(torch.cuda, Known) and torch.cuda.value is None:
        title = "A build without CUDA has code for no card"
        return Outcome(Verdict.SKIPPED, title, because="torch-cpu-only:1")
    found = card(facts)
    if isinstance(found, Unknown):
        return without_card("Whether PyTorch has code for the card is not known", facts, found)
    archs, source = _archs(facts, torch, recipe)
    if archs is None:
        return unknown("Whether PyTorch has code for the card is not known", source)
    how = runs(archs, found.value.capability)
    needed = found.value.arch
    evidence: dict[str, Evidence] = {"archs": archs, "needed": needed, "read_from": source}
    if how:
        said = "has code for" if how == "native" else "has code the driver can translate for"
        return passed(f"{_described(torch)} {said} the {found.value.name}", **evidence)
    return Outcome(
        Verdict.FAIL,
        f"This PyTorch cannot use your {found.value.name}",
        f"{_described(torch)} has code for {_span(archs)}; the card needs {needed}, "
        f"{_generation(recipe, found.value)}.",
        subject=place(facts),
        evidence=evidence,
        fixes=repairs(facts, recipe),
    )


def _archs(facts: Facts, torch: Package, recipe: Recipe) -> tuple[tuple[str, ...] | None, str]:
    """The architectures and where they were read; or None and why they are not known."""
    read = read_archs(facts)
    if isinstance(read, Known):
        return read.value, "libtorch_python"
    reason = read.reason
    if isinstance(torch.version, Known):
        number, _, tag = torch.version.value.partition("+")
        if not tag and isinstance(torch.cuda, Known) and torch.cuda.value:
            tag = "cu" + torch.cuda.value.replace(".", "")  # conda writes no local tag
        listed = recipe.archs_of(number, tag)
        if listed is not None:
            return listed, f"the doctor's table of {recipe.as_of}"
        newest = release(recipe.newest_torch())
        mine = release(number)
        if newest is not None and mine is not None and mine > newest:
            reason += f"; torch {number} is newer than the doctor's tables of {recipe.as_of}"
    return None, reason


def read_archs(facts: Facts) -> Fact[tuple[str, ...]]:
    if isinstance(facts.torch_binary, Unknown):
        return facts.torch_binary
    return facts.torch_binary.value.archs


def _span(archs: tuple[str, ...]) -> str:
    return ", ".join(archs) if len(archs) < 4 else f"{archs[0]} to {archs[-1]}"


def _generation(recipe: Recipe, found: Card) -> str:
    generation = recipe.generation(found.capability)
    name = generation.name if generation else "this generation"
    return f"NVIDIA's name for code that runs on {name}"
