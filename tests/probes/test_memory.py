"""Memory read from trees that stand for machines: meminfo, swap areas, control groups."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.codec import decode, encode
from klein_doctor.model import Fact, Known, Unknown
from klein_doctor.privacy import Redactor
from klein_doctor.probes.memory import Memory, meminfo, read_memory, swaps, windows_memory
from klein_doctor.probes.outside import Outside

GIB = 1 << 30
MEMINFO = (
    "MemTotal:       32768000 kB\nMemFree:         1000000 kB\nMemAvailable:   20480000 kB\n"
    "Buffers:          100000 kB\nCached:         15000000 kB\nSwapTotal:       4096000 kB\n"
    "SwapFree:        3072000 kB\nShmem:            600000 kB\nHugePages_Total:       0\n"
)
HEADER = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
NO_LIMIT = "9223372036854771712\n"
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"


def machine(root: Path, files: dict[str, str], platform: str = "linux") -> Outside:
    for name, content in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return Outside(root, {}, platform, Redactor((), (), ()))


def read(root: Path, **files: str) -> Memory:
    """A Linux with the usual meminfo; files are given by their whole path."""
    found = read_memory(machine(root, {"/proc/meminfo": MEMINFO, **files}))
    assert isinstance(found, Known)
    return found.value


def group(folder: str, version: int, limit: object, used: int = 0, inactive: int = 0,
          active: int = 0) -> dict[str, str]:  # fmt: skip
    """The files of a control group."""
    if version == 2:
        names, prefix = ("memory.max", "memory.current"), ""
    else:
        names, prefix = ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_"
    stat = (
        f"anon 1\n{prefix}inactive_file {inactive}\n{prefix}active_file {active}\n"
        f"workingset_{prefix}active_file 99999999999\n{prefix}inactive_anon 77777777\n"
    )
    return {
        f"{folder}/{names[0]}": f"{limit}\n",
        f"{folder}/{names[1]}": f"{used}\n",
        f"{folder}/memory.stat": stat,
    }


def bounded(root: Path, mountinfo: str, cgroup: str, *trees: dict[str, str]) -> Memory:
    files = {"/proc/self/mountinfo": mountinfo, "/proc/self/cgroup": cgroup}
    for tree in trees:
        files.update(tree)
    return read(root, **files)


def limits(found: Memory) -> tuple[int | None, int | None, str]:
    return found.limit, found.limit_free, found.limited_by


# --- the machine's own -----------------------------------------------------------------------


def test_a_plain_machine(tmp_path: Path) -> None:
    found = read(tmp_path, **{"/proc/swaps": HEADER})
    assert found == Memory(
        32768000 << 10, 20480000 << 10, None, None, "", None, None, 0, 0, 0, 0
    )  # fmt: skip
    assert found.usable() == 20480000 << 10


def test_what_old_kernels_and_wsl_1_do_not_say_is_estimated(tmp_path: Path) -> None:
    text = MEMINFO.replace("MemAvailable", "MemSomething")
    found = read(tmp_path, **{"/proc/meminfo": text})
    assert found.available == (1000000 + 100000 + 15000000 - 600000) << 10
    # No /proc/swaps either: meminfo tells how much, not of what kind.
    assert (found.swap_total, found.swap_free, found.zram_total) == (
        4096000 << 10, 3072000 << 10, 0
    )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "MemTotal: 100 kB\n", "MemAvailable: 100 kB\n", "\0\xff", "MemTotal: 0 kB\n" * 9]
)
def test_without_figures_nothing_is_claimed(tmp_path: Path, text: str) -> None:
    found = read_memory(machine(tmp_path, {"/proc/meminfo": text}))
    assert isinstance(found, Unknown) and "meminfo" in found.reason


def test_compressed_swap_is_told_from_swap_on_disk(tmp_path: Path) -> None:
    table = HEADER + (
        "/dev/zram0                              partition\t8388604\t\t1048576\t\t100\n"
        "/dev/zram1 partition 1024 0 100\n"
        "/dev/nvme0n1p3                          partition\t2097148\t\t4\t\t-2\n"
        "/swap\\040file                           file\t\t1048572\t\t0\t\t-3\n"
        "/dev/zramify file 1024 1024 -4\nnonsense\n"
    )
    found = read(tmp_path, **{"/proc/swaps": table})
    assert (found.zram_total, found.zram_free) == ((8388604 + 1024) << 10, (7340028 + 1024) << 10)
    assert found.swap_total == (2097148 + 1048572 + 1024) << 10
    assert found.swap_free == (2097144 + 1048572) << 10


def test_wsl_has_half_the_host_and_a_swap_file(tmp_path: Path) -> None:
    """Its virtual machine's figures are the ones that count."""
    found = bounded(tmp_path, V2, "0::/init.scope\n", {
        "/proc/meminfo": "MemTotal:  7999996 kB\nMemAvailable: 7000000 kB\n",
        "/proc/swaps": HEADER + "/dev/sdb partition 2097152 0 -2\n",
        "/sys/fs/cgroup/init.scope/memory.max": "max\n",
    })  # fmt: skip
    assert (found.total, found.swap_total) == (7999996 << 10, 2 * GIB)
    assert limits(found) == (None, None, "")


# --- control groups --------------------------------------------------------------------------


def test_v2_file_cache_counts_as_free(tmp_path: Path) -> None:
    here = group("/sys/fs/cgroup/app.slice", 2, 8 * GIB, 7 * GIB, 2 * GIB, GIB)
    found = bounded(tmp_path, V2, "0::/app.slice\n", here)
    assert limits(found) == (8 * GIB, 4 * GIB, "cgroup v2")
    assert found.usable() == 4 * GIB


def test_v1_limit_and_usage(tmp_path: Path) -> None:
    here = group("/sys/fs/cgroup/memory/docker/abc", 1, 8 * GIB, 7 * GIB, 2 * GIB, GIB)
    found = bounded(tmp_path, V1, "4:cpu:/\n3:memory:/docker/abc\n", here)
    assert limits(found) == (8 * GIB, 4 * GIB, "cgroup v1")


@pytest.mark.parametrize("version", [1, 2])
def test_no_limit_in_any_of_its_spellings(tmp_path: Path, version: int) -> None:
    mount, line = (V1, "3:memory:/a\n") if version == 1 else (V2, "0::/a\n")
    folder = "/sys/fs/cgroup/memory/a" if version == 1 else "/sys/fs/cgroup/a"
    for number, word in enumerate((NO_LIMIT, "max", "-1", "", "0", "9" * 5000, 64 * GIB, "8G")):
        tree = group(folder, version, word, 1000)
        assert limits(bounded(tmp_path / str(number), mount, line, tree)) == (None, None, "")


def test_a_smaller_parent_wins(tmp_path: Path) -> None:
    base = "/sys/fs/cgroup/user.slice"
    found = bounded(
        tmp_path, V2, "0::/user.slice/user-1000.slice/app.scope\n",
        group(f"{base}/user-1000.slice/app.scope", 2, 16 * GIB, GIB),
        group(f"{base}/user-1000.slice", 2, "max", 2 * GIB),
        group(base, 2, 6 * GIB, 2 * GIB),
    )  # fmt: skip
    assert limits(found) == (6 * GIB, 4 * GIB, "cgroup v2")


def test_a_fuller_parent_leaves_less_than_the_smaller_child(tmp_path: Path) -> None:
    found = bounded(
        tmp_path, V2, "0::/pod/web\n",
        group("/sys/fs/cgroup/pod/web", 2, 4 * GIB, GIB),
        group("/sys/fs/cgroup/pod", 2, 12 * GIB, 11 * GIB),
    )  # fmt: skip
    assert limits(found) == (4 * GIB, GIB, "cgroup v2")


def test_a_group_beyond_its_limit_has_nothing_left(tmp_path: Path) -> None:
    here = group("/sys/fs/cgroup/a", 2, GIB, 3 * GIB)
    assert limits(bounded(tmp_path, V2, "0::/a\n", here)) == (GIB, 0, "cgroup v2")


def test_throttling_counts_as_a_limit(tmp_path: Path) -> None:
    here = group("/sys/fs/cgroup/a", 2, 8 * GIB, GIB)
    here["/sys/fs/cgroup/a/memory.high"] = f"{5 * GIB}\n"
    assert limits(bounded(tmp_path, V2, "0::/a\n", here)) == (5 * GIB, 4 * GIB, "cgroup v2")


def test_cache_that_exceeds_what_is_used_adds_no_room(tmp_path: Path) -> None:
    here = group("/sys/fs/cgroup/a", 2, GIB, 1000, 2000, 2000)
    assert limits(bounded(tmp_path, V2, "0::/a\n", here)) == (GIB, GIB, "cgroup v2")


@pytest.mark.parametrize(
    ("mountinfo", "cgroup", "folder"),
    [
        # A container with a namespace of its own sees itself as the root.
        (V2, "0::/\n", "/sys/fs/cgroup"),
        # Without one the group's host path is named, and is not there.
        (V2, "0::/system.slice/docker-0123.scope\n", "/sys/fs/cgroup"),
        (V1, "9:memory:/docker/0123\n", "/sys/fs/cgroup/memory"),
        # The mount may begin at the container's own group ...
        (
            V1.replace(" / ", " /docker/0123 ", 1),
            "9:memory:/docker/0123\n",
            "/sys/fs/cgroup/memory",
        ),
        # ... and the process may be in a group below that.
        (
            V1.replace(" / ", " /docker/0123 ", 1),
            "9:memory:/docker/0123/job\n",
            "/sys/fs/cgroup/memory/job",
        ),
        # A process outside the namespace it looks from.
        (V2, "0::/../other\n", "/sys/fs/cgroup"),
        (V2.replace(" / ", " /../.. ", 1), "0::/\n", "/sys/fs/cgroup"),
        # A mount elsewhere, with a space in its name.
        (V2.replace("/sys/fs/cgroup", "/my\\040groups"), "0::/a\n", "/my groups/a"),
        # Hybrid: the memory controller stays v1.
        (UNIFIED + V1, "3:memory:/a\n0::/a\n", "/sys/fs/cgroup/memory/a"),
        (UNIFIED, "1:name=systemd:/a\n0::/a\n", "/sys/fs/cgroup/unified/a"),
        # Several controllers on one mount.
        (
            "35 31 0:32 / /cg/cpu,memory rw - cgroup cgroup rw,cpu,memory\n",
            "3:cpu,memory:/x:y\n",
            "/cg/cpu,memory/x:y",
        ),
    ],
)
def test_where_the_group_is_found(tmp_path: Path, mountinfo: str, cgroup: str, folder: str) -> None:
    version = 1 if "memory" in folder else 2
    found = bounded(tmp_path, mountinfo, cgroup, group(folder, version, 3 * GIB, GIB))
    assert limits(found) == (3 * GIB, 2 * GIB, f"cgroup v{version}")


def test_in_a_hybrid_the_tighter_side_counts(tmp_path: Path) -> None:
    found = bounded(
        tmp_path, UNIFIED + V1, "3:memory:/a\n0::/a\n",
        group("/sys/fs/cgroup/memory/a", 1, 5 * GIB, 0),
        group("/sys/fs/cgroup/unified/a", 2, 4 * GIB, 0),
    )  # fmt: skip
    assert limits(found) == (4 * GIB, 4 * GIB, "cgroup v2")


def test_what_is_used_may_be_untold(tmp_path: Path) -> None:
    files = {"/sys/fs/cgroup/a/memory.max": f"{GIB}\n"}
    found = bounded(tmp_path, V2, "0::/a\n", files)
    assert limits(found) == (GIB, GIB, "cgroup v2")


def test_other_groups_and_controllers_do_not_count(tmp_path: Path) -> None:
    cpu = "35 31 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    found = bounded(
        tmp_path, cpu + V2, "3:cpu:/a\n0::/a\n",
        group("/sys/fs/cgroup/cpu/a", 1, GIB), group("/sys/fs/cgroup/b", 2, GIB),
        group("/sys/fs", 2, GIB),
    )  # fmt: skip
    assert limits(found) == (None, None, "")


def test_a_tree_of_loops_folders_and_pipes_is_survived(tmp_path: Path) -> None:
    outside = machine(
        tmp_path,
        {"/proc/meminfo": MEMINFO, "/proc/self/mountinfo": V2, "/proc/self/cgroup": "0::/a/b\n"},
    )
    here = tmp_path / "sys/fs/cgroup/a"
    (here / "b" / "memory.max").mkdir(parents=True)
    (here / "memory.max").symlink_to(here / "memory.max")
    (here.parent / "memory.max").write_bytes(b"\xff\0\xfe" * 1000)
    if hasattr(os, "mkfifo"):
        os.mkfifo(here / "b" / "memory.high")
        os.mkfifo(tmp_path / "proc" / "swaps")
    found = read_memory(outside)
    assert isinstance(found, Known) and limits(found.value) == (None, None, "")


# --- other systems ---------------------------------------------------------------------------


def test_windows_counts_what_it_can_promise() -> None:
    found = windows_memory(32 * GIB, 20 * GIB, 40 * GIB, 6 * GIB)
    assert (found.commit_limit, found.commit_free) == (40 * GIB, 6 * GIB)
    assert (found.swap_total, found.swap_free) == (8 * GIB, 6 * GIB)
    assert found.usable() == 6 * GIB and found.limit is None
    # Without a page file the commit limit may even be a little under RAM.
    assert windows_memory(32 * GIB, 20 * GIB, 31 * GIB, 19 * GIB).swap_total == 0


@pytest.mark.parametrize("platform", sorted({"win32", "darwin", "freebsd14"} - {sys.platform}))
def test_another_system_answers_for_itself_only(tmp_path: Path, platform: str) -> None:
    found: Fact[Memory] = read_memory(machine(tmp_path, {}, platform))
    assert isinstance(found, Unknown) and "runs on it" in found.reason


# --- anything at all -------------------------------------------------------------------------

FIGURES = st.integers(0, 1 << 70)
MEMINFO_LINES = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.builds(
            "{}:{}{} kB".format,
            st.sampled_from(["MemTotal", "MemAvailable", "MemFree", "Cached", "Shmem"]),
            st.sampled_from([" ", "        ", ""]),
            FIGURES,
        ),
    ),
    max_size=8,
)
CGROUP_LINES = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.builds(
            "{}:{}:{}".format,
            st.integers(0, 3),
            st.sampled_from(["", "memory", "cpu,memory"]),
            st.sampled_from(["/", "/a", "/a/b", "/../x", "a", "", "/a:b", "/\0"]),
        ),
    ),
    max_size=6,
)
MOUNT_LINES = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.builds(
            "1 2 0:3 {} {} rw - {} x rw,memory".format,
            st.sampled_from(["/", "/a", "/..", "x"]),
            st.sampled_from(["/cg", "/", "/cg\\040", "/c\\777", "cg"]),
            st.sampled_from(["cgroup2", "cgroup", "ext4"]),
        ),
    ),
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(MEMINFO_LINES, CGROUP_LINES, MOUNT_LINES, st.text(max_size=200), FIGURES, FIGURES)
def test_any_machine_gives_figures_a_report_can_hold(
    tmp_path_factory: pytest.TempPathFactory,
    meminfo_lines: list[str],
    cgroup_lines: list[str],
    mount_lines: list[str],
    table: str,
    limit: int,
    used: int,
) -> None:
    root = tmp_path_factory.mktemp("machine")
    outside = machine(
        root,
        {
            "/proc/self/cgroup": "\n".join(cgroup_lines),
            "/proc/self/mountinfo": "\n".join(mount_lines),
            **group("/cg", 2, limit, used),
            **group("/cg/a", 1, used, limit),
        },
    )
    (root / "proc/meminfo").write_bytes("\n".join(meminfo_lines).encode("utf-8", "replace"))
    (root / "proc/swaps").write_bytes((HEADER + table).encode("utf-8", "replace"))
    found = read_memory(outside)
    if isinstance(found, Known):
        memory = found.value
        assert 0 <= memory.usable() <= memory.available <= memory.total
        if memory.limit is not None:
            assert memory.limit_free is not None
            assert 0 <= memory.limit_free <= memory.limit <= memory.total
        assert decode(Memory, encode(memory, "public")) == memory


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_any_text_can_be_a_table(text: str) -> None:
    assert all(value >= 0 for value in meminfo(text).values())
    assert swaps(text) is None or text.startswith("Filename")
    found = swaps(HEADER + text)
    assert found is not None and found.free <= found.total and found.zram_free <= found.zram_total
