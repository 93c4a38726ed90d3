"""The processes beside the workers: wanted or not, replaced when their settings change, stopped in
order.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocaserve.addresses import Address
from ocaserve.channel import Fact, Noting, Order, Ready, Stop
from ocaserve.lifecycle import SERVICE_STATES, ServiceEvent, ServiceState, advance
from ocaserve.metrics import CounterMap
from ocaserve.supervisor.children import Child, Children, ChildRole, describe_exit
from ocaserve.supervisor.generation import Generation
from ocaserve.supervisor.reactor import Reactor
from ocaserve.supervisor.service import Given, Notes, Service
from ocaserve.supervisor.staffing import RestartTiming, next_start

_log = logging.getLogger(__name__)

_ALIVE = frozenset({ServiceState.STARTING, ServiceState.RUNNING, ServiceState.STOPPING})


@dataclass(eq=False)
class Post:
    """A service's place: the process that has it, or why it is empty."""

    service: Service
    state: ServiceState = ServiceState.IDLE
    child: Child | None = None  # the last one is kept until the next
    made_from: object = None
    listens: tuple[Address, ...] = ()
    failures: int = 0  # starts in a row that came to nothing

    def happen(self, event: ServiceEvent) -> None:
        self.state = advance(SERVICE_STATES, self.state, event)


class ServicePosts:
    """One post for each service, in the order in which they are stopped: each when the one before
    it has ended.

    on_fact: gets what a service says of more than itself. on_news: something has changed that
    `describe` shows.
    """

    def __init__(
        self,
        services: Sequence[Service],
        children: Children,
        reactor: Reactor,
        timing: RestartTiming,
        counters: CounterMap,
        on_fact: Callable[[Fact], None],
        on_news: Callable[[], None],
    ) -> None:
        self._posts = tuple(Post(service) for service in services)
        self._children = children
        self._reactor = reactor
        self._timing = timing
        self._counters = counters
        self._on_fact_of_all = on_fact
        self._on_news = on_news
        self._wanted: Generation | None = None
        self._folder = Path()
        self._is_stopping = self._are_replaced = False
        self.notes: Notes = {}

    @property
    def are_over(self) -> bool:
        return not any(self._alive())

    def _alive(self) -> Iterator[Post]:
        return (post for post in self._posts if post.state in _ALIVE)

    # -- having those that are wanted ------------------------------------------------------------

    def start(self, wanted: Generation, folder: Path) -> None:
        """Have the services that the settings want; called again with those of a reload."""
        self._wanted = wanted
        self._folder = folder
        for post in self._posts:
            post.failures = 0  # other settings: what failed before may not fail now
            self._pursue(post)

    def _pursue(self, post: Post) -> None:
        if self._wanted is None or self._is_stopping:
            return
        made_from = post.service.depends_on(self._wanted.settings)
        if post.state is ServiceState.IDLE:
            if made_from is not None:
                self._start(post, made_from)
        elif self._is_right(post, made_from) or post.state is ServiceState.STOPPING:
            return
        elif self._adjust(post, made_from):
            post.made_from = made_from
        else:
            self._stop(post, is_replaced=made_from is not None)
            self._pursue(post)  # it is idle at once where there was no process

    def _is_right(self, post: Post, made_from: object) -> bool:
        assert self._wanted is not None
        listens = tuple(self._wanted.services.get(post.service.name, ()))
        return made_from == post.made_from and listens == post.listens

    def _adjust(self, post: Post, made_from: object) -> bool:
        adjust = post.service.adjust
        if adjust is None or made_from is None or post.state is not ServiceState.RUNNING:
            return False
        assert post.child is not None
        return adjust(post.made_from, made_from, self._folder, post.child.pid)

    def _start(self, post: Post, made_from: object) -> None:
        assert self._wanted is not None
        wanted, service = self._wanted, post.service
        listeners = dict(wanted.services.get(service.name, {}))

        def run(channel: socket.socket) -> int:
            return service.run(
                Given(wanted.settings, listeners, self._counters, channel, self._folder, self.notes)
            )

        role = ChildRole(
            service.name,
            service.name,
            run,
            listeners.keys(),
            on_fact=lambda fact: self._on_fact(post, fact),
            on_exit=lambda status: self._on_exit(post, status),
            on_silence=lambda: self._on_silence(post),
            beats=not service.is_command,
        )
        post.happen(ServiceEvent.START)
        post.made_from = made_from
        post.listens = tuple(listeners)
        post.child = self._children.start(role)
        if post.child is None:
            post.happen(ServiceEvent.EXIT)
            self._rest(post, self._timing.retry_s)
        self._on_news()

    # -- what they do ----------------------------------------------------------------------------

    def _on_fact(self, post: Post, fact: Fact) -> None:
        match fact:
            case Ready():
                self._become_ready(post)
            case Noting(name, value):
                self.notes[name] = value
            case _:
                self._on_fact_of_all(fact)

    def _on_silence(self, post: Post) -> None:
        """The channel has ended: it is gone, which SIGCHLD tells, or has become its command."""
        if post.service.is_command and post.state is ServiceState.STARTING:
            self._become_ready(post)

    def _become_ready(self, post: Post) -> None:
        post.happen(ServiceEvent.READY)
        self._on_news()

    def _on_exit(self, post: Post, status: int) -> None:
        assert post.child is not None
        is_told = post.state is ServiceState.STOPPING
        has_served = self._has_served(post, post.child)
        post.happen(ServiceEvent.EXIT)
        if not post.child.is_killed and not is_told:
            _log.error("%s %s", post.child, describe_exit(status))
        self._on_news()
        if self._is_stopping:
            self._stop_next()
        elif is_told:
            self._pursue(post)
        else:
            now = time.monotonic()
            post.failures = 0 if has_served else post.failures + 1
            due = next_start(post.child.started, now, post.failures, self._timing)
            self._rest(post, due - now)

    def _has_served(self, post: Post, child: Child) -> bool:
        """Whether it came into service. A command is taken to have, once it has lived for long."""
        if post.service.is_command:
            return time.monotonic() - child.started >= self._timing.settled_s
        return post.state is ServiceState.RUNNING

    def _rest(self, post: Post, seconds: float) -> None:
        made_from = post.made_from

        def end_rest() -> None:
            if post.state is ServiceState.RESTING and post.made_from is made_from:
                self._start(post, made_from)

        self._reactor.after(seconds, end_rest)

    # -- what they are told ----------------------------------------------------------------------

    def tell(self, order: Order) -> None:
        """Tell all that listen."""
        for post in self._alive():
            if post.child is not None and not post.service.is_command:
                post.child.tell(order)

    def stop(self, *, are_replaced: bool = False) -> None:
        """End them for good, one after the other. are_replaced: a new version has others."""
        if not self._is_stopping:
            self._is_stopping = True
            self._are_replaced = are_replaced
            self._stop_next()

    def _stop_next(self) -> None:
        for post in self._posts:
            if post.state is not ServiceState.IDLE:
                if post.state is not ServiceState.STOPPING:
                    self._stop(post, is_replaced=self._are_replaced)
                if post.state is ServiceState.STOPPING:
                    return

    def _stop(self, post: Post, *, is_replaced: bool) -> None:
        """is_replaced: another process follows, to which it may leave what it would remove."""
        post.happen(ServiceEvent.STOP)
        if post.state is ServiceState.IDLE:  # it was resting
            return
        assert post.child is not None
        if post.service.is_command:
            assert post.child.pid > 1, "0 and less name groups of processes"
            with suppress(ProcessLookupError):
                os.kill(post.child.pid, signal.SIGTERM)
        else:
            post.child.tell(Stop(is_replaced=is_replaced))
        margin_s = self._timing.kill_margin_s
        self._children.kill_after(post.child, margin_s, f"did not end within {margin_s:g} s")

    def kill(self) -> None:
        """End them at once."""
        for post in self._alive():
            if post.child is not None:
                self._children.kill(post.child, "was to end at once")

    def describe(self) -> list[dict[str, Any]]:
        """A row for each, for those who show the appliance."""
        return [
            {
                "name": post.service.name,
                "state": post.state.value,
                "pid": post.child.pid if post.child and post.state in _ALIVE else 0,
                "deaths": post.failures,
                "started": post.child.started if post.child else 0.0,
            }
            for post in self._posts
        ]
