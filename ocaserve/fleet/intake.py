"""Taking what appliances push: who may tell what, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from hashlib import blake2b

from ocaserve.fleet.membership import MOST_APPLIANCES, FleetState
from ocaserve.fleet.pushed_documents import (
    Copy,
    DocumentError,
    DocumentOutcome,
    PushedDocument,
    advance,
    read_document,
)
from ocaserve.settings.fleet_members import read_appliance_token

_log = logging.getLogger(__name__)

_TELLING_S = 15.0  # for which a table that was asked for is waited for, from one appliance alone
_IN_THE_LOOP_BYTES = 128 << 10  # read and applied within some milliseconds; more is for a thread


class Intake:
    """The tokens of the appliances, and the way in."""

    def __init__(self, state: FleetState) -> None:
        self._state = state
        tokens = {each.id: read_appliance_token(each) for each in state.settings.appliance}
        self._key = os.urandom(32)
        self._names = {self._seal(token): name for name, token in tokens.items() if token}
        self._guarded = {name for name, token in tokens.items() if token}
        self._one_at_a_time = asyncio.Lock()
        self._asked_at: dict[str, float] = {}  # by the digest of a table, when one was asked for it

    def name_of(self, token: str) -> str:
        """Whose token it is; empty where it is nobody's."""
        return self._names.get(self._seal(token), "")

    def _seal(self, token: str) -> bytes:
        """By which a token is looked up: of a key that nobody knows, so that the time tells nothing
        about which token was near.
        """
        presented = token.encode("utf-8", "surrogateescape")
        return blake2b(presented, digest_size=32, key=self._key).digest()

    async def take(self, data: bytes, name: str) -> DocumentOutcome:
        """A document. name: by the sender's token, empty without one. Raises DocumentError."""
        if len(data) <= _IN_THE_LOOP_BYTES:
            document = read_document(data)
            self.admit(document.appliance, name)
            self._ask_one_alone(document, time.monotonic())
            copy, outcome = advance(self._copy_of(document), document, self._state.tables)
        else:
            async with self._one_at_a_time:
                document = await asyncio.to_thread(read_document, data)
                self.admit(document.appliance, name)
                copy, outcome = await self._advance_in_thread(document)
        if outcome is DocumentOutcome.TAKEN:
            self._state.hear(copy, time.monotonic())
        return outcome

    async def _advance_in_thread(self, document: PushedDocument) -> tuple[Copy, DocumentOutcome]:
        """What came meanwhile is gone on from."""
        while True:
            before = self._copy_of(document)
            found = await asyncio.to_thread(advance, before, document, self._state.tables)
            if self._copy_of(document) is before or document.appliance not in self._state.members:
                return found

    def _ask_one_alone(self, document: PushedDocument, now: float) -> None:
        """A site that begins comes at once. One of its appliances is asked for the table, others
        are to come again when it is known. Raises DocumentError.
        """
        digest = document.table
        if not digest or self._state.tables.get(int(digest, 16)) is not None:
            return
        if now - self._asked_at.get(digest, float("-inf")) < _TELLING_S:
            raise DocumentError(
                DocumentOutcome.ASKED_ANOTHER, "another appliance is asked for the table"
            )
        if len(self._asked_at) >= MOST_APPLIANCES:
            self._asked_at.clear()
        self._asked_at[digest] = now

    def _copy_of(self, document: PushedDocument) -> Copy:
        return self._state.member(document.appliance).copy

    def admit(self, told: str, name: str) -> None:
        """Raises DocumentError where the sender, by its token, may not tell of this appliance."""
        if name and name != told:
            _log.warning("fleet: a document of %r with the token of %r", told[:60], name)
            raise DocumentError(DocumentOutcome.IMPOSTOR, f"the token is not that of {told!r}")
        if not name and told in self._guarded:
            raise DocumentError(DocumentOutcome.WRONG_TOKEN, f"{told!r} tells with its token alone")
        if not self._state.is_welcome(told):
            raise DocumentError(
                DocumentOutcome.UNKNOWN_APPLIANCE,
                f"{told!r} is not in [[fleet.appliance]]"
                if self._state.roster
                else f"{MOST_APPLIANCES} appliances are known already",
            )
