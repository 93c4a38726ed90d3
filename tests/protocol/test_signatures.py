"""Signatures: what is signed, to the byte, and what is refused."""

from __future__ import annotations

import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.signatures import (
    MOST_FOLDERS,
    SigningPolicy,
    TokenMaker,
    check_folder_signature,
    check_signature,
    folders_around,
    make_folder_token,
    make_token,
    normalize_host,
)

OLD, NEW = bytes(range(16)), bytes(range(32, 64))
HOST, KEY, NOW = b"oca-1.example.net", "film/1 é.mp4".encode(), 1_799_999_000
END = b"1800000000"
POLICY = SigningPolicy({b"29": OLD, b"30": NEW}, frozenset({HOST, b"[2001:db8::1]"}), 30)
TOKEN = make_token(OLD, HOST, KEY, END, b"29")
GOOD = b"v=29&e=%b&t=%b" % (END, TOKEN)


@given(st.binary(min_size=16, max_size=100), st.binary(max_size=200))
def test_tokens_of_one_host_are_the_same(secret: bytes, key: bytes) -> None:
    """Made in another way; secrets longer than a block of the hash too."""
    maker = TokenMaker(secret, HOST, b"29")
    for _ in range(2):
        made = maker.make(key, maker.ending_of(END))
        assert made == make_token(secret, HOST, key, END, b"29")


def reason_of(
    query: bytes, *, key: bytes = KEY, host: bytes | None = HOST, now: int = NOW,
    policy: SigningPolicy = POLICY,
) -> str | None:  # fmt: skip
    """Why it is refused; None: it is not."""
    try:
        check_signature(policy, key, query, host, now)
    except RequestRefused as refused:
        return str(refused).removeprefix("403 signature_") + " and close" * refused.close
    return None


def test_token_is_what_others_make() -> None:
    """Made by openssl from the documented text; see docs/signing.md."""
    assert TOKEN == b"sidvas3u1T76Ogr8N1Of0RlN_jNFT7FcodqwVok2i7M"
    assert len(TOKEN) == 43


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(GOOD, id="as_made"),
        pytest.param(b"t=%b&v=29&e=%b" % (TOKEN, END), id="other_order"),
        pytest.param(b"o=x&" + GOOD + b"&sc=1&c=de", id="among_others"),
        pytest.param(b"V=1&E=2&T=3&vv=4&t&" + GOOD, id="names_alike"),
    ],
)
def test_good_signature(query: bytes) -> None:
    """Until its end, and a little longer: the last good second is told."""
    assert check_signature(POLICY, KEY, query, HOST, NOW) == int(END) + 30


@pytest.mark.parametrize(
    "host",
    [
        pytest.param(b"oca-1.example.net", id="plain"),
        pytest.param(b"OCA-1.Example.NET", id="upper_case"),
        pytest.param(b"oca-1.example.net:8443", id="port"),
        pytest.param(b"oca-1.example.net:", id="empty_port"),
    ],
)
def test_host_is_a_name_without_port(host: bytes) -> None:
    """As it is signed."""
    assert normalize_host(host) == HOST
    assert reason_of(GOOD, host=host) is None


def test_host_that_is_an_address() -> None:
    """The colons of IPv6 are no port."""
    assert normalize_host(b"[2001:DB8::1]:443") == b"[2001:db8::1]"
    token = make_token(OLD, b"[2001:db8::1]", KEY, END, b"29")
    assert reason_of(b"v=29&e=%b&t=%b" % (END, token), host=b"[2001:db8::1]") is None


OTHER_VERSION = make_token(NEW, HOST, KEY, END, b"30")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        pytest.param(b"", "missing", id="nothing"),
        pytest.param(b"e=%b&t=%b" % (END, TOKEN), "missing", id="version_missing"),
        pytest.param(b"v=29&t=" + TOKEN, "missing", id="expiry_missing"),
        pytest.param(b"v=29&e=" + END, "missing", id="token_missing"),
        pytest.param(b"v=29&" + GOOD, "repeated", id="version_doubled"),
        pytest.param(GOOD + b"&e=" + END, "repeated", id="expiry_doubled"),
        pytest.param(GOOD + b"&t=" + TOKEN, "repeated", id="token_doubled"),
        pytest.param(GOOD + b"&t=x", "repeated", id="token_and_another"),
        pytest.param(b"v=31&e=%b&t=%b" % (END, TOKEN), "version", id="version_unknown"),
        pytest.param(b"v=&e=%b&t=%b" % (END, TOKEN), "version", id="version_empty"),
        pytest.param(b"v=029&e=%b&t=%b" % (END, TOKEN), "version", id="version_otherwise"),
        pytest.param(b"v=30&e=%b&t=%b" % (END, TOKEN), "mismatch", id="version_other"),
        pytest.param(b"v=29&e=%b&t=%b" % (END, OTHER_VERSION), "mismatch", id="key_other"),
        pytest.param(b"v=29&e=&t=" + TOKEN, "expiry", id="expiry_empty"),
        pytest.param(b"v=29&e=x&t=" + TOKEN, "expiry", id="expiry_no_number"),
        pytest.param(b"v=29&e=-1&t=" + TOKEN, "expiry", id="expiry_negative"),
        pytest.param(b"v=29&e=%b0000&t=%b" % (END, TOKEN), "expiry", id="expiry_too_long"),
        pytest.param(b"v=29&e=1799990000&t=" + TOKEN, "expired", id="expiry_past"),
        pytest.param(b"v=29&e=1800000001&t=" + TOKEN, "mismatch", id="expiry_moved"),
        pytest.param(b"v=29&e=01800000000&t=" + TOKEN, "mismatch", id="expiry_otherwise"),
        pytest.param(b"v=29&e=%b&t=" % END, "mismatch", id="token_empty"),
        pytest.param(GOOD[:-1], "mismatch", id="token_cut"),
        pytest.param(GOOD + b"=", "mismatch", id="token_padded"),
        pytest.param(GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "mismatch", id="token_last_bit"),
        pytest.param(GOOD.replace(b"t=", b"t=A", 1)[:-1], "mismatch", id="token_shifted"),
        pytest.param(b"v=29&e=%b&t=%b" % (END, TOKEN.lower()), "mismatch", id="token_lower_case"),
    ],
)
def test_parameters_that_are_refused(query: bytes, reason: str) -> None:
    """Each of them wrong, missing, doubled."""
    assert reason_of(query) == reason


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        pytest.param(None, "host", id="none"),
        pytest.param(b"oca-2.example.net", "host", id="other"),
        pytest.param(b"oca-1.example.net.evil.example", "host", id="longer"),
        pytest.param(b"[2001:db8::1]", "mismatch", id="other_of_this_appliance"),
    ],
)
def test_other_host(host: bytes | None, reason: str) -> None:
    """A token is good for the host it was made for."""
    assert reason_of(GOOD, host=host) == reason


def test_without_hosts_the_token_decides() -> None:
    """Any name will do, if it is the one that was signed."""
    policy = SigningPolicy(POLICY.keys)
    assert reason_of(GOOD, policy=policy) is None
    assert reason_of(GOOD, policy=policy, host=b"other") == "mismatch"
    assert reason_of(GOOD, policy=policy, host=None) == "host"


@pytest.mark.parametrize(
    ("now", "reason"),
    [(0, None), (1_800_000_030, None), (1_800_000_031, "expired")],
    ids=["long_before", "last_second", "one_later"],
)
def test_end(now: int, reason: str | None) -> None:
    """The skew of clocks is forgiven, to the second."""
    assert reason_of(GOOD, now=now) == reason


@given(st.binary(min_size=1, max_size=30).filter(lambda key: key != KEY))
def test_other_object(key: bytes) -> None:
    """A token is good for one object."""
    assert reason_of(GOOD, key=key) == "mismatch"


PART = st.text(st.characters(codec="ascii", min_codepoint=33), max_size=6).map(str.encode)


@given(st.tuples(PART, PART, PART, PART), st.tuples(PART, PART, PART, PART))
def test_no_two_sets_of_values_sign_alike(
    one: tuple[bytes, bytes, bytes, bytes], other: tuple[bytes, bytes, bytes, bytes]
) -> None:
    """Nothing can move from one value to the next."""
    assert (make_token(OLD, *one) == make_token(OLD, *other)) == (one == other)


def test_comparison_takes_the_same_time_wherever_tokens_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is the library's constant-time one that decides, and it alone."""
    compared = []

    def compare(given: bytes, wanted: bytes) -> bool:
        compared.append((given, wanted))
        return True

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert reason_of(b"v=29&e=%b&t=guess" % END) is None
    assert compared == [(b"guess", TOKEN)]


def test_secrets_are_not_shown() -> None:
    """A policy may come into a traceback."""
    assert repr(OLD) not in repr(POLICY)
    assert "keys" not in repr(POLICY)


# -- of a folder ---------------------------------------------------------------------------------


def folder_reason(
    key: bytes, folder: bytes = b"film/1", *, host: bytes | None = HOST, now: int = NOW,
    version: bytes = b"29", end: bytes = END,
) -> str | None:  # fmt: skip
    """Why an object is refused to who has a signature of a folder; None: it is not."""
    token = make_folder_token(OLD, HOST, folder, END, b"29")
    try:
        check_folder_signature(POLICY, key, b"%b.%b.%b" % (version, end, token), host, now)
    except RequestRefused as refused:
        return str(refused).removeprefix("403 signature_")
    return None


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        pytest.param(b"film/1/a.m3u8", None, id="in_it"),
        pytest.param(b"film/1/v/720/a.m4s", None, id="in_a_folder_in_it"),
        pytest.param(b"film/1", "mismatch", id="object_of_its_name"),
        pytest.param(b"film/10/a.m3u8", "mismatch", id="name_that_begins_so"),
        pytest.param(b"film/a.m3u8", "mismatch", id="around_it"),
        pytest.param(b"x/film/1/a.m3u8", "mismatch", id="elsewhere"),
        pytest.param(b"a", "mismatch", id="in_no_folder"),
    ],
)
def test_folder(key: bytes, reason: str | None) -> None:
    """All in it, and nothing else."""
    assert folder_reason(key) == reason


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param({"host": None}, "host", id="no_host"),
        pytest.param({"host": b"oca-2.example.net"}, "host", id="other_host"),
        pytest.param({"host": b"[2001:db8::1]"}, "mismatch", id="other_of_this_appliance"),
        pytest.param({"now": 1_800_000_031}, "expired", id="expired"),
        pytest.param({"version": b"31"}, "version", id="version"),
        pytest.param({"version": b"30"}, "mismatch", id="other_version"),
        pytest.param({"end": b"1800000001"}, "mismatch", id="end_moved"),
        pytest.param({"end": b"0" * 13}, "expiry", id="end_that_is_none"),
    ],
)
def test_folder_signature_that_is_refused(given: dict[str, Any], reason: str) -> None:
    assert folder_reason(b"film/1/a", **given) == reason


@given(st.lists(st.sampled_from([b"a", b"b"]), min_size=1, max_size=MOST_FOLDERS + 4))
def test_folders_around(names: list[bytes]) -> None:
    """Each that the key is in, from the outermost, within the bound."""
    expected = [b"/".join(names[:count]) for count in range(1, len(names))]
    assert list(folders_around(b"/".join(names))) == expected[:MOST_FOLDERS]


@pytest.mark.parametrize("folder", [b"", b"/", b"/film", b"film/"])
def test_no_folder(folder: bytes) -> None:
    """No token can be made that opens all."""
    with pytest.raises(ValueError, match="must be a folder"):
        make_folder_token(OLD, HOST, folder, END, b"29")


def test_object_and_folder_sign_differently() -> None:
    """The token of an object opens nothing below its name."""
    assert make_token(OLD, HOST, b"film", END, b"29") != make_folder_token(
        OLD, HOST, b"film", END, b"29"
    )
