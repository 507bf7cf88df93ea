"""Messages with numbers: memory that is really short, and memory that is not."""

from __future__ import annotations

import pytest
from asking import asked, checks, first


def oom(want: str, total: str, free: str) -> str:
    return (
        f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {want}. GPU 0 has a total "
        f"capacity of {total} of which {free} is free. Including non-PyTorch memory, this process "
        "has 9.40 GiB memory in use."
    )


def test_a_real_lack() -> None:
    (guess, *rest) = asked(oom("2.00 GiB", "11.94 GiB", "310.00 MiB"))
    assert guess.check == "vram-busy" and rest[0].check == "vram-too-small"
    assert "11.9 GiB" in guess.cause and "2.00 GiB" in guess.cause


def test_memory_that_is_free_is_not_what_lacks() -> None:
    """The known case: 26 MiB are asked for and 21 GiB are free."""
    guess = asked(oom("26.00 MiB", "31.36 GiB", "21.48 GiB"))[0]
    assert guess.check == "attention-extension-broken" and "21.5 GiB were free" in guess.cause
    assert guess.certainty == "medium"
    trace = 'File "/opt/venv/lib/python3.12/site-packages/sageattention/core.py", line 126, in x\n'
    named = asked("Traceback (most recent call last):\n  " + trace + oom("26.00 MiB", "31.36 GiB",
                  "21.48 GiB"))[0]  # fmt: skip
    assert (named.check, named.certainty) == ("attention-extension-broken", "high")
    assert "SageAttention" in named.cause
    assert "vram-busy" not in checks(oom("26.00 MiB", "31.36 GiB", "21.48 GiB"))


def test_the_wordings_of_two_generations_of_torch() -> None:
    old = ("OutOfMemoryError: Tried to allocate 26.00 MiB (GPU 0; 31.36 GiB total capacity; 7.10 "
           "GiB already allocated; 21.48 GiB free)")  # fmt: skip
    assert first(old) == "attention-extension-broken"
    short = ("OutOfMemoryError: Tried to allocate 512.00 MiB (GPU 0; 8.00 GiB total capacity; 7.10 "
             "GiB already allocated; 0 bytes free)")  # fmt: skip
    assert first(short) == "vram-busy"


def test_a_card_that_is_too_small() -> None:
    guess = asked(oom("512.00 MiB", "1.95 GiB", "20.00 MiB"))[0]
    assert guess.check == "vram-too-small" and "1.9 GiB" in guess.cause


def test_free_memory_of_about_what_was_asked_for_is_a_lack() -> None:
    """Fragments explain it up to a point."""
    assert first(oom("2.00 GiB", "11.94 GiB", "2.50 GiB")) == "vram-busy"


@pytest.mark.parametrize(
    "text",
    [
        "RuntimeError: MPS backend out of memory (MPS allocated: 17.97 GB, other allocations: 1 "
        "GB, max allowed: 18.13 GB). Tried to allocate 384.00 MB on private pool.",
        "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
        "capacity of 11.94 GiB of which 310.00 MiB is free.",
        "torch.OutOfMemoryError: XPU out of memory. Tried to allocate 2.00 GiB.",
    ],
)
def test_other_makers_cards_say_nothing_here(text: str) -> None:
    assert checks(text) == []


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("OSError: The paging file is too small for this operation to complete. (os error 1455)",
         "ram-too-small"),
        ("Killed", "ram-too-small"),
        ("./run.sh: line 3: 12345 Killed                  python main.py", "ram-too-small"),
        ("comfyui exited with code 137", "ram-too-small"),
        ("Killed by user", ""),
        ("the dragon was killed at dawn", ""),
        ("ImportError: libgomp.so.1: cannot allocate memory in static TLS block", ""),
        ("OSError: [Errno 12] Cannot allocate memory", "ram-too-small"),
        ("Requested to load Flux2TEModel_\n\nPress any key to continue . . .", "ram-too-small"),
        ("ImportError: no such thing\nPress any key to continue . . .", ""),
        ("Welcome\nPress any key to continue . . .", ""),
    ],
)  # fmt: skip
def test_memory_of_the_system(text: str, check: str) -> None:
    assert first(text) == check


@pytest.mark.parametrize(
    ("number", "release"),
    [("12080", "12.8"), ("13000", "13.0"), ("12020", "12.2"), ("11040", "11.4"), ("9010", "9.1")],
)
def test_the_drivers_number_is_a_release(number: str, release: str) -> None:
    guess = asked(
        "RuntimeError: The NVIDIA driver on your system is too old (found version "
        f"{number}). Please update your GPU driver"
    )[0]
    assert guess.check == "driver-too-old" and f"CUDA {release};" in guess.cause


@pytest.mark.parametrize(
    ("code", "check"),
    [(35, "driver-too-old"), (100, "gpu-not-found"), (101, "gpu-hidden"), (802, "driver-broken"),
     (803, "driver-library-mismatch"), (804, "driver-broken"), (999, "driver-broken"),
     (1, "driver-broken")],
)  # fmt: skip
def test_error_codes_of_the_device_count(code: int, check: str) -> None:
    guess = asked(
        "UserWarning: CUDA initialization: Unexpected error from cudaGetDeviceCount(). Did you run "
        f"some cuda functions before calling NumCudaDevices()? Error {code}: some words"
    )[0]
    assert guess.check == check
    assert guess.certainty == ("medium" if code == 1 else "high")


def test_a_variable_in_the_text_makes_it_certain() -> None:
    line = "RuntimeError: No CUDA GPUs are available"
    assert asked(line)[0].certainty == "medium"
    guess = asked(f"$ CUDA_VISIBLE_DEVICES=3 python main.py\n{line}")[0]
    assert (guess.check, guess.certainty) == ("gpu-hidden", "high")
