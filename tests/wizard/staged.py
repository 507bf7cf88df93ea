"""klein-doctor with a recorded machine and a plan that is made up; says what it would carry out.

STAGED=all: a machine on which everything is asked that can be asked.
"""

from __future__ import annotations

import json
import os
import sys

import recorded

import klein_doctor.diagnose as diagnosing
import klein_doctor.fix_command as fixing
import klein_doctor.wizard.setup as wizard
from klein_doctor.cli import main
from klein_doctor.exits import Exit
from klein_doctor.installation import Install, Search
from klein_doctor.model import Known, Private
from klein_doctor.prepared import Prepared
from klein_doctor.steps import Plan, Result, Step

REPORT = recorded.report("cu126-wheel-on-sm120")
MODELS = Private("/real/models/vae/a.safetensors", "~/models/vae/a.safetensors", "<m>")


def installs():  # type: ignore[no-untyped-def]
    """Two ComfyUIs, the second one running."""
    place = Private.plain
    found = tuple(
        Install(
            place(f"/home/jane/{name}"), "manual", "home folder", None, "", place(name), 1, port
        )
        for name, port in (("ComfyUI", None), ("Other", 8188))
    )
    return Search(found, 0, "", ())


def everything(report):  # type: ignore[no-untyped-def]
    """The report of a machine on which both routes fit, and more than one ComfyUI is there."""
    facts = report.facts._replace(comfyui=Known(None), search=Known(installs()))
    return report._replace(facts=facts)


if os.environ.get("STAGED") == "all":
    REPORT = everything(REPORT)


def prepare(request, wishes):  # type: ignore[no-untyped-def]
    print("prepared", request.wish.comfyui, request.wish.route, dict(wishes.answers),
          file=sys.stderr)  # fmt: skip
    here = wishes.answers.get("environment") == "here"
    torch = Step(
        "install-torch", "install torch==2.14.1 and torchvision==0.29.1 in ~/ComfyUI/.venv",
        "packages", "ask" if here else "manual", {}, bytes=None, touches=("sageattention",),
        commands=(("pip", "install", "torch==2.14.1"),),
    )  # fmt: skip
    if os.environ.get("STAGED") == "torch":  # nothing was compiled for the present one
        torch = torch._replace(grade="ask", touches=())
    plan = Plan((
        torch,
        Step("fetch-assets", "fetch the VAE", "download", "safe", {}, (MODELS,), bytes=336213556),
        Step("release-flags", "take --use-flash-attention out of ~/ComfyUI/run.sh", "config",
             "ask", {}),
    ))  # fmt: skip
    more = Plan((Step("loopback-only", "let only this machine in", "config", "ask", {}),))
    return Prepared(request, REPORT, plan, more)


def carry_out(prepared, steps, console, limits=None, around=None, more=None):  # type: ignore[no-untyped-def]
    for number, step in enumerate(steps, 1):
        console.began(step, number, len(steps))
        console.ended(Result(step, "done", "it is done"))
    print("carried out:", json.dumps([step.fix for step in steps]), file=sys.stderr)
    done = tuple(Result(step, "done", "it is done") for step in steps)
    return prepared.report._replace(steps=done, run="r1", changed=True, exit_code=Exit.OK)


diagnosing.diagnose = lambda request, meanwhile=None: REPORT
wizard.prepare = prepare
fixing.carry_out = carry_out
wizard.recovered = lambda request, console: Exit.OK
wizard.of_log = lambda request: (("", "No log of ComfyUI was found."),)
sys.exit(main(sys.argv[1:]))
