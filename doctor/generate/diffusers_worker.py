"""Makes the pictures of a test generation with diffusers, in the target's Python (3.9 or newer).

Handed over on standard input with a last line ``main(JOB)``, where JOB is JSON: prompt, pictures
(seed and path of each), width, height, steps, guidance, folder, device, dtype, dtype_since (the
diffusers that calls it so), way (imports, prepare, place, encode_on, by_part), plan, model. It
answers on what was standard output, in JSON lines, each sent at once; what libraries print goes to
standard error:

    {"phase": "load", "picture": 0}   start, load, place, encode, denoise, decode, save
    {"peak": "load", "picture": 0, "seconds", "allocated_mib", "reserved_mib"}   a phase has ended
    {"progress": [1, 4]}
    {"versions": {"torch": "2.11.0", ...}}
    {"made": {"picture": 1, "seconds": 1.5, "not_finite": ""}}
    {"error": {"kind", "type", "line", "traceback"}}
    {"done": true}
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import io
import json
import os
import platform
import re
import sys
import time
import traceback
from typing import Any

_LONGEST = 16000
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", -1), errno.EFBIG)
_LIBRARIES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "PIL")
_COMPONENTS = {
    "scheduler": "diffusers",
    "text_encoder": "transformers",
    "tokenizer": "transformers",
    "transformer": "diffusers",
    "vae": "diffusers",
}
_WINDOWS_COMMIT_LIMIT = 1455


class Refused(Exception):
    """The folder is not what may be loaded, or there is no card; kind: which."""

    def __init__(self, kind: str, says: str) -> None:
        super().__init__(says)
        self.kind = kind


class Channel:
    """Standard output, kept for us alone."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)

    def say(self, **line: object) -> None:
        self._stream.write(json.dumps(line).encode("ascii") + b"\n")
        self._stream.flush()


class Phases:
    """Which phase runs, how long the pictures took, and how much memory torch held in each."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._now: tuple[str, int, float] | None = None
        self.cuda: Any = None
        self.spent: dict[int, float] = {}

    def begin(self, name: str, picture: int = 0) -> None:
        self.end()
        self._channel.say(phase=name, picture=picture)
        self._now = (name, picture, time.monotonic())

    def end(self) -> None:
        if self._now is None:
            return
        name, picture, began = self._now
        self._now = None
        memory = {}
        if self.cuda is not None:
            self.cuda.synchronize()
            memory["allocated_mib"] = self.cuda.max_memory_allocated() >> 20
            memory["reserved_mib"] = self.cuda.max_memory_reserved() >> 20
            self.cuda.reset_peak_memory_stats()
        seconds = time.monotonic() - began
        if name != "start":  # the first picture bears what all of them need
            self.spent[max(1, picture)] = self.spent.get(max(1, picture), 0.0) + seconds
        self._channel.say(peak=name, picture=picture, seconds=round(seconds, 3), **memory)


def main(text: str) -> None:
    """Do a job, or say why not; ends the process without the interpreter's own, slower end."""
    channel = Channel()
    code = 0
    try:
        _work(json.loads(text), channel)
        channel.say(done=True)
    except BaseException as error:
        code = 1
        with contextlib.suppress(OSError):
            channel.say(error=_told(error))
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def _work(job: dict[str, Any], channel: Channel) -> None:
    phases = Phases(channel)
    phases.begin("start")
    _check(job["folder"])
    torch = importlib.import_module("torch")
    diffusers = importlib.import_module("diffusers")
    channel.say(versions=_versions())
    if job["device"] == "cuda":
        if not torch.cuda.is_available():
            raise Refused("no-cuda", "torch.cuda.is_available() is false in this process")
        phases.cuda = torch.cuda
    phases.begin("load")
    pipe = _loaded(job, torch, diffusers)
    channel.say(versions=_versions())  # of what it has imported since
    way = job["way"]
    phases.begin("place")
    _carry_out(way["imports"] + "\n" + way["prepare"], pipe, torch)
    if not way["encode_on"]:
        _carry_out(way["place"], pipe, torch)
    phases.begin("encode", 1)
    with torch.no_grad():
        embeds, _ = pipe.encode_prompt(job["prompt"], device=way["encode_on"] or None)
    embeds = embeds.to(job["device"])
    if way["by_part"] or way["encode_on"]:
        _let_go("text_encoder", pipe, phases)
        phases.begin("place", 1)
        _carry_out(way["place"], pipe, torch)
    latents = _denoised(job, pipe, torch, embeds, phases, channel)
    del embeds
    if way["by_part"]:
        _let_go("transformer", pipe, phases)
        _carry_out(way["place"], pipe, torch)
    for number, picture in enumerate(job["pictures"], 1):
        found, wrong = latents[number - 1]
        latents[number - 1] = None
        phases.begin("decode", number)
        image, wrong = _decoded(pipe, torch, found, wrong)
        phases.begin("save", number)
        _save(job, picture, image)
        phases.end()
        seconds = round(phases.spent[number], 3)
        channel.say(made={"picture": number, "seconds": seconds, "not_finite": wrong})


def _check(folder: str) -> None:
    """Nothing but Klein's own parts, from the two libraries and not from code in the folder.

    Raises:
        Refused: it holds something else.
    """
    with open(os.path.join(folder, "model_index.json"), encoding="utf-8") as stream:
        index = json.load(stream)
    parts = {name: value for name, value in index.items() if isinstance(value, list)}
    if index.get("_class_name") != "Flux2KleinPipeline":
        raise Refused("wrong-folder", "model_index.json does not name Flux2KleinPipeline")
    for name, value in parts.items():
        if len(value) != 2 or value[0] != _COMPONENTS.get(name):
            raise Refused("wrong-folder", f"model_index.json: {name} is not one of Klein's")
        if os.path.exists(os.path.join(folder, name, f"{value[0]}.py")):
            raise Refused("wrong-folder", f"{name}/{value[0]}.py is code, which is not run")
    if os.path.exists(os.path.join(folder, "None.py")):  # diffusers would take it for a pipeline
        raise Refused("wrong-folder", "None.py is code, which is not run")


def _loaded(job: dict[str, Any], torch: Any, diffusers: Any) -> Any:
    for library in (diffusers, importlib.import_module("transformers")):
        library.utils.logging.disable_progress_bar()
    since = [int(number) for number in job["dtype_since"].split(".")]
    have = [int(number) for number in re.findall(r"\d+", diffusers.__version__)[:2]]
    dtype = {"dtype" if have >= since[:2] else "torch_dtype": getattr(torch, job["dtype"])}
    pipe = diffusers.Flux2KleinPipeline.from_pretrained(
        job["folder"], local_files_only=True, use_safetensors=True, **dtype
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _carry_out(lines: str, pipe: Any, torch: Any) -> None:
    """Run a plan's own lines, which are the doctor's."""
    exec(compile(lines, "<plan>", "exec"), {"pipe": pipe, "torch": torch})


def _let_go(part: str, pipe: Any, phases: Phases) -> None:
    """Drop a part whose work is done.

    Moved back to RAM instead, both large parts would wait there until the last picture is
    decoded, which is when machines with 16 GB end the process.
    """
    pipe.remove_all_hooks()
    setattr(pipe, part, None)
    gc.collect()
    if phases.cuda is not None:
        phases.cuda.empty_cache()


def _denoised(
    job: dict[str, Any], pipe: Any, torch: Any, embeds: Any, phases: Phases, channel: Channel
) -> list[Any]:
    """Latents of each picture, ready to be decoded, with what is wrong with them."""
    steps = job["steps"]

    def tell(_pipe: Any, step: int, _time: Any, _more: Any) -> dict[str, Any]:
        channel.say(progress=[step + 1, steps])
        return {}

    if job["way"]["by_part"]:
        # It would send the transformer to RAM after each picture, and fetch it again.
        pipe.maybe_free_model_hooks = lambda: None
    found: list[Any] = []
    for number, picture in enumerate(job["pictures"], 1):
        phases.begin("denoise", number)
        latents = pipe(
            prompt_embeds=embeds,
            width=job["width"],
            height=job["height"],
            num_inference_steps=steps,
            guidance_scale=float(job["guidance"]),
            generator=torch.Generator("cpu").manual_seed(picture["seed"]),
            output_type="latent",
            callback_on_step_end=tell,
        ).images
        wrong = "" if bool(torch.isfinite(latents).all()) else "latents"
        found.append((latents, wrong))
    return found


def _decoded(pipe: Any, torch: Any, latents: Any, wrong: str) -> tuple[Any, str]:
    with torch.no_grad():
        pixels = pipe.vae.decode(latents, return_dict=False)[0]
        if not wrong and not bool(torch.isfinite(pixels).all()):
            wrong = "decoded"
        image = pipe.image_processor.postprocess(pixels, output_type="pil")[0]
    return image, wrong


def _save(job: dict[str, Any], picture: dict[str, Any], image: Any) -> None:
    """A PNG with its settings in it; either whole or not there."""
    info = importlib.import_module("PIL.PngImagePlugin").PngInfo()
    settings = {
        **{key: job[key] for key in ("prompt", "steps", "guidance", "width", "height")},
        **{key: job[key] for key in ("model", "plan", "dtype")},
        "seed": picture["seed"],
        "versions": _versions(),
    }
    info.add_itxt(
        "parameters",
        "{prompt}\nSteps: {steps}, CFG scale: {guidance}, Seed: {seed}, Size: {width}x{height}, "
        "Model: {model}, Memory plan: {plan}".format(**settings),
    )
    info.add_itxt("klein-doctor", json.dumps(settings))
    data = io.BytesIO()
    image.save(data, format="PNG", pnginfo=info)
    path = picture["path"]
    part = path + ".part"
    try:
        with open(part, "wb") as stream:
            stream.write(data.getvalue())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            found["pillow" if name == "PIL" else name] = str(version)
    return found


def _told(error: BaseException) -> dict[str, str]:
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    error = _origin(error)
    line = next(iter(str(error).splitlines()), "")[:2000]
    name, kind = type(error).__name__, _kind(error, text)
    return {"kind": kind, "type": name, "line": line, "traceback": text[-_LONGEST:]}


def _origin(error: BaseException) -> BaseException:
    """The failed import behind an error: diffusers reports it as a RuntimeError of its own."""
    cause: BaseException | None = error
    for _ in range(8):
        if cause is None or isinstance(cause, ImportError):
            return cause or error
        cause = cause.__cause__
    return error


def _kind(error: BaseException, text: str) -> str:
    """The short name of what went wrong, the exception's own where it has no better one.

    text: its traceback.
    """
    said = str(error).lower()
    if isinstance(error, Refused):
        return error.kind
    if (
        isinstance(error, MemoryError)
        or "defaultcpuallocator" in said
        or getattr(error, "winerror", 0) == _WINDOWS_COMMIT_LIMIT
        or f"os error {_WINDOWS_COMMIT_LIMIT}" in said
    ):
        return "ram-short"
    if ("cuda" in said and "out of memory" in said) or "_status_alloc_failed" in said:
        # RAM that the card may read is asked of CUDA too, in the same words.
        return "ram-short" if "pin_memory" in text else "out-of-memory"
    if isinstance(error, OSError) and error.errno in _FULL:
        return "disk-full"
    if isinstance(error, ImportError):
        return "import-failed"
    return type(error).__name__
