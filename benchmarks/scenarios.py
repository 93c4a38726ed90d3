"""What is played, and what has to be reached. Data alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.loads import (
    Cold,
    Handshakes,
    Hot,
    Idle,
    Load,
    Mixed,
    Paced,
    Reload,
    Replies,
    Start,
    TlsHot,
)
from benchmarks.results import Bar

KIB = 1024
MIB = 1024 * KIB

_ALL = ("ocaserve", "nginx", "nginx-aio", "bare", "aiohttp")
_FILES = ("ocaserve", "nginx", "nginx-aio")
COMPARED = _FILES[:2]
"""These are neighbours in each round and play all rounds; the others give the scale."""


@dataclass(frozen=True)
class Group:
    """Scenarios that share a section and its tables."""

    title: str
    about: str


@dataclass(frozen=True)
class Scenario:
    """A load, and the servers it is put on, in the order of a round.

    is_quick: a quick run plays it too.
    """

    name: str
    title: str
    group: str
    load: Load
    peers: tuple[str, ...]
    is_quick: bool = True


GROUPS: Mapping[str, Group] = {
    "hot": Group(
        "Hot ranges",
        "Random aligned ranges over the whole store, all of it in the page cache, asked for as"
        " fast as they are answered. Here the processor is what is scarce.",
    ),
    "replies": Group(
        "Answers that are made",
        "500 bytes of JSON, made for each request by a small answerer behind the same engine,"
        " beside ranges of 1 KiB: what deciding costs more than reading.",
    ),
    "tls": Group(
        "Hot ranges over TLS",
        "The same ranges over TLS 1.3 with AES-256-GCM, by 16 connections. The clients have one"
        " core, and decrypt on it what the server has encrypted on the other, for about as much:"
        " no server can be asked more often than fills their core, so the CPU per request is what"
        " tells servers apart here.",
    ),
    "handshakes": Group(
        "TLS handshakes",
        "Eight clients (`openssl s_time`) that connect again and again: with TLS 1.3 for a new"
        " session, with a P-256 certificate, or resuming one by its ticket and asking for a small"
        " object. They have one core together.",
    ),
    "paced": Group(
        "Many slow clients",
        "Each client takes 4 MiB ranges at 10 Mb/s and no faster, as a viewer's line does.",
    ),
    "cold": Group(
        "Cold beside hot",
        "Eight streams of objects that are not in the page cache, from a disk held to 80 MiB/s,"
        " and one client that asks for 16 KiB of a hot object every 2 ms. Latencies are the hot"
        " client's, with those counted who would have asked during a stall.",
    ),
    "mixed": Group(
        "Mixed",
        "256 KiB ranges over 32 connections: nine tenths of the requests go to two hot objects, one"
        " tenth by Zipf's law to a catalogue four times as large as the page cache the server is"
        " given (256 MiB, by control group).",
    ),
    "idle": Group(
        "Idle connections",
        "Memory (PSS of the process tree) that each connection adds after it was answered once and"
        " went silent. What the kernel keeps for its socket is not in it.",
    ),
    "start": Group("Start", "From the start of the program to the end of its first answer."),
    "reload": Group(
        "Reload under load",
        "64 KiB ranges over 16 connections, and two HUP signals meanwhile. A failed request is one"
        " that wrk counted as an error of any kind.",
    ),
}


def _text(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


def _hot(
    name: str, size: int, connections: int = 16, note: str = "", *, is_quick: bool = True
) -> Scenario:
    return Scenario(name, _text(size) + note, "hot", Hot(size, connections), _ALL, is_quick)


def _tls(name: str, size: int, *, is_quick: bool = False) -> Scenario:
    return Scenario(name, f"TLS, {_text(size)}", "tls", TlsHot(size, 16), COMPARED, is_quick)


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        _hot("1k", KIB),
        _hot("16k", 16 * KIB),
        _hot("64k", 64 * KIB),
        _hot("256k", 256 * KIB, is_quick=False),
        _hot("1m", MIB),
        _hot("8m", 8 * MIB, is_quick=False),
        _hot("64k-256", 64 * KIB, 256, ", 256 connections", is_quick=False),
        _hot("64k-2048", 64 * KIB, 2048, ", 2,048 connections", is_quick=False),
        Scenario("reply", "small answers", "replies", Replies(KIB, 16), ("replies", "ocaserve")),
        _tls("tls-16k", 16 * KIB),
        _tls("tls-64k", 64 * KIB, is_quick=True),
        _tls("tls-256k", 256 * KIB),
        _tls("tls-1m", MIB),
        _tls("tls-8m", 8 * MIB),
        Scenario("tls-new", "TLS, new session", "handshakes", Handshakes(), COMPARED),
        Scenario(
            "tls-resumed",
            "TLS, resumed session",
            "handshakes",
            Handshakes(is_resumed=True),
            COMPARED,
            is_quick=False,
        ),
        Scenario("paced", "many slow clients", "paced", Paced(4 * MIB, 10e6), _FILES),
        Scenario("cold", "cold beside hot", "cold", Cold(), _FILES),
        Scenario("mixed", "mixed", "mixed", Mixed(256 * KIB, 32), _FILES),
        Scenario("idle", "idle connections", "idle", Idle(), COMPARED),
        Scenario("start", "start", "start", Start(), (*COMPARED, "aiohttp")),
        Scenario("reload", "reload", "reload", Reload(64 * KIB, 16), COMPARED),
    )
}

PLOTTED: Mapping[str, int] = {
    "1k": KIB, "16k": 16 * KIB, "64k": 64 * KIB, "256k": 256 * KIB, "1m": MIB, "8m": 8 * MIB,
}  # fmt: skip
"""The scenarios of the plot, cost against range size, and their sizes."""

_LARGE_OVER_TLS = ("tls-64k", "tls-256k", "tls-1m", "tls-8m")
_LARGE = ("64k", "256k", "1m", "8m", "64k-2048")

BARS: tuple[Bar, ...] = (
    Bar("1k", "cpu_us_per_request", "≤", 1.35),
    Bar("1k", "requests_per_s", "≥", 0.80),
    Bar("16k", "cpu_us_per_request", "≤", 1.15),
    Bar("16k", "requests_per_s", "≥", 0.90),
    *(Bar(name, "cpu_us_per_request", "≤", 1.0) for name in _LARGE),
    *(Bar(name, "requests_per_s", "≥", 1.0) for name in _LARGE),
    Bar("64k", "cpu_us_per_request", "≤", 0.10, against="aiohttp"),
    Bar("64k", "requests_per_s", "≥", 5.0, against="aiohttp"),
    Bar("reply", "cpu_us_per_request", "≤", 1.2, against="ocaserve", of="replies"),
    Bar("tls-16k", "cpu_us_per_request", "≤", 1.15),
    Bar("tls-16k", "requests_per_s", "≥", 1.2),
    *(Bar(name, "cpu_us_per_request", "≤", 0.85) for name in _LARGE_OVER_TLS),
    *(Bar(name, "requests_per_s", "≥", 2.0) for name in _LARGE_OVER_TLS),
    Bar("paced", "cpu_s_per_gb", "≤", 1.0),
    Bar("paced", "cpu_s_per_gb", "≤", 0.12, against=None, if_reached_by="nginx"),
    Bar("paced", "slowest_share", "≥", 0.99, against=None),
    Bar("cold", "p99_ms", "≤", 1.0, against="nginx-aio"),
    Bar("cold", "cold_mb_per_s", "≥", 1.0, against="nginx-aio"),
    Bar("cold", "cold_mb_per_s", "≥", 1.0),
)
