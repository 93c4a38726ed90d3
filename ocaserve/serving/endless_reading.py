"""An end to a reading that OpenSSL would not end by itself.

Where OpenSSL has the socket, it reads on until there is a byte for us: a client that sends nothing
but key updates, or hellos that begin anew, as fast as they are taken keeps one call from returning,
and the worker with it (measured: for as long as it liked). Python has no call that turns this off
(SSL_MODE_AUTO_RETRY). But it can have OpenSSL tell of each record, and whoever has sent too many of
those in a row is reset, which ends the reading. It costs a call for each record that is read, not
for those that the kernel encrypts.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Any, Protocol, cast

_RECORD_HEADER = 256  # openssl/ssl3.h: SSL3_RT_HEADER
_MOST_RECORDS = 64  # without a byte for us; no client needs five


class Reading(Protocol):
    """A socket that OpenSSL reads from. `records`: read since there was a byte for us."""

    records: int


def bound_records(context: ssl.SSLContext) -> None:
    """Have the sockets of this context reset when they have read too many records in a row.

    They are `Reading`. A handshake begins with one context and may go on with another: OpenSSL asks
    the first, and the ssl module the second.
    """
    # The class's own property would make enumerations of all that is told.
    told_by = cast(Any, ssl.SSLContext.__base__)._msg_callback
    told_by.__set__(context, _on_message)


def is_endless(sock: Reading) -> bool:
    """Whether it was reset for that."""
    return sock.records > _MOST_RECORDS


def _on_message(sock: Any, direction: str, _version: int, kind: int, *_: object) -> None:
    if kind == _RECORD_HEADER and direction == "read":
        sock.records += 1
        if is_endless(sock):
            with suppress(OSError):  # SSLSocket's own would forget the keys, and go on in the clear
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
