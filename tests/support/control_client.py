"""Calling the control process as a program would, over a local socket or TCP."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

_PATIENCE_S = 20.0


class Answer(NamedTuple):
    """`json`: the body, decoded if it is JSON."""

    status: int
    headers: Mapping[str, str]
    text: str
    json: Any


class _Local(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE_S)
        self.sock.connect(self._path)


def call(
    address: str,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str = "",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request to `unix:/path` or `host:port`; a body of bytes is sent as it is."""
    is_local = address.startswith("unix:")
    connection = (
        _Local(address.removeprefix("unix:"))
        if is_local
        else http.client.HTTPConnection(address, timeout=_PATIENCE_S)
    )
    sent = {"Content-Type": "application/json"} if body is not None else {}
    if token:
        sent["Authorization"] = f"Bearer {token}"
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, data, {**sent, **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
        is_json = "json" in response.headers.get("Content-Type", "")
        found = json.loads(text) if is_json and text else None
        return Answer(response.status, dict(response.headers), text, found)
    finally:
        connection.close()
