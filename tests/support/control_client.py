"""Calling the control process as a program would, over a local socket or TCP."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
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


def _connect(address: str, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
    if address.startswith("unix:"):
        return _Local(address.removeprefix("unix:"))
    if tls is not None:
        return http.client.HTTPSConnection(address, timeout=_PATIENCE_S, context=tls)
    return http.client.HTTPConnection(address, timeout=_PATIENCE_S)


def call(
    address: str,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str = "",
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """One request to `unix:/path` or `host:port`; a body of bytes is sent as it is."""
    connection = _connect(address, tls)
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
