"""When certificates expire, read from their files.

The standard library decodes a certificate only within a connection, so the one field that is needed
is found here: a walk along the DER of RFC 5280 section 4.1 to the second time of its validity.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ocaserve.health.consequences import EXPIRED
from ocaserve.health.judging import Thresholds, problems_of
from ocaserve.health.model import Level, Observation, Timing, Trouble
from ocaserve.health.words import duration
from ocaserve.settings.health import HealthSettings

_DAY_S = 86_400
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"

_VERSION_TAG = 0xA0  # [0], left out of certificates of version 1
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_FIELDS_BEFORE_VALIDITY = 3  # serialNumber, signature, issuer


def expiry_of(pem: str) -> float:
    """When the first certificate of a file expires, in seconds since the epoch.

    The first is the server's own; what follows is its chain. Raises ValueError.
    """
    certificate = first_certificate(pem)
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(certificate))
    except (IndexError, ValueError) as error:
        raise ValueError("holds a certificate that cannot be read") from error


def first_certificate(pem: str) -> str:
    """The first of a file, without what stands around it. Raises ValueError."""
    start, stop = pem.find(_BEGIN), pem.find(_END)
    if start < 0 or stop < start:
        raise ValueError("holds no PEM certificate")
    return pem[start : stop + len(_END)]


def _not_after(der: bytes) -> float:
    (_, certificate), *_ = _walk(der)
    (_, to_be_signed), *_ = _walk(certificate)
    fields = [content for tag, content in _walk(to_be_signed) if tag != _VERSION_TAG]
    _, (tag, content) = _walk(fields[_FIELDS_BEFORE_VALIDITY])
    return _as_epoch(tag, content.decode("ascii"))


def _walk(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Each value that stands in `der`, as its tag and content (X.690 section 8.1)."""
    at = 0
    while at < len(der):
        tag, length, start = der[at], der[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length, start = int.from_bytes(der[start : start + count]), start + count
        if start + length > len(der):
            raise ValueError("a length leads out of the certificate")
        yield tag, der[start : start + length]
        at = start + length


def _as_epoch(tag: int, text: str) -> float:
    """RFC 5280 section 4.1.2.5: two digits of a year are 1950 to 2049."""
    if tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("its validity is not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


class CertificatesComponent:
    """The certificates of the data plane and of control. `wall`: seconds since the epoch.

    Files are read when they have changed: a renewed certificate is seen without a restart.
    shown_to_clients: those of the files that are of the data plane.
    """

    name = "certificates"

    def __init__(
        self,
        timing: Timing,
        settings: HealthSettings,
        files: Sequence[str],
        wall: Callable[[], float],
        shown_to_clients: Collection[str] = (),
    ) -> None:
        self.timing = timing
        self._thresholds = Thresholds(
            settings.certificate_warning_days * _DAY_S, settings.certificate_error_days * _DAY_S
        )
        self._files = tuple(dict.fromkeys(files))
        self._wall = wall
        self._shown_to_clients = frozenset(shown_to_clients)
        self.expiries: dict[
            str, float
        ] = {}  # by file, seconds since the epoch; those that are known
        self._kept = {file: _Expiry(file) for file in self._files}

    def observe(self, now: float) -> Observation:
        if not self._files:
            return Observation("none")
        found = {file: kept.look() for file, kept in self._kept.items()}
        self.expiries = {file: at for file, at in found.items() if not isinstance(at, str)}
        left = {
            file: expiry if isinstance(expiry, str) else expiry - self._wall()
            for file, expiry in found.items()
        }
        known = [seconds for seconds in left.values() if not isinstance(seconds, str)]
        summary = f"the first expires in {duration(min(known))}" if known else "unknown"
        return Observation(summary, tuple(self._problems(left.items())))

    def _problems(self, left: Iterable[tuple[str, float | str]]) -> Iterator[Trouble]:
        for file, seconds in left:
            if isinstance(seconds, str):
                yield Trouble(Level.ERROR, file, f"{file}: {seconds}")
                continue
            said = f"expires in {duration(seconds)}" if seconds > 0 else "has expired"
            level = self._thresholds.of_low(seconds)
            yield from problems_of((level, file, f"{file} {said}"))
            if seconds <= 0 and file in self._shown_to_clients:
                yield Trouble(Level.ERROR, EXPIRED, f"clients are shown {file}")


class _Expiry:
    """When a file's certificate expires, as of its latest version."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._found: float | str = ""

    def look(self) -> float | str:
        """The time, or why it is not known."""
        try:
            status = os.stat(self._file)
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            if version != self._seen:
                self._found = expiry_of(Path(self._file).read_text("ascii", "replace"))
                self._seen = version
        except OSError as error:
            self._seen, self._found = None, error.strerror or str(error)
        except ValueError as error:
            self._seen, self._found = version, str(error)
        return self._found
