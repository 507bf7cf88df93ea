"""Lines of a log as they may be shown: without tokens, user names and home folders.

The log may be anybody's, so names are told by where they stand, besides those of this machine.
"""

from __future__ import annotations

import re

from klein_doctor.privacy import Redactor, hub_token
from klein_doctor.values import Private, printable

LONGEST = 400

_TOKENS = re.compile(
    rf"(?!hf_transfer\b){hub_token(8)}"
    r"|\b(?:sk|ghp|gho|ghs|github_pat|glpat|xox[a-z]|civitai)[-_][A-Za-z0-9_-]{12,}"
    r"|\bA[KS]IA[0-9A-Z]{12,}"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{8,}|(?<=[?&]token=)[^\s&\"']{4,}"
    r"|\beyJ[A-Za-z0-9_-]{16,}(?:\.[A-Za-z0-9_-]{4,}){0,2}"
)
_SECRETS = re.compile(
    r"(?i)((?:api[_-]?key|token|password|passwd|secret|secret_access_key|authorization)"
    r"[\"']?\s?[=:]\s?[\"']?(?:basic )?|--[a-z-]{0,20}(?:token|key|password)\s{1,3}[\"']?"
    r"|[?&](?:x-amz-)?(?:signature|policy|credential|security-token)=)[^\s\"',;]{6,}"
)
_LOGIN = re.compile(r"(?<=://)[^\s/@]{1,200}@")
_ADDRESS = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}\b")
# user@host:~/folder$, as shells write before a command; not package@https://...
_PROMPT = re.compile(r"\b[\w.-]{1,32}@[\w.-]{1,63}(?=:(?:~|/(?!/)))")
_NOBODY = r"(?!(?:public|shared|user)(?:[\\/\"'\s]|$))"
_HOME = re.compile(rf"(?i)([\\/]home[\\/]{{1,4}}){_NOBODY}[^\\/\s\"'<>|:*?,;()\[\]]{{1,64}}")
# On Windows and macOS names have spaces: they end at the next separator, quote or end of line.
_OWNER = re.compile(
    r"(?i)([\\/](?:users|documents and settings)[\\/]{1,4})"
    rf"{_NOBODY}[^\\/\"'<>|:*?\n]{{1,64}}(?=[\\/\"'<>|:*?]|$)"
)


def without_tokens(text: str) -> str:
    """A text without what would let somebody in."""
    text = _TOKENS.sub("(token)", text)
    return _LOGIN.sub("", _SECRETS.sub(r"\1(left out)", text))


def shown(redactor: Redactor, text: str) -> Private:
    """A line with its twins; tokens are in none of them."""
    plain = printable(without_tokens(text).replace("\t", " "), LONGEST)
    hidden = _OWNER.sub(r"\1user", _HOME.sub(r"\1user", plain))
    hidden = _ADDRESS.sub("(address)", _PROMPT.sub("user@host", hidden))
    return Private(plain, redactor.text(plain).local, redactor.text(hidden).public)
