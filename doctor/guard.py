"""The guard of an environment: constraints that pip obeys, and the list ComfyUI-Manager skips.

pip reads ``<prefix>/pip.conf`` (``pip.ini`` on Windows) on every run in that environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from klein_doctor.constraining import MARK
from klein_doctor.editing.text import decoded, lines
from klein_doctor.environment import TRIO
from klein_doctor.installation import BLACKLIST, CONSTRAINTS
from klein_doctor.model import Facts, known
from klein_doctor.pip_conf import named, with_constraints
from klein_doctor.steps import StepFailed
from klein_doctor.transaction.records import installed
from klein_doctor.transaction.transaction import Transaction

_MOST = 1 << 20  # bytes; a configuration is never that long


def conf_name(facts: Facts) -> str:
    """What pip calls the configuration of an environment."""
    system = known(facts.system)
    return "pip.ini" if system is not None and system.os == "windows" else "pip.conf"


def content(pins: Iterable[str], conf: str) -> bytes:
    """The constraints file: who wrote it, why, how to be rid of it, and the pins."""
    head = (
        f"{MARK}, so that no package or custom node replaces PyTorch by another build.",
        "# pip keeps to it silently: a package that needs another PyTorch is refused.",
        "# To remove it: klein-doctor undo, or delete this file and the line naming it in",
        f"# {conf}, in this folder.",
    )
    return "".join(f"{line}\n" for line in (*head, *pins)).encode()


def recorded(site_packages: Iterable[str]) -> tuple[str, ...]:
    """torch and its partners as pip records them there now: ``torch==2.14.1+cu130``."""
    there = installed(Path(each) for each in site_packages)
    found = {one.name: one.version for one in reversed(there)}  # the first on the path counts
    return tuple(f"{name}=={found[name]}" for name in TRIO if name in found)


def repin(prefix: Path, pins: Sequence[str], conf: str, transaction: Transaction) -> bool:
    """Let a guard that is there name other versions; whether anything was written.

    Before torch is replaced: else pip would refuse the new one, and fetch the old one back later.
    """
    path = prefix / CONSTRAINTS
    if not path.is_file() or not path.read_bytes().startswith(MARK.encode()):
        return False
    data = content(pins, conf)
    if path.read_bytes() == data:
        return False
    transaction.edit(path, data)
    return True


def pin(
    prefix: Path,
    pins: Sequence[str],
    conf: str,
    transaction: Transaction,
    others: Sequence[str] = (),
) -> bool:
    """Write the constraints and name them in the environment's configuration.

    others: constraints that pip is told of elsewhere, which stay in force only if named here, too.

    Raises:
        StepFailed: the configuration cannot be read, or a file of that name is not ours.
    """
    path, told = prefix / CONSTRAINTS, prefix / conf
    if path.exists() and not _read(path).startswith(MARK.encode()):
        raise StepFailed(f"{path} was not written by klein-doctor; move it away first")
    before = _read(told) if told.exists() else None
    text = decoded(before or b"")
    try:
        after = text.bytes(with_constraints(text.text, [*others, named(path)]))
    except ValueError as error:
        raise StepFailed(f"{told} is no configuration pip can read: {error}") from error
    changed = repin(prefix, pins, conf, transaction)
    if not path.exists():
        transaction.create(path, content(pins, conf))
        changed = True
    if before is None:
        transaction.create(told, after)
    elif after != before:
        transaction.edit(told, after)
    return changed or after != before


def list_for_manager(folder: Path, transaction: Transaction) -> bool:
    """Put torch and its partners into the list of what ComfyUI-Manager never installs."""
    path = folder / BLACKLIST
    if not path.exists():
        transaction.create(path, "".join(f"{name}\n" for name in TRIO).encode())
        return True
    text = decoded(_read(path))
    there = {line.strip() for line in lines(text.text)}
    absent = [name for name in TRIO if name not in there]
    if not absent:
        return False
    end = "\r\n" if "\r\n" in text.text else "\n"
    start = "" if not text.text or text.text.endswith("\n") else end
    more = start + "".join(name + end for name in absent)
    transaction.edit(path, text.bytes(text.text + more))
    return True


def _read(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > _MOST:
        raise StepFailed(f"{path} is not the small file that belongs there")
    return path.read_bytes()
