"""`[serve]` and `[serve.limits]`: the data plane."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from ocaserve.schema import choice, flag, number, text

_DAY_S = 86_400
_WEEK_S = 604_800


class Limits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one client may cost. Each limit ends a connection for a reason of its own."""

    head_bytes: Annotated[
        int,
        number(
            "bytes", 1024, 1 << 20,
            "size of a request head, all lines together; browsers send about 1 KiB "
            "(nginx allows 32 KiB, Apache 8 KiB a line, h11 16 KiB)",
        ),
    ] = 16_384  # fmt: skip
    target_bytes: Annotated[
        int,
        number(
            "bytes", 128, 65_536,
            "size of a request target; a signed URL is under 1 KiB, and RFC 9112 section 3 asks "
            "for 8,000 at least",
        ),
    ] = 8_192  # fmt: skip
    header_count: Annotated[
        int,
        number("fields", 8, 1_000, "fields in a head; browsers send about 20 (Apache allows 100)"),
    ] = 100
    connections: Annotated[
        int,
        number(
            "connections", 1, 1_000_000,
            "held by one worker; one more hears 503 at once, so that its client goes to another "
            "appliance instead of waiting (nginx: 512)",
        ),
    ] = 20_000  # fmt: skip
    connections_per_address: Annotated[
        int,
        number(
            "connections", 0, 1_000_000,
            "from one address to one worker, 0 for no limit: carriers put thousands of viewers "
            "behind one address",
        ),
    ] = 0  # fmt: skip
    requests_per_connection: Annotated[
        int,
        number(
            "requests", 1, 1_000_000_000,
            "answered before a connection is closed, so that load can move between appliances "
            "(nginx: 1,000)",
        ),
    ] = 100_000  # fmt: skip
    head_s: Annotated[
        float,
        number(
            "seconds", 0, 3_600,
            "for a head to arrive whole, and for the first one to begin: a drip of header lines "
            "holds its place no longer (nginx 60, h2o 10)",
            is_above=True,
        ),
    ] = 10.0  # fmt: skip
    idle_s: Annotated[
        float,
        number(
            "seconds", 0, _DAY_S,
            "between two requests; players pause about 10 s between segments (nginx 75)",
            is_above=True,
        ),
    ] = 60.0  # fmt: skip
    stall_s: Annotated[
        float,
        number(
            "seconds", 0, _DAY_S,
            "in which a client must take some byte of a response (nginx 60, ATS 30)",
            is_above=True,
        ),
    ] = 30.0  # fmt: skip
    min_bytes_per_s: Annotated[
        int,
        number(
            "bytes/s", 0, 1_000_000_000,
            "that a client must take on average over stall_s: below any media rate, above a drip "
            "that only holds a place; 0 for none",
        ),
    ] = 1_024  # fmt: skip
    response_s: Annotated[
        float,
        number(
            "seconds", 0, _WEEK_S,
            "for one response: longer than the longest film at its own rate",
            is_above=True,
        ),
    ] = 14_400.0  # fmt: skip
    linger_s: Annotated[
        float,
        number(
            "seconds", 0, 60,
            "of reading on after our side is closed, so that the answer is not lost in a reset "
            "(RFC 9112 section 9.6; nginx 5)",
        ),
    ] = 2.0  # fmt: skip
    pace_bits_per_s: Annotated[
        int,
        number(
            "bit/s", 0, 100_000_000_000,
            "at which the kernel sends to one connection, 0 for as fast as it goes "
            "(Linux, SO_MAX_PACING_RATE)",
        ),
    ] = 0  # fmt: skip


class Serve(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The data plane."""

    listen: Annotated[
        list[str],
        text(
            "",
            'addresses: `"127.0.0.1:8080"`, `"[::]:80"`, `"unix:/run/x.sock"`; port 0 takes a '
            "free one; `[::]` is IPv6 alone, `0.0.0.0` IPv4",
            min_length=1,
        ),
    ] = msgspec.field(default_factory=lambda: ["127.0.0.1:8080"])
    workers: Annotated[
        Annotated[int, number("processes", 1, 1_024, "")] | Literal["auto"],
        choice("serving processes; `auto` is one for each core"),
    ] = "auto"
    loop: Annotated[
        Literal["auto", "uvloop", "asyncio"],
        choice(
            "event loop; `auto` is the fastest of the system: asyncio's with epoll, else uvloop's"
        ),
    ] = "auto"
    speedtest: Annotated[
        bool,
        flag(
            "whether `/speedtest` is the speed test: 25 MiB of made-up content, and uploads that "
            "are thrown away"
        ),
    ] = False
    proxy_protocol: Annotated[
        bool,
        flag(
            "whether every connection begins with the PROXY protocol (version 1 or 2), by which a "
            "balancer in front tells the client's address. Whoever reaches the ports himself could "
            "give any: let nobody but the balancer"
        ),
    ] = False
    cache_control: Annotated[
        str,
        text(
            "printable ASCII",
            'Cache-Control of objects; `""` leaves it out',
            pattern=r"^[\x20-\x7e]*\Z",
        ),
    ] = "no-store"
    cors_origin: Annotated[
        str,
        text(
            "printable ASCII without spaces",
            'origin whose scripts may read objects; `""` leaves the CORS fields out',
            pattern=r"^[\x21-\x7e]*\Z",
        ),
    ] = "*"
    drain_s: Annotated[
        float,
        number("seconds", 0, _DAY_S, "for running responses to end when the appliance stops"),
    ] = 30.0
    reload_drain_s: Annotated[
        float,
        number(
            "seconds", 0, _WEEK_S,
            "for running responses to end in a worker that was replaced: nothing waits for it, so "
            "as long as a response may take",
        ),
    ] = 14_400.0  # fmt: skip
    access_log: Annotated[
        str,
        text(
            'a file, "-" or "off"',
            '`"-"` is standard output; USR1 opens the file anew after a rotation',
            min_length=1,
        ),
    ] = "-"
    access_log_format: Annotated[
        Literal["combined", "json"], choice("one line for each response")
    ] = "combined"
    step_bytes: Annotated[
        int,
        number(
            "bytes", 16_384, 16 << 20,
            "that one connection may send before the others have their turn",
        ),
    ] = 2_097_152  # fmt: skip
    large_buffer_bytes: Annotated[
        int,
        number(
            "bytes", 0, 64 << 20,
            "that the socket of a client may hold who takes as many within 50 ms, if the kernel "
            "allows it (Linux: twice `net.core.wmem_max`); 0: what the kernel chooses, for all",
        ),
    ] = 8_388_608  # fmt: skip
    io_threads: Annotated[
        int, number("threads", 1, 256, "of a worker for each store, waiting for its disk")
    ] = 16
    cold_pages: Annotated[
        Literal["second-read", "keep", "drop"],
        choice(
            "what becomes of pages read from disk for one response: kept from the second reading "
            "on, kept at once, or never kept"
        ),
    ] = "second-read"
    open_files: Annotated[
        int, number("files", 16, 1_000_000, "kept open by a worker between responses")
    ] = 1_024
    small_object_bytes: Annotated[
        int,
        number(
            "bytes", 0, 1 << 20,
            "up to which an object is kept in memory and sent in one piece with its head "
            "(playlists); 0 for none",
        ),
    ] = 32_768  # fmt: skip
    notsent_lowat_bytes: Annotated[
        int,
        number(
            "bytes", 0, 1 << 30,
            "not yet sent, below which a socket asks for more, 0 for the kernel's choice; bounds "
            "what a slow connection pins in memory (Linux, TCP_NOTSENT_LOWAT)",
        ),
    ] = 0  # fmt: skip
    limits: Limits = msgspec.field(default_factory=Limits)
