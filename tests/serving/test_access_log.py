"""Log lines cannot be forged, and the writer loses none but says so."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import select
import threading
from pathlib import Path

import pytest

from ocaserve.protocol.messages import Fields, Request
from ocaserve.serving.access_log import (
    AccessLog,
    format_combined,
    format_json,
    format_plain,
    without_tokens,
)

WHEN = b"24/Nov/2026:10:00:00 +0000"
FIELDS = Fields(host=b"oca", referer=b"http://page/", user_agent=b"player/1")
REQUEST = Request(b"GET", b"/a.mp4", 1, FIELDS, b"bytes=0-9")


def combined(request: Request | None = REQUEST, received: bytes = b"") -> bytes:
    return format_combined(WHEN, b"192.0.2.1", request, received, 206, 10, 0.5, "")


def test_combined_line() -> None:
    assert combined() == (
        b'192.0.2.1 - - [24/Nov/2026:10:00:00 +0000] "GET /a.mp4 HTTP/1.1" 206 10 '
        b'"http://page/" "player/1"\n'
    )


@pytest.mark.parametrize("target", [b"/a.mp4", b'/a"b', b"/a\\b", b"/?o=a&t=b"])
@pytest.mark.parametrize("fields", [FIELDS, Fields(), Fields(user_agent=b'x" 200 1 "')])
def test_plain_line_is_the_combined_one(target: bytes, fields: Fields) -> None:
    line = combined(Request(b"GET", target, 1, fields, None))
    assert format_plain(WHEN, b"192.0.2.1", target, fields, 206, 10) == line


@pytest.mark.parametrize(
    ("target", "logged"),
    [
        pytest.param(b"/a?v=1&e=2&t=secret", b"/a?v=1&e=2&t=-", id="last"),
        pytest.param(b"/a?t=secret&v=1", b"/a?t=-&v=1", id="first"),
        pytest.param(b"/a?t=secret&t=secret", b"/a?t=-&t=-", id="two"),
        pytest.param(b"/t=1?at=1", b"/t=1?at=1", id="none"),
        pytest.param(b'/a?t=se"cret&v=1', b"/a?t=-&v=1", id="quote"),
        pytest.param(b"/a?t=se\\cret", b"/a?t=-", id="backslash"),
        pytest.param(
            b"/?u=b%3Fv%3D1%26t%3Dsecret%26e=2", b"/?u=b%3Fv%3D1%26t%3D-%26e=2", id="inner"
        ),
    ],
)
def test_tokens_are_hidden(target: bytes, logged: bytes) -> None:
    """Wherever in a line a URL may stand."""
    write = without_tokens(format_combined)
    request = REQUEST._replace(target=target)
    line = write(WHEN, b"192.0.2.1", request, b"", 206, 10, 0.5, "")
    assert b'"GET %b HTTP/1.1" 206 10 "http://page/"' % logged in line
    line = write(WHEN, b"192.0.2.1", None, b"GET %b X" % target, 400, 10, 0.5, "")
    assert b'"GET %b X" 400' % logged in line
    came_from = Fields(referer=b"http://oca" + target, user_agent=target)
    line = write(WHEN, b"192.0.2.1", REQUEST._replace(fields=came_from), b"", 206, 10, 0.5, "")
    assert line.endswith(b' 206 10 "http://oca%b" "%b"\n' % (logged, logged))
    line = without_tokens(format_json)(WHEN, b"", request, b"", 206, 10, 0.5, "")
    assert json.loads(line)["target"] == logged.decode()


def test_absent_fields_are_dashes() -> None:
    line = combined(REQUEST._replace(fields=Fields()))
    assert line.endswith(b' 206 10 "-" "-"\n')


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(b'x" 200 1 "', id="quote"),
        pytest.param(b"x\\", id="backslash"),
        pytest.param(b"x\ty", id="tab"),
        pytest.param("ü".encode(), id="non_ascii"),
    ],
)
def test_field_cannot_leave_its_quotes(hostile: bytes) -> None:
    line = combined(REQUEST._replace(fields=Fields(user_agent=hostile)))
    assert line.count(b'"') == 6
    assert line.count(b"\n") == 1
    assert line.isascii()


def test_target_cannot_leave_its_quotes() -> None:
    line = combined(REQUEST._replace(target=b'/a"b'))
    assert b'"GET /a\\x22b HTTP/1.1"' in line


def test_refused_request_is_logged_as_received() -> None:
    line = combined(None, b"G\x00T /\r")
    assert b'"G\\x00T /\\x0D" 206 10 "-" "-"' in line


def test_json_line_is_an_object() -> None:
    line = format_json(b"T", b"192.0.2.1", REQUEST, b"", 206, 10, 0.25, "client_gone")
    assert json.loads(line) == {
        "time": "T",
        "address": "192.0.2.1",
        "method": "GET",
        "target": "/a.mp4",
        "protocol": "HTTP/1.1",
        "host": "oca",
        "range": "bytes=0-9",
        "referer": "http://page/",
        "user_agent": "player/1",
        "status": 206,
        "bytes": 10,
        "duration_s": 0.25,
        "note": "client_gone",
    }


def test_json_of_a_refused_request() -> None:
    line = format_json(b"T", b"192.0.2.1", None, b'\xff"\n', 400, 16, 0.0, "request_line")
    assert json.loads(line)["request"] == '\xff"\n'


def make_log(path: Path, reports: list[OSError]) -> AccessLog:
    return AccessLog(str(path), asyncio.get_running_loop(), reports.append)


async def settle(log: AccessLog) -> None:
    """Wait until the thread has written: a job submitted now is delivered after all before it."""
    written = asyncio.Event()
    log._writer.submit(lambda: None, lambda _: written.set())
    await asyncio.wait_for(written.wait(), 5)


async def test_lines_are_written_in_order(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", [])
    for number in range(5000):
        log.write(b"%d\n" % number)
    log.flush()
    await settle(log)
    assert (tmp_path / "log").read_bytes().split() == [b"%d" % n for n in range(5000)]
    assert log.taken == 5000
    assert log.dropped == 0


@pytest.mark.parametrize("length", [1, 100, 4095, 4096, 5000])
async def test_lines_in_a_pipe_stay_whole(length: int) -> None:
    """Two workers fill it at once; only a line that is longer than a pipe takes whole may break."""
    reader, writer = os.pipe()
    logs = [make_log(Path(f"/dev/fd/{writer}"), []) for _ in range(2)]
    os.close(writer)
    letters = [b"a" * (length - 1) + b"\n", b"b" * (length - 1) + b"\n"]
    for log, line in zip(logs, letters, strict=True):
        for _ in range(500):
            log.write(line)
        log.flush()
    received = b""
    while len(received) < 1000 * length:
        received += await asyncio.to_thread(os.read, reader, 1 << 16)
    os.close(reader)
    if length <= select.PIPE_BUF:
        assert {bytes(line) for line in received.splitlines(keepends=True)} == set(letters)
    assert sorted(received) == sorted(b"".join(letters) * 500)


async def test_lines_after_reopening_go_to_the_new_file(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", [])
    log.write(b"old\n")
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.reopen()
    log.write(b"new\n")
    log.flush()
    await settle(log)
    assert (tmp_path / "log.1").read_bytes() == b"old\n"
    assert (tmp_path / "log").read_bytes() == b"new\n"


async def test_full_disk_drops_lines_counts_them_and_reports_once() -> None:
    reports: list[OSError] = []
    log = make_log(Path("/dev/full"), reports)
    for _ in range(3):
        log.write(b"line\n")
        log.flush()
        await settle(log)
    assert log.dropped == 3
    assert [error.errno for error in reports] == [28]


async def test_last_lines_are_written_at_the_end(tmp_path: Path) -> None:
    log = make_log(tmp_path / "log", [])
    log.write(b"last but one\n")
    log.flush()
    log.write(b"last\n")
    log.finish()
    assert (tmp_path / "log").read_bytes() == b"last but one\nlast\n"
    assert (log.taken, log.dropped) == (2, 0)


async def test_disk_that_does_not_answer_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines are counted as lost, and the process ends."""
    monkeypatch.setattr("ocaserve.serving.access_log._LAST_S", 0.01)
    answers = threading.Event()
    reports: list[OSError] = []
    log = make_log(tmp_path / "log", reports)
    log._writer.submit(answers.wait, lambda _: None)
    log.write(b"stuck\n")
    log.finish()
    assert (log.taken, log.dropped) == (1, 1)
    assert [error.errno for error in reports] == [errno.ETIMEDOUT]
    answers.set()


async def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    log = AccessLog("-", asyncio.get_running_loop(), lambda _: None)
    log.write(b"shown\n")
    log.finish()
    os.close(log._file)
    assert capfd.readouterr().out == "shown\n"
