"""From the URL of an engine to the engine."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from ocaserve.queue.contract import Queues
from ocaserve.queue.model import Bounds

SQLITE = "sqlite"
REDIS = ("redis", "rediss", "redis+sentinel", "redis+cluster", "unix")
MOST_SHARDS = 64
_SYNCHRONOUS = ("normal", "full")
_FORMS = (
    "sqlite:///PATH, redis://HOST:PORT/DB, rediss://… with TLS, redis+sentinel://HOST:PORT/MASTER, "
    "or redis+cluster://HOST:PORT"
)


def find_engine_fault(url: str) -> str | None:
    """What is wrong with the URL of an engine, in words; secrets in it are not repeated."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"must be {_FORMS}: {error}"
    if parts.scheme == SQLITE:
        if parts.netloc or not parts.path.strip("/"):
            return "must have three slashes and an absolute path behind sqlite:"
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if options.pop("synchronous", "normal") not in _SYNCHRONOUS or options:
            return "the only option of sqlite is synchronous=normal or synchronous=full"
        return None
    if parts.scheme not in REDIS:
        return f"must be {_FORMS}"
    if parts.scheme != "unix" and not parts.hostname:
        return f"must name a host: {_FORMS}"
    if parts.scheme == "redis+sentinel" and not parts.path.strip("/"):
        return "must name the master that the sentinels know, behind the host"
    assert port is None or port >= 0
    try:
        _split_shards(url)
    except ValueError as error:
        return str(error)
    return None


def _split_shards(url: str) -> tuple[str, int]:
    """The URL without our own option, and what it says. Raises ValueError."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    shards = options.pop("shards", "1")
    if not shards.isascii() or not shards.isdigit() or not 1 <= int(shards) <= MOST_SHARDS:
        raise ValueError(f"shards must be 1 to {MOST_SHARDS}")
    return parts._replace(query=urlencode(options)).geturl(), int(shards)


def open_queues(url: str, bounds: Bounds | None = None) -> Queues:
    """Nothing is connected yet: that is tried with each call. Raises ValueError for a wrong URL."""
    if fault := find_engine_fault(url):
        raise ValueError(f"the engine of the queue: {fault}")
    parts = urlsplit(url)
    bounds = bounds or Bounds()
    if parts.scheme == SQLITE:
        from ocaserve.queue.sqlite import SqliteQueues

        options = dict(parse_qsl(parts.query))
        file = Path(unquote(parts.path))
        return SqliteQueues(file, bounds, synchronous=options.get("synchronous", "normal"))
    from ocaserve.queue.calling import connect
    from ocaserve.queue.valkey import ValkeyQueues

    plain, shards = _split_shards(url)
    return ValkeyQueues(connect(plain), bounds, shards=shards)
