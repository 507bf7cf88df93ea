"""Whose compiled code is at fault: PyTorch's, a partner's, or an attention package's."""

from __future__ import annotations

import pytest
from asking import asked, checks, first

NO_KERNEL = "RuntimeError: CUDA error: no kernel image is available for execution on the device"
SITE = "/opt/venv/lib/python3.12/site-packages"
LACKS, BROKEN = "attention-extension-lacks-arch", "attention-extension-broken"
TRIO = "torch-trio-mismatch"


def trace(path: str, error: str) -> str:
    return (
        'Traceback (most recent call last):\n  File "/opt/ComfyUI/execution.py", line 518, in go\n'
        f'    x = f()\n  File "{path}", line 12, in g\n    y = h()\n{error}\n'
    )


def test_a_partner_built_for_cuda_beside_a_torch_for_the_cpu_is_named() -> None:
    error = "libc10_cuda.so: cannot open shared object file: No such file or directory"
    text = trace(f"{SITE}/torch/_ops.py", f"OSError: {SITE}/torchaudio/lib/_torchaudio.so: {error}")
    guess, *rest = asked(text)
    assert (guess.check, guess.certainty) == (TRIO, "high")
    assert "torchaudio was built for CUDA, and the torch beside it for the CPU" in guess.cause
    assert guess.do.startswith("Install torchaudio and torch from the same index")
    assert [each.check for each in rest] == ["torch-cpu-only"]


# --- architectures ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "check", "says"),
    [
        ("NVIDIA GeForce RTX 5070 with CUDA capability sm_120 is not compatible with the current "
         "PyTorch installation.", "torch-lacks-arch", "sm_120"),
        ("Found GPU0 NVIDIA GeForce RTX 5070 which is of compute capability (CC) 12.0.",
         "torch-lacks-arch", "sm_120"),
        ("Found GPU0 NVIDIA GeForce GT 710 which is of cuda capability 3.5.\n", "gpu-too-old",
         "3.5"),
        ("NVIDIA GeForce GTX 1080 with CUDA capability sm_61 is not compatible with the current "
         "PyTorch installation.", "gpu-too-old", "6.1"),
        ("The current PyTorch install supports CUDA capabilities sm_50 sm_60 sm_70 sm_75 sm_80 "
         "sm_86 sm_90.", "torch-lacks-arch", "sm_50 to sm_90"),
        ("Your installed torch==2.11.0+cu126 does not include kernels for this GPU.",
         "torch-lacks-arch", ""),
        ("pytorch version: 2.6.0+cu124\nsm_120 is not supported", "torch-lacks-arch",
         "torch 2.6.0+cu124"),
    ],
)  # fmt: skip
def test_code_for_a_generation(text: str, check: str, says: str) -> None:
    guess = asked(text)[0]
    assert guess.check == check and says in guess.cause


@pytest.mark.parametrize(
    ("path", "check"),
    [
        (f"{SITE}/torch/nn/functional.py", "torch-lacks-arch"),
        (f"{SITE}/sageattention/core.py", LACKS),
        (f"{SITE}/xformers/ops/fmha/__init__.py", LACKS),
        (f"{SITE}/flash_attn/flash_attn_interface.py", LACKS),
        ("C:\\ComfyUI\\venv\\Lib\\site-packages\\flash_attn\\x.py", LACKS),
        (f"{SITE}/bitsandbytes/functional.py", "package-conflicts"),
        (f"{SITE}/nunchaku/ops.py", "torch-lacks-arch"),
    ],
)
def test_no_kernel_image_by_the_deepest_frame(path: str, check: str) -> None:
    assert first(trace(path, NO_KERNEL)) == check


def test_no_kernel_image_alone_is_mostly_torch() -> None:
    assert checks(NO_KERNEL) == ["torch-lacks-arch", LACKS]


@pytest.mark.parametrize(
    "line",
    [
        "Flash Attention failed, using default SDPA: CUDA error: no kernel image is available for "
        "execution on the device",
        "Error running sage attention: CUDA error: no kernel image is available for execution on "
        "the device, using pytorch attention instead.",
        "CUDA error (/tmp/flash-attention/hopper/flash_fwd_launch_template.h:167): no kernel image",
        "CUDA error (/tmp/csrc/flash_attn/src/flash_fwd_launch_template.h:180): no kernel image",
    ],
)
def test_a_line_that_names_the_package_itself(line: str) -> None:
    assert first(line) == LACKS


# --- xformers --------------------------------------------------------------------------------


def operators(reason: str, device: str = "cuda") -> str:
    return (
        "NotImplementedError: No operator found for `memory_efficient_attention_forward` with "
        "inputs:\n     query       : shape=(1, 4096, 24, 128) (torch.bfloat16)\n"
        f"`fa2F@v2.5.7` is not supported because:\n    {reason}\n    device={device} (supported: "
        "{'cuda'})"
    )


@pytest.mark.parametrize(
    ("text", "check"),
    [
        (operators("requires device with capability <= (9, 0) but your GPU has capability (12, 0) "
                   "(too new)"), LACKS),
        (operators("xFormers wasn't build with CUDA support"), BROKEN),
        (operators("operator wasn't built - see `python -m xformers.info` for more info"), BROKEN),
        (operators("x", "cpu"), "torch-cpu-only"),
        ("WARNING[XFORMERS]: xFormers can't load C++/CUDA extensions. xFormers was built for:\n"
         "    PyTorch 2.7.1+cu126 with CUDA 1206 (you have 2.9.0+cu130)", BROKEN),
        ("WARNING[XFORMERS]: xFormers can't load C++/CUDA extensions. xFormers was built for:\n"
         "    PyTorch 2.7.1+cu126 with CUDA 1206 (you have 2.9.0+cpu)", "torch-cpu-only"),
    ],
)  # fmt: skip
def test_why_xformers_has_no_operator(text: str, check: str) -> None:
    assert first(text) == check


def test_flash_attention_and_the_age_of_the_card() -> None:
    error = "RuntimeError: FlashAttention only supports Ampere GPUs or newer."
    assert first(error) == LACKS
    assert first("Device: cuda:0 NVIDIA GeForce RTX 2080 Ti\n" + error) == "flash-attention-forced"
    assert first(trace(f"{SITE}/xformers/ops/fmha/flash.py", error)) == LACKS


# --- libraries -------------------------------------------------------------------------------

TORCH_NAME = "_ZN3c104cuda9SetDeviceEi"


@pytest.mark.parametrize(
    ("file", "symbol", "check"),
    [
        (f"{SITE}/flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so", TORCH_NAME, BROKEN),
        (f"{SITE}/xformers/_C.so", TORCH_NAME, BROKEN),
        (f"{SITE}/sageattention/_qattn_sm89.abi3.so", "aoti_torch_empty", BROKEN),
        (f"{SITE}/torchvision/_C.so", TORCH_NAME, TRIO),
        (f"{SITE}/torchaudio/lib/libtorchaudio.so", TORCH_NAME, TRIO),
        (f"{SITE}/torch/lib/libtorch_cuda.so", "ncclCommShrink", "torch-broken"),
        (f"{SITE}/torch/lib/libtorch_cpu.so", "iJIT_NotifyEvent", "torch-broken"),
        (f"{SITE}/nvidia/cusparse/lib/libcusparse.so.12", "__nvJitLinkComplete_12_4",
         "torch-broken"),
        (f"{SITE}/bitsandbytes/libbitsandbytes.so", TORCH_NAME, "package-conflicts"),
        ("/opt/x/_unknown.so", TORCH_NAME, BROKEN),
        ("/usr/lib/libgtk-4.so.1", "g_once_init_enter_pointer", ""),
    ],
)  # fmt: skip
def test_undefined_symbols_by_owner(file: str, symbol: str, check: str) -> None:
    assert first(f"ImportError: {file}: undefined symbol: {symbol}") == check


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory",
         "torch-broken"),
        (trace(f"{SITE}/torch/__init__.py", "ImportError: libcusparseLt.so.0: cannot open shared "
               "object file: No such file or directory"), "torch-broken"),
        (trace(f"{SITE}/flash_attn/flash_attn_interface.py", "ImportError: libcudart.so.12: cannot "
               "open shared object file: No such file or directory"), BROKEN),
        (trace(f"{SITE}/torchvision/extension.py", "OSError: libcudart.so.12: cannot open shared "
               "object file: No such file or directory"), TRIO),
        (f"OSError: {SITE}/torchaudio/lib/libtorchaudio.so: libcudart.so.13: cannot open shared "
         "object file: No such file or directory", TRIO),
        (trace(f"{SITE}/onnxruntime/capi/x.py", "ImportError: libcublasLt.so.11: cannot open "
               "shared object file: No such file or directory"), "package-conflicts"),
        ("ImportError: libGL.so.1: cannot open shared object file: No such file or directory", ""),
        ("OSError: libcuda.so.1: cannot open shared object file: No such file or directory",
         "gpu-not-found"),
    ],
)  # fmt: skip
def test_missing_libraries_by_owner(text: str, check: str) -> None:
    assert first(text) == check


WIN = "C:\\ComfyUI\\python_embeded\\Lib\\site-packages"


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("OSError: [WinError 126] The specified module could not be found. Error loading "
         f'"{WIN}\\torch\\lib\\fbgemm.dll" or one of its dependencies.', "torch-broken"),
        ("OSError: [WinError 127] The specified procedure could not be found. Error loading "
         f'"{WIN}\\torch\\lib\\c10_cuda.dll" or one of its dependencies.', "torch-broken"),
        (trace(f"{WIN}\\flash_attn\\x.py", "ImportError: DLL load failed while importing "
               "flash_attn_2_cuda: The specified procedure could not be found."), BROKEN),
        ("ImportError: DLL load failed while importing _qattn_sm89: x", BROKEN),
        (trace(f"{WIN}\\torchaudio\\_extension\\utils.py", "OSError: [WinError 127] The specified "
               "procedure could not be found"), TRIO),
        ("ImportError: DLL load failed while importing onnxruntime_pybind11_state: x", ""),
        ("ImportError: DLL load failed while importing cv2: The specified module was not found.",
         ""),
    ],
)  # fmt: skip
def test_dlls_by_owner(text: str, check: str) -> None:
    assert first(text) == check


# --- crashes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stack", "check"),
    [
        (f'  File "{SITE}/comfy_aimdo/control.py", line 144 in init', "comfyui-memory-engine"),
        (f'  File "{SITE}/sageattention/core.py", line 126 in x', BROKEN),
        ('  File "/opt/ComfyUI/comfy/model_management.py", line 9 in load_models_gpu',
         "comfyui-memory-engine"),
        ('  File "/opt/game/engine.py", line 9 in loop', ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("line", ["Windows fatal exception: access violation",
                                  "Fatal Python error: Segmentation fault"])  # fmt: skip
def test_crashes_by_their_stack(line: str, stack: str, check: str) -> None:
    assert first(f"{line}\n\nThread 0x1 (most recent call first):\n{stack}\n") == check


@pytest.mark.parametrize(
    ("around", "check"),
    [("DynamicVRAM support detected and enabled", "comfyui-memory-engine"),
     ("Using sageattention", BROKEN), ("Step 1400: loss 0.1", "")],
)  # fmt: skip
def test_an_illegal_access_says_something_beside_what_does_that(around: str, check: str) -> None:
    error = "torch.AcceleratorError: CUDA error: an illegal memory access was encountered"
    assert first(f"{around}\n{error}") == check


def test_a_fault_inside_an_extension_that_no_row_knows() -> None:
    found = asked(trace(f"{SITE}/sageattention/core.py", "AssertionError"))
    assert found[0].check == BROKEN and found[0].certainty == "low"
    assert checks(trace(f"{SITE}/insightface/app.py", "AssertionError")) == []
