"""klein-doctor with a recorded machine and a plan that is made up; says what it would carry out."""

from __future__ import annotations

import json
import sys

import recorded

import klein_doctor.fix_command as fixing
import klein_doctor.wizard.setup as wizard
from klein_doctor.cli import main
from klein_doctor.exits import Exit
from klein_doctor.model import Private
from klein_doctor.repair import Prepared
from klein_doctor.steps import Plan, Result, Step

REPORT = recorded.report("cu126-wheel-on-sm120")
MODELS = Private("/real/models/vae/a.safetensors", "~/models/vae/a.safetensors", "<m>")


def prepare(request, wishes):  # type: ignore[no-untyped-def]
    print("prepared", request.wish.comfyui, request.wish.route, dict(wishes.answers),
          file=sys.stderr)  # fmt: skip
    here = wishes.answers.get("environment") == "here"
    torch = Step(
        "install-torch", "install torch==2.14.1 and torchvision==0.29.1 in ~/ComfyUI/.venv",
        "packages", "ask" if here else "manual", {}, bytes=None, touches=("sageattention",),
        commands=(("pip", "install", "torch==2.14.1"),),
    )  # fmt: skip
    plan = Plan((
        torch,
        Step("fetch-assets", "fetch the VAE", "download", "safe", {}, (MODELS,), bytes=336213556),
        Step("release-flags", "take --use-flash-attention out of ~/ComfyUI/run.sh", "config",
             "ask", {}),
    ))  # fmt: skip
    more = Plan((Step("loopback-only", "let only this machine in", "config", "ask", {}),))
    return Prepared(request, REPORT, plan, more)


def carry_out(prepared, steps, console, limits=None, around=None):  # type: ignore[no-untyped-def]
    for number, step in enumerate(steps, 1):
        console.began(step, number, len(steps))
        console.ended(Result(step, "done", "it is done"))
    print("carried out:", json.dumps([step.fix for step in steps]), file=sys.stderr)
    done = tuple(Result(step, "done", "it is done") for step in steps)
    return prepared.report._replace(steps=done, run="r1", changed=True, exit_code=Exit.OK)


wizard.prepare = prepare
fixing.carry_out = carry_out
wizard.recovered = lambda request, console: True
wizard.of_log = lambda request: (("", "No log of ComfyUI was found."),)
sys.exit(main(sys.argv[1:]))
