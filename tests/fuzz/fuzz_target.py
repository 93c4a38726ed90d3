"""A target names a path that stays below its store, is hidden nowhere and fits a file system."""

from __future__ import annotations

import os.path

from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.target import SPEEDTEST_KEY, ObjectTarget, parse_target
from tests.fuzz.driver import run

TOKENS = [
    b"/", b"..", b".", b"../", b"%2e", b"%2E%2e", b"%2f", b"%5c", b"\\", b"%00", b"%25", b"%", b"?",
    b"//", b"/.", b"%C3%A9", b"a" * 255, b"/range/", b"0-9", b"?o=", b"&o=", b"/speedtest",
    b"9" * 30, b"/s/1.2." + b"A" * 43,
]  # fmt: skip


def check(data: bytes) -> None:
    meaning = read(data)
    if meaning in [(400, False), (404, False)]:  # none ends the connection
        return
    assert isinstance(meaning, ObjectTarget)
    key, query, part, is_speedtest, signature = meaning
    assert not is_speedtest or key == SPEEDTEST_KEY
    assert part is None or 0 <= part.start < part.stop
    assert os.path.normpath(b"/store/" + key) == b"/store/" + key
    assert all(name and name[:1] != b"." and len(name) <= 255 for name in key.split(b"/"))
    assert not set(key) & {*range(32), 0x5C, 0x7F}
    assert data.endswith(query)
    assert not signature or data.startswith(b"/s/" + signature)


def read(data: bytes) -> object:
    """The object that is named, or a refusal as its status and whether it ends the connection."""
    try:
        return parse_target(data, has_speedtest=True)
    except RequestRefused as refused:
        return refused.status, refused.close


if __name__ == "__main__":
    run("target", check, TOKENS)
