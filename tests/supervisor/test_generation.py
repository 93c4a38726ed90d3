"""What workers are given where an address is missing."""

from __future__ import annotations

import socket

import msgspec

from ocaserve.addresses import bound_address
from ocaserve.settings import Settings
from ocaserve.sockets import open_listeners, tls_positions
from ocaserve.supervisor.generation import Generation


def test_plain_stays_plain_and_tls_stays_tls() -> None:
    """Which sockets are for TLS is told by their places, so what is missing has none."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(bound_address(other))
        settings = msgspec.convert(
            {
                "store": [],
                "serve": {"listen": [taken, "127.0.0.1:0"]},
                "tls": {"listen": ["127.0.0.2:0"]},
            },
            Settings,
        )
        opened = open_listeners(settings.serve, 2, {}, settings.tls.listen)
    generation = Generation(1, settings, opened.listeners, {}, opened.missing)
    sockets = [sock for group in opened.listeners.values() for sock in group]
    assert generation.settings is settings
    assert generation.served.serve.listen == ["127.0.0.1:0"]
    assert generation.served.tls.listen == ["127.0.0.2:0"]
    tls = tls_positions(sockets, generation.served.serve)
    assert {sockets[place].getsockname()[0] for place in tls} == {"127.0.0.2"}
    assert len(tls) == 2
    for sock in sockets:
        sock.close()
