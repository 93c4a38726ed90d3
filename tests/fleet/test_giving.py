"""Whether an appliance takes clients, what was given to it, and the URLs that lead there."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from ocaserve.fleet.client_urls import ClientLocation, Signer, locate_key, parse_key
from ocaserve.fleet.grants import SETTLE_S, Grants
from ocaserve.fleet.liveness import Condition, find_fault
from ocaserve.protocol.signatures import SigningPolicy, check_signature
from ocaserve.protocol.target import parse_target
from ocaserve.signing import sign_url

WELL = Condition(
    age_s=1.0, takes_traffic=True, state="serving", reason="", has_url=True,
    free_bits_per_s=1e9, granted_bits_per_s=0.0,
)  # fmt: skip
TTL_S = 90.0
SECRET = bytes(range(32))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({}, "", id="well"),
        pytest.param({"age_s": TTL_S}, "", id="just_in_time"),
        pytest.param({"age_s": TTL_S + 0.1}, "silent", id="silent"),
        pytest.param(
            {"takes_traffic": False, "state": "draining", "reason": "fans"},
            "draining: fans", id="draining",
        ),
        pytest.param({"takes_traffic": False, "state": ""}, "withdrawn", id="withdrawn"),
        pytest.param({"has_url": False}, "no address", id="no_url"),
        pytest.param({"lacking": "routes: none"}, "commissioning: routes", id="commissioning"),
        pytest.param({"granted_bits_per_s": 1e9}, "full", id="full"),
        pytest.param({"free_bits_per_s": 0.0}, "full", id="nothing_left"),
        pytest.param({"free_bits_per_s": None, "granted_bits_per_s": 1e12}, "", id="unbounded"),
    ],
)  # fmt: skip
def test_fault(change: dict[str, object], says: str) -> None:
    """One reason, and none where it takes clients."""
    fault = find_fault(replace(WELL, **change), TTL_S)  # type: ignore[arg-type]
    assert fault.startswith(says)
    assert bool(fault) is bool(says)


def test_grants_count_until_a_report_can_have_seen_them() -> None:
    grants = Grants()
    grants.give(5e6, 100.2)
    grants.give(5e6, 100.9)
    grants.give(3e6, 104.0)
    assert grants.bits_per_s == 13e6
    grants.settle(101.0)  # a report that came at once has not
    assert grants.bits_per_s == 13e6
    grants.settle(101.0 + SETTLE_S)
    assert grants.bits_per_s == 3e6
    grants.settle(200.0)
    assert grants.bits_per_s == 0.0


KEYS = ["film.mp4", "/a/b c/ü.ts", "a+b&c=d;e,f.mp4", "100%.m4s", "what?.mp4", "a#b"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("base", ["https://OCA-1.example.net", "http://127.0.0.1:8080"])
def test_signed_urls_are_those_that_appliances_take(key: str, base: str) -> None:
    """By the appliance's own rules; and the same as `sign` makes."""
    wanted = parse_key(key)
    url = Signer(ClientLocation(base, "7", SECRET)).make(wanted, 2_000)
    assert url == sign_url(base + wanted.path, version="7", secret=SECRET, expires=2_000)
    parts = urlsplit(url)
    target = parse_target(f"{parts.path}?{parts.query}".encode())
    assert target.key.decode() == key.removeprefix("/")
    policy = SigningPolicy({b"7": SECRET})
    assert check_signature(policy, target.key, target.query, parts.netloc.encode(), 2_000)


@pytest.mark.parametrize("key", ["range/0-9/a&b=c.mp4", f"s/1.1.{'x' * 43}/ü.ts", "range/9-/a"])
def test_keys_that_look_like_a_form(key: str) -> None:
    """Who takes any form of URL, as fill does, is given one that appliances take."""
    url = Signer(ClientLocation("http://oca-1", "7", SECRET)).make(locate_key(key), 2_000)
    target = parse_target(url.removeprefix("http://oca-1").encode())
    assert (target.key.decode(), target.part, target.signature) == (key, None, b"")
    policy = SigningPolicy({b"7": SECRET})
    assert check_signature(policy, target.key, target.query, b"oca-1", 2_000)
    plain = Signer(ClientLocation("http://oca-1")).make(locate_key(key), 2_000)
    assert plain == url.partition("&v=")[0]


def test_unsigned_urls() -> None:
    assert Signer(ClientLocation("http://oca")).make(parse_key("a b"), 9) == "http://oca/a%20b"


@pytest.mark.parametrize(
    "key",
    ["", "/", "a//b", "../x", "a/../b", ".hidden", "a/", "a\\b", "a\0b", "range/0-9/a", "//a"],
)
def test_what_no_appliance_has_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="names"):
        parse_key(key)
