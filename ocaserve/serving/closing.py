"""Each way in which a connection can end: one row gives its label, its verdict and its meaning.

The counters, the log and the manual are made from these rows, so no connection can end for a reason
that is not named and counted.
"""

from __future__ import annotations

import errno
import ssl
from enum import Enum
from typing import NamedTuple


class CloseRow(NamedTuple):
    label: str
    is_error: bool
    meaning: str


class CloseReason(Enum):
    """Why a connection ended. `label` names its counter (`close_<label>`) and stands in the log."""

    CLIENT_CLOSED = CloseRow("client_closed", False, "the client closed between two requests")
    ASKED = CloseRow("asked", False, "the request asked for it, or HTTP/1.0 without keep-alive")
    REQUEST_LIMIT = CloseRow("request_limit", False, "requests_per_connection was reached")
    IDLE_TIMEOUT = CloseRow("idle_timeout", False, "no request within idle_s")
    DRAINED = CloseRow("drained", False, "the worker is draining and no response was running")
    CLIENT_GONE = CloseRow(
        "client_gone", True, "the client went away in the middle of a request or a response"
    )
    CLIENT_LOST = CloseRow(
        "client_lost",
        True,
        "the kernel gave the client up: its machine acknowledged nothing, or no way led to it",
    )
    HEAD_TIMEOUT = CloseRow("head_timeout", True, "a request head was not complete within head_s")
    BODY_TIMEOUT = CloseRow(
        "body_timeout", True, "the body of a request stalled or came too slowly"
    )
    REFUSED = CloseRow("refused", True, "the request was malformed or too large: framing in doubt")
    PROXY_HEADER = CloseRow(
        "proxy_header", True, "it did not begin as the PROXY protocol does (`serve.proxy_protocol`)"
    )
    HANDSHAKE_TIMEOUT = CloseRow(
        "handshake_timeout", True, "a TLS handshake was not complete within handshake_s"
    )
    HANDSHAKE_FAILED = CloseRow(
        "handshake_failed", True, "client and server could not agree on TLS; scanners, mostly"
    )
    HANDSHAKE_LIMIT = CloseRow(
        "handshake_limit",
        True,
        "the worker had `tls.handshakes` under way, and this one had waited longest",
    )
    PLAIN_HTTP = CloseRow("plain_http", True, "a request without TLS came to a port for TLS: 400")
    TLS_ERROR = CloseRow("tls_error", True, "what the client sent was not valid TLS")
    BACKLOG_LIMIT = CloseRow(
        "backlog_limit",
        True,
        "what was encrypted and not taken came to `tls.backlog_bytes` in the worker; this client's "
        "had waited longest",
    )
    STALL_TIMEOUT = CloseRow("stall_timeout", True, "the client took no byte for stall_s")
    SLOW_READ = CloseRow("slow_read", True, "the client read slower than min_bytes_per_s")
    RESPONSE_TIMEOUT = CloseRow(
        "response_timeout", True, "one response took longer than response_s"
    )
    NO_REPLY = CloseRow("no_reply", True, "the answer was not made within stall_s")
    STORE_STALLED = CloseRow("store_stalled", True, "a store did not answer for stall_s")
    SHORT_BODY = CloseRow(
        "short_body", True, "the file shrank or was overwritten under the response"
    )
    IO_ERROR = CloseRow("io_error", True, "the store gave an I/O error under the response")
    OVERLOAD = CloseRow("overload", True, "the worker already held `connections` connections")
    ADDRESS_LIMIT = CloseRow(
        "address_limit", True, "the address already held connections_per_address connections"
    )
    DRAIN_DEADLINE = CloseRow("drain_deadline", True, "a response still ran at the drain deadline")
    INTERNAL = CloseRow("internal", True, "a defect of the server; the log has the traceback")

    @property
    def label(self) -> str:
        return self.value.label

    @property
    def is_error(self) -> bool:
        return self.value.is_error


_LOST = frozenset(
    {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
)


def reason_of(error: OSError) -> CloseReason:
    """Why a connection ends whose socket, or TLS on it, gave this error."""
    # The numbers of OpenSSL's are its own; EBADMSG is the kernel's word for a record that is none.
    if isinstance(error, ssl.SSLError) or error.errno == errno.EBADMSG:
        return CloseReason.TLS_ERROR
    return CloseReason.CLIENT_LOST if error.errno in _LOST else CloseReason.CLIENT_GONE


def describe_close_reasons() -> str:
    """The rows as a Markdown table, for docs/close-reasons.md."""
    rows = "\n".join(
        f"| `{reason.label}` | {'yes' if reason.is_error else 'no'} | {reason.value.meaning} |"
        for reason in CloseReason
    )
    return f"# Why a connection ends\n\n| reason | error | meaning |\n|---|---|---|\n{rows}\n"


if __name__ == "__main__":
    print(describe_close_reasons(), end="")
