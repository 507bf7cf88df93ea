"""torch read from files: versions, records, libraries and the code they carry."""

from __future__ import annotations

import importlib.util
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libraries import PTX, SASS, elf, entry, pe, region
from standin import compiler
from targets import make_venv, put_package, put_record, site_packages

from klein_doctor.model import Interpreter, Known, Unknown
from klein_doctor.privacy import Redactor
from klein_doctor.probes import binary
from klein_doctor.probes.interpreter import read_interpreter
from klein_doctor.probes.outside import Outside
from klein_doctor.probes.torch_files import (
    cuda_of_tag,
    read_archs,
    read_package,
    read_torch_binary,
)

needs_compiler = pytest.mark.skipif(not compiler(), reason="no C compiler (cc, gcc or clang)")
ARCHS = "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120"


@pytest.fixture
def env(tmp_path: Path) -> tuple[Outside, Interpreter, Path]:
    """A machine without libraries of its own, an environment on it, its site-packages."""
    machine = Outside(tmp_path / "root", {}, "linux", Redactor((), (), ()))
    python = make_venv(tmp_path / "env")
    return machine, read_interpreter(machine, str(python)), site_packages(tmp_path / "env")


Env = tuple[Outside, Interpreter, Path]


def compile_library(path: Path, source: str, *options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler(), "-shared", "-fPIC", "-x", "c", "-", "-x", "none", "-o", str(path)]
    subprocess.run([*command, *options], input=source.encode(), check=True)
    return path


def test_version_file_is_the_first_witness(env: Env) -> None:
    machine, python, site = env
    put_package(site, "torch", "2.15.0+cu132", "13.2", record=False)
    put_record(site, "torch", "2.15.0")
    found = read_package(machine, python, "torch")
    assert found.version == Known("2.15.0+cu132") and found.cuda == Known("13.2")
    assert [(d.version, d.installer) for d in found.distributions] == [("2.15.0", "pip")]
    assert found.location.real == str(site)


@pytest.mark.parametrize(
    ("source", "version", "cuda", "hip"),
    [
        ("__version__ = '2.6.0+cpu'\ncuda = None\n", "2.6.0+cpu", None, None),
        ("__version__ = '2.9.1+rocm6.4'\ncuda = None\nhip = '6.4'\n", "2.9.1+rocm6.4", None, "6.4"),
        ("__all__ = []\n__version__: str = '2.7'\ncuda: str = '12.8'\n", "2.7", "12.8", None),
    ],
)
def test_version_files(
    env: Env, source: str, version: str, cuda: str | None, hip: str | None
) -> None:
    machine, python, site = env
    (put_package(site, "torch", "0", None, record=False) / "version.py").write_text(source)
    found = read_package(machine, python, "torch")
    assert (found.version, found.cuda, found.hip) == (Known(version), Known(cuda), hip)


@pytest.mark.parametrize("source", ["", "x = (", "\0", "(" * 5000, "__version__ = f()", "é" * 10])
def test_unreadable_version_files(env: Env, source: str) -> None:
    machine, python, site = env
    (put_package(site, "torch", "0", None, record=False) / "version.py").write_text(source)
    found = read_package(machine, python, "torch")
    assert found.present and isinstance(found.version, Unknown) and isinstance(found.cuda, Unknown)


@pytest.mark.parametrize(
    ("written", "cuda"),
    [
        ("None", Known(None)),
        ("'13.0'", Known("13.0")),
        ("'12.8.1'", Known("12.8")),
        ("13.0", None),
        ("'thirteen'", None),
        ("''", None),
        ("True", None),
        ("'9' * 9", Known(None)),
    ],
)
def test_a_garbled_cuda_line_is_no_cpu_build(
    env: Env, written: str, cuda: Known[str | None] | None
) -> None:
    machine, python, site = env
    package = put_package(site, "torch", "0", None)
    source = f"__version__ = '2.6.0+cpu'\npattern = '\\d'\ncuda = {written}\n"
    (package / "version.py").write_text(source)
    found = read_package(machine, python, "torch")
    assert found.version == Known("2.6.0+cpu")
    assert found.cuda == cuda or (cuda is None and isinstance(found.cuda, Unknown))


def test_a_huge_version_file_is_not_read_whole(env: Env) -> None:
    machine, python, site = env
    package = put_package(site, "torch", "0", None, record=False)
    (package / "version.py").write_text("__version__ = '2.6.0'\n#" + "x" * (4 << 20))
    assert read_package(machine, python, "torch").version == Known("2.6.0")


def test_nothing_is_imported(env: Env, tmp_path: Path) -> None:
    machine, python, site = env
    marker = tmp_path / "imported"
    bomb = f"open({str(marker)!r}, 'w').close(); raise SystemExit(9)\n"
    for name in ("torch", "torchvision", "torchaudio"):
        package = put_package(site, name, "2.6.0", "12.6", bomb)
        with (package / "version.py").open("a") as stream:
            stream.write(bomb)
        assert read_package(machine, python, name).version == Known("2.6.0")
    read_torch_binary(machine, python, read_package(machine, python, "torch"))
    assert not marker.exists() and "torchaudio" not in sys.modules


def test_tags() -> None:
    assert cuda_of_tag("cu130") == Known("13.0") and cuda_of_tag("cu118") == Known("11.8")
    assert cuda_of_tag("cpu") == Known(None)
    assert isinstance(cuda_of_tag("rocm6.4"), Unknown) and isinstance(cuda_of_tag(""), Unknown)


def test_records_elsewhere(env: Env, tmp_path: Path) -> None:
    machine, python, site = env
    assert not read_package(machine, python, "torch").present
    put_record(site, "torch", "2.14.1+cu130")
    half = read_package(machine, python, "torch")
    assert not half.present and half.version == Known("2.14.1+cu130") and half.cuda == Known("13.0")
    put_record(site, "torch", "2.6.0")
    put_record(site, "torchvision", "0.29.1")
    put_record(site, "torch_extra", "1.0")
    assert len(read_package(machine, python, "torch").distributions) == 2


def test_a_shadowed_copy_is_not_mixed_in(env: Env, tmp_path: Path) -> None:
    machine, python, site = env
    other = tmp_path / "other"
    put_package(site, "torch", "2.14.1+cu130", "13.0")
    put_package(other, "torch", "2.6.0+cpu", None)
    (site / "other.pth").write_text(f"{other}\n")
    python = read_interpreter(machine, python.path.real)
    found = read_package(machine, python, "torch")
    assert found.version == Known("2.14.1+cu130") and len(found.distributions) == 1


def test_conda_egg_info_and_editable_records(env: Env, tmp_path: Path) -> None:
    machine, python, site = env
    put_package(site, "torch", "2.5.1", "12.4", record=False)
    meta = tmp_path / "env" / "conda-meta"
    meta.mkdir()
    (meta / "pytorch-2.5.1-py3.11_cuda12.4_0.json").write_text("{}")
    assert read_package(machine, python, "torch").distributions[0].installer == "conda"
    (site / "torch-2.5.1-py3.11.egg-info").mkdir()
    assert read_package(machine, python, "torch").distributions[0].version == "2.5.1"
    folder = put_record(site, "torchvision", "0.20.0")
    (folder / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///x"}')
    assert read_package(machine, python, "torchvision").distributions[0].editable
    for text in ('{"dir_info": {"editable": false}, "url": "file:///true"}', "[]", "{", "[" * 9999):
        (folder / "direct_url.json").write_text(text)
        assert not read_package(machine, python, "torchvision").distributions[0].editable


def test_libraries_against_their_record(env: Env) -> None:
    machine, python, site = env
    package = put_package(site, "torch", "2.14.1+cu130", "13.0", record=False)
    (package / "lib").mkdir()
    (package / "lib" / "libc10.so").write_bytes(b"x" * 10)
    (package / "lib" / "libtorch_cpu.so").write_bytes(b"x" * 5)
    lines = (
        "torch/__init__.py,sha256=aa,3\r\n"
        "torch/lib/libc10.so,sha256=aa,10\r\n"
        "torch/lib/libtorch_cpu.so,sha256=aa,500\r\n"
        "torch/lib/libgone.so.12,sha256=aa,7\n"
        "torch/lib/notes.txt,sha256=aa,9\n"
        f"torch/lib/libgarbled.so,sha256=aa,{'9' * 6000}\n"
        "torch/_C.cpython-311-x86_64-linux-gnu.so,sha256=aa,1\n"
    )
    put_record(site, "torch", "2.14.1+cu130", lines)
    found = read_torch_binary(machine, python, read_package(machine, python, "torch"))
    assert [(d.name.rsplit("/")[-1], d.promised_bytes, d.found_bytes) for d in found.damaged] == [
        ("libtorch_cpu.so", 500, 5),
        ("libgone.so.12", 7, -1),
        ("_C.cpython-311-x86_64-linux-gnu.so", 1, -1),
    ]


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="compiles an ELF library")
def test_arch_list_in_a_compiled_library(env: Env) -> None:
    library = env[2] / "torch" / "lib" / "libtorch_python.so"
    filler = "".join(f'const char f{n}[] = "sm_{n} is not a list";' for n in range(50))
    compile_library(library, filler + f'const char flags[] = "{ARCHS}";')
    assert read_archs(library.parent) == Known(tuple(ARCHS.split()))
    compile_library(library, 'const char flags[] = "sm_120 compute_120";')
    assert read_archs(library.parent) == Known(("sm_120", "compute_120"))
    compile_library(library, "int nothing;")
    assert isinstance(read_archs(library.parent), Unknown)
    library.write_bytes(library.read_bytes()[:300])
    assert isinstance(read_archs(library.parent), Unknown)


def portable_executable(content: bytes) -> bytes:
    """The smallest PE file with one .rdata section."""
    start = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    header = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 0, 0)
    place = 0x40 + len(header) + 40
    row = struct.pack("<8sIIII", b".rdata", len(content), 0, len(content), place) + bytes(16)
    return start + header + row + content


@pytest.mark.parametrize("name", ["libtorch_cuda.so", "torch_cuda.dll"])
def test_without_the_list_the_code_itself_is_read(env: Env, name: str) -> None:
    machine, interpreter, site = env
    code = region(entry(SASS, 90), entry(SASS, 120), entry(PTX, 120))
    raw = pe([(b".nv_fatb", code)]) if name.endswith("dll") else elf([(".nv_fatbin", code)])
    put_package(site, "torch", "2.14.1+cu130", cuda="13.0")
    (site / "torch" / "lib").mkdir(parents=True, exist_ok=True)
    (site / "torch" / "lib" / name).write_bytes(raw)
    torch = read_package(machine, interpreter, "torch")
    found = read_torch_binary(machine, interpreter, torch).archs
    assert found == Known(("sm_90", "sm_120", "compute_120"))
    (site / "torch" / "lib" / name).write_bytes(raw[:40])
    assert isinstance(read_torch_binary(machine, interpreter, torch).archs, Unknown)


def test_arch_list_in_a_windows_library(tmp_path: Path) -> None:
    content = b"\0" * 40 + ARCHS.encode() + b"\0tail"
    (tmp_path / "torch_python.dll").write_bytes(portable_executable(content))
    assert read_archs(tmp_path) == Known(tuple(ARCHS.split()))


def test_a_list_across_two_pieces_is_found_whole(tmp_path: Path) -> None:
    for before in ((1 << 20) - 20, (1 << 20) - 1, 1 << 20):
        content = b"x" * (before - 1) + b"\0" + ARCHS.encode() + b"\0" + b"y" * 5000
        (tmp_path / "torch_python.dll").write_bytes(portable_executable(content))
        assert read_archs(tmp_path) == Known(tuple(ARCHS.split()))


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="compiles ELF libraries")
def test_cuda_libraries_that_cannot_be_found(env: Env, tmp_path: Path) -> None:
    machine, python, site = env
    put_package(site, "torch", "2.14.1+cu130", "13.0")
    stub = compile_library(tmp_path / "stub" / "libcublas.so.13", "int x;",
                           "-Wl,-soname,libcublas.so.13")  # fmt: skip
    compile_library(site / "torch" / "lib" / "libtorch_cuda.so", "int y;", "-Wl,--no-as-needed",
                    "-Wl,-rpath,$ORIGIN/../../nvidia/cu13/lib", str(stub))  # fmt: skip
    torch = read_package(machine, python, "torch")
    assert read_torch_binary(machine, python, torch).unresolved == ("libcublas.so.13",)
    cache = machine.at("/etc/ld.so.cache")
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"ld.so-1.7.0\0libcublas.so.130\0/opt/libcublas.so.130\0")
    assert read_torch_binary(machine, python, torch).unresolved == ("libcublas.so.13",)
    cache.write_bytes(b"ld.so-1.7.0\0libcublas.so.13\0/opt/libcublas.so.13\0")
    assert read_torch_binary(machine, python, torch).unresolved == ()
    cache.unlink()
    place = site / "nvidia" / "cu13" / "lib"
    place.mkdir(parents=True)
    (place / "libcublas.so.13").write_bytes(b"")
    assert read_torch_binary(machine, python, torch).unresolved == ()


@settings(max_examples=70, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"\x7fELF\2\1", b"MZ"]))
def test_arbitrary_files_are_refused_or_read(raw: bytes, start: bytes) -> None:
    import io

    try:
        found = binary.sections(io.BytesIO(start + raw))
    except binary.BinaryError:
        return
    for section in found:
        for piece in binary.pieces(io.BytesIO(start + raw), section, 10):
            assert len(piece) <= (1 << 20) + 10


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="compiles an ELF library")
def test_a_damaged_library_never_crashes_the_reader(tmp_path: Path) -> None:
    good = compile_library(tmp_path / "good.so", f'const char a[] = "{ARCHS}";').read_bytes()
    chance = random.Random(7)
    path = tmp_path / "libtorch_python.so"
    for _ in range(300):
        raw = bytearray(good[: chance.randrange(1, len(good))] if chance.random() < 0.5 else good)
        for _ in range(chance.randrange(1, 12)):
            raw[chance.randrange(min(len(raw), 4096))] = chance.randrange(256)
        path.write_bytes(raw)
        assert isinstance(read_archs(tmp_path), (Known, Unknown))
        try:
            binary.needs(path)
        except (binary.BinaryError, OSError):
            pass


def test_the_real_torch_of_this_interpreter() -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed in the test interpreter")
    from importlib.metadata import version

    machine = Outside.real()
    python = read_interpreter(machine, sys.executable)
    torch = read_package(machine, python, "torch")
    assert torch.present and isinstance(torch.version, Known)
    assert torch.version.value.partition("+")[0] == version("torch").partition("+")[0]
    found = read_torch_binary(machine, python, torch)
    assert found.damaged == () and found.unresolved == ()
    if torch.cuda == Known(None):
        assert isinstance(found.archs, Unknown)
