"""What went wrong with a download, in words; whatever library the error came from.

huggingface_hub 2.x speaks through httpx2, 1.x through httpx, and lets their errors through; so
errors are told by the names of their classes and by the system's own numbers.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

from klein_doctor.installation import PROXIES
from klein_doctor.privacy import without_signature
from klein_doctor.recipe_hub import load_hub

_DNS = re.compile(r"(?i)name or service not known|name resolution|getaddrinfo|nodename nor serv")
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_LONGEST = 160
_TROUBLES = {
    "cut": "stalled", "redirects": "server", "answer": "server", "range": "server",
    "length": "server",
}  # fmt: skip
# Causes that no file of the same source is spared.
AWAY = ("dns", "connect", "proxy")
# Causes that lie on this machine: no other source would help.
LOCAL = ("space", "read-only", "permission", "name", "disk", "locked")


class DownloadError(Exception):
    """A download that did not end well.

    cause: one word. says: a sentence for the user. again: trying again later is the answer.
    passing: it may be gone at the next request. wait_s: the pause a server asked for.
    """

    def __init__(
        self,
        cause: str,
        says: str,
        *,
        again: bool = False,
        passing: bool = False,
        wait_s: float = 0.0,
    ) -> None:
        super().__init__(says)
        self.cause = cause
        self.says = says
        self.again = again
        self.passing = passing
        self.wait_s = wait_s

    @property
    def trouble(self) -> str:
        """The word of recipes/hub.toml for it, if it lies on the way to the Hub; else its own."""
        return _TROUBLES.get(self.cause, self.cause)

    @property
    def do(self) -> str:
        """What to do about a trouble with the Hub; "" where the sentence says it already."""
        row = load_hub().troubles.get(self.trouble)
        return row.do if row is not None else ""


class Stopped(Exception):
    """Somebody asked to stop: Ctrl-C, a signal, or the deadline."""


class _Word(NamedTuple):
    cause: str
    says: str
    again: bool = True
    passing: bool = True


# By class name, the most specific first: an error is of the first that is among its bases.
_BY_CLASS = {
    "OfflineModeIsEnabled": _Word(
        "offline", "HF_HUB_OFFLINE is set, which forbids every request; unset it", False, False
    ),
    "UnsupportedProtocol": _Word(
        "endpoint", "HF_ENDPOINT, a proxy, or what {host} redirects to is no address", False, False
    ),
    "InvalidURL": _Word("endpoint", "the address {host} cannot be used", False, False),
    "LocalProtocolError": _Word(
        "endpoint", "a setting for {host} cannot be sent as it is", False, False
    ),
    "TooManyRedirects": _Word("redirects", "{host} redirects in a circle", False, False),
    "ProxyError": _Word("proxy", "the proxy refuses or does not answer{proxies}"),
    "ConnectTimeout": _Word("connect", "{host} does not answer{proxies}"),
    "ReadTimeout": _Word("stalled", "{host} sent nothing for {read_s:.0f} seconds"),
    "WriteTimeout": _Word("stalled", "{host} took nothing for {read_s:.0f} seconds"),
    "PoolTimeout": _Word("stalled", "no connection to {host} became free"),
    "ConnectError": _Word("connect", "no connection to {host}{proxies}"),
    "RemoteProtocolError": _Word("cut", "{host} broke the connection off"),
    "DecodingError": _Word("cut", "what {host} sent cannot be decoded"),
    "NetworkError": _Word("cut", "the connection to {host} was lost"),
    "TimeoutException": _Word("stalled", "{host} was silent for too long"),
    "TransportError": _Word("cut", "the connection to {host} failed"),
}


def of_error(error: BaseException, host: str, read_s: float) -> DownloadError | None:
    """The fault behind an error of the network or of its libraries; None for another error."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, (DownloadError, Stopped)):
            return link if isinstance(link, DownloadError) else None
    if any(isinstance(link, socket.gaierror) or _DNS.search(str(link)) for link in chain):
        return DownloadError(
            "dns", f"the name {host} cannot be looked up: no network, or no DNS here{_proxies()}",
            again=True, passing=True,
        )  # fmt: skip
    for link in chain:
        if isinstance(link, ssl.SSLError) or "CERTIFICATE_VERIFY_FAILED" in str(link):
            return _of_tls(link, host)
    for link in chain:
        names = [kind.__name__ for kind in type(link).__mro__]
        for name, word in _BY_CLASS.items():
            if name in names:
                says = word.says.format(host=host, read_s=read_s, proxies=_proxies())
                return DownloadError(word.cause, says, again=word.again, passing=word.passing)
    if any(isinstance(link, ConnectionError) for link in chain):
        says = f"the connection to {host} was lost"
        return DownloadError("cut", says, again=True, passing=True)
    return None


def of_refusal(status: int, code: str, host: str, what: str, wait_s: float = 0.0) -> DownloadError:
    """The fault behind an HTTP status. code: the Hub's X-Error-Code. what: repository and file."""
    if code == "GatedRepo":
        return DownloadError(
            "gated", f"{what} is gated at {host}: it takes a login and the acceptance of terms. "
            "The 4B repositories are open; this is another one, or a mirror's own rule",
        )  # fmt: skip
    if status in (401, 403):
        return DownloadError(
            "refused", f"{host} refuses {what} ({status}): no such repository, a private one, or "
            "one that wants a login. The 4B repositories are open and need none",
            passing=status == 403,
        )  # fmt: skip
    if status in (404, 410):
        return DownloadError(
            "missing", f"{host} does not have {what} ({status}): a mirror without it, or a "
            "mistyped name", passing=True,
        )  # fmt: skip
    if status == 407:
        return DownloadError("proxy", f"the proxy wants a login (407){_proxies()}", again=True)
    if status == 429:
        pause = f"; it asks to wait {wait_s:.0f} seconds" if wait_s else ""
        says = f"{host} has had too many requests from this address (429){pause}"
        return DownloadError("quota", says, again=True, passing=True, wait_s=wait_s)
    if status >= 500 or status == 408:
        says = f"{host} has trouble of its own ({status})"
        return DownloadError("server", says, again=True, passing=True, wait_s=wait_s)
    return DownloadError("answer", f"{host} answers {what} with {status}", again=True, passing=True)


def of_setting(error: Exception, host: str) -> DownloadError:
    """The fault behind an error the client makes before it has sent anything."""
    said = without_signature(f"{type(error).__name__}: {error}")[:_LONGEST]
    if isinstance(error, FileNotFoundError):
        named = [name for name in _CERTIFICATES if os.environ.get(name)]
        listed = " or ".join(named) or "a setting"
        says = f"{listed} names a file with certificates that is not there"
        return DownloadError("tls", says)
    if isinstance(error, ImportError):
        return DownloadError("proxy", f"the proxy{_proxies()} needs a package: {said}")
    if "proxy" in said.lower():
        return DownloadError("proxy", f"the proxy cannot be used{_proxies()}: {said}")
    return DownloadError(
        "endpoint", f"no request can be made to {host} with these settings{_proxies()}: {said}"
    )


def forbidden() -> DownloadError:
    """A file that is not here, where nothing may be fetched."""
    return DownloadError(
        "offline", "it is not on this machine, and --offline forbids fetching it; name a folder "
        "that has it with --assets-from, or run this without --offline",
    )  # fmt: skip


def of_disk(error: OSError, place: str) -> DownloadError:
    """The fault behind an error of the file system. place: how to call the folder or file."""
    number = error.errno or 0
    why = (error.strerror or str(error) or type(error).__name__)[:_LONGEST]
    if number in _FULL or getattr(error, "winerror", 0) == 112:
        return DownloadError("space", f"the file system of {place} is full; make room there")
    if getattr(error, "winerror", 0) in (32, 33):
        says = f"another program has {place} open; close it (ComfyUI, an antivirus) and try again"
        return DownloadError("permission", says, again=True)
    if number == errno.EROFS:
        says = f"the file system of {place} can only be read; name another folder with --dest"
        return DownloadError("read-only", says)
    if number in (errno.EACCES, errno.EPERM):
        says = f"this user may not write {place}; give it to this user, or name another with --dest"
        return DownloadError("permission", says)
    if number == errno.EFBIG:
        says = f"the file system of {place} takes no file this large (FAT32 ends at 4 GiB); "
        says += "name a folder on another with --dest"
        return DownloadError("space", says)
    if number == errno.ENAMETOOLONG or getattr(error, "winerror", 0) == 206:
        says = f"the file system takes no name as long as {place}; name a shorter one with --dest"
        return DownloadError("name", says)
    if number in (errno.EISDIR, errno.ENOTDIR, errno.ELOOP):
        return DownloadError("disk", f"{place} is in the way ({why}); move it away")
    return DownloadError("disk", f"{place}: {why}")


def _of_tls(error: BaseException, host: str) -> DownloadError:
    detail = getattr(error, "verify_message", "") or str(error)
    return DownloadError(
        "tls", f"the certificate of {host} is not trusted here "
        f"({without_signature(detail)[:_LONGEST]}). A company's or an antivirus' own certificate "
        "stands between, or the clock is wrong: name that certificate in SSL_CERT_FILE",
    )  # fmt: skip


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _proxies() -> str:
    """The proxies in use, by the names of their variables: an address may hold a password."""
    named = [name for name in PROXIES if os.environ.get(name)]
    return f" ({' and '.join(named)} set)" if named else ""
