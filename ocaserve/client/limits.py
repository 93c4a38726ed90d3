"""When a server is left, and how much is asked of one at a time: each limit with its reason."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from ocaserve.schema import number


class Patience(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long a follower waits for whom."""

    first_byte_s: Annotated[
        float, number("seconds", 0.1, 300, "to connect and get the head of an answer")
    ] = 5.0
    stall_s: Annotated[float, number("seconds", 0.1, 300, "without a byte of an answer")] = 5.0
    judge_s: Annotated[
        float, number("seconds", 0.1, 300, "over which the rate of an answer is judged")
    ] = 5.0
    min_bytes_per_s: Annotated[
        float, number("bytes/s", 0, 1e12, "less is a drip; left where another can be asked")
    ] = 16_384.0
    slow_share: Annotated[
        float,
        number(
            "of the rate", 0, 1, "of the fastest other one, and of its own before; less is too slow"
        ),
    ] = 0.5
    remember_s: Annotated[
        float,
        number("seconds", 1, 86_400, "that a measured rate counts; then the server is tried again"),
    ] = 60.0
    long_s: Annotated[
        float, number("seconds", 1, 1e9, "left at the best rate, when servers not known are tried")
    ] = 120.0
    span_s: Annotated[
        float,
        number(
            "seconds",
            0.1,
            600,
            "that the bytes of one request should take: between two of "
            "them changing the server costs nothing",
        ),
    ] = 4.0
    least_span: Annotated[
        int, number("bytes", 1, 1 << 30, "of a request, also to a server not measured yet")
    ] = 1 << 20
    most_span: Annotated[int, number("bytes", 1, 1 << 40, "of a request")] = 64 << 20
    give_up_s: Annotated[
        float, number("seconds", 0, 1e9, "without a byte from anybody, then it is given up")
    ] = 300.0
