"""The readers by the name rows call them."""

from __future__ import annotations

from collections.abc import Callable

from klein_doctor.triage import installs, kernels, memory, refusals, shapes
from klein_doctor.triage.values import Say, Seen

Reader = Callable[[Seen], "Say | None"]

# A reader that answers None leaves it to its row; one whose Say names no check says that the line
# is no such message after all.
READERS: dict[str, Reader] = {
    reader.__name__: reader
    for reader in (
        kernels.aimdo, kernels.ampere, kernels.arch, kernels.crash, kernels.dll,
        kernels.flash_fallback,
        kernels.illegal, kernels.launch_template, kernels.library, kernels.no_kernel,
        kernels.raised_in_extension,
        kernels.symbol, kernels.triton, kernels.xformers_built, kernels.xformers_operator,
        memory.device_count, memory.driver_version, memory.gpu_memory, memory.killed,
        memory.no_gpus, memory.ram, memory.silent_end,
        refusals.attention_module, refusals.cublas, refusals.dispatch_none, refusals.flag_package,
        refusals.gated, refusals.gguf_arch, refusals.missing_node, refusals.nan,
        installs.no_torch, installs.no_version, refusals.not_in_list, installs.other_python,
        refusals.paths_loader, refusals.pickle,
        refusals.portable_hint, installs.replaced, installs.requirement,
        refusals.requirement_of_comfyui, refusals.safetensors, installs.submodule,
        installs.torch_name,
        installs.wheel,
        shapes.channels, shapes.clip_missing, shapes.model_type, shapes.shapes,
        shapes.size_mismatch, shapes.zimage,
    )
}  # fmt: skip
