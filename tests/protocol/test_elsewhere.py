"""Where clients are sent on to."""

from __future__ import annotations

import pytest

from ocaserve.protocol.elsewhere import Elsewhere, find_template_fault
from ocaserve.protocol.messages import Fields, Request, RequestRefused
from ocaserve.protocol.planning import ResponsePolicy, plan_redirect
from ocaserve.protocol.signatures import (
    SigningPolicy,
    check_folder_signature,
    check_signature,
    make_folder_token,
    make_token,
)
from ocaserve.protocol.target import parse_target

TO_KEY = "https://origin.example.net/films/{key}"
TO_PATH = "https://oca-2.example.net:8443/{path}"


@pytest.mark.parametrize(
    ("template", "target", "location"),
    [
        (TO_KEY, b"/a/b.mp4", b"https://origin.example.net/films/a/b.mp4"),
        (TO_KEY, b"/?o=a%20%3F%23%25.mp4", b"https://origin.example.net/films/a%20%3F%23%25.mp4"),
        (TO_KEY, b"/%c3%a9", b"https://origin.example.net/films/%C3%A9"),
        (TO_KEY, b"/a?x=1", b"https://origin.example.net/films/a"),
        (TO_KEY, b"/range/0-9/a", None),
        (TO_PATH, b"/range/0-9/a", b"https://oca-2.example.net:8443/range/0-9/a"),
        (TO_PATH, b"/a", b"https://oca-2.example.net:8443/a"),
        (TO_PATH, b"/?o=range/0-9/a", None),
        (TO_PATH, b"/?o=s/7.1000." + b"A" * 43 + b"/a", None),
        (TO_KEY, b"/?o=range/0-9/a", b"https://origin.example.net/films/range/0-9/a"),
        ("http://h/?k={key}", b"/a&b=c+d", b"http://h/?k=a%26b%3Dc%2Bd"),
        (TO_PATH, b"/speedtests/a", b"https://oca-2.example.net:8443/speedtests/a"),
        (TO_PATH, b"/?o=speedtest", None),
    ],
)
def test_location(template: str, target: bytes, location: bytes | None) -> None:
    """What is asked for is said whole, or nothing is."""
    assert Elsewhere(template).locate(parse_target(target)) == location


@pytest.mark.parametrize("template", [TO_PATH, TO_PATH + "?x=1"])
def test_the_right_is_passed_on(template: str) -> None:
    """For the other host, until the same second, with the same version of the key."""
    secret = bytes(range(16))
    token = make_token(secret, b"oca-1", b"a/b", b"1000", b"7")
    target = parse_target(b"/range/5-9/a/b?v=7&e=1000&t=" + token)
    location = Elsewhere(template, {b"7": secret}).locate(target)
    assert location is not None
    assert location.startswith(b"https://oca-2.example.net:8443/range/5-9/a/b?")
    path = location.removeprefix(b"https://oca-2.example.net:8443")
    there = parse_target(path)
    policy = SigningPolicy({b"7": secret}, frozenset({b"oca-2.example.net"}), clock_skew_s=0)
    authority = b"oca-2.example.net:8443"
    assert check_signature(policy, there.key, there.query, authority, 900) == 1000


@pytest.mark.parametrize("part", ["", "range/5-9/"])
@pytest.mark.parametrize("query", ["", "?v=zz", "?v=7&e=999999999999"])
def test_the_right_to_a_folder_is_not_prolonged(part: str, query: str) -> None:
    """Nor widened: it is for the object's own folder, whatever the query says beside it."""
    secret = bytes(range(16))
    shown = make_folder_token(secret, b"oca-1", b"a", b"1000", b"7").decode()
    target = parse_target(f"/s/7.1000.{shown}/{part}a/b/c.m4s{query}".encode())
    location = Elsewhere(TO_PATH, {b"7": secret}).locate(target)
    assert location is not None
    there = parse_target(location.removeprefix(b"https://oca-2.example.net:8443"))
    assert (there.key, there.part) == (target.key, target.part)
    policy = SigningPolicy({b"7": secret}, frozenset({b"oca-2.example.net"}), clock_skew_s=0)
    authority = b"oca-2.example.net:8443"
    for key in (b"a/b/c.m4s", b"a/b/d.m4s"):
        assert check_folder_signature(policy, key, there.signature, authority, 900) == 1000
    with pytest.raises(RequestRefused, match="mismatch"):
        check_folder_signature(policy, b"a/d.m4s", there.signature, authority, 900)


def test_the_right_to_a_folder_where_only_the_key_is_said() -> None:
    """It is passed on for the object."""
    secret = bytes(range(16))
    target = parse_target(b"/s/7.1000." + b"A" * 43 + b"/a/b?v=8&e=2000")
    location = Elsewhere(TO_KEY, {b"7": secret}).locate(target)
    token = make_token(secret, b"origin.example.net", b"a/b", b"1000", b"7")
    assert location == b"https://origin.example.net/films/a/b?v=7&e=1000&t=" + token


@pytest.mark.parametrize(
    "template",
    [
        "https://h/", "https://h/{key}{key}", "https://h/{name}", "https://h/{key}{", "https://h/}",
        "https://{key}/", "https://h/{key}/{path}",
    ],
)  # fmt: skip
def test_faults_of_templates(template: str) -> None:
    """The key stands once, and decides neither host nor scheme."""
    assert find_template_fault(template)


def test_good_templates() -> None:
    """Nothing is wrong with these."""
    assert not find_template_fault(TO_KEY)
    assert not find_template_fault(TO_PATH)


def test_the_answer() -> None:
    """307, with the fields that scripts need, and for no cache to keep."""
    asked = Request(b"GET", b"/a", 1, Fields(host=b"h"), None)
    plan = plan_redirect(asked, ResponsePolicy(), b"DATE", b"https://h/a")
    assert plan.status == 307
    assert plan.head.startswith(b"HTTP/1.1 307 Temporary Redirect\r\n")
    for line in (b"Location: https://h/a", b"Cache-Control: no-store"):
        assert line + b"\r\n" in plan.head
    assert b"Access-Control-Allow-Origin: *\r\n" in plan.head
    assert plan.keep_alive
