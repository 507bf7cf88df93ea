"""Samples the memory of a card, and of some processes with all they started; its own program.

Started as ``python -I sampling_child.py``. It asks the driver's query library alone, so that it
holds nothing on the card itself. Standard input: JSON lines, and its end ends the program:

    {"path": [...], "gpu": "GPU-...", "interval_s": 0.05}   first; gpu "" for no card
    {"root": 4711}                                          a process to count, with its children

Standard output: JSON lists, memory in MiB, -1 where nobody can tell:

    [at_s, used, free, mine, ram]   at_s: time.monotonic(). used, free: of the card. mine: what the
                                    driver says the processes hold of it
    ["why the card is not told of"]
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from typing import Any

_MIB = 1 << 20
# Where looking takes long (a process list, the tree of processes), look less often.
_SHARE = 50
_TREE_S = 0.5
_LONGEST = 256
_ALONE = ("RssAnon:", "RssShmem:")


class Card:
    """The card's memory."""

    def __init__(self, uuid: str) -> None:
        child = importlib.import_module("klein_doctor.probes.nvml_child")
        self._unread = child.Unread
        self._nvml = child.Binding(importlib.import_module("pynvml"))
        self._nvml.call("nvmlInit")
        self._handle = self._nvml.call("nvmlDeviceGetHandleByUUID", uuid)
        self._held: dict[int, object] | None = None
        self._next = 0.0

    def read(self, pids: set[int]) -> tuple[int, int, int]:
        """Used, free and what the pids hold, in MiB."""
        answer = self._nvml.memory(self._handle)
        used, free = (
            value // _MIB if isinstance(value := answer[key], int) else -1
            for key in ("used", "free")
        )
        now = time.monotonic()
        if now >= self._next:
            found = self._nvml.held(self._handle, ("Compute", "Graphics"))
            self._held = None if isinstance(found, self._unread) else found
            self._next = now + _SHARE * (time.monotonic() - now)
        return used, free, self._mine(pids)

    def _mine(self, pids: set[int]) -> int:
        if self._held is None:
            return -1
        mine = [held for pid, held in self._held.items() if pid in pids]
        if not all(isinstance(held, int) for held in mine):
            return -1
        return sum(held for held in mine if isinstance(held, int)) // _MIB


class Tree:
    """Processes with all they started, and their memory."""

    def __init__(self) -> None:
        self.roots: list[int] = []
        self._psutil: Any = importlib.import_module("psutil")
        self._processes: dict[int, Any] = {}
        self._known = 0
        self._next = 0.0

    @property
    def pids(self) -> set[int]:
        return set(self._processes)

    def read(self) -> int:
        """RAM in MiB that only giving up or swapping could free, -1 without a process to count.

        Anonymous and shared memory, pinned buffers with it; not the pages of mapped files, such as
        weights that are read straight from disk: the system drops those when it needs room.
        """
        now = time.monotonic()
        if now >= self._next or len(self.roots) != self._known:
            self._look()
            self._next = now + max(_TREE_S, _SHARE * (time.monotonic() - now))
        total = 0
        for pid, process in list(self._processes.items()):
            try:
                total += own_bytes(pid, process)
            except (OSError, ValueError, self._psutil.Error):
                del self._processes[pid]
        return total // _MIB if self.roots else -1

    def _look(self) -> None:
        found = {}
        self._known = len(self.roots)
        for root in self.roots[: self._known]:
            try:
                process = self._psutil.Process(root)
                for each in (process, *process.children(recursive=True)):
                    found[each.pid] = each
            except (OSError, self._psutil.Error):
                continue
        self._processes = found


def own_bytes(pid: int, process: Any) -> int:
    """Memory of one process that is not the pages of a mapped file."""
    if sys.platform == "linux":
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as stream:
            rows = [line.split() for line in stream if line.startswith(_ALONE)]
        if rows:
            return sum(int(row[1]) for row in rows) << 10
    info = process.memory_info()
    if hasattr(info, "private"):  # Windows: committed, of which some may lie in the page file
        return int(min(info.rss, info.private))
    return int(info.rss - getattr(info, "shared", 0))


def listen(tree: Tree) -> None:
    """Take in roots until whoever started us is gone."""
    try:
        for line in sys.stdin.buffer:
            tree.roots.append(int(json.loads(line)["root"]))
    finally:
        os._exit(0)


def say(line: list[object]) -> None:
    sys.stdout.buffer.write(json.dumps(line).encode("ascii") + b"\n")
    sys.stdout.buffer.flush()


def open_card(uuid: str) -> Card | None:
    """The card; None where it is not asked for or cannot be read, which is told."""
    try:
        return Card(uuid) if uuid else None
    except Exception as error:  # NVMLError, or no such module
        say([f"{type(error).__name__}: {error}"[:_LONGEST]])
        return None


def main() -> None:
    sys.dont_write_bytecode = True
    job = json.loads(sys.stdin.buffer.readline())
    sys.path += job["path"]
    card, tree = open_card(job["gpu"]), Tree()
    # Only now: on Windows no library may be loaded while a thread waits at standard input.
    threading.Thread(target=listen, args=(tree,), daemon=True).start()
    interval = float(job["interval_s"])
    while True:
        began = time.monotonic()
        ram = tree.read()
        used, free, mine = card.read(tree.pids) if card is not None else (-1, -1, -1)
        say([round(began, 3), used, free, mine, ram])
        time.sleep(max(0.0, began + interval - time.monotonic()))


if __name__ == "__main__":
    try:
        main()
    except (OSError, KeyboardInterrupt):  # nobody listens any more
        os._exit(0)
