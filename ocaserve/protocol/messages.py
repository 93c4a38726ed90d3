"""What the parser, the planner and the sender hand to each other.

Values are bytes, as they stand on the wire: the hot path never decodes what it only forwards. Byte
positions are half-open (`start <= position < stop`) everywhere but on the wire, where HTTP counts
inclusively; `ranges` is the only module that converts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class RequestRefused(Exception):  # noqa: N818 - named for the fact, as RFC 9110 words it
    """The request cannot be honoured and no representation is consulted.

    status: the status code to answer (400, 405, 414, 431, 501, 505).
    reason: a short label for the log and the counter; never sent to the client.
    close: whether the connection must end after the answer, because its framing is in doubt.
    allow: of a 405, the methods that the target allows.
    """

    def __init__(self, status: int, reason: str, *, close: bool = True, allow: bytes = b"") -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.close = close
        self.allow = allow


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """The header fields of one request that the appliance acts on, all but `Range`.

    Compared and hashed by identity: equal blocks of a client's requests share one instance.

    `Range` stands apart (`Request.range`) because it is the one field that differs between a
    client's requests: all others can be parsed once and kept (see `head`).
    """

    host: bytes | None = None
    close: bool = False  # Connection: close
    keep_alive: bool = False  # Connection: keep-alive, which HTTP/1.0 clients must ask for
    has_body: bool = False  # Content-Length above 0, or Transfer-Encoding
    has_transfer_encoding: bool = False
    content_length: int | None = None
    expects_continue: bool = False  # Expect: 100-continue
    if_match: bytes | None = None
    if_none_match: bytes | None = None
    if_modified_since: bytes | None = None
    if_unmodified_since: bytes | None = None
    if_range: bytes | None = None
    is_conditional: bool = False  # any of the four If- fields above other than If-Range
    origin: bytes | None = None
    referer: bytes | None = None
    user_agent: bytes | None = None
    request_method: bytes | None = None  # Access-Control-Request-Method, of a CORS preflight
    authorization: bytes | None = None
    fetch_site: bytes | None = None  # Sec-Fetch-Site, of a browser (Fetch Metadata)
    content_type: bytes | None = None
    content_encoding: bytes | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing in them makes the answer to a GET of HTTP/1.1 another one."""
        return self._is_usual and not self.has_body

    @property
    def is_plain_with_body(self) -> bool:
        """Whether they are plain but for a body, whose length they tell."""
        return self._is_usual and bool(self.content_length) and not self.expects_continue

    @property
    def _is_usual(self) -> bool:
        return self.host is not None and not (
            self.close or self.is_conditional or self.if_range is not None
        )

    def count_bytes(self) -> int:
        """What its values hold."""
        values = (getattr(self, name) for name in self.__slots__)
        return sum(len(value) for value in values if isinstance(value, bytes))


class Request(NamedTuple):
    """A request head that passed every check of RFC 9112 sections 2, 3, 5 and 6."""

    method: bytes
    target: bytes  # as received; absolute-form already reduced to origin-form
    minor: int  # HTTP/1.minor: 0 or 1
    fields: Fields
    range: bytes | None  # the value of Range, or None


class ByteRange(NamedTuple):
    """Bytes `start` up to and not including `stop` of a representation."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Representation:
    """What is known of an object when a response to it is planned (RFC 9110 section 3.2).

    size: bytes. etag: a strong entity-tag with its quotes. last_modified: whole seconds since the
    epoch. fields: the prepared header lines that every answer about this object carries.
    """

    size: int
    etag: bytes
    last_modified: int
    content_type: bytes
    fields: bytes  # Accept-Ranges, ETag, Last-Modified and the policy's lines; each ends in CRLF
    typed_fields: bytes  # the same and Content-Type: all but Date, Content-Length, Content-Range


class ResponsePlan(NamedTuple):
    """What to send. The shell sends `head`, then each segment in turn, and decides nothing.

    status: for the log. head: the whole head and, where the answer is small (an error text), the
    body with it. segments: bytes to send as they are, or a `ByteRange` of the object.
    length: bytes of body promised by Content-Length, sent or not (HEAD); for the log.
    keep_alive: whether the connection may carry another request afterwards.
    """

    status: int
    head: bytes
    segments: tuple[ByteRange | bytes, ...]
    length: int
    keep_alive: bool
