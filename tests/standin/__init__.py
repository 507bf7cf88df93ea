"""Driver libraries that stand in for NVIDIA's, compiled on the spot from a few lines of C.

The stand-in of NVML answers from a text file; nvml_standin.c describes its values. Keys:

    print, init, driver, cuda, count, name.PID
    gpu.N.  handle name uuid cc total reserved used free memory memory_v2 display mode model
            mig mig.max mig.K.uuid mig.K.total process graphics mps (the last three may repeat)
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

_SOURCE = Path(__file__).with_name("nvml_standin.c")
_LIBCUDA = {
    "loads": "int standin;",
    "crashes": "#include <signal.h>\n__attribute__((constructor)) static void f(void)"
    " { raise(SIGSEGV); }",
    "hangs": "#include <unistd.h>\n__attribute__((constructor)) static void f(void)"
    " { for (;;) sleep(1000); }",
}
_GPU = {
    "name": "NVIDIA GeForce RTX 5090",
    "cc": "12.0",
    "total": 34190917632,
    "reserved": 500000000,
    "used": 1000000000,
    "free": 32690917632,
    "display": 0,
    "mode": 0,
    "process": "none",
    "graphics": "none",
    "mps": "none",
}


def compiler() -> str:
    """The C compiler of this machine, "" when there is none."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), "")


def build_standin(folder: Path, old: bool = False) -> Path:
    """Compile libnvidia-ml.so.1 into the folder; old: as drivers before 510 were."""
    target = folder / "libnvidia-ml.so.1"
    _compile(target, _SOURCE.read_text(encoding="utf-8"), ("-DOLD",) if old else ())
    return target


def build_libcuda(folder: Path, behaviour: str) -> Path:
    """Compile a libcuda.so.1 that ``loads``, or ``crashes`` or ``hangs`` while it is loaded."""
    target = folder / "libcuda.so.1"
    _compile(target, _LIBCUDA[behaviour])
    return target


def gpu(index: int, **fields: object) -> list[str]:
    """The lines of one ordinary GPU; a field given as None is left out (NOT_SUPPORTED)."""
    merged = {**_GPU, "uuid": f"GPU-0000000{index:x}-aaaa-bbbb-cccc-dddddddddddd", **fields}
    return [f"gpu.{index}.{key}={value}" for key, value in merged.items() if value is not None]


def describe(folder: Path, lines: Iterable[str], *libraries: Path) -> dict[str, str]:
    """Write the answers into the folder; the environment in which the libraries give them.

    libraries: the folders of the compiled libraries. Without a ``count`` line, as many GPUs as
    the lines name. Without ``driver`` and ``cuda`` lines, a driver of CUDA 13.0.
    """
    told = list(lines)
    indices = {line.split(".")[1] for line in told if line.startswith("gpu.")}
    defaults = {"driver": "580.95.05", "cuda": "13000", "count": str(len(indices))}
    keys = {line.split("=", 1)[0] for line in told}
    told += [f"{key}={value}" for key, value in defaults.items() if key not in keys]
    answers = folder / "answers.txt"
    answers.write_text("\n".join(told) + "\n", encoding="utf-8")
    path = os.pathsep.join(str(library) for library in libraries)
    return {**os.environ, "LD_LIBRARY_PATH": path, "NVML_STANDIN": str(answers)}


def _compile(target: Path, source: str, options: tuple[str, ...] = ()) -> None:
    command = [compiler(), "-shared", "-fPIC", "-O1", "-Wall", *options]
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([*command, "-x", "c", "-", "-o", str(target)], input=source.encode(), check=True)
