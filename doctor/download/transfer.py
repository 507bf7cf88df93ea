"""One file from a source into its part, until its size and digest are the published ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from klein_doctor.download.faults import DownloadError, Stopped
from klein_doctor.download.part import Part
from klein_doctor.download.sources import Source
from klein_doctor.recipe_downloads import Asset, Limits

Note = Callable[[str], None]
_QUIET_TRIES = 2  # a try that fails at once is told only from here on


class Transfer:
    """Fills a part. note is told what the user should know meanwhile."""

    def __init__(
        self, asset: Asset, part: Part, source: Source, limits: Limits, stop: threading.Event,
        note: Note,
    ) -> None:  # fmt: skip
        self.asset, self.part, self.source = asset, part, source
        self.limits, self.stop, self.note = limits, stop, note
        self._ranges_refused = 0
        self._slow = 0

    def run(self) -> None:
        """Come back when the part is the file.

        Raises:
            DownloadError: it cannot be had; the part is kept where it is of use.
            Stopped: it was asked to stop.
        """
        wrong, asked = 0, False
        while True:
            if self.part.size < self.asset.size and not asked:
                self._patiently(lambda: self.source.check(self.asset))
                asked = True
            carried = self.part.carried
            self._patiently(self._stream)
            if self.part.digest() == self.asset.sha256:
                return
            self.part.restart()
            if carried:
                # What an earlier run left may have been damaged by a power cut since.
                self.note(f"{self.asset.label}: what was left of an earlier try is wrong; anew")
                continue
            wrong += 1
            if wrong >= self.limits.mismatches:
                raise _wrong(self.asset, self.source.host, wrong)
            self.note(f"{self.asset.label}: its digest is wrong, it is fetched once more")

    def _patiently(self, act: Callable[[], None]) -> None:
        """Repeat what passes, as long as bytes come or a few times without."""
        idle = 0
        while True:
            before = self.part.size
            try:
                act()
                return
            except DownloadError as fault:
                if not fault.passing:
                    raise
                came = self.part.size > before and fault.cause != "slow"
                idle = 0 if came else idle + 1
                if fault.cause == "slow":
                    self._slow += 1
                elif came:
                    self._slow = 0
                if max(idle, self._slow) >= self.limits.tries:
                    raise _final(fault) from fault
                self._pause(fault, idle)

    def _pause(self, fault: DownloadError, idle: int) -> None:
        seconds = min(
            self.limits.first_pause_s * 2.0 ** max(0, idle - 1), self.limits.longest_pause_s
        )
        if fault.wait_s > self.limits.retry_after_s:
            raise _final(fault) from fault
        seconds = fault.wait_s or (seconds if idle else 0.0)
        if idle >= _QUIET_TRIES or fault.wait_s:
            self.note(f"{self.asset.label}: {fault.says}; again in {seconds:.0f} s")
        if self.stop.wait(seconds):
            raise Stopped

    def _stream(self) -> None:
        """One answer of the server, appended."""
        part, size = self.part, self.asset.size
        if part.size == size:
            return
        try:
            with self.source.open(self.asset, part.size) as stream:
                # A server that knows no ranges begins anew: what is there already is passed over.
                skip = part.size - stream.start
                clock = _Clock(self.limits)
                for block in stream.blocks:
                    if self.stop.is_set():
                        raise Stopped
                    clock.add(len(block), self.source.host)
                    if skip >= len(block):
                        skip -= len(block)
                        continue
                    block, skip = block[skip:], 0
                    part.write(block[: size - part.size])
                    if part.size == size:
                        return
        except DownloadError as fault:
            if fault.cause == "range":
                self._ranges_refused += 1
                if self._ranges_refused > 1:  # it will not learn: from the beginning, unasked
                    part.restart()
            raise
        if part.size < size:
            says = f"{self.source.host} ended after {part.size:,} of {size:,} bytes"
            raise DownloadError("cut", says, again=True, passing=True)


class _Clock:
    """Notices a connection that is alive and brings next to nothing."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._begun, self._came = time.monotonic(), 0

    def add(self, count: int, host: str) -> None:
        self._came += count
        seconds = time.monotonic() - self._begun
        if seconds < self._limits.slow_window_s:
            return
        if self._came < seconds * self._limits.slow_bytes_per_s:
            rate = self._came / seconds / 1000
            says = f"{host} sends only {rate:.1f} kB/s"
            raise DownloadError("slow", says, again=True, passing=True)
        self._begun, self._came = time.monotonic(), 0


def _final(fault: DownloadError) -> DownloadError:
    cause = "stalled" if fault.cause == "slow" else fault.cause
    return DownloadError(cause, fault.says, again=fault.again, wait_s=fault.wait_s)


def _wrong(asset: Asset, host: str, times: int) -> DownloadError:
    return DownloadError(
        "content", f"{host} sent the right number of bytes {times} times, and each time others "
        f"than the published {asset.name} has (SHA-256). Something changes them on the way: "
        "faulty memory (RAM) or disk here, a proxy, or a mirror with another file. Nothing was "
        "put in its place. Try without HF_ENDPOINT and proxies, then test this machine's memory",
    )  # fmt: skip
