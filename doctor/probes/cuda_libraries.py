"""Whether the CUDA libraries that torch asks for can be found where the loader will look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from klein_doctor.model import Interpreter
from klein_doctor.probes import binary
from klein_doctor.probes.outside import Outside, is_file, names

# The libraries that come with CUDA itself; the driver's own (libcuda) is NVML's business.
_CUDA = re.compile(
    r"lib(cudart|cublas|cublasLt|cudnn|cufft|curand|cusolver|cusparse|cusparseLt|nccl|nvrtc"
    r"|nvJitLink|cupti|nvshmem_host|cufile)\.so\.\d+"
    r"|lib(torch|c10)\w*\.so"
)
_ASKING = ("libtorch_cuda.so", "libc10_cuda.so", "libtorch_cuda_linalg.so", "libtorch_python.so")


def unresolved(outside: Outside, site: Path, interpreter: Interpreter) -> list[str]:
    """CUDA libraries that torch's own libraries need and that no searched folder holds."""
    asking = [site / "torch" / "lib" / name for name in _ASKING]
    return absent(outside, site, interpreter, asking)


def absent(
    outside: Outside, site: Path, interpreter: Interpreter, asking: Sequence[Path]
) -> list[str]:
    """CUDA's and torch's libraries that these ELF files need and that no searched folder holds.

    Args:
        site: the folder that holds torch.
    """
    if outside.platform != "linux":
        return []
    wanted: dict[str, list[Path]] = {}
    for path in asking:
        try:
            needs = binary.needs(path)
        except (binary.BinaryError, OSError):
            continue
        folders = [
            Path(folder.replace("$ORIGIN", str(path.parent)).replace("${ORIGIN}", str(path.parent)))
            for folder in needs.folders
        ]
        for library in needs.libraries:
            if _CUDA.fullmatch(library):
                wanted.setdefault(library, []).extend(folders)
    if not wanted:
        return []
    common = _common_folders(outside, site, interpreter)
    cache = _loader_cache(outside)
    return [
        library
        for library, folders in sorted(wanted.items())
        if library.encode() + b"\0" not in cache
        and not any(is_file(folder / library) for folder in dict.fromkeys(folders + common))
    ]


def _common_folders(outside: Outside, site: Path, interpreter: Interpreter) -> list[Path]:
    """Where else torch or the loader would find them: wheels, conda, toolkits, LD_LIBRARY_PATH."""
    folders = [site / "torch" / "lib", Path(interpreter.prefix.real) / "lib"]
    for place in interpreter.site_packages:
        nvidia = Path(place.real) / "nvidia"
        folders += [nvidia / name / "lib" for name in names(nvidia)]
    folders += [Path(p) for p in outside.env.get("LD_LIBRARY_PATH", "").split(":") if p]
    folders += [
        outside.at(f"/usr/local/{name}/lib64")
        for name in outside.names("/usr/local")
        if name.startswith("cuda")
    ]
    folders += [
        outside.at(path)
        for path in (
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib64",
            "/usr/lib/aarch64-linux-gnu",
            "/usr/lib",
        )
    ]
    return folders


def _loader_cache(outside: Outside) -> bytes:
    try:
        with outside.at("/etc/ld.so.cache").open("rb") as stream:
            return stream.read(8 << 20)
    except OSError:
        return b""
