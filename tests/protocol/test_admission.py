"""Who may have what, asked again and again."""

from __future__ import annotations

from typing import Any

import pytest

from ocaserve.protocol import admission
from ocaserve.protocol.admission import Admission
from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.signatures import (
    SigningPolicy,
    check_folder_signature,
    check_signature,
    make_folder_token,
    make_token,
)
from ocaserve.protocol.target import ObjectTarget, parse_target

SECRET, HOST, END = bytes(range(16)), b"oca-1", 1_000
TOKEN = make_token(SECRET, HOST, b"k", b"1000", b"1")
QUERY = b"v=1&e=1000&t=" + TOKEN


@pytest.fixture
def signed() -> Admission:
    return Admission(signing=SigningPolicy({b"1": SECRET}, clock_skew_s=0), memo_bytes=800)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The targets that were read, in their order."""
    targets = []

    def count(target: bytes, *, has_speedtest: bool) -> ObjectTarget:
        targets.append(target)
        return parse_target(target, has_speedtest=has_speedtest)

    monkeypatch.setattr(admission, "parse_target", count)
    return targets


def test_without_signing_everybody_may_have_everything() -> None:
    """From any host, at any time, with what another appliance would take for a signature."""
    free = Admission()
    for host in (HOST, None, b"other"):
        assert free.admit(b"/k?v=1&e=2&t=3", host, 10**9).key == b"k"


@pytest.mark.parametrize(
    "target", [b"/k?", b"/range/0-9/k?", b"/range/0-9?o=k&", b"/?o=k&"], ids=str
)
def test_one_token_for_all_forms(signed: Admission, target: bytes) -> None:
    """It covers the object, and no part."""
    for _ in range(2):
        assert signed.admit(target + QUERY, HOST, END).key == b"k"


def test_token_of_the_speedtest() -> None:
    """It is signed as the key that it looks like."""
    signed = Admission(has_speedtest=True, signing=SigningPolicy({b"1": SECRET}))
    token = make_token(SECRET, HOST, b"speedtest", b"1000", b"1")
    for path in (b"/speedtest", b"/speedtest/range/0-9"):
        assert signed.admit(path + b"?v=1&e=1000&t=" + token, HOST, END).is_speedtest
        with pytest.raises(RequestRefused):
            signed.admit(path, HOST, END)


def test_what_is_kept_is_good_for_its_host_and_time(signed: Admission) -> None:
    """Not for whoever comes after."""
    target = b"/k?" + QUERY
    signed.admit(target, HOST, END)
    for host, now in ((b"other", END), (None, END), (HOST, END + 1)):
        for _ in range(2):
            with pytest.raises(RequestRefused, match="403"):
                signed.admit(target, host, now)
    assert signed.admit(target, HOST, END).key == b"k"


def test_what_was_refused_is_not_kept(signed: Admission) -> None:
    """A refusal costs no memory, and opens nothing."""
    for _ in range(2):
        with pytest.raises(RequestRefused, match="signature_mismatch"):
            signed.admit(b"/other?" + QUERY, HOST, END)


def test_target_is_read_once(asked: list[bytes]) -> None:
    """Until too many others have come."""
    free = Admission(memo_bytes=800)
    for target in (b"/a", b"/a", b"/b", b"/a", b"/b", b"/c", b"/c", b"/a"):
        assert free.admit(target, HOST, 0).key == target[1:]
    assert asked == [b"/a", b"/b", b"/c", b"/a"]


def test_long_target_is_not_kept(asked: list[bytes]) -> None:
    """What is kept is bounded in bytes too."""
    free = Admission()
    for _ in range(2):
        free.admit(b"/k?" + b"x" * 3_000, HOST, 0)
    assert len(asked) == 2


def test_signature_is_checked_once_for_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the form, if the query is the same; until too many others have come."""
    signed = Admission(signing=SigningPolicy({b"1": SECRET}), memo_bytes=800)
    checked = []

    def check(policy: SigningPolicy, key: bytes, query: bytes, *rest: Any) -> int:
        checked.append(query)
        return check_signature(policy, key, query, *rest)

    monkeypatch.setattr(admission, "check_signature", check)
    more = [QUERY + b"&n=1", QUERY + b"&n=2"]
    for query in (QUERY, QUERY, *more, QUERY, QUERY + b"&" + b"x" * 3_000):
        for path in (b"/k?", b"/range/0-9/k?", b"/range/10-19/k?"):
            signed.admit(path + query, HOST, END)
    assert [len(query) for query in checked[:4]] == [len(q) for q in (QUERY, *more, QUERY)]
    assert len(checked) == 7  # the long one each time


def test_target_that_is_refused() -> None:
    """Before any signature is looked at."""
    with pytest.raises(RequestRefused, match="target_dot_segment"):
        Admission(signing=SigningPolicy({})).admit(b"/../k", HOST, 0)


FOLDER = b"/s/1.1000." + make_folder_token(SECRET, HOST, b"film", b"1000", b"1")


@pytest.mark.parametrize(
    ("rest", "key"),
    [
        (b"/film/a.m3u8", b"film/a.m3u8"),
        (b"/film/v/1.m4s?c=de", b"film/v/1.m4s"),
        (b"/range/0-9/film/a", b"film/a"),
        (b"/?o=film/a", b"film/a"),
    ],
    ids=str,
)
def test_signature_in_the_path(signed: Admission, rest: bytes, key: bytes) -> None:
    """It stays when a player goes on to another object of the folder."""
    for _ in range(2):
        assert signed.admit(FOLDER + rest, HOST, END).key == key
    for host, now in ((b"other", END), (HOST, END + 1)):
        with pytest.raises(RequestRefused, match="403"):
            signed.admit(FOLDER + rest, host, now)


@pytest.mark.parametrize("path", [b"/film2/a", b"/a", b"/film"], ids=str)
def test_signature_of_another_folder(signed: Admission, path: bytes) -> None:
    """Also after it was found good for its own."""
    signed.admit(FOLDER + b"/film/a", HOST, END)
    with pytest.raises(RequestRefused, match="signature_mismatch"):
        signed.admit(FOLDER + path, HOST, END)


def test_folder_is_checked_once(monkeypatch: pytest.MonkeyPatch, signed: Admission) -> None:
    """Not once for each segment of a film."""
    checked = []

    def check(policy: SigningPolicy, key: bytes, *rest: Any) -> int:
        checked.append(key)
        return check_folder_signature(policy, key, *rest)

    monkeypatch.setattr(admission, "check_folder_signature", check)
    for name in (b"1", b"2", b"v/1", b"v/2", b"3"):
        signed.admit(FOLDER + b"/film/" + name, HOST, END)
    assert checked == [b"film/1", b"film/v/1"]


def test_signature_in_the_path_where_none_is_asked_for() -> None:
    """A URL that was signed goes on to be good when signing is turned off."""
    assert Admission().admit(FOLDER + b"/film/a", b"any", 0).key == b"film/a"
