"""Which object a request is for, and whether it may have it.

Clients ask for the same objects again and again, a part at a time. What was found out is kept: the
meaning of a target by its exact bytes, unless it names a part, which few others will ask for; and a
signature, which is good for every part, by the object's key and the query that it stood in.
"""

from __future__ import annotations

from ocaserve.protocol.signing import SigningPolicy, check_signature
from ocaserve.protocol.target import ObjectTarget, parse_target

_MOST_KEPT_BYTES = 2_048  # of a target that is kept: a longer one is no player's


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
        self._targets: dict[bytes, ObjectTarget] = {}
        self._signatures: dict[tuple[bytes, bytes], tuple[bytes | None, int]] = {}

    def name(self, target: bytes) -> ObjectTarget:
        """What the target means, whoever asks. Raises RequestRefused."""
        known = self._targets.get(target)
        if known is not None:
            return known
        named = parse_target(target, has_speedtest=self._has_speedtest)
        if named.part is None and len(target) <= _MOST_KEPT_BYTES:
            if len(self._targets) >= self._memo_entries:
                self._targets.clear()
            self._targets[target] = named
        return named

    def admit(self, target: bytes, authority: bytes | None, now: int) -> ObjectTarget:
        """What the target means, if it may be had now from this host.

        authority: the value of Host. now: seconds since the epoch. Raises RequestRefused.
        """
        named = self.name(target)
        if self.signing is not None:
            self._check(self.signing, named, authority, now)
        return named

    def _check(
        self, signing: SigningPolicy, named: ObjectTarget, authority: bytes | None, now: int
    ) -> None:
        signed = (named.key, named.query)
        good_for, last = self._signatures.get(signed, (None, 0))
        if good_for is not None and good_for == authority and now <= last:
            return
        last = check_signature(signing, *signed, authority, now)
        if len(named.query) <= _MOST_KEPT_BYTES:
            if len(self._signatures) >= self._memo_entries:
                self._signatures.clear()
            self._signatures[signed] = (authority, last)
