"""Sessions of clients, which tell how they went: signed, so that each can speak only of itself."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode

import msgspec
from msgspec import Struct

from ocaserve.protocol.signatures import KeyedHash, encode_url_safe

MOST_A_MINUTE = 16  # sessions of one network that count: no network decides alone
_MOST_TELLERS = 65_536
_MAC_BYTES = 16
_VALID_MINUTES = 24 * 60


class SteeredSession(Struct, frozen=True, array_like=True):
    """release: that was the canary, 0 without one; is_canary: whether it was for this network.

    network: that draws go by. minute: when it began, since the epoch.
    """

    release: int
    is_canary: bool
    network: bytes
    minute: int


class SessionSigner:
    """By a secret that all instances have."""

    def __init__(self, secret: bytes) -> None:
        self._digest = KeyedHash(secret).digest

    def sign(self, session: SteeredSession) -> str:
        data = msgspec.msgpack.encode(session)
        return encode_url_safe(data + self._mac(data)).decode()

    def read(self, token: str, minute: int) -> SteeredSession | None:
        """None where it is not one of ours, or too old. minute: now."""
        try:
            data = urlsafe_b64decode(token.encode())
            if not hmac.compare_digest(self._mac(data[:-_MAC_BYTES]), data[-_MAC_BYTES:]):
                return None
            session = msgspec.msgpack.decode(data[:-_MAC_BYTES], type=SteeredSession)
        except (ValueError, msgspec.MsgspecError):
            return None
        return session if 0 <= minute - session.minute <= _VALID_MINUTES else None

    def _mac(self, data: bytes) -> bytes:
        return self._digest(data)[:_MAC_BYTES]


class Tellers:
    """How many sessions of each network have counted in this minute."""

    def __init__(self) -> None:
        self._minute = 0
        self._counts: dict[bytes, int] = {}

    def may(self, network: bytes, minute: int) -> bool:
        """Whether one more counts."""
        if minute != self._minute:
            self._minute, self._counts = minute, {}
        count = self._counts.get(network, 0)
        if count >= MOST_A_MINUTE or (not count and len(self._counts) >= _MOST_TELLERS):
            return False
        self._counts[network] = count + 1
        return True
