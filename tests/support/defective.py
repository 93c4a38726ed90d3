"""The program with defects in it, each of which is met by what a client names.

`DEFECTS` says where; a request for a target that holds the name of one meets it, with TLS also a
client that asks for `<name>.example`. `tick` and `beat` are met always.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from ocaserve.cli import main
from ocaserve.serving import accounts
from ocaserve.serving.catalogue import ObjectCatalogue
from ocaserve.serving.clients import Clients
from ocaserve.serving.connection import Connection
from ocaserve.serving.exchange import Exchange
from ocaserve.serving.handshake import Handshake, Handshakes
from ocaserve.serving.steps import Steps
from ocaserve.serving.stored_content import StoredContent
from ocaserve.serving.transfer import Transfer

Meets = Callable[..., bool]


def _asks_for(name: bytes) -> Meets:
    def meets(connection: Connection, *_: object) -> bool:
        request = connection.exchange._request
        return name in (request.target if request is not None else connection.received)

    return meets


def _answers(name: bytes) -> Meets:
    def meets(exchange: Exchange, *_: object) -> bool:
        return exchange._request is not None and name in exchange._request.target

    return meets


def _sends(name: bytes) -> Meets:
    def meets(transfer: Transfer, *_: object, **how: object) -> bool:
        return transfer._steps.source is not None and name in transfer._steps.source.key

    return meets


def _goes_on_from_disk_with(name: bytes) -> Meets:
    def meets(steps: Steps, *_: object) -> bool:
        return steps.cold_from is not None and steps.source is not None and name in steps.source.key

    return meets


def _argument_holds(name: bytes) -> Meets:
    return lambda _, *arguments: any(
        name in argument for argument in arguments if isinstance(argument, bytes)
    )


DEFECTS: dict[str, tuple[Any, str, Meets]] = {
    "received": (Connection, "_on_received", _argument_holds(b"received")),
    "answer": (Exchange, "begin", lambda _, request: b"answer" in request.target),
    "expire": (Connection, "expire", _asks_for(b"expire")),
    "found": (StoredContent, "_respond", lambda _, of, *__: b"?found" in of.request.target),
    "pipelined": (Connection, "_take", lambda _, data: data.startswith(b"GET /pipelined")),
    "account": (Exchange, "_account", _answers(b"account")),
    "drain": (Connection, "drain", _asks_for(b"drain")),
    "stepping": (Transfer, "on_ready", _sends(b"stepping")),
    "cold": (Steps, "take", _goes_on_from_disk_with(b"cold")),
    "handshake": (Handshake, "_advance", _argument_holds(b"handshake.example")),
    "choice": (Handshakes, "_choose_certificate", lambda *of: "choice.example" in of[1:]),
    "made": (Connection, "__init__", lambda *_: os.path.exists(os.environ.get("NO_CLIENTS", ""))),
    "line": (accounts, "format_plain", _argument_holds(b"line")),
    "tick": (ObjectCatalogue, "tick_once", lambda *_: True),
    "beat": (Exchange, "tally_progress", _answers(b"beat")),
    "gone": (Clients, "closed", lambda _, client: b"gone" in getattr(client, "received", b"")),
}  # fmt: skip


def _with_defect(owner: Any, name: str, meets: Meets) -> Any:
    sound = getattr(owner, name)

    def defective(*arguments: Any, **named: Any) -> Any:
        if meets(*arguments):
            raise ZeroDivisionError("made for the test")
        return sound(*arguments, **named)

    return patch.object(owner, name, defective)


if __name__ == "__main__":
    with ExitStack() as stack:
        for wanted in os.environ["DEFECTS"].split(","):
            stack.enter_context(_with_defect(*DEFECTS[wanted]))
        main(prog_name="ocaserve")
