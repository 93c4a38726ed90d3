"""The processes beside the workers: started, watched, replaced and stopped by the worker's rules.

Messages from a service, besides "ready" and "beat":

`{"is": "noting", "name": ..., "value": ...}`  its successor, and that of a new version, is to know
`{"is": "ordering", "name": ..., "order": {...}}`  an order for every worker, also those to come;
                                               the last one of a name counts
`{"is": "asking", "what": "reload"}`           what the signal of that name does
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocaserve.lifecycle import SERVICE_STATES, ServiceEvent, ServiceState, advance
from ocaserve.metrics import CounterMap
from ocaserve.settings import Settings
from ocaserve.sockets import Listeners
from ocaserve.supervisor.children import Channel, describe_exit, fork_child
from ocaserve.supervisor.planning import Timing, pause_after
from ocaserve.supervisor.reactor import Reactor
from ocaserve.supervisor.service import Given, Notes, Service

_log = logging.getLogger(__name__)

_ALIVE = frozenset({ServiceState.STARTING, ServiceState.RUNNING, ServiceState.STOPPING})


@dataclass(eq=False)
class Post:
    """A service's place: the process that has it, or why it is empty."""

    service: Service
    state: ServiceState = ServiceState.IDLE
    pid: int = 0
    channel: Channel | None = None
    made_from: object = None
    started: float = 0.0
    heard: float = 0.0
    deaths: int = 0  # in a row
    is_killed: bool = False

    def __str__(self) -> str:
        return f"{self.service.name} (pid {self.pid})"

    def happen(self, event: ServiceEvent) -> None:
        self.state = advance(SERVICE_STATES, self.state, event)


@dataclass
class Wanted:
    """The settings in force and the listening sockets that belong to them, by service."""

    settings: Settings
    listeners: Mapping[str, Listeners] = field(default_factory=dict)


class Services:
    """One post for each service, in the order in which they are stopped: each when the one before
    it has ended.

    let_go: closes in a forked child what is the supervisor's, all listeners but these. on_message:
    gets what a service says. on_news: something has changed that `describe` shows.
    """

    def __init__(
        self,
        services: Sequence[Service],
        reactor: Reactor,
        timing: Timing,
        counters: CounterMap,
        let_go: Callable[[Collection[Any]], None],
        on_message: Callable[[Mapping[str, Any]], None],
        on_news: Callable[[], None],
    ) -> None:
        self._posts = tuple(Post(service) for service in services)
        self._reactor = reactor
        self._timing = timing
        self._counters = counters
        self._let_go_besides = let_go
        self._on_message = on_message
        self._on_news = on_news
        self._wanted: Wanted | None = None
        self._folder = Path()
        self._is_stopping = False
        self.notes: Notes = {}

    @property
    def are_over(self) -> bool:
        return not any(self._alive())

    def _alive(self) -> Iterator[Post]:
        return (post for post in self._posts if post.state in _ALIVE)

    # -- having those that are wanted ------------------------------------------------------------

    def start(self, wanted: Wanted, folder: Path) -> None:
        """Have the services that the settings want; called again with those of a reload."""
        self._wanted = wanted
        self._folder = folder
        for post in self._posts:
            post.deaths = 0  # other settings: what failed before may not fail now
            self._pursue(post)

    def _pursue(self, post: Post) -> None:
        if self._wanted is None or self._is_stopping:
            return
        made_from = post.service.depends_on(self._wanted.settings)
        if post.state is ServiceState.IDLE:
            if made_from is not None:
                self._fork(post, made_from)
        elif made_from == post.made_from or post.state is ServiceState.STOPPING:
            return
        elif self._adjust(post, made_from):
            post.made_from = made_from
        else:
            self._stop(post)
            self._pursue(post)  # it is idle at once where there was no process

    def _adjust(self, post: Post, made_from: object) -> bool:
        adjust = post.service.adjust
        if adjust is None or made_from is None or post.state is not ServiceState.RUNNING:
            return False
        return adjust(post.made_from, made_from, self._folder, post.pid)

    def _fork(self, post: Post, made_from: object) -> None:
        assert self._wanted is not None
        wanted, service = self._wanted, post.service
        listeners = dict(wanted.listeners.get(service.name, {}))

        def run(channel: Any) -> int:
            return service.run(
                Given(wanted.settings, listeners, self._counters, channel, self._folder, self.notes)
            )

        post.happen(ServiceEvent.START)
        post.made_from = made_from
        post.pid, post.channel = fork_child(
            service.name, run, lambda: self._let_go_besides(listeners), self._reactor.signals
        )
        post.started = post.heard = time.monotonic()
        post.is_killed = False
        channel = post.channel
        self._reactor.watch(channel.fileno(), lambda: self._hear(post, channel))
        self._on_news()

    def let_go(self) -> None:
        """In a forked child: the channels are the supervisor's."""
        for post in self._posts:
            if post.channel is not None:
                post.channel.close()

    # -- what they do ----------------------------------------------------------------------------

    def _hear(self, post: Post, channel: Channel) -> bool:
        """Take one message; False at the end."""
        message = channel.hear()
        if message is None:  # it has become another program, or is gone, which SIGCHLD tells
            self._reactor.unwatch(channel.fileno())
            if post.service.is_command and post.state is ServiceState.STARTING:
                self._become_ready(post)
            return False
        post.heard = time.monotonic()
        match message["is"]:
            case "ready":
                self._become_ready(post)
            case "beat":
                pass
            case "noting":
                self.notes[message["name"]] = message["value"]
            case _:
                self._on_message(message)
        return True

    def _become_ready(self, post: Post) -> None:
        post.happen(ServiceEvent.READY)
        self._on_news()

    def reap(self) -> None:
        """Some child has ended: perhaps it was one of these."""
        for post in tuple(self._alive()):
            ended, status = os.waitpid(post.pid, os.WNOHANG)
            if ended:
                self._on_exit(post, status)

    def _on_exit(self, post: Post, status: int) -> None:
        assert post.channel is not None
        self._hear_last_words(post, post.channel)
        is_told = post.state is ServiceState.STOPPING
        post.happen(ServiceEvent.EXIT)
        self._reactor.unwatch(post.channel.fileno())
        post.channel.close()
        post.channel = None
        if not post.is_killed and not is_told:
            _log.error("%s %s", post, describe_exit(status))
        self._on_news()
        if self._is_stopping:
            self._stop_next()
        elif is_told:
            self._pursue(post)
        else:
            self._rest(post)

    def _hear_last_words(self, post: Post, channel: Channel) -> None:
        """What it had said before it was killed counts: a drain, for instance."""
        with suppress(BlockingIOError):
            while self._hear(post, channel):
                pass

    def _rest(self, post: Post) -> None:
        if time.monotonic() - post.started >= self._timing.healthy_s:
            post.deaths = 0
        post.deaths += 1
        made_from = post.made_from

        def end_rest() -> None:
            if post.state is ServiceState.RESTING and post.made_from is made_from:
                self._fork(post, made_from)

        self._reactor.after(pause_after(post.deaths, self._timing), end_rest)

    def look_after(self, now: float) -> None:
        """One that gives no sign of life is stuck. A command gives none."""
        for post in self._alive():
            is_silent = now - post.heard > self._timing.silence_s
            if is_silent and not post.service.is_command:
                self._kill(post, f"gave no sign of life for {self._timing.silence_s:g} s")

    # -- what they are told ----------------------------------------------------------------------

    def tell(self, order: Mapping[str, Any]) -> None:
        """Tell all that listen."""
        for post in self._alive():
            if post.channel is not None and not post.service.is_command:
                post.channel.tell(order)

    def stop(self) -> None:
        """End them for good, one after the other."""
        if not self._is_stopping:
            self._is_stopping = True
            self._stop_next()

    def _stop_next(self) -> None:
        for post in self._posts:
            if post.state is not ServiceState.IDLE:
                if post.state is not ServiceState.STOPPING:
                    self._stop(post)
                if post.state is ServiceState.STOPPING:
                    return

    def _stop(self, post: Post) -> None:
        post.happen(ServiceEvent.STOP)
        if post.state is ServiceState.IDLE:  # it was resting
            return
        if post.service.is_command:
            with suppress(ProcessLookupError):
                os.kill(post.pid, signal.SIGTERM)
        elif post.channel is not None:
            post.channel.tell({"do": "stop"})
        pid = post.pid

        def end_patience() -> None:
            if post.pid == pid and post.state is ServiceState.STOPPING:
                self._kill(post, f"did not end within {self._timing.kill_margin_s:g} s")

        self._reactor.after(self._timing.kill_margin_s, end_patience)

    def kill(self) -> None:
        """End them at once."""
        for post in self._alive():
            self._kill(post, "was to end at once")

    def _kill(self, post: Post, why: str) -> None:
        if not post.is_killed:
            _log.error("%s %s: killed", post, why)
            post.is_killed = True
            os.kill(post.pid, signal.SIGKILL)

    def describe(self) -> list[dict[str, Any]]:
        """A row for each, for those who show the appliance."""
        return [
            {
                "name": post.service.name,
                "state": post.state.value,
                "pid": post.pid if post.state in _ALIVE else 0,
                "deaths": post.deaths,
                "started": post.started,
            }
            for post in self._posts
        ]
