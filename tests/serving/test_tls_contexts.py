"""What lets a client resume its session, and until when."""

from __future__ import annotations

import ssl
from contextlib import suppress
from copy import copy
from pathlib import Path

import pytest

from ocaserve.serving.tls_contexts import TlsHeritage
from ocaserve.serving.tls_memory import Records
from ocaserve.settings import Certificate, Tls
from tests.support.certificates import make_pair
from tests.support.tls_wire import client_context

HOUR_S = 3600.0
PERIOD_S = 12 * HOUR_S


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    pair = make_pair(tmp_path, "a", "a.example")
    return Tls(
        listen=["127.0.0.1:0"],
        certificates=[Certificate(cert=str(pair.cert), key=str(pair.key))],
    )


class Clock:
    """A heritage, and the time since it was prepared."""

    def __init__(self, tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("ocaserve.serving.tls_contexts.monotonic", lambda: self.now)
        self._tls = tls
        self.heritage = TlsHeritage()
        self.heritage.prepare(tls)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def front(self) -> ssl.SSLContext:
        """That of now, as a worker uses it."""
        front = self.heritage.front(self.now)
        certificates = self.heritage.certificates(self._tls)

        def choose(
            connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
        ) -> None:
            context = certificates.choose(name)
            assert context is not None
            connection.context = context

        front.sni_callback = choose
        return front

    def reload(self) -> None:
        self.heritage.prepare(self._tls)


@pytest.fixture
def clock(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(tls, monkeypatch)


CLIENT = client_context()


def connect(front: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
    """A client's end, after its handshake and the tickets behind it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = CLIENT.wrap_bio(incoming, outgoing, server_hostname="a.example", session=session)
    server = Records(front)
    is_done = False
    while not is_done:
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        is_done = server.handshake(outgoing.read()) is not None
        incoming.write(server.output)
        server.output = b""
    with pytest.raises(ssl.SSLWantReadError):
        client.read(1)
    return client


def resumes(front: ssl.SSLContext, session: ssl.SSLSession | None) -> bool:
    """Whether the session goes on; a handshake succeeds either way."""
    return bool(connect(front, session).session_reused)


def test_tickets_are_good_until_the_keys_change(clock: Clock) -> None:
    """And not for a moment longer: whoever steals a key has what it opens, and no more."""
    session = connect(clock.front()).session
    clock.pass_time(PERIOD_S - 1)
    assert resumes(clock.front(), session)
    clock.pass_time(2)
    assert not resumes(clock.front(), session)
    assert resumes(clock.front(), connect(clock.front()).session)


def test_a_reload_changes_no_keys(clock: Clock) -> None:
    session = connect(clock.front()).session
    clock.pass_time(HOUR_S)
    clock.reload()
    assert resumes(clock.front(), session)


def test_workers_of_before_a_reload_and_of_after_it_change_together(clock: Clock) -> None:
    clock.pass_time(3 * PERIOD_S + 1)
    before = copy(clock.heritage)  # as a fork has it
    clock.pass_time(2 * PERIOD_S)
    clock.reload()
    after = copy(clock.heritage)
    seen = set()
    for _ in range(100):
        assert before.front(clock.now) is after.front(clock.now)
        seen.add(before.front(clock.now))
        clock.pass_time(PERIOD_S / 2)
    assert len(seen) == 50


def test_a_reload_has_keys_for_another_month(clock: Clock) -> None:
    """However long ago the last one was; the keys in use go when their time is over."""
    for days in (31, 90):
        clock.pass_time(days * 24 * HOUR_S)
        last = clock.front()
        clock.pass_time(PERIOD_S)
        assert (clock.front() is last) is (days == 90)  # then none was left
        clock.reload()
        session = connect(clock.front()).session
        clock.pass_time(PERIOD_S)
        assert not resumes(clock.front(), session)
        clock.pass_time(60 * PERIOD_S)
        last = clock.front()
        clock.pass_time(PERIOD_S)
        assert clock.front() is not last
