"""A set of settings with the sockets that belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from ocaserve.settings import Settings
from ocaserve.sockets import Listeners


@dataclass(frozen=True)
class Generation:
    """`listeners` are the workers'; `services` those of the processes beside them, by name.

    missing: addresses, as they stand in the settings, that could not be had, and why not. degraded:
    what else is done without, in sentences.
    """

    number: int
    settings: Settings
    listeners: Listeners = field(default_factory=dict)
    services: Mapping[str, Listeners] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()

    @property
    def all_listeners(self) -> Listeners:
        return {**self.listeners, **join(self.services)}

    @property
    def served(self) -> Settings:
        """The settings as workers have them: without the addresses that are missing."""
        if not self.missing:
            return self.settings
        serve, tls = (
            replace(part, listen=[text for text in part.listen if text not in self.missing])
            for part in (self.settings.serve, self.settings.tls)
        )
        return replace(self.settings, serve=serve, tls=tls)

    def describe(self) -> str:
        """What is served where, as a sentence."""
        settings = self.served
        count = settings.worker_count
        stores = ", ".join(store.path for store in settings.store)
        plain = len(settings.serve.listen)
        addresses = ", ".join(
            address.url if place < plain else f"https://{address}"
            for place, address in enumerate(self.listeners)
        )
        return f"serving {stores or 'clients'} on {addresses} ({count} worker{'s' * (count > 1)})"


def join(parts: Mapping[str, Listeners]) -> Listeners:
    """All of them in one."""
    return {address: sockets for part in parts.values() for address, sockets in part.items()}
