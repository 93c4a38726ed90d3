"""Which routes are not used, and for which reason."""

from __future__ import annotations

import pytest

from bgp.attributes import make_attributes
from bgp.prefixes import parse_prefix
from ocaserve.steering.filters import REASONS, Policy, PrefixFilter, judge_attributes

FILTERS = {family: PrefixFilter(family, Policy()) for family in (4, 6)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0.0.0.0/0", "default-route"), ("::/0", "default-route"),
        ("8.0.0.0/7", "too-short"), ("9.0.0.0/8", None), ("9.9.9.0/31", None),
        ("9.9.9.9/32", "too-long"), ("8.8.8.0/24", None), ("192.0.1.0/24", None),
        ("10.0.0.0/8", "bogon"), ("10.9.9.9/32", "bogon"), ("172.16.0.0/12", "bogon"),
        ("172.32.0.0/12", None), ("172.31.255.0/24", "bogon"), ("100.64.0.0/10", "bogon"),
        ("100.128.0.0/10", None), ("198.51.100.0/24", "bogon"), ("198.52.0.0/16", None),
        ("224.0.0.0/8", "bogon"), ("250.0.0.0/8", "bogon"), ("192.168.1.0/24", "bogon"),
        ("127.0.0.0/8", "bogon"), ("2000::/16", "too-short"), ("2a00::/19", None),
        ("2a00::/64", None), ("2a00::/65", "too-long"), ("2001:db8::/32", "bogon"),
        ("2001:db8:1::/48", "bogon"), ("2001:db9::/32", None), ("fc00::/20", "bogon"),
        ("fe80::/64", "bogon"), ("::ffff:10.0.0.0/120", "bogon"), ("ff00::/19", "bogon"),
        ("2002:a00::/24", "bogon"), ("3fff::/24", "bogon"), ("3ffd::/24", None),
    ],
)  # fmt: skip
def test_prefix(text: str, reason: str | None) -> None:
    prefix = parse_prefix(text)
    assert FILTERS[prefix.family].judge(prefix.length, prefix.bits) == reason


def test_allowed_bogons_are_judged_by_length_alone() -> None:
    """A provider's own private networks may be clients'."""
    policy = Policy(allowed_bogons=(parse_prefix("10.0.0.0/8"),))
    judge = PrefixFilter(4, policy).judge
    for text, reason in (("10.1.0.0/16", None), ("10.0.0.1/32", "too-long")):
        prefix = parse_prefix(text)
        assert judge(prefix.length, prefix.bits) == reason


def test_bogons_may_be_taken() -> None:
    prefix = parse_prefix("192.168.0.0/16")
    judge = PrefixFilter(4, Policy(refuses_bogons=False)).judge
    assert judge(prefix.length, prefix.bits) is None


@pytest.mark.parametrize(
    ("origin", "path", "next_hop", "reason", "peer_as"),
    [
        pytest.param("igp", [1, 2], "192.0.2.1", None, 1, id="good"),
        pytest.param("igp", [], "192.0.2.1", "empty-path", 1, id="empty_path_external"),
        pytest.param("igp", [], "192.0.2.1", None, 65000, id="empty_path_internal"),
        pytest.param("igp", [], "192.0.2.1", None, 0, id="empty_path_of_nobody_knows_whom"),
        pytest.param("igp", [1, 65000], "192.0.2.1", "as-loop", 1, id="loop"),
        pytest.param("igp", [1, 0], "192.0.2.1", "malformed", 1, id="as_0"),
        pytest.param("igp", range(1, 102), "192.0.2.1", "path-too-long", 1, id="long"),
        pytest.param("igp", [1], "", "no-nexthop", 1, id="none"),
        pytest.param("igp", [1], "0.0.0.0", "no-nexthop", 1, id="zero"),
        pytest.param("invalid", [1], "192.0.2.1", "malformed", 1, id="origin"),
        pytest.param(None, [1], "192.0.2.1", "malformed", 1, id="no_origin"),
    ],
)
def test_attributes(
    origin: str | None, path: list[int], next_hop: str, reason: str | None, peer_as: int
) -> None:
    values = {} if origin is None else {"origin": origin}
    attributes = make_attributes(values, [("as-sequence", list(path))])
    assert judge_attributes(attributes, next_hop, 65000, peer_as, 100) == reason
    assert reason is None or reason in REASONS
