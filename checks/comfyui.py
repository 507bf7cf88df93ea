"""Is ComfyUI new enough, and are its requirements installed?"""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

from klein_doctor.environment import isolated, kept
from klein_doctor.installation import Checkout, ComfyUI, Wanted
from klein_doctor.model import (
    Facts,
    Harm,
    Outcome,
    Package,
    Repair,
    Unknown,
    Verdict,
    known,
)
from klein_doctor.outcomes import Command, passed, pip_install, release, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check
from klein_doctor.routes import route_of

_PARTNERS = ("torchvision", "torchaudio")
_SHOWN = 4  # of a list, in a sentence


def here(facts: Facts, recipe: Recipe) -> ComfyUI | None:
    """The ComfyUI to judge; None on the other route and where none was found."""
    return known(facts.comfyui) if route_of(facts, recipe) == "comfyui" else None


# --- its version -----------------------------------------------------------------------------


@check(
    "comfyui-too-old",
    family="comfyui",
    title="ComfyUI is new enough for FLUX.2 [klein]",
    harm=Harm.STOPS,
    requires=("comfyui-missing",),
    reads="Names in comfy/text_encoders/flux.py that came with support for Klein, then "
    "comfyui_version.py; of a running server also the version it tells itself.",
    why="An older ComfyUI may have every node of the workflow and pass its validation, and then "
    "fail at the sampler: 'mat1 and mat2 shapes cannot be multiplied (512x2560 and 7680x3072)'.",
    by_hand="Update ComfyUI by the means it was installed with, then install its requirements with "
    "the same Python, and start it anew. On a newer one that message means that the CLIP loader's "
    "type is not flux2.",
)
def comfyui_too_old(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome | tuple[()]:
    comfyui = here(facts, recipe)
    if comfyui is None:
        return ()
    if isinstance(comfyui.klein, Unknown):
        return unknown("Whether ComfyUI is new enough is not known", comfyui.klein)
    version, floor = known(comfyui.version, ""), recipe.comfyui.floor
    mine = release(version)
    if not comfyui.klein.value:
        return _without_klein(facts, comfyui, version, recipe)
    shown = f"ComfyUI {version}" if version else "ComfyUI"
    outcomes = [passed(f"{shown} knows FLUX.2 [klein]", version=version)]
    if mine is not None and mine < Version(floor.warns):
        outcomes = [
            Outcome(
                Verdict.WARN,
                f"ComfyUI {version} is among the first that know FLUX.2 [klein]",
                "It estimates the memory this model needs wrongly, so runs may be slow or end with "
                f"'out of memory'. {floor.warns} and newer do not.",
                subject=comfyui.root,
                evidence={"version": version, "needed": floor.warns},
                fixes=_updated(facts, recipe, comfyui),
            )
        ]
    return outcomes + _stale_server(facts, comfyui, version)


def _without_klein(facts: Facts, comfyui: ComfyUI, version: str, recipe: Recipe) -> Outcome:
    floor, mine = recipe.comfyui.floor, release(version)
    signs = recipe.comfyui.signs
    sign = signs[-1] if mine is None else next(
        (row for row in signs if mine < Version(row.below)), signs[-1]
    )  # fmt: skip
    return Outcome(
        Verdict.FAIL,
        f"This ComfyUI{f' ({version})' if version else ''} does not know FLUX.2 [klein]",
        f"Support came with {floor.fails}. What a Klein workflow shows here: {sign.says}.",
        subject=comfyui.root,
        evidence={"version": version, "needed": floor.fails},
        fixes=_updated(facts, recipe, comfyui),
    )


def _stale_server(facts: Facts, comfyui: ComfyUI, version: str) -> list[Outcome]:
    """A running process that is older than its files: the update took, the restart did not."""
    files = release(version)
    for server in known(facts.servers, ()):
        running = release(server.version)
        if server.port != port_of(facts) or running is None or files is None or running >= files:
            continue
        return [
            Outcome(
                Verdict.WARN,
                f"The running ComfyUI is still {server.version}, its files are {version}",
                "It was updated, but not started anew: what runs is the older program.",
                subject=comfyui.root,
                evidence={"running": server.version, "files": version, "port": server.port},
                fixes=(
                    Repair("restart-comfyui", "system", "manual", "stop ComfyUI and start it anew"),
                ),
            )
        ]
    return []


def port_of(facts: Facts) -> int | None:
    """The port on which the judged ComfyUI runs, None where it does not."""
    search = known(facts.search)
    judged = search.judged() if search is not None else None
    if judged is None:
        return None
    port: int | None = judged.port
    return port


def _updated(facts: Facts, recipe: Recipe, comfyui: ComfyUI) -> tuple[Repair, ...]:
    """How an installation of this kind is updated, and then its packages."""
    code = _update(comfyui, recipe)
    then = _install_commands(facts, comfyui)
    if code.grade == "manual" or not then:
        return (code,)
    words = "install the requirements of the newer one, keeping PyTorch as it is"
    return code, Repair("install-requirements", "packages", "ask", words, then)


def _update(comfyui: ComfyUI, recipe: Recipe) -> Repair:
    words = {
        "portable": r"run update\update_comfyui.bat, in the folder beside ComfyUI",
        "desktop": "let ComfyUI Desktop update itself, or install its newest version",
        "desktop-2": "update this installation in Comfy Desktop",
        "stability-matrix": "press Update at ComfyUI in StabilityMatrix",
        "pinokio": "press Update at ComfyUI in Pinokio",
    }.get(comfyui.kind)
    checkout = known(comfyui.checkout)
    if words is None:
        words = _by_hand(checkout)
    if words:
        return Repair("update-comfyui", "update", "manual", words)
    row = recipe.comfyui.install
    git: Command = ("git", "-C", comfyui.root)
    # Detached, it stands at a release: there is no branch to move.
    move = ("merge", "--ff-only", row.tag) if checkout.branch else ("checkout", row.tag)
    commands = ((*git, "fetch", row.url, "tag", row.tag), (*git, *move))
    words = f"move the checkout forward to {row.tag}, and start it anew"
    return Repair("update-comfyui", "update", "ask", words, commands)


def _by_hand(checkout: Checkout | None) -> str:
    """Why a source tree is not the doctor's to move, and what to do; "" where it is."""
    if checkout is None:
        return "update it as it was installed, or download a current one beside it"
    if known(checkout.dirty, True):
        return "files in it may be changed: see 'git status' there, put them aside, then git pull"
    if checkout.shallow:
        return "its history was cut off: run 'git fetch --unshallow' there, then git pull"
    if checkout.branch not in ("", "master", "main"):
        return "it is on a branch other than master: switch to master, then git pull"
    if not checkout.branch and not checkout.release:
        return "it stands at a commit that is no release: switch to master, then git pull"
    return ""


# --- its requirements ------------------------------------------------------------------------


@check(
    "comfyui-requirements-stale",
    family="comfyui",
    title="ComfyUI's requirements are installed",
    harm=Harm.STOPS,
    requires=("comfyui-missing", "python-broken"),
    follows=("comfyui-too-old",),
    reads="ComfyUI's requirements.txt against the packages of its Python. torch itself, and "
    "torchvision and torchaudio where they are installed, are judged with PyTorch.",
    why="'git pull' moves the code, not the packages. Without some of them ComfyUI ends its start; "
    "others make nodes, templates or the interface older than the program.",
    by_hand="With ComfyUI's own Python: -m pip install -r requirements.txt, naming the installed "
    "torch and its partners in the same command so that they stay.",
)
def comfyui_requirements_stale(facts: Facts, recipe: Recipe) -> Outcome | tuple[()]:
    comfyui = here(facts, recipe)
    if comfyui is None:
        return ()
    title = "Whether ComfyUI's requirements are installed is not known"
    if isinstance(comfyui.requirements, Unknown):
        return unknown(title, comfyui.requirements)
    if _other_python(facts):
        return unknown(title, "the Python that runs this ComfyUI was not found; name it (--python)")
    stale = [item for item in comfyui.requirements.value if _unmet(item, facts)]
    if not stale:
        return passed("ComfyUI's requirements are installed")
    ends = [item for item in stale if _ends_start(item, recipe)]
    first = sorted(stale, key=lambda item: item not in ends)
    told = "; ".join(f"{item.text} (here: {item.installed or 'none'})" for item in first[:_SHOWN])
    more = f"; and {len(stale) - _SHOWN} more" if len(stale) > _SHOWN else ""
    after = "It starts, but parts of it may fail or be older than the program."
    if ends:
        after = f"Without the first{f' {len(ends)}' if len(ends) > 1 else ''} its start ends."
    return Outcome(
        Verdict.FAIL if ends else Verdict.WARN,
        f"{len(stale)} of ComfyUI's requirements {'is' if len(stale) == 1 else 'are'} not met",
        f"It asks for {told}{more}. {after}",
        subject=comfyui.root,
        evidence={"stale": tuple(item.name for item in first[:40]), "ends_start": len(ends)},
        fixes=(_install(facts, recipe, comfyui, stale),),
    )


def _other_python(facts: Facts) -> bool:
    """The Python that is judged is hardly ComfyUI's: none was found for it, this lacks torch."""
    search, torch = known(facts.search), known(facts.torch)
    judged = search.judged() if search is not None else None
    if judged is None or torch is None:
        return False
    return judged.python is None and not torch.present


def _unmet(item: Wanted, facts: Facts) -> bool:
    packages = {"torchvision": facts.torchvision, "torchaudio": facts.torchaudio}
    partner: Package | None = known(packages.get(item.name))
    if not item.applies or item.name == "torch" or (partner is not None and partner.present):
        return False
    if item.name in _PARTNERS and item.installed is not None:
        return False
    return item.installed is None or not fits(item.text, item.installed)


def fits(text: str, version: str) -> bool:
    """Whether a version meets a requirement; what cannot be compared is given the benefit."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text).specifier.contains(Version(version), prereleases=True)
    except (InvalidRequirement, InvalidVersion):
        return True


def _ends_start(item: Wanted, recipe: Recipe) -> bool:
    row = next((row for row in recipe.comfyui.essential if row.name == item.name), None)
    if row is None or item.installed is None:
        return row is not None
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        asked = [Version(spec.version) for spec in Requirement(item.text).specifier
                 if spec.operator in ("==", ">=", "~=") and "*" not in spec.version]  # fmt: skip
        return row.pinned and bool(asked) and Version(item.installed) < max(asked)
    except (InvalidRequirement, InvalidVersion):
        return False


def _install(facts: Facts, recipe: Recipe, comfyui: ComfyUI, stale: list[Wanted]) -> Repair:
    """Install the requirements, the partners that torch lacks first and from its own index."""
    commands = _install_commands(facts, comfyui)
    missing = [item.name for item in stale if item.name in _PARTNERS]
    words = "install them, keeping PyTorch as it is"
    if commands and missing:
        partners = _partners(facts, recipe, missing)
        words = f"install {' and '.join(missing)} of this torch, then the rest, keeping torch"
        commands = (partners, *commands) if partners else ()
    if not commands:
        words = "with ComfyUI's own Python, once PyTorch and its partners are in it: " + (
            "pip install -r requirements.txt"
        )
    grade = "ask" if commands else "manual"
    return Repair("install-requirements", "packages", grade, words, commands)


def _install_commands(facts: Facts, comfyui: ComfyUI) -> tuple[Command, ...]:
    """The command that keeps torch: a version that is named and installed is not looked up."""
    stays = kept(facts)
    pip = _pip(facts)
    if not pip or not stays:
        return ()  # without torch, pip would take whichever build PyPI has
    return ((*pip, *stays, "-r", comfyui.root.below("requirements.txt")),)


def _pip(facts: Facts) -> Command:
    if isinstance(facts.interpreter, Unknown):
        return ()
    python = facts.interpreter.value
    return pip_install(python, isolated=isolated(python))


def _partners(facts: Facts, recipe: Recipe, missing: list[str]) -> Command:
    """The command for torch's partners, () where the tables do not tell which belong to it."""
    torch = known(known(facts.torch).version, "")
    number, _, tag = torch.partition("+")
    trio = recipe.trio(number)
    index = next((row.index_url for row in recipe.installs if row.variant == tag), None)
    if trio is None or index is None:
        return ()
    belonging = {"torchvision": trio.torchvision, "torchaudio": trio.torchaudio}
    named = (f"{name}=={belonging[name]}+{tag}" for name in missing)
    return (*_pip(facts), *kept(facts), *named, "--index-url", index)
