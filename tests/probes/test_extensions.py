"""Attention packages in real folders: real ELF and PE files with real tables, nothing imported."""

from __future__ import annotations

from pathlib import Path

import pytest
from libraries import SASS, entry, importing, region, shared

from klein_doctor.compiled import Extension
from klein_doctor.installation import Installed
from klein_doctor.model import Interpreter, Known, Package, Private, Unknown
from klein_doctor.privacy import Redactor
from klein_doctor.probes.extensions import read_extensions
from klein_doctor.probes.outside import Outside

plain = Private.plain
SYMBOL = "_ZN3c104cuda9SetDeviceEa"
FLASH = "flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so"


def code(*archs: int) -> bytes:
    return region(*(entry(SASS, arch) for arch in archs))


def put(site: Path, name: str, raw: bytes) -> None:
    path = site / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)


def put_torch(site: Path, *symbols: str) -> None:
    put(site, "torch/lib/libc10.so", shared(defined=symbols or ("_ZN3c10a",)))
    put(site, "torch/lib/libtorch_cpu.so", shared(defined=("_ZN2ata",)))


def read(
    *sites: Path, platform: str = "linux", path: str = "", torch: bool = True, **versions: str
) -> tuple[Extension, ...]:
    python = Interpreter(
        plain("/env/bin/python"), plain(""), Known((3, 12, 3)), "venv", plain("/env"),
        tuple(plain(str(site)) for site in sites), True, False,
    )  # fmt: skip
    outside = Outside(sites[0], {"PATH": path}, platform, Redactor((), (), ()))
    package = Package("torch", torch, Known("2.14.1+cu130"), Known("13.0"), None, None,
                      plain(str(sites[0])), ())  # fmt: skip
    listed = {name.replace("_", "-"): Installed(name, version, (), 0)
              for name, version in versions.items()}  # fmt: skip
    return read_extensions(outside, python, package, listed)


def test_an_environment_without_any_has_none(tmp_path: Path) -> None:
    put_torch(tmp_path)
    assert read(tmp_path) == ()


def test_flash_attn_with_its_code_and_what_it_asks_of_torch(tmp_path: Path) -> None:
    put_torch(tmp_path, SYMBOL)
    put(tmp_path, "flash_attn/__init__.py", b"raise SystemExit('never imported')")
    put(tmp_path, FLASH, shared(wanted=(SYMBOL,), gpu=code(80, 90, 120)))
    (found,) = read(tmp_path, flash_attn="2.8.3")
    assert (found.name, found.version) == ("flash-attn", "2.8.3")
    (file,) = found.binaries
    assert file.file == FLASH
    assert file.archs == Known(("sm_80", "sm_90", "sm_120"))
    assert file.python == "3.12"
    assert (file.absent, file.undefined) == ((), Known(()))


def test_a_function_this_torch_does_not_have_is_named(tmp_path: Path) -> None:
    put_torch(tmp_path)
    put(tmp_path, FLASH, shared(wanted=(SYMBOL, "_ZN2ata"), gpu=code(120)))
    (found,) = read(tmp_path)
    assert found.binaries[0].undefined == Known((SYMBOL,))


def test_libraries_that_are_nowhere_are_named(tmp_path: Path) -> None:
    put_torch(tmp_path)
    raw = shared(needs=("libcudart.so.9", "libc10.so", "libm.so.6"), gpu=code(120))
    put(tmp_path, FLASH, raw)
    (found,) = read(tmp_path)
    assert found.binaries[0].absent == ("libcudart.so.9",)
    put(tmp_path, "nvidia/cuda_runtime/lib/libcudart.so.9", b"")
    (found,) = read(tmp_path)
    assert found.binaries[0].absent == ()


def test_without_torch_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    put(tmp_path, FLASH, shared(wanted=(SYMBOL,), gpu=code(120)))
    (found,) = read(tmp_path, torch=False)
    assert isinstance(found.binaries[0].undefined, Unknown)


def test_a_package_of_python_alone_has_no_files(tmp_path: Path) -> None:
    put_torch(tmp_path)
    put(tmp_path, "sageattention/core.py", b"")
    (found,) = read(tmp_path, sageattention="1.0.6")
    assert (found.name, found.version, found.binaries) == ("sageattention", "1.0.6", ())


def test_flash_attn_4_alone_is_no_flash_attn_2(tmp_path: Path) -> None:
    put_torch(tmp_path)
    put(tmp_path, "flash_attn/cute/__init__.py", b"")
    assert read(tmp_path, flash_attn_4="4.0.0b36") == ()


def test_all_files_of_xformers_are_read_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    put_torch(tmp_path)
    put(tmp_path, "xformers/_C.so", shared(gpu=code(75, 80)))
    put(tmp_path, "xformers/_C_flashattention3.so", b"\x7fELF cut short")
    (found,) = read(tmp_path, xformers="0.0.30")
    files = {binary.file: binary.archs for binary in found.binaries}
    assert files["xformers/_C.so"] == Known(("sm_75", "sm_80"))
    damaged = files["xformers/_C_flashattention3.so"]
    assert isinstance(damaged, Unknown)
    assert "cannot be read" in damaged.reason


@pytest.mark.parametrize(
    ("raw", "built"),
    [
        # As comfy-kitchen's: DLPack alone.
        (shared(wanted=("PyErr_SetString",), needs=("libstdc++.so.6",)), ""),
        (shared(wanted=(SYMBOL, "aoti_torch_get_dim")), "exact"),
        (shared(wanted=("THPVariable_Wrap",)), "exact"),
        (shared(needs=("libtorch_cpu.so",)), "exact"),
        (shared(wanted=("aoti_torch_get_dim", "torch_library_impl"), needs=("libtorch.so",)),
         "stable"),
        (shared(weak=(SYMBOL,), needs=("libc.so.6",)), ""),
    ],
)  # fmt: skip
def test_what_of_torch_a_library_was_built_against(tmp_path: Path, raw: bytes, built: str) -> None:
    put_torch(tmp_path)
    put(tmp_path, "comfy_kitchen/backends/cuda/_C.abi3.so", raw)
    (found,) = read(tmp_path, torch=False)
    assert found.binaries[0].torch == Known(built)


def test_of_a_damaged_library_nobody_knows_what_it_was_built_against(tmp_path: Path) -> None:
    put(tmp_path, FLASH, b"\x7fELF cut short")
    put(tmp_path, "xformers/_C.pyd", b"MZ cut short")
    for platform in ("linux", "win32"):
        for found in read(tmp_path, platform=platform):
            assert isinstance(found.binaries[0].torch, Unknown)


def test_a_second_copy_further_down_the_path_is_shadowed(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    put_torch(first)
    put(first, FLASH, shared(gpu=code(90)))
    put(second, FLASH, shared(gpu=code(120)))
    (found,) = read(first, second)
    assert found.binaries[0].archs == Known(("sm_90",))


@pytest.mark.parametrize(
    ("name", "python"),
    [
        ("flash_attn_2_cuda.cp310-win_amd64.pyd", "3.10"),
        ("flash_attn_2_cuda.pyd", "3.12"),
        ("flash_attn_2_cuda.abi3.pyd", "abi3"),
    ],
)
def test_a_windows_library_tells_its_python_and_its_dlls(
    tmp_path: Path, name: str, python: str
) -> None:
    put(tmp_path, "torch/lib/torch_cpu.dll", b"")
    dlls = ("python312.dll", "torch_cpu.dll", "cudart64_12.dll", "KERNEL32.dll")
    put(tmp_path, name, importing(dlls))
    (found,) = read(tmp_path, platform="win32")
    (file,) = found.binaries
    assert file.python == python
    assert file.absent == ("cudart64_12.dll",)
    assert isinstance(file.undefined, Unknown)
    assert file.torch == Known("exact")
    toolkit = tmp_path / "CUDA" / "bin"
    put(toolkit, "cudart64_12.dll", b"")
    (found,) = read(tmp_path, platform="win32", path=f"C:\\Windows;{toolkit}")
    assert found.binaries[0].absent == ()
    put(tmp_path, "xformers/_C.pyd", importing(("python312.dll", "KERNEL32.dll")))
    assert read(tmp_path, platform="win32")[1].binaries[0].torch == Known("")
