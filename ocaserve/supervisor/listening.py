"""The listening sockets of all generations: who has which, and which nobody wants any more."""

from __future__ import annotations

import logging
from collections.abc import Collection, MutableMapping, Sequence

from ocaserve.addresses import Address
from ocaserve.errors import ListenError
from ocaserve.settings import Settings
from ocaserve.sockets import (
    Listeners,
    close_listeners,
    let_go_of_listeners,
    open_listeners,
    open_service_listeners,
    take_passed,
)
from ocaserve.supervisor.generation import Generation, join
from ocaserve.supervisor.service import Service

_log = logging.getLogger(__name__)


class Listening:
    """Opens what settings ask for, keeps what fits, gives up what no settings in force want.

    services: the processes beside the workers, which may listen too.
    """

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = tuple(services)
        self._open: Listeners = {}  # of the wanted generation, and of others
        self.lent: frozenset[Address] = frozenset()  # the service manager's
        self.is_takeover = False  # they are of a version that still serves

    def open_first(self, settings: Settings, environment: MutableMapping[str, str]) -> Generation:
        """For the first settings, from what was passed in and anew.

        Raises ListenError if there is no address to serve on.
        """
        passed = take_passed(environment)
        self.lent, self.is_takeover = passed.lent, passed.is_takeover
        self._open = dict(passed.listeners)
        first = self.open_for(settings, Generation(0, settings))
        for address in passed.listeners.keys() - first.all_listeners.keys():
            _log.warning("%s was passed in, but the settings do not listen on it", address)
        self.adopt(first)
        return first

    def open_for(self, settings: Settings, current: Generation, number: int = 0) -> Generation:
        """Listeners for other settings, as many of those that are open as fit.

        current: what is in force. What cannot be had is missing in the generation. Raises
        ListenError if there is nothing to serve on.
        """
        of_services = join(current.services)
        present = {a: sockets for a, sockets in self._open.items() if a not in of_services}
        opened = open_listeners(settings.serve, settings.worker_count, present, settings.tls.listen)
        if not opened.listeners:
            raise ListenError("; ".join(opened.missing.values()))
        missing = dict(opened.missing)
        taken = {**current.listeners, **opened.listeners}  # the workers', not for services
        free = {address: self._open[address] for address in self._open if address not in taken}
        services: dict[str, Listeners] = {}
        for service in self._services:
            found = open_service_listeners(service.listen(settings), free)
            services[service.name] = found.listeners
            missing |= found.missing
            free = {address: free[address] for address in free.keys() - found.listeners}
        return Generation(number, settings, opened.listeners, services, missing)

    def adopt(self, generation: Generation) -> None:
        """Its sockets are among those that are open."""
        self._open = {**self._open, **generation.all_listeners}

    def give_up(self, besides: Collection[Address]) -> None:
        """Close all but these, and those that are the service manager's."""
        kept = self.lent | set(besides)
        close_listeners(self._open, besides=kept)
        self._open = {address: s for address, s in self._open.items() if address in kept}

    def let_go(self, besides: Collection[Address] = ()) -> None:
        """Close our descriptors; others that have them go on, and paths stay."""
        others = self._open.keys() - set(besides)
        let_go_of_listeners({address: self._open[address] for address in others})
