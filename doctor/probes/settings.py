"""The environment variables that change how packages, downloads or memory behave: a closed list.

No other variable is looked at, and of those that may carry a secret only that they are set.
"""

from __future__ import annotations

import re

from klein_doctor.installation import Setting
from klein_doctor.model import Private
from klein_doctor.privacy import hub_token
from klein_doctor.probes.outside import Outside

_LONGEST = 300
_READ = 4096
_MOST_PATHS = 32

# name, and how its value is kept: ``text`` (a word or a number), ``path``, ``paths`` (a list of
# them), ``url`` (without user, password and query) or ``set`` (only that it is set).
ALLOWED: tuple[tuple[str, str], ...] = (
    ("HF_HOME", "path"),
    ("HF_HUB_CACHE", "path"),
    ("HF_ENDPOINT", "url"),
    ("HF_TOKEN", "set"),
    ("HUGGING_FACE_HUB_TOKEN", "set"),
    ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "text"),
    ("HF_HUB_OFFLINE", "text"),
    ("HF_HUB_DOWNLOAD_TIMEOUT", "text"),
    ("HF_HUB_ETAG_TIMEOUT", "text"),
    ("HF_HUB_DISABLE_XET", "text"),
    ("HF_XET_HIGH_PERFORMANCE", "text"),
    ("HF_HUB_ENABLE_HF_TRANSFER", "text"),
    ("TRANSFORMERS_OFFLINE", "text"),
    ("DIFFUSERS_ATTN_BACKEND", "text"),
    ("PYTORCH_CUDA_ALLOC_CONF", "text"),
    ("PYTORCH_ALLOC_CONF", "text"),
    ("PYTORCH_NO_CUDA_MEMORY_CACHING", "text"),
    ("CUDA_LAUNCH_BLOCKING", "text"),
    ("PYTHONPATH", "paths"),
    ("PYTHONHOME", "path"),
    ("PYTHONNOUSERSITE", "text"),
    ("PYTHONUSERBASE", "path"),
    ("LD_LIBRARY_PATH", "paths"),
    ("CUDA_HOME", "path"),
    ("CUDA_PATH", "path"),
    ("VIRTUAL_ENV", "path"),
    ("CONDA_PREFIX", "path"),
    ("PIP_CONSTRAINT", "path"),
    ("PIP_REQUIRE_VIRTUALENV", "text"),
    ("PIP_INDEX_URL", "set"),
    ("PIP_EXTRA_INDEX_URL", "set"),
    ("UV_CONSTRAINT", "path"),
    ("UV_INDEX_URL", "set"),
    ("HTTP_PROXY", "set"),
    ("HTTPS_PROXY", "set"),
    ("ALL_PROXY", "set"),
    ("NO_PROXY", "set"),
    ("http_proxy", "set"),
    ("https_proxy", "set"),
    ("all_proxy", "set"),
    ("no_proxy", "set"),
    ("REQUESTS_CA_BUNDLE", "path"),
    ("SSL_CERT_FILE", "path"),
    ("XDG_CACHE_HOME", "path"),
    ("TMPDIR", "path"),
    ("OMP_NUM_THREADS", "text"),
)
_SET = Private.plain("set")
_TOKEN = re.compile(hub_token(20))


def read_settings(outside: Outside) -> tuple[Setting, ...]:
    """The variables of the list that are set to something, in its order."""
    return tuple(
        Setting(name, _value(outside, outside.env[name][:_READ], how))
        for name, how in ALLOWED
        if outside.env.get(name)
    )


def without_secrets(url: str) -> str | None:
    """An address without user, password, query and fragment; None where that cannot be told."""
    scheme, found, rest = url.partition("://")
    if not found:
        scheme, rest = "", url
    head, at, tail = rest.rpartition("@")
    if at and re.search(r"[?#;]", head):  # a query with an @, or a password with a question mark
        return None
    bare = re.split(r"[?#;]", tail, maxsplit=1)[0]
    return f"{scheme}{found}{bare}" if re.fullmatch(r"[A-Za-z0-9+.-]*", scheme) else None


def _value(outside: Outside, text: str, how: str) -> Private:
    text = "".join(c for c in text if c.isprintable())
    if how == "set" or _TOKEN.search(text):
        return _SET
    if how == "url" or "://" in text:
        bare = without_secrets(text)
        return _cut(outside.redactor.text(bare)) if bare is not None else _SET
    if how == "text":
        return _SET if "@" in text else _cut(outside.redactor.text(text))
    if how == "path":
        return _cut(outside.redactor.path(text))
    mark = ";" if outside.windows else ":"
    paths = [outside.redactor.path(part) for part in text.split(mark)[:_MOST_PATHS]]
    return _cut(
        Private(
            mark.join(path.real for path in paths),
            mark.join(path.local for path in paths),
            mark.join(path.public for path in paths),
        )
    )


def _cut(value: Private) -> Private:
    """Cut after the twins are made: half a name would not be known as one."""
    return Private(value.real[:_LONGEST], value.local[:_LONGEST], value.public[:_LONGEST])
