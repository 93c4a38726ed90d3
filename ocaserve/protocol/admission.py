"""Which object a request is for, and whether it may have it.

Clients ask for the same targets again and again, a part at a time. What was found out about a
target is kept by its exact bytes: the checking of a signature, the longest step, is then a
comparison of the host and the time.
"""

from __future__ import annotations

from typing import NamedTuple

from ocaserve.protocol.signing import SigningPolicy, check_signature
from ocaserve.protocol.target import ObjectTarget, parse_target

_MOST_KEPT_BYTES = 2_048  # of a target that is kept: a longer one is no player's


class _Known(NamedTuple):
    target: ObjectTarget
    authority: bytes | None  # for which the signature was good
    last: int  # second at which it is


class Admission:
    """Names and checks. signing: None, if everybody may have everything."""

    def __init__(
        self,
        *,
        has_speedtest: bool = False,
        signing: SigningPolicy | None = None,
        memo_entries: int = 4_096,
    ) -> None:
        self.signing = signing
        self._has_speedtest = has_speedtest
        self._memo_entries = memo_entries
        self._known: dict[bytes, _Known] = {}

    def name(self, target: bytes) -> ObjectTarget:
        """What the target means, whoever asks. Raises RequestRefused."""
        return parse_target(target, has_speedtest=self._has_speedtest)

    def admit(self, target: bytes, authority: bytes | None, now: int) -> ObjectTarget:
        """What the target means, if it may be had now from this host.

        authority: the value of Host. now: seconds since the epoch. Raises RequestRefused.
        """
        known = self._known.get(target)
        if known is not None and (
            self.signing is None or (authority == known.authority and now <= known.last)
        ):
            return known.target
        named = self.name(target)
        last = 0
        if self.signing is not None:
            last = check_signature(self.signing, named.key, named.query, authority, now)
        if len(target) <= _MOST_KEPT_BYTES:
            if len(self._known) >= self._memo_entries:
                self._known.clear()
            self._known[target] = _Known(named, authority, last)
        return named
