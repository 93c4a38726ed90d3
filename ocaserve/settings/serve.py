"""`[serve]` and `[serve.limits]`: the data plane."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from ocaserve.addresses import parse_address
from ocaserve.schema import choice, flag, number, text

_DAY_S = 86_400
_WEEK_S = 604_800
_FIELD_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z"


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
    ranges: Annotated[
        int,
        number(
            "ranges", 1, 1_024,
            "in one request, each answered by a part; for more of them, or more bytes than the "
            "object has, all of it is sent. zsync and PDF readers ask for dozens (RFC 9110 section "
            "14.2)",
        ),
    ] = 256  # fmt: skip
    connections: Annotated[
        int,
        number(
            "connections", 1, 1_000_000,
            "held by one worker; one more hears 503 at once, so that its client goes to another "
            "appliance instead of waiting (nginx: 512)",
        ),
    ] = 20_000  # fmt: skip
    lookups: Annotated[
        int,
        number(
            "look-ups", 1, 1_000_000,
            "waiting for one store in one worker, each client in his turn; one more hears 503. A "
            "disk that takes 10 ms answers 400 a second: the last waits as long as players do",
        ),
    ] = 4_096  # fmt: skip
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
            parse=parse_address,
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
    cors_headers: Annotated[
        list[Annotated[str, msgspec.Meta(pattern=_FIELD_NAME)]],
        text(
            "names of request fields",
            "that scripts may send beside those of today's players (CMCD, ranges, conditions, "
            'caching); `"*"` allows all but Authorization, where the browser knows it',
            each="the name of a request field",
        ),
    ] = msgspec.field(default_factory=list)
    drain_s: Annotated[
        float,
        number("seconds", 0, _DAY_S, "for running responses to end when the appliance stops"),
    ] = 30.0
    reload_generations: Annotated[
        int,
        number(
            "generations",
            1,
            64,
            "of workers that may drain at once, one for each reload: slow clients keep about 20 MB "
            "for each worker alive; when one more is to, what the oldest sends has drain_s to end, "
            "and the next reload waits for it",
        ),
    ] = 4
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
    pinned_bytes: Annotated[
        int,
        number(
            "bytes", 0, 1 << 44,
            "of the most wanted objects that are locked in memory, whatever else is read; at most "
            "half of the memory that there is (`MemoryMax=` of the unit), for workers need some; "
            "as far as the system lets us (`LimitMEMLOCK=`); 0: none",
        ),
    ] = 0  # fmt: skip
    popularity_days: Annotated[
        float,
        number("days", 0.01, 365, "after which it counts half that an object was wanted"),
    ] = 3.0
    io_threads: Annotated[
        int, number("threads", 1, 256, "of a worker for each store, waiting for its disk")
    ] = 16
    store_failing_share: Annotated[
        float,
        number(
            "of the objects tried", 0, 1,
            "that cannot be read, above which a store is failed and not asked: one bad file, or a "
            "few, are no bad disk",
        ),
    ] = 0.5  # fmt: skip
    store_trial_objects: Annotated[
        int,
        number(
            "objects", 1, 256,
            "tried when one cannot be read, at most once a second: enough to tell a bad file from "
            "a bad disk, few enough for a disk that is busy",
        ),
    ] = 16  # fmt: skip
    store_retry_s: Annotated[
        float,
        number(
            "seconds", 0.25, 3_600,
            "until a failed store is looked at again, at most: half a second at first, then twice "
            "as long each time",
        ),
    ] = 2.0  # fmt: skip
    cold_pages: Annotated[
        Literal["second-read", "keep", "drop"],
        choice(
            "what becomes of pages read from disk for one response: kept from the second reading "
            "on, kept at once, or never kept"
        ),
    ] = "second-read"
    open_files: Annotated[
        int,
        number(
            "files",
            16,
            1_000_000,
            "kept open by a worker between responses; the one used longest ago goes first",
        ),
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
