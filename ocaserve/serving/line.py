"""A bounded line in which every client has its turn, however much another asks for. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class FairLine(Generic[Item]):
    """What clients wait for, at most `most` in all: one of each client after the other.

    When it is full, who has more than his share loses his last place to who has less.
    """

    def __init__(self, most: int) -> None:
        assert most > 0, "a line without a place"
        self._most = most
        self._length = 0
        self._clients: OrderedDict[bytes, OrderedDict[Item, None]] = OrderedDict()

    def __len__(self) -> int:
        return self._length

    def join(self, client: bytes, item: Item) -> tuple[bytes, Item] | None:
        """Stand at the end of this client's places. Returns who has none now: nobody, another,
        or the one that came.
        """
        own = self._clients.get(client)
        if own is not None and item in own:
            return None
        lost = None
        if self._length >= self._most:
            lost = self._give_way(client, 0 if own is None else len(own))
            if lost is None:
                return client, item
            own = self._clients.get(client)
        if own is None:
            own = self._clients[client] = OrderedDict()
        own[item] = None
        self._length += 1
        return lost

    def leave(self, client: bytes, item: Item) -> None:
        """Wait no more, if it did."""
        own = self._clients.get(client)
        if own is None or item not in own:
            return
        del own[item]
        self._length -= 1
        if not own:
            del self._clients[client]

    def take(self) -> tuple[bytes, Item] | None:
        """Whose turn it is; None: nobody waits."""
        if not self._clients:
            return None
        client, own = self._clients.popitem(last=False)
        item, _ = own.popitem(last=False)
        self._length -= 1
        if own:
            self._clients[client] = own
        return client, item

    def _give_way(self, client: bytes, own: int) -> tuple[bytes, Item] | None:
        """The last of the longest, if this client has less than its share, else None."""
        clients = len(self._clients) + (own == 0)
        if own >= max(1, self._most // clients):
            return None
        longest = max(self._clients, key=lambda other: len(self._clients[other]))
        places = self._clients[longest]
        if len(places) <= own + 1:
            return None
        item = next(reversed(places))
        self.leave(longest, item)
        return longest, item
