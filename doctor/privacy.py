"""Public twins of texts that may identify somebody, decided where a fact is read.

Replacement works on whole path segments and whole words, never inside one: a user called
``cuda`` must not turn ``cuda_version`` into something else.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping

from klein_doctor.model import Private

# A segment equal to the user's name identifies nobody if it is a word of the trade; below a
# folder of homes it is replaced all the same.
_COMMON = frozenset(
    """
    admin apps bin cache comfy comfyui conda cuda data default dev diffusers envs etc home include
    lib lib64 local media miniconda3 mnt models nvidia opt program programs python root run scripts
    share shared site-packages srv system tmp torch torchaudio torchvision ubuntu user users usr var
    venv .venv work workspace
    """.split()
)
_HOMES = frozenset({"home", "users", "documents and settings"})
# Bounded, because the texts come from strangers.
_SIGNED = re.compile(r"(https?://[^\s?'\"]{1,2000})\?[^\s'\"]*")
_USERINFO = re.compile(r"(\w{1,20}://)[^/\s@]+@")
_SEPARATORS = re.compile(r"([\\/]+)")
_BREAKS = re.compile(r"(\s+|[\"'`<>|,;()\[\]{}=@!?*&#]+)")
_FOLDERS = re.compile(r"(?<!\w)(?:[A-Za-z]:)?[\\/](?:[^\\/:\n\"']+[\\/])+")
_IDENTIFIER = re.compile(r"\s*(?:GPU-|MIG-|[0-9a-f]{8}-)", re.IGNORECASE)


def hub_token(fewest: int) -> str:
    """The pattern of a Hub token of so many signs or more.

    To withhold one a piece is enough; to warn of one it should hardly be anything else.
    """
    return f"hf_[A-Za-z0-9]{{{fewest},}}"


def without_signature(text: str) -> str:
    """A message without what is secret in addresses: their queries, and users' names in them."""
    return _USERINFO.sub(r"\1", _SIGNED.sub(r"\1", text))


def without_folders(text: str) -> str:
    """A library's message without the folders in it, which can name people."""
    return _FOLDERS.sub("", text)


class Redactor:
    """Knows who runs the doctor; gives stable pseudonyms to other names it meets.

    Args:
        users: account names of the running user. homes: that user's home folders.
        hosts: names of this machine.
    """

    def __init__(self, users: tuple[str, ...], homes: tuple[str, ...], hosts: tuple[str, ...]):
        self._users = {name.casefold() for name in users if name}
        self._hosts = {name.casefold() for name in hosts if name}
        self._homes = sorted(
            (_parts(home) for home in homes if len(_parts(home)) > 1), key=len, reverse=True
        )
        self._home_patterns = [_home_pattern(home) for home in self._homes]
        # Names with a space in them would be torn apart by the split into words.
        self._long = [
            (_name_pattern(name), twin)
            for names, twin in ((users, "user"), (hosts, "host"))
            for name in sorted(set(names), key=len, reverse=True)
            if name.strip() and len(_BREAKS.split(name)) > 1
        ]
        self._others: dict[str, str] = {}
        self._uuids: dict[str, str] = {}

    @classmethod
    def of_this_machine(cls, env: Mapping[str, str]) -> Redactor:
        """Read the names from the environment and the account database."""
        users = [env.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")]
        homes = [env.get(name, "") for name in ("HOME", "USERPROFILE")]
        hosts = [env.get("COMPUTERNAME", ""), env.get("HOSTNAME", "")]
        name, folder = _account()
        users.append(name)
        homes.append(folder)
        if hasattr(os, "uname"):
            hosts.append(os.uname().nodename)
        homes += [os.path.realpath(home) for home in homes if home]
        short = [host.split(".", 1)[0] for host in hosts]
        return cls(tuple(users), tuple(homes), (*hosts, *short))

    def path(self, text: str) -> Private:
        """Twins of one path of any platform."""
        parts = _parts(text)
        head, rest = "", parts
        for home in self._homes:
            if _same(parts[: len(home)], home):
                head, rest = "~", parts[len(home) :]
                break
        local = head + "".join(rest)
        return Private(text, local, head + "".join(self._segments(rest)))

    def text(self, text: str) -> Private:
        """Twins of a message in which paths, users and hosts may be quoted."""
        local = text
        for pattern in self._home_patterns:
            local = pattern.sub("~", local)
        public = local
        for pattern, twin in self._long:
            public = pattern.sub(twin, public)
        return Private(text, local, "".join(self._word(piece) for piece in _BREAKS.split(public)))

    def uuid(self, text: str) -> Private:
        """Twins of a hardware identifier: the kind stays, the number becomes a counter."""
        if not text:
            return Private.plain(text)
        kind = text[:3].upper() if _IDENTIFIER.match(text) and text[3:4] == "-" else "ID"
        public = self._uuids.setdefault(text.casefold(), f"{kind}-{len(self._uuids) + 1}")
        return Private(text, text, public)

    def devices(self, text: str) -> Private:
        """Twins of a device list such as ``0,GPU-1f2e...``: indices stay, identifiers do not."""
        public = [
            self.uuid(part.strip()).public if _IDENTIFIER.match(part) else part
            for part in text.split(",")
        ]
        return Private(text, text, self.text(",".join(public)).public)

    def _segments(self, parts: list[str]) -> list[str]:
        found, owner = [], -1  # where the next user's name stands: one below a folder of homes
        for place, part in enumerate(parts):
            if _SEPARATORS.fullmatch(part):
                found.append(part)
                continue
            found.append(self._segment(part, place == owner))
            if place != owner and part.casefold() in _HOMES:
                owner = place + 2
        return found

    def _segment(self, part: str, below_homes: bool) -> str:
        folded = part.casefold()
        if below_homes and folded not in ("shared", "public"):
            return "user" if folded in self._users else self._other(folded)
        if folded in self._users and folded not in _COMMON:
            return "user"
        return "".join(self._name(piece) for piece in re.split(r"(:+)", part))

    def _other(self, folded: str) -> str:
        return self._others.setdefault(folded, f"user-{len(self._others) + 1}")

    def _word(self, piece: str) -> str:
        if _is_path(piece):
            return self.path(piece).public
        return "".join(self._name(part) for part in re.split(r"(:+)", piece))

    def _name(self, part: str) -> str:
        core = part.strip(".")
        folded = core.casefold()
        if not folded or folded in _COMMON:
            return part
        if folded in self._users:
            return part.replace(core, "user")
        return part.replace(core, "host") if folded in self._hosts else part


def _account() -> tuple[str, str]:
    """The running user's name and home in the account database, empty where it has no entry."""
    if sys.platform == "win32":
        return "", ""
    import pwd

    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return "", ""
    return entry.pw_name, entry.pw_dir


def _parts(text: str) -> list[str]:
    return [part for part in _SEPARATORS.split(text.rstrip("\\/") or text) if part]


def _same(left: list[str], right: list[str]) -> bool:
    def key(parts: list[str]) -> list[str]:
        return ["/" if _SEPARATORS.fullmatch(part) else part.casefold() for part in parts]

    return len(left) == len(right) and key(left) == key(right)


def _home_pattern(parts: list[str]) -> re.Pattern[str]:
    """The home folder in running text, ended by a separator, a space or punctuation."""
    body = "".join(r"[\\/]+" if _SEPARATORS.fullmatch(part) else re.escape(part) for part in parts)
    return re.compile(rf"(?<![\w\\/.-]){body}(?![\w.-])", re.IGNORECASE)


def _name_pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.IGNORECASE)


def _is_path(piece: str) -> bool:
    return "/" in piece or "\\" in piece
