"""The command line as argparse has it: every command and option, with its help."""

from __future__ import annotations

import argparse

from klein_doctor import __version__
from klein_doctor.argument_parser import Parser

ROUTES = ("auto", "comfyui", "diffusers")
FORMATS = ("text", "brief", "json", "markdown", "html")
COLORS = ("auto", "always", "never")
PROGRESS = ("auto", "plain", "json")
EXPECTED = ("picture", "reference")
DEVICES = ("cuda", "cpu")
KINDS = ("download", "packages", "config", "update", "move")
SYMPTOMS = ("nothing", "black", "error", "wont-start", "memory", "slow")
ENVIRONMENTS = ("here", "private")

_EPILOG = """\
exit codes: 0 healthy or done (warnings allowed), 1 problems remain, 2 wrong
usage, 3 undecided, 4 a fix failed and was rolled back, 5 a generation failed
or was not verified, 6 a rollback failed, 7 try again, 8 reboot first, 70 a
fault of the doctor, 130 interrupted. They are the same in every format.

Every option but --fix and --unredacted can be set in the environment, for
example KLEIN_DOCTOR_FORMAT=json or KLEIN_DOCTOR_STRICT=1; the command line
beats it.
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(
        prog="klein-doctor",
        description="Says whether this machine, its ComfyUI and its PyTorch can run\n"
        "FLUX.2 [klein] 4B, why not, and what to do. It changes nothing without --fix.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"klein-doctor {__version__}")
    top.add_argument(
        "--verbose", action="store_true",
        help="with --version: those of the tables, Python and libraries, too, for bug reports",
    )  # fmt: skip
    target = top.add_argument_group("what is judged")
    target.add_argument(
        "--python",
        metavar="EXE",
        default="",
        help="the Python that runs the model, or its environment's folder "
        "(default: ComfyUI's, else the active environment's, else the doctor's own)",
    )
    target.add_argument(
        "--comfyui",
        metavar="DIR",
        default="",
        help="the ComfyUI to judge (default: the one that runs, else the one of "
        "those found that was used last)",
    )
    target.add_argument(
        "--route",
        choices=ROUTES,
        default="auto",
        help="comfyui, diffusers, or auto (default): ComfyUI where there is one",
    )
    target.add_argument(
        "--gpu",
        metavar="INDEX|UUID",
        default="",
        help="the card to judge, numbered as in nvidia-smi",
    )
    target.add_argument(
        "--assume",
        metavar="CARD,driver=N[,os=NAME]",
        default="",
        help="judge for a card that is not here, e.g. 'RTX 5070,driver=580'",
    )
    report = top.add_argument_group("the report")
    report.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text (default), brief for chats, json, markdown for issues, html: a page",
    )
    report.add_argument(
        "--output",
        metavar="FILE",
        default="",
        help="write the report to a file; - is standard output",
    )
    report.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        default="",
        help="judge a report instead of this machine: JSON, or a pasted Markdown "
        "report; - reads standard input",
    )
    report.add_argument(
        "--select",
        metavar="CHECK",
        action="append",
        default=[],
        help="only these checks (repeat, or separate by commas)",
    )
    report.add_argument(
        "--ignore", metavar="CHECK", action="append", default=[], help="all but these checks"
    )
    report.add_argument(
        "--strict", action="store_true", help="exit 1 on warnings and undecided checks too"
    )
    report.add_argument(
        "--unredacted",
        action="store_true",
        help="keep real paths, names and identifiers in the report",
    )
    report.add_argument(
        "--color", choices=COLORS, default="auto", help="colours in the text report"
    )
    depth = top.add_argument_group("how deep it looks")
    depth.add_argument(
        "--deep",
        action="store_true",
        help="hash every model file anew and remember the digests (minutes)",
    )
    depth.add_argument(
        "--prove",
        action="store_true",
        help="run the kernels the model needs on the card, against a reference (half a minute)",
    )
    depth.add_argument(
        "--state-dir",
        metavar="DIR",
        default="",
        help="where digests and the journal of changes are kept (default: the user's state folder)",
    )
    _fixing(top)
    _generating(top)
    _lasting(top)
    _keeping(top)
    _downloading(top)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    explain = commands.add_parser(
        "explain",
        allow_abbrev=False,
        help="what a check reads, why it matters, how to fix it by hand",
        description="Explains a check; without one, lists them all.",
    )
    explain.add_argument("check", metavar="CHECK", nargs="?", default="")
    identify = commands.add_parser(
        "identify",
        allow_abbrev=False,
        help="say what model files really are",
        description="Says what model files really are, from their content: files, folders, a "
        "ComfyUI, a diffusers folder. Exit code 0 where all of them are of use to Klein 4B.",
        epilog="--deep hashes them whole, minutes for large ones; --format text|json and --output "
        "mean what klein-doctor --help says of them.",
    )
    identify.add_argument("paths", metavar="PATH", nargs="+")
    download = commands.add_parser(
        "download",
        allow_abbrev=False,
        help="fetch the model's files, or link the ones that are here, and prove them",
        description="Puts the files of FLUX.2 [klein] 4B (Apache-2.0) in their places, each proven "
        "by its digest while it comes. What is on this machine already is linked, not fetched; "
        "what was broken off goes on where it ended. Exit code 7: trying again is the answer.",
        epilog="--route, --comfyui, --format text|json, --output, --deep and --state-dir mean what "
        "klein-doctor --help says of them.",
    )
    assert isinstance(download, Parser)
    download.more = _downloading
    generate = commands.add_parser(
        "generate",
        allow_abbrev=False,
        help="make three pictures, prove them, and record what it took",
        description="Diagnoses, proves the kernels on the card, makes three test pictures with "
        " the seeds A, B, A by the route that is used here, and judges them: not "
        "blank, no noise, A the same twice. Exit code 5: a run failed, or its pictures did not "
        "verify.",
        epilog="--route, --comfyui, --python, --gpu, --format, --output, --deadline, --progress, "
        "--offline, --recipe and --state-dir mean what klein-doctor --help says of them.",
    )
    assert isinstance(generate, Parser)
    generate.more = _generating
    ready = commands.add_parser(
        "ready",
        allow_abbrev=False,
        help="whether a verified generation on record still holds for this machine",
        description="Exit code 0 only if pictures were verified with this card, driver, PyTorch, "
        "ComfyUI and these files; else 1, and a line says what differs. It asks no network and "
        "takes less than a second.",
    )
    assert isinstance(ready, Parser)
    ready.more = _lasting
    commands.add_parser(
        "setup",
        allow_abbrev=False,
        help="ask what is wanted, show the plan, do what is ticked",
        description="Asks which ComfyUI, what happened and what to do about it; shows the plan, "
        "does the ticked steps and proves them. Esc leaves, and nothing was changed. What "
        "--fix takes goes with it; what an option or --answers FILE says is not asked.",
    )
    for name, says, more in (
        ("undo", "take back what a run of fixes changed", "the last one that changed something"),
        ("forget", "drop the originals that a run of fixes kept", "all of them"),
    ):
        each = commands.add_parser(name, allow_abbrev=False, help=says, description=f"{says}.")
        each.add_argument("run", metavar="RUN", nargs="?", default="", help=f"default: {more}")
    commands.add_parser(
        "uninstall",
        allow_abbrev=False,
        help="remove the guard, what is remembered, and the originals that were kept",
        description="Takes the guard out of the environments it was put in, and removes the "
        "doctor's own folder. Files it downloaded stay, and are listed. Fixes cannot be undone "
        "afterwards: where there are some it says so, and asks on a terminal.",
    )
    history = commands.add_parser(
        "history",
        allow_abbrev=False,
        help="what changed on this machine since all was well",
        description="Says what changed since the last run in which all was well: PyTorch and who "
        "replaced it, packages, driver, ComfyUI, custom nodes, model files. With two saved reports "
        "it compares these. Exit code 3 where there is nothing to compare with.",
    )
    history.add_argument("reports", metavar="REPORT", nargs="*")
    completion = commands.add_parser(
        "completion",
        allow_abbrev=False,
        help="a script that completes this command in your shell",
        description="Writes a script for your shell, e.g. "
        "klein-doctor completion bash > ~/.local/share/bash-completion/completions/klein-doctor",
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish", "powershell"))
    rehearse = commands.add_parser(
        "rehearse",
        allow_abbrev=False,
        help="the whole chain on a made-up machine: no card, no network, nothing of yours",
        description="Lays out a small machine with six faults in a scratch folder, and runs the "
        "doctor on it: diagnosis, plan, fix with a verified download, second look, pictures where "
        "torch and diffusers are installed, undo. Exit code 0 where all that could be tried works.",
    )
    assert isinstance(rehearse, Parser)
    rehearse.more = _keeping
    triage = commands.add_parser(
        "triage",
        allow_abbrev=False,
        help="explain a pasted log, a symptom in words, or a picture",
        description="Says which check explains a log, a traceback, a description or a picture of "
        "ComfyUI. Without an argument it reads the newest log of this machine's ComfyUI. Exit "
        "code 0 where something is known, 1 where nothing is.",
    )
    triage.add_argument(
        "what",
        metavar="FILE|-|WORDS",
        nargs="*",
        help="a file; - for standard input; or what is wrong, in words",
    )
    return top


def _fixing(top: argparse.ArgumentParser) -> None:
    group = top.add_argument_group("fixing")
    group.add_argument(
        "--fix", action="store_true",
        help="do what clears the failures, prove it, and ask nothing; --dry-run shows it first",
    )  # fmt: skip
    group.add_argument(
        "--except", dest="without", metavar="FIX", action="append", default=[],
        help="all but these fixes (repeat, or separate by commas)",
    )  # fmt: skip
    group.add_argument(
        "--deny", metavar="KIND", action="append", default=[],
        help=f"nothing of this kind: {', '.join(KINDS)}",
    )  # fmt: skip
    group.add_argument("--safe", action="store_true", help="only what adds or can do no harm")
    group.add_argument(
        "--generate", action="store_true",
        help="make and prove pictures afterwards, as 'klein-doctor generate' does",
    )  # fmt: skip
    group.add_argument(
        "--symptom", choices=SYMPTOMS, default="",
        help="what happened: nothing yet, a black or noisy picture, an error message, it does not "
        "start, memory runs out, it is slow; what can cause it comes first in the report",
    )  # fmt: skip
    group.add_argument(
        "--environment", choices=ENVIRONMENTS, default="",
        help="where a change of PyTorch touches what was compiled for it: change this environment "
        "all the same (here), or make one beside it (private, the default)",
    )  # fmt: skip
    group.add_argument(
        "--answers", metavar="FILE", default="",
        help="a TOML file that answers what would be asked: install, symptom, environment, route, "
        "steps, download, generate",
    )  # fmt: skip
    group.add_argument("--log", metavar="FILE", default="", help="write what goes on there, too")


def _generating(top: argparse.ArgumentParser) -> None:
    group = top.add_argument_group("the test generation")
    group.add_argument(
        "--size", metavar="PIXELS", default="",
        help="the pictures' width and height (default: 1024)",
    )  # fmt: skip
    group.add_argument(
        "--expect", choices=EXPECTED, default="picture",
        help="picture (default), or reference: a run that repeats, whatever it shows, for models "
        "that never learnt to draw",
    )  # fmt: skip
    group.add_argument(
        "--custom-nodes", action="store_true",
        help="start ComfyUI with its custom nodes (default: without, so that it alone is proven)",
    )  # fmt: skip
    group.add_argument(
        "--device", choices=DEVICES, default="cuda",
        help="cpu: without a card, on the diffusers route, for rehearsals with a tiny model",
    )  # fmt: skip
    group.add_argument(
        "--pictures", metavar="DIR", default="",
        help="where the pictures go (default: pictures/ in the state folder)",
    )  # fmt: skip


def _lasting(top: argparse.ArgumentParser) -> None:
    group = top.add_argument_group("what is on record")
    group.add_argument(
        "--max-age", metavar="AGE", default="",
        help="with ready: the generation is no older than this, e.g. 12h or 30d",
    )  # fmt: skip


def _keeping(top: argparse.ArgumentParser) -> None:
    group = top.add_argument_group("the rehearsal")
    group.add_argument(
        "--keep", action="store_true", help="with rehearse: leave its scratch folder, and name it"
    )


def _downloading(top: argparse.ArgumentParser) -> None:
    group = top.add_argument_group("downloading")
    group.add_argument(
        "--only", metavar="NAME", action="append", default=[],
        help="only these parts (transformer, encoder, vae), or with --fix only these fixes, those "
        "of mere warnings included",
    )  # fmt: skip
    group.add_argument(
        "--variant", metavar="NAME", action="append", default=[],
        help="another build of a part, e.g. encoder=fp8, which takes less disk and RAM",
    )  # fmt: skip
    group.add_argument(
        "--dest", metavar="DIR", default="",
        help="a models folder, or the diffusers folder, to put the files in",
    )  # fmt: skip
    group.add_argument(
        "--assets-from", metavar="DIR|URL", default="",
        help="look here first: a stick, a share, a mirror; proven all the same",
    )  # fmt: skip
    group.add_argument("--dry-run", action="store_true", help="say what would be done, do nothing")
    group.add_argument("--offline", action="store_true", help="use what is here, ask no network")
    group.add_argument(
        "--use-hf-token", action="store_true",
        help="send the stored Hub token, to the Hub's own host alone (the files need none)",
    )  # fmt: skip
    group.add_argument(
        "--sweep", action="store_true",
        help="remove leftovers of broken downloads by the Hub's own client",
    )  # fmt: skip
    group.add_argument(
        "--xet",
        action="store_true",
        help="fetch by the Hub's fast transfer; not resumable, proven all the same",
    )
    group.add_argument(
        "--deadline", metavar="TIME", default="", help="stop after so long: 90 (seconds), 30m, 2h"
    )
    group.add_argument(
        "--progress", choices=PROGRESS, default="auto",
        help="bars on a terminal and lines elsewhere (auto), lines, or JSON lines on stderr",
    )  # fmt: skip
    group.add_argument(
        "--recipe", metavar="DIR", default="",
        help="a folder with tables that add to the doctor's own or override them: a mirror",
    )  # fmt: skip
