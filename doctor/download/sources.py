"""Where files come from: the Hub through huggingface_hub's public functions, or a plain mirror.

The one module that imports huggingface_hub (1.x with httpx, 2.x with httpx2). Its own download loop
is not used: it compares byte counts only, does not resume across runs and deletes the old file
first (2.4.0, file_download.py).
"""

from __future__ import annotations

import contextlib
import email.utils
import os
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from packaging.version import Version

from klein_doctor import __version__
from klein_doctor.download.faults import (
    DownloadError,
    Stopped,
    of_error,
    of_refusal,
    of_setting,
)
from klein_doctor.exits import UsageError
from klein_doctor.probes.settings import without_secrets
from klein_doctor.recipe_downloads import Asset
from klein_doctor.recipe_hub import load_hub

FIRST_CLIENT = "1.0"
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class Stream(NamedTuple):
    """An answer that brings the file. start: where its bytes belong."""

    start: int
    blocks: Iterator[bytes]


class Source(Protocol):
    """A place a file can be had from; host: how to call it."""

    host: str

    def check(self, asset: Asset) -> None:
        """Ask what it has under this name, before the first byte.

        Raises:
            DownloadError: it has something else, nothing, or does not answer.
        """

    def open(self, asset: Asset, start: int) -> contextlib.AbstractContextManager[Stream]:
        """The file from start on, or from wherever the server begins.

        Raises:
            DownloadError: as check.
        """


def require_client() -> None:
    """Downloads need huggingface_hub 1.0 or newer.

    Raises:
        UsageError: an older one is installed, or none that can be imported.
    """
    rules = load_hub()
    for row in rules.settings:
        if row.when == "no-number" and rules.speaks(row, os.environ.get(row.name, "0")):
            why = "huggingface_hub does not start with it"
            raise UsageError(f"{row.title}: {why}; unset it, or give a number of seconds")
    try:
        import huggingface_hub
        from huggingface_hub import constants  # noqa: F401 - the settings are read here

        version = huggingface_hub.__version__
    except Exception as error:  # what a half-broken environment raises is not foreseeable
        raise UsageError(
            f"huggingface_hub cannot be imported ({type(error).__name__}); reinstall klein-doctor "
            "in an environment of its own, for example with pipx"
        ) from error
    if Version(version) < Version(FIRST_CLIENT):
        raise UsageError(
            f"downloads need huggingface_hub {FIRST_CLIENT} or newer; here is {version}. Install "
            "klein-doctor in an environment of its own, for example with pipx, so that the one "
            "your other programs need can stay"
        )


class _Web:
    """Requests through the client's session: its proxies, certificates and offline switch."""

    def __init__(self, address: str, read_s: float, token: str | None = None) -> None:
        self.address = address.rstrip("/")
        self.host = _host(self.address)
        self.read_s = read_s
        self.token = token

    @contextlib.contextmanager
    def faults(self, what: str) -> Iterator[None]:
        """Errors of the libraries as DownloadError. what: how to call the file."""
        try:
            yield
        except (DownloadError, Stopped):
            raise
        except Exception as error:
            response = getattr(error, "response", None)
            if response is not None:
                raise self.refusal(response, what) from error
            fault = of_error(error, _asked(error) or self.host, self.read_s)
            if fault is None:
                raise
            raise fault from error

    @contextlib.contextmanager
    def opening(self, what: str) -> Iterator[None]:
        """As faults; before an answer is there, what is not known comes of the settings."""
        try:
            with self.faults(what):
                yield
        except (DownloadError, Stopped):
            raise
        except Exception as error:
            raise of_setting(error, self.host) from error

    def refusal(self, response: Any, what: str) -> DownloadError:
        """The fault behind an answer that is none."""
        code = response.headers.get("X-Error-Code", "")
        wait = retry_after(response.headers.get("Retry-After", ""))
        return of_refusal(response.status_code, code, self.host, what, wait)

    def headers(self, start: int) -> dict[str, str]:
        """What is sent with a request; never compressed, so that sizes mean something."""
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        found: dict[str, str] = build_hf_headers(
            token=self.token or False, library_name="klein-doctor", library_version=__version__
        )
        found["Accept-Encoding"] = "identity"
        if start:
            found["Range"] = f"bytes={start}-"
        return found

    @contextlib.contextmanager
    def get(self, url: str, start: int, size: int, what: str) -> Iterator[Stream]:
        """A GET; redirects are followed, without a token to another host."""
        from huggingface_hub import get_session

        with contextlib.ExitStack() as stack:
            with self.opening(what):
                request = get_session().stream(
                    "GET", url, headers=self.headers(start), timeout=self.read_s,
                    follow_redirects=True,
                )  # fmt: skip
                response = stack.enter_context(request)
                if response.status_code not in (200, 206):
                    raise self.refusal(response, what)
                begin = _checked(response, start, size, self.host)
            with self.faults(what):
                yield Stream(begin, response.iter_raw())


class HubSource(_Web):
    """The Hub, or a mirror that speaks its protocol (HF_ENDPOINT)."""

    def __init__(self, read_s: float, endpoint: str = "", token: str | None = None) -> None:
        from huggingface_hub import constants

        super().__init__(endpoint or constants.ENDPOINT, read_s, token)
        if not re.match(r"(?i)https?://[^/]", self.address):
            raise UsageError(f"HF_ENDPOINT={_shown(self.address)}: an address begins with https://")

    def url(self, asset: Asset) -> str:
        """The address of a file at its pinned commit."""
        from huggingface_hub import hf_hub_url

        url: str = hf_hub_url(
            asset.repository, asset.path, revision=asset.revision, endpoint=self.address
        )
        return url

    def check(self, asset: Asset) -> None:
        """The Hub's own word on size and digest against the pinned ones."""
        from huggingface_hub import get_hf_file_metadata

        what = f"{asset.repository}/{asset.path}"
        with self.opening(what):
            found = get_hf_file_metadata(
                self.url(asset), token=self.token or False, timeout=self.read_s
            )
        if found.commit_hash is None and found.etag is None:
            raise _portal(self.host)
        etag = (found.etag or "").lower()
        told = f"digest {etag[:12]}…" if re.fullmatch(r"[0-9a-f]{64}", etag) else ""
        if found.size is not None and found.size != asset.size:
            told = f"{found.size:,} bytes"
        elif not told or etag == asset.sha256:
            return
        raise DownloadError(
            "other", f"{self.host} announces another file as {what}: {told}, where "
            f"{asset.size:,} bytes with digest {asset.sha256[:12]}… are the published ones. "
            "Nothing was fetched. Try without HF_ENDPOINT and proxies; if it is the Hub's own "
            "answer, look for a newer klein-doctor",
        )  # fmt: skip

    def open(self, asset: Asset, start: int) -> contextlib.AbstractContextManager[Stream]:
        """The file, through a redirect that is asked for anew each time: such addresses expire."""
        return self.get(self.url(asset), start, asset.size, f"{asset.repository}/{asset.path}")


class MirrorSource(_Web):
    """A plain web folder: files by name, by folder and name, or as the Hub has them."""

    def __init__(self, address: str, read_s: float) -> None:
        super().__init__(address, read_s)
        self._places: dict[str, str] = {}

    def check(self, asset: Asset) -> None:
        """Which of the places has a file of this size."""
        from huggingface_hub import get_session

        with self.opening(asset.name):
            for place in self._candidates(asset):
                url = f"{self.address}/{quote(place)}"
                response = get_session().request(
                    "HEAD", url, headers=self.headers(0), timeout=self.read_s, follow_redirects=True
                )
                if response.status_code == 200:
                    length = response.headers.get("Content-Length", "")
                    if length in ("", str(asset.size)):
                        self._places[asset.sha256] = url
                        return
                elif response.status_code not in (404, 403, 410):
                    raise self.refusal(response, asset.name)
        raise DownloadError("missing", f"{self.host} has no {asset.name} of {asset.size:,} bytes")

    def open(self, asset: Asset, start: int) -> contextlib.AbstractContextManager[Stream]:
        if asset.sha256 not in self._places:
            self.check(asset)
        return self.get(self._places[asset.sha256], start, asset.size, asset.name)

    def _candidates(self, asset: Asset) -> Iterator[str]:
        yield asset.path if not asset.folder else asset.name
        if asset.folder:
            yield f"{asset.folder}/{asset.name}"
        yield f"{asset.repository}/resolve/{asset.revision}/{asset.path}"


def _host(address: str) -> str:
    """How to call the server of an address.

    Raises:
        UsageError: it is no address.
    """
    try:
        parts = urlsplit(address)
        return (parts.hostname or address) + (f":{parts.port}" if parts.port else "")
    except ValueError as error:
        says = f"{_shown(address)} is no address a request can be sent to ({error})"
        raise UsageError(says) from error


def _shown(address: str) -> str:
    """An address as it may be told: without a user's name, a password or a signature."""
    return (without_secrets(address) or "")[:200] or "it"


def _asked(error: BaseException) -> str:
    """The host an error of the client is about: after a redirect it is another one."""
    try:
        url = error.request.url  # type: ignore[attr-defined]
        return f"{url.host}:{url.port}" if url.port else str(url.host)
    except (AttributeError, RuntimeError):
        return ""


def retry_after(text: str) -> float:
    """Seconds a server asks to wait, as a number or as a date (RFC 9110); 0 for nothing."""
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _checked(response: Any, start: int, size: int, host: str) -> int:
    """Where the body begins; whether it can be the file is judged before its first byte."""
    headers = response.headers
    if headers.get("Content-Type", "").startswith("text/html"):
        raise _portal(host)
    coding = headers.get("Content-Encoding", "identity")
    if coding not in ("", "identity"):
        says = f"{host} sends the file packed ({coding[:20]}), which was not asked for"
        raise DownloadError("answer", says, again=True, passing=True)
    text = headers.get("Content-Length", "")
    length = int(text) if re.fullmatch(r"\d{1,18}", text) else -1
    begin, wanted = 0, size
    if response.status_code == 206:
        found = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if found is None or int(found.group(1)) != start or int(found.group(3)) != size:
            says = f"{host} sends another part of the file than the one asked for"
            raise DownloadError("range", says, again=True, passing=True)
        begin, wanted = start, size - start
    if length > wanted:
        says = f"{host} sends {length:,} bytes where {wanted:,} belong"
        raise DownloadError("length", says, again=True, passing=True)
    return begin


def _portal(host: str) -> DownloadError:
    return DownloadError(
        "portal", f"what answers for {host} is not the Hub but a web page: the login of a network "
        "(a captive portal), a filter, or a mirror that does not speak the Hub's protocol",
        again=True, passing=True,
    )  # fmt: skip
