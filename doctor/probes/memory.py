"""System memory as a new process may use it: RAM, control groups, swap, Windows' commit limit."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

from klein_doctor.installation import Memory
from klein_doctor.model import Fact, Known, Unknown
from klein_doctor.probes.disks import Mount, mounts
from klein_doctor.probes.outside import Outside, read_text

_DEEPEST = 64
_MOST_MOUNTS = 16
_MOST_AREAS = 100
_SMALL = 65536
# By version: the files of a group's limits and of what it uses, and how memory.stat says that its
# subgroups are counted in.
_FILES = {
    1: (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_"),
    2: (("memory.max", "memory.high"), "memory.current", ""),
}
_FOREIGN = Unknown("this machine can only be asked from a program that runs on it")


class _Swap(NamedTuple):
    """Bytes of swap in all and free: on disk, and compressed in RAM (zram)."""

    total: int
    free: int
    zram_total: int
    zram_free: int


class _Limit(NamedTuple):
    """What control groups leave: the smallest limit, and the least room below any of them."""

    limit: int
    free: int
    by: str


def read_memory(outside: Outside) -> Fact[Memory]:
    """The machine's memory, and what is put in the way of using it; Unknown where none tells."""
    if outside.platform == "linux":
        return _linux(outside)
    if outside.platform != sys.platform:
        return _FOREIGN
    if outside.windows:
        figures = _windows_figures()
        if figures is None:
            return Unknown("Windows did not tell how much memory there is")
        return Known(windows_memory(*figures))
    return _elsewhere()


def windows_memory(total: int, available: int, commit_limit: int, commit_free: int) -> Memory:
    """Memory from the four figures of GlobalMemoryStatusEx, in bytes.

    The page file is what the commit limit adds to RAM; how much of it is written to is not told,
    so its free part is at most what can still be promised.
    """
    swap = max(0, commit_limit - total)
    return Memory(
        total=total,
        available=available,
        limit=None,
        limit_free=None,
        limited_by="",
        commit_limit=commit_limit,
        commit_free=commit_free,
        swap_total=swap,
        swap_free=min(swap, commit_free),
        zram_total=0,
        zram_free=0,
    )


# --- Linux -----------------------------------------------------------------------------------


def _linux(outside: Outside) -> Fact[Memory]:
    figures = meminfo(outside.text("/proc/meminfo"))
    total = figures.get("MemTotal", 0)
    available = _available(figures)
    if total <= 0 or available is None:
        return Unknown("/proc/meminfo does not tell how much memory there is")
    swap = swaps(outside.text("/proc/swaps"))
    if swap is None:
        swap = _Swap(figures.get("SwapTotal", 0), figures.get("SwapFree", 0), 0, 0)
    limit = _limit(outside, total)
    return Known(
        Memory(
            total=total,
            available=min(available, total),
            limit=limit.limit if limit is not None else None,
            limit_free=limit.free if limit is not None else None,
            limited_by=limit.by if limit is not None else "",
            commit_limit=None,
            commit_free=None,
            swap_total=swap.total,
            swap_free=swap.free,
            zram_total=swap.zram_total,
            zram_free=swap.zram_free,
        )
    )


def meminfo(text: str) -> dict[str, int]:
    """The figures of /proc/meminfo in bytes."""
    found = re.findall(r"^(\w+):[ \t]*([0-9]{1,13}) kB[ \t]*$", text, re.MULTILINE | re.ASCII)
    return {name: int(kib) << 10 for name, kib in found}


def swaps(text: str) -> _Swap | None:
    """The swap areas of /proc/swaps, summed; None when the text is no such table."""
    header, *lines = text.split("\n")
    if not header.startswith("Filename"):
        return None
    sums = {False: [0, 0], True: [0, 0]}
    for line in lines[:_MOST_AREAS]:
        found = re.fullmatch(r"(\S+)\s+(\S+)\s+([0-9]{1,13})\s+([0-9]{1,13})(?:\s+.*)?", line)
        if found:
            size, used = int(found.group(3)) << 10, int(found.group(4)) << 10
            one = sums[re.match(r"/(?:dev/)?zram[0-9]", found.group(1)) is not None]
            one[0] += size
            one[1] += max(0, size - used)
    return _Swap(*sums[False], *sums[True])


def _available(figures: dict[str, int]) -> int | None:
    if "MemAvailable" in figures:
        return figures["MemAvailable"]
    if "MemFree" not in figures:
        return None
    # WSL 1 and kernels before 3.14: the file cache can be given up, shared memory cannot.
    cache = figures.get("Buffers", 0) + figures.get("Cached", 0) - figures.get("Shmem", 0)
    return figures["MemFree"] + max(0, cache)


# --- control groups --------------------------------------------------------------------------


def _limit(outside: Outside, total: int) -> _Limit | None:
    """The bounds of all the groups this process is in, from its own up to the mount's root."""
    table = [m for m in mounts(outside.text("/proc/self/mountinfo")) if _bounds_memory(m)]
    found = [
        bound
        for version, path in groups(outside.text("/proc/self/cgroup"))
        for mount in table[:_MOST_MOUNTS]
        if mount.kind == ("cgroup2" if version == 2 else "cgroup")
        for folder in _upwards(mount, path)
        if (bound := _bound(outside, folder, version, total)) is not None
    ]
    if not found:
        return None
    # A wider group may be fuller than a narrow one: the least room counts, whoever leaves it.
    smallest = min(found, key=lambda bound: bound.limit)
    return smallest._replace(free=min(bound.free for bound in found))


def groups(text: str) -> list[tuple[int, str]]:
    """The groups of /proc/self/cgroup that can bound memory, as (version, path), one of each."""
    found: dict[int, str] = {}
    for line in text.split("\n"):
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not path.startswith("/"):
            continue
        if number == "0" and not controllers:
            found.setdefault(2, path)
        elif "memory" in controllers.split(","):
            found.setdefault(1, path)
    return sorted(found.items())


def _bounds_memory(mount: Mount) -> bool:
    return mount.kind == "cgroup2" or (mount.kind == "cgroup" and "memory" in mount.options)


def _upwards(mount: Mount, path: str) -> list[str]:
    """The folders of a group and of those above it, as far as the mount shows them."""
    root = mount.root.rstrip("/")
    inside = path == root or path.startswith(root + "/")
    names = [name for name in path[len(root) :].split("/") if name] if inside else []
    if ".." in names:  # a group outside this namespace: only the mount's own root is known
        names = []
    names = names[:_DEEPEST]
    point = mount.point.rstrip("/")
    return ["/".join((point, *names[:depth])) for depth in range(len(names), -1, -1)]


def _bound(outside: Outside, folder: str, version: int, total: int) -> _Limit | None:
    """What one group allows. memory.high counts like memory.max: beyond it all but stands still."""

    def value(name: str) -> int | None:
        text = read_text(outside.at(f"{folder}/{name}"), _SMALL).strip()
        return int(text) if re.fullmatch(r"[0-9]{1,20}", text) else None

    names, used, prefix = _FILES[version]
    # No limit is written as "max", or as a number beyond any memory (9223372036854771712).
    real = [limit for name in names if (limit := value(name)) is not None and 0 < limit <= total]
    if not real:
        return None
    limit = min(real)
    current = value(used)
    if current is None:
        return _Limit(limit, limit, f"cgroup v{version}")
    cache = _file_cache(read_text(outside.at(f"{folder}/memory.stat"), _SMALL), prefix)
    free = limit - max(0, current - cache)
    return _Limit(limit, max(0, free), f"cgroup v{version}")


def _file_cache(text: str, prefix: str) -> int:
    """Bytes of cached files, which the kernel gives up before it ends a process."""
    names = "|".join((f"{prefix}inactive_file", f"{prefix}active_file"))
    return sum(int(n) for n in re.findall(rf"^(?:{names}) ([0-9]{{1,18}})$", text, re.MULTILINE))


# --- other systems ---------------------------------------------------------------------------


def _windows_figures() -> tuple[int, int, int, int] | None:
    """RAM in all and available, commit limit and what is left of it; None where it fails."""
    if sys.platform != "win32":
        return None
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            ("total", ctypes.c_uint64),
            ("available", ctypes.c_uint64),
            ("commit_limit", ctypes.c_uint64),
            ("commit_free", ctypes.c_uint64),
            ("virtual_total", ctypes.c_uint64),
            ("virtual_available", ctypes.c_uint64),
            ("extended", ctypes.c_uint64),
        )

    status = Status()
    status.length = ctypes.sizeof(status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return status.total, status.available, status.commit_limit, status.commit_free


def _elsewhere() -> Fact[Memory]:
    """What psutil tells on macOS and the like."""
    try:
        import psutil

        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    except Exception:  # whatever it is, without figures there is nothing to judge
        return Unknown("this system did not tell how much memory there is")
    return Known(
        Memory(
            total=int(memory.total),
            available=int(memory.available),
            limit=None,
            limit_free=None,
            limited_by="",
            commit_limit=None,
            commit_free=None,
            swap_total=int(swap.total),
            swap_free=int(swap.free),
            zram_total=0,
            zram_free=0,
        )
    )
