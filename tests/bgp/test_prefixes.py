"""Addresses alone, as clients are told of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.prefixes import parse_host, parse_query

ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=4).map("::ffff:{}".format),
)


@given(ADDRESSES)
def test_address_is_what_a_query_takes_it_for(text: str) -> None:
    family, _, number = parse_query(text)
    assert parse_host(text) == (family, number)


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0/8", "10.0.0.1/32", "::1/128", "10.0.0", "10.0.0.01x", "a", "1\0", "é:"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        parse_host(text)
