"""Lines of a log as they may be shown: without tokens, user names and home folders.

The log may be anybody's, so names are told by where they stand, besides those of this machine.
"""

from __future__ import annotations

import re

from klein_doctor.privacy import Redactor, hub_token
from klein_doctor.values import Private, printable

LONGEST = 400

_TOKENS = re.compile(
    hub_token(8) + r"|\b(?:sk|ghp|gho|glpat|xox[bap]|civitai)[-_][A-Za-z0-9_-]{12,}"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}|(?<=[?&]token=)[^\s&\"']{4,}"
    r"|\beyJ[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]{4,}){0,2}"
)
_SECRETS = re.compile(
    r"(?i)((?:api[_-]?key|token|password|passwd|secret)\s?[=:]\s?[\"']?)[^\s\"',;]{6,}"
)
_LOGIN = re.compile(r"(?<=://)[^\s/@]{1,200}@")
_ADDRESS = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}\b")
# A name with spaces in it would be torn apart by the split into words.
_OWNER = re.compile(
    r"(?i)((?:\b[A-Z]:|/mnt/[a-z])?[\\/]{1,2}(?:users|home|documents and settings)[\\/]{1,2})"
    r"(?!(?:public|shared|user)\b)([^\\/\"'<>|:*?\n]{1,64})(?=[\\/])"
)


def without_tokens(text: str) -> str:
    """A text without what would let somebody in."""
    text = _TOKENS.sub("(token)", text)
    return _LOGIN.sub("", _SECRETS.sub(r"\1(left out)", text))


def shown(redactor: Redactor, text: str) -> Private:
    """A line with its twins; tokens are in none of them."""
    plain = printable(without_tokens(text).replace("\t", " "), LONGEST)
    hidden = _ADDRESS.sub("(address)", _OWNER.sub(r"\1user", plain))
    return Private(plain, redactor.text(plain).local, redactor.text(hidden).public)
