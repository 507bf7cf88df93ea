"""Readers of messages about GPU code: architectures, missing kernels, broken libraries."""

from __future__ import annotations

import re

from klein_doctor.triage.frames import attention_in, frames, is_trio, package_in, raised_in
from klein_doctor.triage.values import Say, Seen

_SUPPORTED = re.compile(r"sm_\d{2,3}[af]?(?:[ ,]{1,3}sm_\d{2,3}[af]?){1,20}")
_TORCH = re.compile(
    r"\b(?:py)?torch(?:==|[ _-]?version\W{1,4}| )\s?(\d\.\d{1,2}\.\d\S{0,12}\+\w{3,8})", re.I
)
_OLDEST = 75  # the first generation any current build has code for: Turing
_TORCH_SYMBOL = re.compile(
    r"_ZNK?(?:3c10|2at|5torch|R?K?N3c10)|_Z\w{0,40}(?:3c10|2at6|5torch)|aoti_torch"
)
_CUDA_SYMBOL = re.compile(r"nccl|cublas|cudnn|cusparse|nvjitlink|cusolver|iJIT_NotifyEvent", re.I)
_NO_EXTENSION = "remove it; PyTorch's own attention serves this model"


def arch(seen: Seen) -> Say | None:
    """Which card generation torch's warning names, and what it has code for."""
    number = _number(seen)
    there = _SUPPORTED.search(seen.text.near(seen.number, 2, 6))
    if number is None and there is None:
        return None
    if number is not None and number < _OLDEST:
        return Say(
            ("gpu-too-old", "torch-lacks-arch"),
            f"The card is of compute capability {number / 10:g}, a generation for which current "
            "PyTorch builds hold no code any more.",
            "Use a card of the RTX 20 generation (7.5) or newer for this model.",
        )
    cause = "This PyTorch was built without code for the card"
    if number is not None:
        cause += f" (sm_{number})"
    if there is not None:
        listed = re.findall(r"sm_\d+\w?", there[0])
        cause += f"; it has {listed[0]} to {listed[-1]}"
    named = _TORCH.search(seen.text.near(seen.number, 40, 20))
    if named is not None:
        cause += f": torch {named[1]}"
    return Say(("torch-lacks-arch",), cause + ".")


def _number(seen: Seen) -> int | None:
    groups = seen.groups
    if "major" in groups:
        return int(groups["major"]) * 10 + int(groups["minor"])
    text = groups.get("arch") or groups.get("arch2")
    return int(text) if text else None


def no_kernel(seen: Seen) -> Say | None:
    """Whose kernel it is: the path in the message or the frames above decide."""
    package = raised_in(seen) or _fallen_back(seen)
    if package:
        return Say(
            ("attention-extension-lacks-arch",),
            f"A kernel of {package} was started that holds no code for this card. The package is "
            "at fault, not PyTorch: the path in the message or in the trace names it.",
            f"Uninstall {package} or start without it: PyTorch's own attention serves this model.",
        )
    other = next((name for name in map(package_in, frames(seen)) if name not in ("", "torch")), "")
    if other == "bitsandbytes":
        return Say(
            ("package-conflicts",),
            "bitsandbytes holds no code for this card.",
            "Update bitsandbytes; Klein's FP8 file does not need it.",
        )
    if other:
        return Say(
            ("torch-lacks-arch", "package-conflicts"),
            f"A kernel holds no code for this card; the trace ends in {other}, so it is either "
            "that package or PyTorch itself.",
            certainty="medium",
        )
    return None


def _fallen_back(seen: Seen) -> str:
    """The package of the line with which ComfyUI goes back to PyTorch's attention."""
    low = seen.line.lower()
    if "flash attention failed" in low:
        return "flash-attn"
    return "SageAttention" if "running sage attention" in low else ""


def launch_template(seen: Seen) -> Say | None:
    """A kernel source named in the message: xformers' own copy, or flash-attn."""
    low = seen.line.lower()
    if "xformers" in low or "hopper" in low:
        return None
    return Say(
        ("attention-extension-lacks-arch",),
        "A kernel of flash-attn was started that holds no code for this card.",
        "Uninstall flash-attn or take its override out: PyTorch's own attention serves this model.",
    )


def xformers_operator(seen: Seen) -> Say | None:
    """Why xformers has no operator: the card, its own build, or tensors on the CPU."""
    around = seen.text.near(seen.number, 6, 40)
    if "too new" in around or "requires device with capability" in around:
        return Say(
            ("attention-extension-lacks-arch",),
            "xformers has no attention kernel for this card: its kernels end at an older "
            "generation.",
        )
    if "device=cpu (supported" in around and "wasn't buil" not in around:
        return Say(
            ("torch-cpu-only", "attention-extension-broken"),
            "xformers was given numbers that lie in RAM: PyTorch runs on the CPU.",
            "See why PyTorch does not use the card: a build for the CPU, or no driver.",
            "medium",
        )
    if re.search(r"wasn.t buil|operator wasn", around):
        return Say(
            ("attention-extension-broken", "attention-extension-lacks-arch"),
            "xformers' compiled kernels are absent or were built for another PyTorch.",
            "Uninstall xformers, or start ComfyUI with --disable-xformers.",
        )
    return None


def ampere(seen: Seen) -> Say | None:
    """FlashAttention refuses a card: an old build, or a card older than Ampere."""
    around = seen.text.near(seen.number, 60, 20)
    if re.search(
        r"rtx ?20\d\d|gtx ?16\d\d|\bt4\b|titan rtx|v100|gtx ?10\d\d|sm_?(?:75|70|61)\b", around
    ):
        return Say(
            ("flash-attention-forced",),
            "FlashAttention is asked for on a card older than Ampere (RTX 30), for which it has no "
            "kernels.",
        )
    package = raised_in(seen)
    if package == "xformers":
        return Say(
            ("attention-extension-lacks-arch",),
            "xformers' own FlashAttention kernels are older than this card and refuse it.",
            "Uninstall xformers, or start ComfyUI with --disable-xformers.",
        )
    return None


def flash_fallback(seen: Seen) -> Say | None:
    """ComfyUI's fallback line quotes why the kernel failed."""
    if "no kernel image" in seen.line.lower():
        return Say(
            ("attention-extension-lacks-arch", "flash-attention-forced"),
            "flash-attn holds no code for this card. ComfyUI falls back to PyTorch's attention at "
            "every call: slow, not broken.",
        )
    return None


def symbol(seen: Seen) -> Say | None:
    """Which library lacks a symbol, and whose symbol it is."""
    path, name = seen.groups.get("file", ""), seen.groups.get("symbol", "")
    package = package_in(path) or next(filter(None, map(package_in, frames(seen))), "")
    if attention_in(package) or attention_in(path):
        return Say(
            ("attention-extension-broken",),
            f"{package} was built for another PyTorch than the one installed: a function it calls "
            "is not there.",
            f"Uninstall {package}, or install the build for this torch; nothing here needs it.",
        )
    if is_trio(package):
        return Say(
            ("torch-trio-mismatch",),
            f"{package} was built for another torch than the one installed.",
            "Install torch, torchvision and torchaudio together from one index.",
        )
    if package == "torch" or _CUDA_SYMBOL.search(name):
        return Say(
            ("torch-broken", "package-conflicts"),
            "PyTorch's libraries meet CUDA libraries of another version: from LD_LIBRARY_PATH, or "
            "left by another installation.",
            "Unset LD_LIBRARY_PATH; then install torch and torchvision together again.",
        )
    if not _TORCH_SYMBOL.search(name):
        return Say(())
    if package == "comfy_kitchen":
        return Say(("comfyui-requirements-stale",), certainty="medium")
    if path and package:
        return Say(("package-conflicts",), f"{package} was built for another PyTorch.")
    return Say(("attention-extension-broken", "torch-trio-mismatch"), certainty="medium")


def library(seen: Seen) -> Say | None:
    """Who asks for a CUDA library that cannot be found."""
    package = next(filter(None, map(package_in, (_before(seen), *frames(seen)))), "")
    what = seen.groups["library"]
    if attention_in(package):
        return Say(
            ("attention-extension-broken",),
            f"{package} asks for {what}, which is not there: it was built for another CUDA release "
            "than this PyTorch.",
            f"Uninstall {package}; PyTorch's own attention serves this model. In ComfyUI a "
            "flash_attn that ends so stops the start even without its launch argument.",
        )
    if is_trio(package) and re.search(r"c10_cuda|torch_cuda", what):
        return Say(
            ("torch-trio-mismatch", "torch-cpu-only"),
            f"{package} asks for {what}, a part of PyTorch's CUDA builds: {package} was built for "
            "CUDA, and the torch beside it for the CPU only.",
            f"Install {package} and torch from the same index: for the card both with the same "
            f"+cuNNN tag, for the CPU {package} from PyTorch's cpu index.",
            "high",
        )
    if is_trio(package):
        return Say(
            ("torch-trio-mismatch",),
            f"{package} asks for {what}, which is not there: it was built for another CUDA release "
            "than torch.",
            f"Install {package} and torch together from one index.",
        )
    if package == "torch":
        return Say(
            ("torch-broken",),
            f"PyTorch asks for {what}, which is not there: its CUDA packages (nvidia-...) are "
            "missing or of another release.",
            "Install torch and torchvision together again, with their dependencies.",
            "high",
        )
    if package in ("bitsandbytes", "onnxruntime", "torchao", "deepspeed", "nunchaku"):
        return Say(
            ("package-conflicts",),
            f"{package} asks for {what}, which is not there: built for another CUDA release.",
            f"Update {package}.",
        )
    return None


def _before(seen: Seen) -> str:
    """The part of the line before the library's name, where loaders put who asks."""
    return seen.line.split(seen.groups["library"], 1)[0]


def dll(seen: Seen) -> Say | None:
    """Which DLL does not load, and whose it is."""
    around = seen.text.near(seen.number, 1, 2)
    package = package_in(around) or next(filter(None, map(package_in, frames(seen))), "")
    if attention_in(package):
        return Say(
            ("attention-extension-broken",),
            f"A compiled part of {package} does not load: it was built for another PyTorch or "
            "Python.",
            f"Uninstall {package}; {_NO_EXTENSION}.",
        )
    if is_trio(package):
        return Say(
            ("torch-trio-mismatch",),
            f"A compiled part of {package} does not load: it was built for another torch.",
            "Install torch, torchvision and torchaudio together from one index.",
        )
    if package == "torch" or re.search(r"fbgemm|c10\.dll|shm\.dll|torch_\w+\.dll", around):
        return Say(("torch-broken",), certainty="high")
    if package == "comfy_kitchen":
        return Say(("comfyui-requirements-stale", "torch-broken"), certainty="medium")
    return None if re.search(r"entry.?point", around) and "torch" in around else Say(())


def xformers_built(seen: Seen) -> Say | None:
    """What xformers was built for, and what it found: a torch without CUDA is the real cause."""
    around = seen.text.near(seen.number, 0, 6)
    built = re.search(
        r"pytorch (\d\.\d+\.\d+)\S{0,12} with cuda (\d+) \(you have (\S{3,30})\)", around
    )
    if built is None:
        return None
    if "+cpu" in built[3]:
        return Say(
            ("torch-cpu-only", "torch-replaced"),
            f"torch is a build for the CPU only ({built[3]}): an installation replaced the one "
            f"xformers was built for ({built[1]}).",
            "Install torch and torchvision together from PyTorch's own index with the full tag.",
            "high",
            "error",
        )
    return Say(
        ("attention-extension-broken",),
        f"xformers was built for torch {built[1]}, and torch {built[3]} is installed; its kernels "
        "stay off.",
        grade="warning",
    )


def triton(seen: Seen) -> Say | None:
    """Kernels that are compiled at run time: of interest only where attention asks for them."""
    around = seen.text.near(seen.number, _FAR, 10)
    return None if "sageatt" in around or "sage_att" in around else Say(())


_FAR = 40


def illegal(seen: Seen) -> Say | None:
    """A stray write on the card: says something only beside what is known to do that."""
    package = raised_in(seen)
    if package:
        return Say(("attention-extension-broken", "attention-extension-lacks-arch"),
                   certainty="medium")  # fmt: skip
    around = seen.text.near(seen.number, _FAR, _FAR)
    if re.search(r"aimdo|dynamic.?vram|hostbuffer|pinned", around):
        return Say(("comfyui-memory-engine",), certainty="medium")
    if attention_in(around):
        return Say(("attention-extension-broken", "comfyui-memory-engine"))
    return Say(("comfyui-memory-engine",)) if seen.text.holds("comfyui") else Say(())


def raised_in_extension(seen: Seen) -> Say | None:
    """An attention package among the deepest frames of a trace that nothing else explains."""
    after = seen.text.near(seen.number, 0, 6)
    deepest = after.count('file "') <= _DEEP
    ends = re.search(r"^\W{0,4}[\w.]{1,80}(?:error|exception)\b", after, re.MULTILINE)
    return None if deepest and ends else Say(())


_DEEP = 3


def crash(seen: Seen) -> Say | None:
    """A crash in compiled code, by what its stack names on either side of the line."""
    around = seen.text.near(seen.number, 30, 20)
    stack = "\n".join(line for line in around.split("\n") if 'file "' in line)
    package = attention_in(stack)
    if package:
        return Say(
            ("attention-extension-broken", "comfyui-memory-engine"),
            f"The program crashed inside compiled code of {package}.",
            f"Uninstall {package} or start without it.",
            "medium",
        )
    if re.search(r"aimdo|dynamic.?vram|hostbuffer|vbar", around):
        return Say(("comfyui-memory-engine",), certainty="medium")
    if re.search(
        r"model_management|load_models_gpu|model_load|cast_to|pin_memory|model_patcher", around
    ):
        return Say(("comfyui-memory-engine", "ram-too-small"))
    return Say(())


def aimdo(seen: Seen) -> Say | None:
    """ComfyUI's memory engine failing; an old SageAttention is a known other cause of it."""
    if re.search(r"no module named|cannot import|has no attribute|satisfies", seen.line.lower()):
        return Say(())  # its absence is a matter of the requirements
    if seen.text.holds("sageattention 1.", "sageattention==1.", "sageattention-1."):
        return Say(("known-bad-combination", "comfyui-memory-engine"))
    return None
