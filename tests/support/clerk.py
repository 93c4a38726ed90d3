"""A service that does as a test says, beside the workers of `supervised`.

It listens where `[control]` says, and answers each connection with what it knows, as one line of
JSON. What it is sent before, as lines of JSON, it says to the supervisor. Its mood:

serve   does so
fail    ends at once with status 4
mute    serves, but gives no sign of life
linger  serves, but does not end when it is told to
sleep   becomes sleep(1)
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from pathlib import Path
from typing import Any

from ocaserve.supervisor.service import Given, Service, become

_BEAT_S = 0.05
_PATIENCE_S = 10.0


def clerk(name: str, *, is_command: bool = False) -> Service:
    """A service of this name; it is made from the site of the settings."""
    return Service(
        name,
        lambda given: _run(name, given),
        depends_on=lambda settings: settings.appliance.site or None,
        listen=(lambda _: ()) if is_command else (lambda settings: settings.control.listen),
        is_command=is_command,
    )


def consult(path: Path, *messages: dict[str, Any]) -> dict[str, Any]:
    """Have the clerk say these; returns what it knows."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_PATIENCE_S)
        sock.connect(str(path))
        sock.sendall("".join(json.dumps(message) + "\n" for message in messages).encode())
        sock.shutdown(socket.SHUT_WR)
        return dict(json.loads(sock.makefile().read()))


def _run(name: str, given: Given) -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    mood = json.loads(Path("clerks").read_text()).get(name, "serve")
    _note(f"{name} starts")
    if mood == "fail":
        return 4
    if mood == "sleep":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        become(["/bin/sleep", "60"], os.environ)
    given.channel.send(b'{"is": "ready"}')
    _attend(name, mood, given)
    return 0


def _attend(name: str, mood: str, given: Given) -> None:
    sockets = [sock for group in given.listeners.values() for sock in group]
    shown: dict[str, Any] = {}
    while True:
        readable, _, _ = select.select([given.channel, *sockets], [], [], _BEAT_S)
        if mood != "mute":
            given.channel.send(b'{"is": "beat"}')
        for sock in readable:
            if sock is not given.channel:
                _answer(sock, given, shown)
                continue
            order = json.loads(given.channel.recv(65_536) or '{"do": "stop"}')
            if order["do"] == "see":
                shown = order["appliance"]
            elif order["do"] == "stop":
                _note(f"{name} stops")
                if mood != "linger":
                    return


def _answer(listener: socket.socket, given: Given, shown: dict[str, Any]) -> None:
    client, _ = listener.accept()
    with client:
        for line in client.makefile():
            given.channel.send(line.encode())
        known = {
            "pid": os.getpid(),
            "site": given.settings.appliance.site,
            "notes": given.notes,
            "asked": given.counters.totals()["asked"],
            "folder": str(given.folder),
            "shown": shown,
        }
        client.sendall(json.dumps(known).encode())


def _note(what: str) -> None:
    with Path("events").open("a") as events:
        events.write(f"{what}\n")
