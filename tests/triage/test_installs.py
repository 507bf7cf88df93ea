"""What pip, uv and Python say: requirements, wheels, versions, missing names."""

from __future__ import annotations

import pytest
from asking import asked, checks, first


@pytest.mark.parametrize(
    ("line", "check"),
    [
        ("torchvision 0.21.0 requires torch==2.6.0, but you have torch 2.7.1+cu128 which is "
         "incompatible.", "torch-trio-mismatch"),
        ("torchaudio 2.6.0 requires torch==2.6.0, but you have torch 2.7.1+cu128 which is "
         "incompatible.", "torch-trio-mismatch"),
        ("xformers 0.0.29 requires torch==2.6.0, but you have torch 2.9.0 which is incompatible.",
         "package-conflicts"),
        ("transformers 4.57.6 requires huggingface-hub<1.0,>=0.34.0, but you have huggingface-hub "
         "1.32.0 which is incompatible.", "transformers-incompatible"),
        ("diffusers 0.42.1 requires huggingface_hub>=1.0, but you have huggingface-hub 0.36.0 "
         "which is incompatible.", "transformers-incompatible"),
        ("mediapipe 0.10.21 requires numpy<2, but you have numpy 2.2.6 which is incompatible.",
         "package-conflicts"),
        ("comfyui-manager 4.0 requires uv, which is not installed.", "comfyui-requirements-stale"),
    ],
)  # fmt: skip
def test_requires_but_have(line: str, check: str) -> None:
    assert first("ERROR: pip's dependency resolver does not take these into account.\n" + line) == (
        check
    )


@pytest.mark.parametrize(
    ("text", "check", "says"),
    [
        ("ERROR: torch_cluster-1.6.3-cp313-cp313-win_amd64.whl is not a supported wheel on this "
         "platform.", "python-too-new", "Python 3.13"),
        ("Python 3.11.9\nERROR: x-1-cp313-cp313-win_amd64.whl is not a supported wheel on this "
         "platform.", "python-too-old", "3.11 runs"),
        ("Python 3.14.0\nERROR: x-1-cp312-cp312-win_amd64.whl is not a supported wheel on this "
         "platform.", "python-too-new", "Python 3.12"),
        ("ERROR: x-1-py3-none-macosx_11_0_arm64.whl is not a supported wheel on this platform.",
         "python-too-new", "another system"),
    ],
)  # fmt: skip
def test_tags_of_wheels(text: str, check: str, says: str) -> None:
    guess = asked(text)[0]
    assert guess.check == check and says in guess.cause


_NONE = "ERROR: Could not find a version that satisfies the requirement {} (from versions: none)"


@pytest.mark.parametrize(
    ("text", "check"),
    [
        (_NONE.format("torch==2.4.0"), "python-too-new"),
        (_NONE.format("xformers"), "python-too-new"),
        (_NONE.format("comfy-kitchen>=0.2.5"), "comfyui-requirements-stale"),
        (_NONE.format("comfyui-frontend-package==1.49.6"), "comfyui-requirements-stale"),
        (_NONE.format("some-node-thing==1.0"), ""),
        ("Looking in indexes: https://download.pytorch.org/whl/cu13.0\n" + _NONE.format("torch"),
         "python-too-new"),
        ("WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError'\n"
         + _NONE.format("torch"), "hub-unreachable"),
        ("ERROR: Package 'diffusers' requires a different Python: 3.9.13 not in '>=3.10.0'",
         "python-too-old"),
        ("ERROR: Package 'x' requires a different Python: 3.14.0 not in '<3.14'",
         "python-too-new"),
    ],
)  # fmt: skip
def test_versions_pip_does_not_find(text: str, check: str) -> None:
    assert first(text) == check


def test_an_index_address_that_does_not_exist() -> None:
    text = "Looking in indexes: https://download.pytorch.org/whl/cu13.0\n" + _NONE.format("torch")
    assert "cu13.0" in asked(text)[0].cause
    text = "Looking in indexes: https://download.pytorch.org/whl/cu130\n" + _NONE.format("torch")
    assert "cu130" not in asked(text)[0].cause


@pytest.mark.parametrize(
    ("name", "check"),
    [("float8_e8m0fnu", "torch-too-old"), ("uint16", "torch-too-old"), ("RMSNorm", "torch-too-old"),
     ("something_new", "torch-too-old"), ("_six", ""), ("symeig", "")],
)  # fmt: skip
def test_names_torch_does_not_have(name: str, check: str) -> None:
    assert first(f"AttributeError: module 'torch' has no attribute '{name}'") == check


@pytest.mark.parametrize("name", ["__version__", "cuda", "Tensor", "float32"])
def test_names_any_whole_torch_has(name: str) -> None:
    assert first(f"AttributeError: module 'torch' has no attribute '{name}'") == "torch-broken"


@pytest.mark.parametrize(
    ("line", "check"),
    [
        ("No module named 'transformers.models.foo'", "transformers-incompatible"),
        ("No module named 'diffusers.models.foo'", "diffusers-too-old"),
        ("No module named 'triton.ops'", "package-conflicts"),
        ("No module named 'diffusers'", "diffusers-missing"),
        ("No module named 'torch'", "torch-missing"),
        ("No module named 'torch._C'", "torch-broken"),
        ("No module named 'distutils'", "python-too-new"),
        ("No module named 'tomllib'", "python-too-old"),
        ("No module named 'flash_attn'", "flash-attention-forced"),
        ("No module named 'sageattention'", "comfyui-flags-harmful"),
        ("No module named 'comfy_aimdo'", "comfyui-requirements-stale"),
        ("No module named 'torchsomething'", ""),
        ("No module named 'insightface'", ""),
        ("No module named 'kornia'", ""),
    ],
)
def test_modules_that_are_absent(line: str, check: str) -> None:
    assert first("ModuleNotFoundError: " + line) == check


def test_what_comfyui_shares_with_others_counts_beside_comfyui_alone() -> None:
    error = "ModuleNotFoundError: No module named 'torchsde'"
    assert checks(error) == []
    beside = f'  File "/opt/ComfyUI/comfy/k_diffusion/sampling.py", line 6, in <module>\n{error}'
    assert first(beside) == "comfyui-requirements-stale"


def test_a_torch_that_pip_replaced() -> None:
    guess = asked("Collecting xformers\nCollecting torch==2.6.0")[0]
    assert guess.check == "torch-replaced" and "xformers pins" in guess.cause
    text = "  Attempting uninstall: torch\n    Successfully uninstalled torch-2.9.0+cu130"
    assert "torch 2.9.0+cu130" in asked(text)[0].cause


def test_a_build_that_does_not_see_torch() -> None:
    error = "ModuleNotFoundError: No module named 'torch'"
    guess = asked(f"Building wheel for flash-attn (setup.py): started\n{error}")[0]
    assert guess.check == "flash-attention-forced"
