"""Which methods are served, and where a body may come with a request. No I/O."""

from __future__ import annotations

from ocaserve.protocol.messages import Request, RequestRefused

ALLOWED_METHODS = b"GET, HEAD, OPTIONS"
_KNOWN_METHODS = frozenset({b"POST", b"PUT", b"DELETE", b"CONNECT", b"TRACE", b"PATCH"})
"""That are not served: the others of RFC 9110 section 9, and RFC 5789's."""
UPLOAD_METHODS = ALLOWED_METHODS + b", POST"


def check_request(request: Request, *, takes_upload: bool = False) -> None:
    """Raise RequestRefused for a method that is not served, or a body where none belongs.

    A method that we do not know is not implemented; one that we know is not allowed (RFC 9110
    section 9.1). takes_upload: the target is one that POST is allowed for.

    A body is never read: the connection ends behind the answer, so that nothing in the body can be
    taken for a request.
    """
    has_body = request.fields.has_body
    if request.method not in (b"GET", b"HEAD", b"OPTIONS"):
        close = has_body or request.method == b"CONNECT"
        if request.method not in _KNOWN_METHODS:
            raise RequestRefused(501, "method_unknown", close=close)
        allow = UPLOAD_METHODS if takes_upload else ALLOWED_METHODS
        raise RequestRefused(405, "method", close=close, allow=allow)
    if has_body:
        raise RequestRefused(400, "body")


def body_length(request: Request, most_bytes: int) -> int:
    """How many bytes of body come with the request. Raises RequestRefused, 411 or 413.

    The length must be known before, so that nobody can send for ever (RFC 9110 section 15.5.12).
    """
    fields = request.fields
    if fields.has_transfer_encoding:
        raise RequestRefused(411, "upload_length")
    length = fields.content_length or 0
    if length > most_bytes:
        raise RequestRefused(413, "upload_too_large")
    return length
