"""Manifests: what is taken, and how what is wrong is named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ocaserve.fill.manifest import ManifestError, find_key_fault, manifest_schema, read_manifest

DIGEST = "ab" * 32


def entry(**more: Any) -> dict[str, Any]:
    return {"key": "film/1.mp4", "size": 1_000_000, "sha256": DIGEST, **more}


def manifest(*objects: Any, **more: Any) -> bytes:
    return json.dumps({"version": "7", "objects": list(objects), **more}).encode()


def faults(data: bytes) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(data)
    return caught.value.faults


def test_whole() -> None:
    """Every field."""
    full = entry(
        mtime_ns=1_700_000_000_123_456_789,
        priority=3,
        not_before="2030-01-31T06:00:00+01:00",
        pieces={"size": 1 << 19, "sha256": [DIGEST, DIGEST]},
        sources=[{"tier": "origin", "url": "https://origin.example.net/film/1.mp4"}],
    )
    [one] = read_manifest(manifest(full)).objects
    assert (one.priority, one.piece_count, one.due) == (3, 2, 1_896_066_000)
    assert one.sources[0].tier == "origin"


def test_least() -> None:
    """What may be left out; an empty object has no pieces."""
    found = read_manifest(
        manifest(
            entry(),
            entry(key="b", size=0, pieces={"size": 1 << 20, "sha256": []}),
            entry(key="c", not_before=5),
        )
    )
    assert found.version == "7"
    assert [each.priority for each in found.objects] == [50, 50, 50]
    assert [each.due for each in found.objects] == [0, 0, 5]
    assert [each.piece_count for each in found.objects] == [1, 0, 1]
    assert read_manifest(b'{"version": 8, "objects": []}').version == 8


MALFORMED = [
    pytest.param(entry(size="1"), "objects[1].size: Expected `int`, got `str`", id="size_text"),
    pytest.param(entry(size=-1), "objects[1].size: Expected `int` >= 0", id="size_negative"),
    pytest.param(entry(size=1.5), "objects[1].size: Expected `int`", id="size_fraction"),
    pytest.param({"key": "a", "sha256": DIGEST}, "objects[1].size: is missing", id="size_missing"),
    pytest.param({"size": 1, "sha256": DIGEST}, "objects[1].key: is missing", id="key_missing"),
    pytest.param(entry(key=7), "objects[1].key: Expected `str`", id="key_number"),
    pytest.param(entry(key="/a"), "objects[1].key = '/a': must not begin", id="key_slash"),
    pytest.param(
        entry(key="a/../b"), "objects[1].key = 'a/../b': must not have names", id="key_dots"
    ),
    pytest.param(
        entry(sha256="AB" * 32), "objects[1].sha256: Expected `str` matching", id="digest"
    ),
    pytest.param(entry(mtime_ns=-1), "objects[1].mtime_ns: Expected", id="mtime"),
    pytest.param(entry(priority=100), "objects[1].priority: Expected `int` <= 99", id="priority"),
    pytest.param(entry(not_before="soon"), "objects[1].not_before: Invalid RFC3339", id="time"),
    pytest.param(entry(not_before="2030-01-01T00:00:00"), "objects[1].not_before: ", id="no_zone"),
    pytest.param(
        entry(pieces={"size": 1, "sha256": []}), "objects[1].pieces.size: Exp", id="small"
    ),
    pytest.param(
        entry(pieces={"size": 1 << 20, "sha256": [DIGEST, DIGEST]}),
        "objects[1].pieces.sha256: has 2 digests; 1000000 bytes in pieces of 1048576 have 1",
        id="pieces_too_many",
    ),
    pytest.param(
        entry(pieces={"size": 1 << 20, "sha256": ["x"]}),
        "objects[1].pieces.sha256[0]: Exp",
        id="piece",
    ),
    pytest.param(
        entry(pieces={"size": 1 << 20}), "objects[1].pieces.sha256: is missing", id="none"
    ),
    pytest.param(
        entry(sources=[{"tier": "moon", "url": "http://a/"}]),
        "objects[1].sources[0].tier: ",
        id="tier",
    ),
    pytest.param(
        entry(sources=[{"tier": "peer", "url": "ftp://a/b"}]),
        "objects[1].sources[0].url = ",
        id="url",
    ),
    pytest.param(
        entry(sources=[{"tier": "peer", "url": "http://u:p@a/b"}]),
        "objects[1].sources[0].url = ",
        id="password",
    ),
    pytest.param(entry(siez=1), "objects[1].siez: is not a field of it", id="unknown"),
    pytest.param(7, "objects[1]: Expected `object`, got `int`", id="number"),
    pytest.param(entry(key="first"), "objects[1].key = 'first': is objects[0].key", id="double"),
]


@pytest.mark.parametrize(("bad", "said"), MALFORMED)
def test_malformed(bad: Any, said: str) -> None:
    """Each names entry and field; the entry before it is good."""
    [fault] = faults(manifest(entry(key="first"), bad))
    assert fault.startswith(said), fault


def test_whole_manifest_malformed() -> None:
    """What is around the entries."""
    assert faults(b"{") == ["the manifest is not JSON: Input data was truncated"]
    assert faults(b"[]") == ["the manifest: Expected `object`, got `array`"]
    assert faults(b'{"version": "1"}') == ["the manifest: objects: is missing"]
    assert faults(b'{"objects": []}') == ["the manifest: version: is missing"]
    assert faults(b'{"version": "1", "objects": {}}')[0].startswith(
        "the manifest: objects: Expected"
    )
    assert faults(b'{"version": "1", "objects": [], "x": 1}') == [
        "the manifest: x: is not a field of it"
    ]


def test_all_faults_at_once() -> None:
    """Up to a bound."""
    assert len(faults(manifest(*(entry(key=f"k{n}", size=-1) for n in range(10))))) == 10
    assert len(faults(manifest(*(entry(key=f"k{n}", size=-1) for n in range(1_000))))) == 100


@pytest.mark.parametrize("key", ["a", "a/b.mp4", "ü/ö", "a b", "x" * 255, "a%2Fb", "~"])
def test_good_keys(key: str) -> None:
    assert find_key_fault(key) is None


@pytest.mark.parametrize(
    "key", ["", "/", "a/", "a//b", ".a", "a/.b", "..", "a\\b", "a\0", "a\nb", "x" * 256, "\ud800"]
)
def test_bad_keys(key: str) -> None:
    assert find_key_fault(key) is not None


def test_schema() -> None:
    """Names each field, for who makes manifests."""
    shape = manifest_schema()["$defs"]["Entry"]
    assert shape["required"] == ["key", "size", "sha256"]
    assert shape["additionalProperties"] is False
