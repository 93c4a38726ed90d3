"""Which object a request is for, and whether it may have it.

Clients ask for the same objects again and again, a part at a time. What was found out is kept: the
meaning of a target by its exact bytes, unless it names a part, which few others will ask for; and a
signature, which is good for every part, by the object's key and the query that it stood in; one for
a folder, by the object's folder. Both within a bound of bytes (`memo_bytes` each).
"""

from __future__ import annotations

from ocaserve.protocol.memo import Memo
from ocaserve.protocol.signatures import (
    SigningPolicy,
    check_folder_signature,
    check_signature,
)
from ocaserve.protocol.target import ObjectTarget, parse_target

_MOST_KEPT_BYTES = 2_048  # of a target that is kept: a longer one is no player's


class Admission:
    """Names and checks. signing: None, if everybody may have everything."""

    def __init__(
        self,
        *,
        has_speedtest: bool = False,
        signing: SigningPolicy | None = None,
        memo_bytes: int = 2_097_152,
    ) -> None:
        self.signing = signing
        self._has_speedtest = has_speedtest
        self._targets: Memo[bytes, ObjectTarget] = Memo(memo_bytes)
        self._signatures: Memo[tuple[bytes, bytes], tuple[bytes | None, int]] = Memo(memo_bytes)

    def name(self, target: bytes) -> ObjectTarget:
        """What the target means, whoever asks. Raises RequestRefused."""
        known = self._targets.get(target)
        if known is not None:
            return known
        named = parse_target(target, has_speedtest=self._has_speedtest)
        if named.part is None and len(target) <= _MOST_KEPT_BYTES:
            self._targets.keep(target, named, 3 * len(target))
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
        if named.signature:  # good for all of the object's folder; no key ends with a slash
            signed = (named.key[: named.key.rfind(b"/") + 1], named.signature)
        else:
            signed = (named.key, named.query)
        good_for, last = self._signatures.get(signed) or (None, 0)
        if good_for is not None and good_for == authority and now <= last:
            return
        if named.signature:
            last = check_folder_signature(signing, named.key, named.signature, authority, now)
        else:
            last = check_signature(signing, *signed, authority, now)
        size = len(signed[0]) + len(signed[1])
        if size <= _MOST_KEPT_BYTES:
            self._signatures.keep(signed, (authority, last), size)
