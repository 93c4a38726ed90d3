"""A TLS client that sends records of any type and content, as no library of the kind would.

Python's ssl does the handshake and decrypts what is received; what is sent behind the handshake is
encrypted here, with the secrets that it writes to its key log. Both versions, with AES-256-GCM.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.support.tls_wire import client_context
from tests.support.wire import Address, Wire

ALERT, HANDSHAKE, DATA = 21, 22, 23
KEY_UPDATE = b"\x18\0\0\x01\x01"  # update_requested (RFC 8446 section 4.6.3)
CLIENT_HELLO = b"\x01\0\0\xc8"  # the header of one of 200 bytes
_KEY_BYTES, _SALT_BYTES = 32, 4
_SERVER_RANDOM = slice(11, 43)  # in what the server says first: a record with its hello


class RecordWire(Wire):
    """One connection; `minor` is 2 or 3, of TLS 1.2 or 1.3."""

    def __init__(
        self,
        address: Address,
        minor: int,
        *,
        receive_buffer: int | None = None,
        timeout_s: float = 10,
    ) -> None:
        super().__init__(address, timeout_s=timeout_s, receive_buffer=receive_buffer)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._minor = minor
        self._sent = 0  # records since the keys
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "keys")
            hello = self._shake_hands(str(log))
            lines = [line for line in log.read_text().splitlines() if not line.startswith("#")]
            secrets = dict(map(_parse_log_line, lines))
        if minor == 3:
            self._set_secret(secrets["CLIENT_TRAFFIC_SECRET_0"][1])
        else:
            client_random, master = secrets["CLIENT_RANDOM"]
            block = _expand_1_2(
                master, b"key expansion" + hello[_SERVER_RANDOM] + client_random,
                2 * (_KEY_BYTES + _SALT_BYTES),
            )  # fmt: skip
            self._cipher = AESGCM(block[:_KEY_BYTES])
            self._nonce = block[2 * _KEY_BYTES :][:_SALT_BYTES]
            self._sent = 1  # the message that ends the handshake

    def _shake_hands(self, log: str) -> bytes:
        """Returns what the server said first."""
        context = client_context(
            ssl.TLSVersion.TLSv1_3 if self._minor == 3 else ssl.TLSVersion.TLSv1_2
        )
        context.set_ciphers("ECDHE+AES256+AESGCM")
        context.keylog_filename = log
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="origin.example"
        )
        hello = b""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.socket.sendall(self._outgoing.read())
                data = self.socket.recv(1 << 16)
                assert data, "the server has gone in the handshake"
                hello = hello or data
                self._incoming.write(data)
            else:
                self.socket.sendall(self._outgoing.read())
                cipher = self._tls.cipher()
                assert cipher is not None
                assert "AES" in cipher[0]
                assert "256" in cipher[0]
                return hello

    def _set_secret(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(_expand_1_3(secret, b"key", _KEY_BYTES))
        self._nonce = _expand_1_3(secret, b"iv", 12)
        self._sent = 0

    # -- sending ---------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        self.socket.sendall(self.record(DATA, data))

    def send_record(self, kind: int, content: bytes) -> None:
        """Send one record."""
        self.socket.sendall(self.record(kind, content))

    def change_keys(self) -> bytes:
        """A record with a key update that asks for the server's; what follows has the new keys."""
        record = self.record(HANDSHAKE, KEY_UPDATE)
        self._set_secret(_expand_1_3(self._secret, b"traffic upd", 48))
        return record

    def record(self, kind: int, content: bytes) -> bytes:
        """One record, encrypted."""
        number = self._sent.to_bytes(8, "big")
        self._sent += 1
        if self._minor == 2:
            header = bytes([kind, 3, 3]) + len(content).to_bytes(2, "big")
            sealed = number + self._cipher.encrypt(self._nonce + number, content, number + header)
            return header[:3] + len(sealed).to_bytes(2, "big") + sealed
        nonce = bytes(a ^ b for a, b in zip(self._nonce, bytes(4) + number, strict=True))
        inner = content + bytes([kind])
        header = bytes([DATA, 3, 3]) + (len(inner) + 16).to_bytes(2, "big")
        return header + self._cipher.encrypt(nonce, inner, header)

    # -- receiving -------------------------------------------------------------------------------

    def _receive(self) -> int:
        while True:
            try:
                data = self._tls.read(1 << 18)
            except ssl.SSLWantReadError:
                received = self.socket.recv(1 << 18)
                if not received:
                    return 0
                self._incoming.write(received)
            except ssl.SSLZeroReturnError:
                return 0
            except ssl.SSLError as alert:
                raise ConnectionResetError(str(alert)) from None
            else:
                self._unread += data
                return len(data)


def _parse_log_line(line: str) -> tuple[str, tuple[bytes, bytes]]:
    label, client_random, secret = line.split()
    return label, (bytes.fromhex(client_random), bytes.fromhex(secret))


def _expand_1_3(secret: bytes, label: bytes, count: int) -> bytes:
    """HKDF-Expand-Label without a context (RFC 8446 section 7.1)."""
    label = b"tls13 " + label
    info = count.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
    return HKDFExpand(SHA384(), count, info).derive(secret)


def _expand_1_2(secret: bytes, seed: bytes, count: int) -> bytes:
    """P_hash (RFC 5246 section 5)."""
    out, link = b"", seed
    while len(out) < count:
        link = hmac.digest(secret, link, hashlib.sha384)
        out += hmac.digest(secret, link + seed, hashlib.sha384)
    return out[:count]
