"""File systems behind folders: the real ones here, and mount tables of other machines."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.codec import decode, encode
from klein_doctor.installation import Disk
from klein_doctor.model import Fact, Known, Unknown
from klein_doctor.privacy import Redactor
from klein_doctor.probes import disks
from klein_doctor.probes.disks import default_folders, mounts, read_disks
from klein_doctor.probes.outside import Outside

ROOT_MOUNT = "22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro\n"
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX paths and rights are needed")


def machine(root: Path, mountinfo: str = "", platform: str = "linux", **env: str) -> Outside:
    path = root / "proc/self/mountinfo"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(mountinfo, encoding="utf-8")
    return Outside(root, env, platform, Redactor((), (), ()))


def read(outside: Outside, *folders: tuple[str, Path]) -> tuple[Disk, ...]:
    found = read_disks(outside, folders)
    assert isinstance(found, Known)
    return found.value


def one(outside: Outside, folder: Path, role: str = "models") -> Disk:
    (found,) = read(outside, (role, folder))
    return found


# --- the file systems here -------------------------------------------------------------------


def test_a_real_folder(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    found = one(machine(tmp_path), folder)
    assert found.role == "models" and found.path.real == str(folder)
    assert found.volume == os.stat(folder).st_dev & ((1 << 63) - 1)
    assert isinstance(found.total, Known) and isinstance(found.free, Known)
    assert 0 < found.free.value <= found.total.value
    assert found.writable == Known(True)


def test_a_folder_that_is_not_there_yet_is_judged_by_what_is_above(tmp_path: Path) -> None:
    found = one(machine(tmp_path), tmp_path / "not" / "there" / "yet")
    assert found.path.real == os.path.realpath(tmp_path)
    assert isinstance(found.free, Known) and found.writable == Known(True)
    # The length is that of the folder that will be made.
    assert found.longest > len("/not/there/yet/")


def test_the_longest_path_counts_the_subfolder(tmp_path: Path) -> None:
    outside = Outside(Path("/"), {}, "linux", Redactor((), (), ()))
    folder = tmp_path / "models"
    expected = folder / "diffusion_models" / "flux-2-klein-4b-fp8.safetensors"
    assert one(outside, folder).longest == len(str(expected))
    cache = one(outside, folder, "hub-cache").longest
    assert cache > len(str(expected)) + 60  # the Hub's cache nests deeply
    temp = one(outside, folder, "temp").longest
    assert temp == len(str(folder / "flux-2-klein-4b-fp8.safetensors"))


def test_accents_in_a_path_are_told_even_behind_a_link(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    plain, accented = tmp_path / "plain", tmp_path / "Bilder für mich"
    plain.mkdir()
    accented.mkdir()
    assert one(outside, plain).ascii
    assert not one(outside, accented / "models").ascii
    link = tmp_path / "link"
    link.symlink_to(accented)
    found = one(outside, link)
    assert not found.ascii and found.path.real == str(link)
    back = accented / "link"
    back.symlink_to(plain)
    assert not one(outside, back).ascii


@POSIX
def test_odd_folders_are_survived(tmp_path: Path) -> None:
    outside = machine(tmp_path)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "gone" / "away")
    file = tmp_path / "file"
    file.write_text("")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    odd = [loop / "x", dangling, file, pipe / "x", tmp_path / "n\0l", Path("/" + "a/" * 9000)]
    odd += [tmp_path / ("x" * 300), Path("relative/nowhere"), Path(os.fsdecode(b"/tmp/\xff"))]
    found = read(outside, *(("models", path) for path in odd))
    assert len(found) == len(odd)
    for disk in found[:4]:
        assert disk.path.real == os.path.realpath(tmp_path) and isinstance(disk.free, Known)
    for disk in found[4:6]:
        assert isinstance(disk.free, Unknown) and isinstance(disk.writable, Unknown)
        assert disk.volume < 0
    assert found[4].volume != found[5].volume
    assert decode(tuple[Disk, ...], encode(found, "public"))


@POSIX
def test_rights(tmp_path: Path) -> None:
    assert sys.platform != "win32"
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o555)
    try:
        found = one(machine(tmp_path, ROOT_MOUNT), folder)
        assert found.writable == Known(os.geteuid() == 0)  # root may write all the same
    finally:
        folder.chmod(0o755)


@POSIX
def test_a_file_system_without_a_size_is_no_full_one() -> None:
    """What rclone mounts, and /proc here, answer with zeros."""
    if not Path("/proc/self").is_dir():
        pytest.skip("a /proc is needed")
    outside = Outside(Path("/"), {}, "linux", Redactor((), (), ()))
    found = one(outside, Path("/proc"))
    assert isinstance(found.total, Unknown) and isinstance(found.free, Unknown)
    assert found.kind == "proc"


@POSIX
def test_a_drive_that_hangs_costs_its_own_answer_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead network drive cannot be made here: the system call itself is held up instead."""
    release = threading.Event()
    true_statvfs = os.statvfs
    away = tmp_path / "mnt" / "nas"
    away.mkdir(parents=True)

    def statvfs(path: str) -> os.statvfs_result:
        if str(path) == os.path.realpath(away):
            release.wait(20)
        return true_statvfs(path)

    monkeypatch.setattr(os, "statvfs", statvfs)
    monkeypatch.setattr(disks, "LIMIT_S", 0.2)
    nas = "50 22 0:44 / /mnt/nas rw - nfs4 nas:/export rw,hard\n"
    try:
        hung, here = read(machine(tmp_path, ROOT_MOUNT + nas),
                          ("models", away), ("temp", tmp_path))  # fmt: skip
    finally:
        release.set()
    assert isinstance(hung.free, Unknown) and "no answer" in hung.free.reason
    assert (hung.kind, hung.path.real) == ("nfs4", str(away))
    assert isinstance(here.free, Known) and hung.volume != here.volume


def test_folders_without_end_are_bounded(tmp_path: Path) -> None:
    many = [("models", tmp_path / str(n)) for n in range(500)]
    assert 4 <= len(read(machine(tmp_path), *many)) <= 100


# --- mount tables ----------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize(
    ("table", "kind", "writable"),
    [
        (ROOT_MOUNT, "ext4", True),
        (ROOT_MOUNT + "30 22 0:40 / /data rw - btrfs /dev/sdb rw\n", "btrfs", True),
        (ROOT_MOUNT + "30 22 0:40 / /data/models ro - ext4 /dev/sdb rw\n", "ext4", False),
        # The file system is read-only, though the mount is not.
        (ROOT_MOUNT + "30 22 0:40 / /data rw - squashfs /dev/loop1 ro\n", "squashfs", False),
        # The last mounted on a point covers the one before.
        (
            ROOT_MOUNT
            + "30 22 0:40 / /data ro - iso9660 /dev/sr0 ro\n"
            + "31 30 0:41 / /data rw - xfs /dev/sdc rw\n",
            "xfs",
            True,
        ),
        # A longer point given first, a similar name, and a folder below.
        (
            "30 22 0:40 / /data rw - 9p C: rw\n" + ROOT_MOUNT
            + "31 22 0:41 / /data/mod rw - xfs x rw\n"
            + "32 22 0:42 / /data/models/vae rw - zfs x rw\n",
            "9p",
            True,
        ),
        ("", "", True),
    ],
)  # fmt: skip
def test_the_mount_a_folder_lies_on(tmp_path: Path, table: str, kind: str, writable: bool) -> None:
    folder = tmp_path / "data/models"
    folder.mkdir(parents=True)
    found = one(machine(tmp_path, table), folder)
    assert (found.kind, found.writable) == (kind, Known(writable))


@POSIX
def test_spaces_in_mounts_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "media" / "my disk" / "x"
    folder.mkdir(parents=True)
    table = ROOT_MOUNT + "30 22 8:17 / /media/my\\040disk rw - exfat /dev/sdb1 rw\n"
    assert one(machine(tmp_path, table), folder).kind == "exfat"


@POSIX
def test_subvolumes_of_one_btrfs_share_their_room(tmp_path: Path) -> None:
    table = (
        "22 1 0:31 /@ / rw - btrfs /dev/sda2 rw,subvol=/@\n"
        "30 22 0:31 /@home /home rw - btrfs /dev/sda2 rw,subvol=/@home\n"
        "31 22 8:1 / /boot rw - ext4 /dev/sda1 rw\n"
    )
    for name in ("home/x", "srv", "boot"):
        (tmp_path / name).mkdir(parents=True)
    home, srv, boot = read(machine(tmp_path, table), ("models", tmp_path / "home/x"),
                           ("temp", tmp_path / "srv"), ("state", tmp_path / "boot"))  # fmt: skip
    assert home.volume == srv.volume != boot.volume


def test_a_mount_table() -> None:
    (root, wsl) = mounts(
        ROOT_MOUNT
        + "junk\n\n1 2 3\n36 35 x:y / /n rw - ext4 d rw\n36 35 8:1 / /no-dash rw ext4 d rw\n"
        + "99 22 0:50 / /mnt/c rw,noatime - 9p C:\\134 rw,dirsync,aname=drvfs\n"
    )
    assert (root.root, root.point, root.kind, root.read_only) == ("/", "/", "ext4", False)
    assert (wsl.point, wsl.kind) == ("/mnt/c", "9p") and "aname=drvfs" in wsl.options


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from(["1", "8:2", "/", "/data", "rw", "ro", "-", "ext4", "\\040", "\\777",
                              "9" * 30 + ":1", "shared:1", "é", "\0", "\x85"]),
             max_size=12).map(" ".join),
), max_size=10))  # fmt: skip
def test_any_text_can_be_a_mount_table(lines: list[str]) -> None:
    found = mounts("\n".join(lines))
    assert len(found) <= len(lines)
    assert all(0 <= mount.device < 1 << 63 for mount in found)


# --- which folders ---------------------------------------------------------------------------


def places(platform: str = "linux", **env: str) -> dict[str, str]:
    outside = Outside(Path("/"), env, platform, Redactor((), (), ()))
    return {role: str(path) for role, path in default_folders(outside, [])}


@POSIX
def test_folders_by_default_and_as_set() -> None:
    assert places(HOME="/home/jane") == {
        "hub-cache": "/home/jane/.cache/huggingface/hub",
        "temp": "/tmp",
        "state": "/home/jane/.local/state/klein-doctor",
    }
    caches = [
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/c", "HF_HOME": "/h"}, "/h/hub"),
        ({"HF_HOME": "~/h"}, "/home/jane/h/hub"),
        ({"HF_HOME": "/h", "HF_HUB_CACHE": "/hub"}, "/hub"),
        ({"HF_HOME": "", "HF_HUB_CACHE": ""}, "/home/jane/.cache/huggingface/hub"),
    ]
    for env, expected in caches:
        assert places(HOME="/home/jane", **env)["hub-cache"] == expected
    found = places(XDG_STATE_HOME="/s", TMPDIR="/t", TMP="/other")
    assert found == {"temp": "/t", "state": "/s/klein-doctor"}
    assert places() == {"temp": "/tmp"}
    assert places(KLEIN_DOCTOR_STATE_DIR="/mine")["state"] == "/mine"
    found = places("darwin", HOME="/Users/jane")
    assert found["state"] == "/Users/jane/Library/Application Support/klein-doctor"


def test_folders_on_windows() -> None:
    found = places("win32", USERPROFILE="U", LOCALAPPDATA="L", TEMP="T", HOME="/msys/home")
    assert found["temp"] == "T"
    assert Path(found["state"]) == Path("L") / "klein-doctor"
    assert Path(found["hub-cache"]) == Path("U", ".cache", "huggingface", "hub")
    found = places("win32", USERPROFILE="U")
    assert Path(found["temp"]) == Path("U", "AppData", "Local", "Temp")
    assert Path(found["state"]) == Path("U", "AppData", "Local", "klein-doctor")


def test_models_come_first_and_once(tmp_path: Path) -> None:
    outside = machine(tmp_path, HOME="/home/jane")
    one_folder, other = tmp_path / "a", tmp_path / "b"
    found = default_folders(outside, [one_folder, other, one_folder])
    assert found[:2] == [("models", one_folder), ("models", other)]
    # What the environment names is a path of the machine.
    assert dict(found)["temp"] == tmp_path / "tmp"
    result: Fact[tuple[Disk, ...]] = read_disks(outside, found)
    assert isinstance(result, Known)
    assert [disk.role for disk in result.value] == ["models", "models", "hub-cache", "temp",
                                                    "state"]  # fmt: skip
