"""TLS of the control interface, with the certificate as its files have it now."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl

from ocaserve.certificates import describe_load_error, load_pair
from ocaserve.settings import Certificate, Control

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0

_Version = tuple[tuple[int, int, int], ...]


class RenewedTls:
    """A certificate that is read again when its files have changed.

    `front` has none of its own: it turns each handshake over to the context of the latest pair. So
    a pair is changed as a whole, and one that cannot be used leaves what was there. Until there is
    one that can, handshakes fail; addresses without TLS are answered.
    """

    def __init__(self, control: Control) -> None:
        self._pair = Certificate(cert=control.certificate, key=control.key or control.certificate)
        self._seen: _Version = ()
        self._fault = ""
        self._context: ssl.SSLContext | None = None
        self.front = _new_context()
        self.front.sni_callback = self._turn_over

    def _turn_over(self, session: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
        if self._context is not None:
            session.context = self._context

    def renew(self) -> bool:
        """Read the files if they have changed; whether they had. Raises OSError."""
        version = self._look()
        if version == self._seen:
            return False
        context = _new_context()
        load_pair(context, self._pair)
        self._context, self._seen = context, version
        return True

    def _look(self) -> _Version:
        statuses = [os.stat(file) for file in (self._pair.cert, self._pair.key)]
        return tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in statuses)

    def keep_renewing(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look again and again, for as long as the loop runs."""
        fault = self._try()
        if fault and fault != self._fault:
            before = "the certificate of before stays in use" if self._context else "no TLS yet"
            _log.error("control: %s; %s", fault, before)
        self._fault = fault
        loop.call_later(_LOOK_EVERY_S, self.keep_renewing, loop)

    def _try(self) -> str:
        """Why the files cannot be used; empty if they can."""
        is_first = not self._seen
        try:
            if self.renew() and (not is_first or self._fault):
                _log.info("control: read the certificate %s", self._pair.cert)
        except ssl.SSLError as error:
            return f"{self._pair.key}: {describe_load_error(error, self._pair)}"
        except OSError as error:
            return f"{error.filename or self._pair.cert}: {error.strerror}"
        except Exception as defect:  # noqa: BLE001 - looking must go on, with what was there
            return f"{self._pair.cert}: {defect!r}"
        return ""


def _new_context() -> ssl.SSLContext:
    return ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
