"""What is made of wrk's output, and of strace's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import wrk
from benchmarks.errors import LoadFailure
from benchmarks.loads.paced import parse_kib_per_call

SAID = """Running 2s test @ http://127.0.0.1:18480/
  1 threads and 16 connections
  100000 requests in 2.00s, 6.30GB read

{"requests": 100000, "duration_us": 2000000, "bytes": 6600000000, \
"p50_us": 150, "p99_us": 2670, "max_us": 9000, \
"errors": {"connect": 0, "read": 2, "write": 0, "status": 0, "timeout": 1}}
"""


def test_the_line_of_the_script_is_read() -> None:
    report = wrk.parse(SAID)
    assert (report.requests, report.seconds, report.received) == (100_000, 2.0, 6_600_000_000)
    assert (report.p50_ms, report.p99_ms, report.max_ms) == (0.15, 2.67, 9.0)
    assert report.errors == {"read": 2, "timeout": 1}


@pytest.mark.parametrize("said", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"])
def test_without_it_the_failure_says_what_wrk_said(said: str) -> None:
    with pytest.raises(LoadFailure, match="wrk reported nothing") as caught:
        wrk.parse(said)
    assert said.strip() in str(caught.value)


def test_a_clean_run_has_no_problems() -> None:
    assert wrk.problems(replace(wrk.parse(SAID), errors={}), 64 * 1024, 16) == []


def test_errors_are_problems() -> None:
    assert wrk.problems(wrk.parse(SAID), 64 * 1024, 16) == [
        "wrk counted 2 read errors",
        "wrk counted 1 timeout errors",
    ]


def test_answers_of_another_length_are_a_problem() -> None:
    report = replace(wrk.parse(SAID), errors={})
    assert wrk.problems(report, 1024, 16) == ["answers of 66000 bytes, for ranges of 1024"]


def test_nothing_answered_is_a_problem() -> None:
    report = replace(wrk.parse(SAID), errors={}, requests=0)
    assert wrk.problems(report, 1024, 16) == ["no request was answered"]


def test_bytes_per_call_count_the_calls_that_took_none() -> None:
    text = (
        "41 sendfile(9, 12, [0] => [65536], 65536) = 65536\n"
        "41 sendfile(9, 12, [0], 65536) = -1 EAGAIN (Resource temporarily unavailable)\n"
        "42 epoll_wait(3, [], 64, 0) = 0\n"
    )
    assert parse_kib_per_call(text) == 32.0
    assert parse_kib_per_call("42 epoll_wait(3, [], 64, 0) = 0\n") is None


def test_the_scheme_is_that_of_the_scenario() -> None:
    assert "https://127.0.0.1:443/" in wrk.command(443, 16, 2, "trace", is_tls=True)
    assert "http://127.0.0.1:80/" in wrk.command(80, 16, 2, "trace")
