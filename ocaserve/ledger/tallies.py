"""What one worker has sent to each network since it last told. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from ocaserve.ledger.folding import fold
from ocaserve.ledger.networks import OTHER, Networks

MOST_TOLD = 200_000  # at once: what a reader of spools takes, see `spool`


class Tally:
    """One network's bytes; a connection adds to `sent` when a response has ended."""

    __slots__ = ("network", "sent", "users")

    def __init__(self, network: str) -> None:
        self.network = network
        self.sent = 0
        self.users = 0  # connections that may still add


class Tallies:
    """The tallies of all networks that have connections, and of `most` others that have bytes.

    Connections are bounded elsewhere. Those that came and went leave tallies until they are taken;
    where there are too many of these, the ones with the least bytes become `other`. most: 0 where
    nothing is to be told apart.
    """

    def __init__(self, networks: Networks, most: int) -> None:
        self._networks = networks
        self._most = most
        self._other = Tally(OTHER)
        self._by_network = {OTHER: self._other}
        self._look_at = 2 * most  # so many tallies, and those without connections are looked at

    def __len__(self) -> int:
        return len(self._by_network)

    def open(self, address: bytes) -> Tally:
        """The tally to which a new connection adds; give it back with `close`."""
        network = self._networks.name_of(address)
        tally = self._by_network.get(network)
        if tally is None:
            tally = self._begin(network) if self._most else self._other
        tally.users += 1
        return tally

    def _begin(self, network: str) -> Tally:
        if len(self._by_network) > self._look_at:
            self._fold()
        tally = self._by_network[network] = Tally(network)
        return tally

    def _fold(self) -> None:
        """Keep `most` of those without connections."""
        unused = {
            name: tally.sent
            for name, tally in self._by_network.items()
            if not tally.users and tally is not self._other
        }
        folded = fold(unused, self._most)
        self._other.sent += folded.moved
        for name in unused.keys() - folded.sent.keys():
            del self._by_network[name]
        self._look_at = len(self._by_network) + self._most

    def close(self, tally: Tally) -> None:
        """A connection will add no more. What it has added stays until it is taken."""
        tally.users -= 1

    def take(self) -> dict[str, int]:
        """What was sent since the last time, by network; tallies that nobody needs go."""
        taken = {}
        idle = []
        for network, tally in self._by_network.items():
            if tally.sent:
                taken[network] = tally.sent
                tally.sent = 0
            elif not tally.users and tally is not self._other:
                idle.append(network)
        for network in idle:
            del self._by_network[network]
        self._look_at = max(2 * self._most, len(self._by_network) + self._most)
        return fold(taken, MOST_TOLD).sent

    def put_back(self, taken: Mapping[str, int]) -> None:
        """What was taken could not be told: it is told next time."""
        for network, sent in taken.items():
            tally = self._by_network.get(network)
            if tally is None:
                tally = self._by_network[network] = Tally(network)
            tally.sent += sent
        if len(self._by_network) > self._look_at:
            self._fold()
