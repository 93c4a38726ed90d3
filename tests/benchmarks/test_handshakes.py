"""What is made of what `openssl s_time` prints."""

from __future__ import annotations

import pytest

from benchmarks.errors import LoadFailure
from benchmarks.loads.handshakes import parse_s_time

NEW = """Collecting connection statistics for 1 seconds
***************

15 connections in 0.01s; 1500.00 connections/user sec, bytes read 0
15 connections in 2 real seconds, 0 bytes read per connection
"""
RESUMED = """

Now timing with session id reuse.
starting
rrrrrrrrrr

10 connections in 0.01s; 1000.00 connections/user sec, bytes read 3000
10 connections in 2 real seconds, 300 bytes read per connection
"""


@pytest.mark.parametrize(
    ("said", "is_resumed", "count"), [(NEW, False, 15), (RESUMED, True, 10)], ids=["new", "resumed"]
)
def test_connections_are_counted(said: str, is_resumed: bool, count: int) -> None:
    assert parse_s_time(said, is_resumed=is_resumed) == count


@pytest.mark.parametrize(
    ("said", "is_resumed"),
    [
        pytest.param(NEW, True, id="new_instead_of_resumed"),
        pytest.param(RESUMED, False, id="resumed_instead_of_new"),
        pytest.param(RESUMED.replace("rrr", "r*r"), True, id="some_new"),
    ],
)
def test_sessions_of_the_other_kind_are_an_error(said: str, is_resumed: bool) -> None:
    with pytest.raises(LoadFailure, match="were not as wanted"):
        parse_s_time(said, is_resumed=is_resumed)


@pytest.mark.parametrize("said", ["", "Collecting\nERROR\nconnect:errno=111\n"])
def test_a_failure_says_what_it_said(said: str) -> None:
    with pytest.raises(LoadFailure, match="openssl s_time"):
        parse_s_time(said, is_resumed=False)
