"""Who is asked for which bytes next, and when a server is left. Pure: the clock is a parameter.

A download is fetched in spans: ranges that take some seconds each. Between two of them another
server can be taken without a byte fetched twice, so that is where a better one is gone back to. A
server that fails, stalls or drips is left at once, and the next one goes on at the same byte.

The list's order is the will of whoever made it, and holds but for what was measured: a server is
passed over while it is left alone for its faults, or while its rate is known to be less than a
share of the fastest one's. What is known is forgotten after a while, so it is tried again. Where
all are left alone, whoever failed longest ago is tried anyway, ever more seldom.

What is of another version (RFC 9110 section 13.1.5: strong entity-tags that differ) is not mixed
in: such a URL is out. So is one whose server refuses us, or does not have the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from ocaserve.client.limits import Patience
from ocaserve.client.measuring import Meters, Window
from ocaserve.client.phases import STATES, FollowEvent, FollowState
from ocaserve.client.words import rate_text
from ocaserve.lifecycle import advance
from ocaserve.origins import Fault, Strikes, origin_of

OUT = frozenset({Fault.ABSENT, Fault.CHANGED, Fault.REFUSED, Fault.UNTAGGED})
"""Faults that the same URL would show again at once."""

_MOST_ASKED = 3  # times in a row, without a byte from anybody, where all URLs are out
_FIRST_AGAIN_S = 0.5
_LONGEST_AGAIN_S = 8.0
_LONGEST_ASK_AGAIN_S = 60.0


class Version(NamedTuple):
    """Which content. tag: a strong entity-tag."""

    tag: str
    size: int


class Ask(NamedTuple):
    """For a list of URLs."""


class Fetch(NamedTuple):
    """Bytes [start, stop) from a URL; `stop` may be beyond the end of what is not known yet."""

    url: str
    start: int
    stop: int
    version: Version | None


class Wait(NamedTuple):
    """Until then nothing can be done."""

    until: float
    why: str


class Done(NamedTuple):
    """All is there."""


class BeginAnew(NamedTuple):
    """No server has the version that was begun with: nothing of it is of use any more."""


class GiveUp(NamedTuple):
    """Nothing can be hoped for."""

    why: str


Step: TypeAlias = Ask | Fetch | Wait | Done | BeginAnew | GiveUp


class Change(NamedTuple):
    """Another server than before. byte: the first one that it is asked for."""

    byte: int
    before: str
    after: str
    why: str


class Leave(NamedTuple):
    """The server that is sending is to be left."""

    fault: Fault
    why: str


class Course:
    """One download. urls: the list, best first; empty where it is asked for.

    can_ask: whether a list can be asked for. position, version: what is there already.
    """

    def __init__(
        self,
        patience: Patience,
        urls: Sequence[str],
        now: float,
        *,
        can_ask: bool = False,
        position: int = 0,
        version: Version | None = None,
    ) -> None:
        self.state = FollowState.CHOOSING
        self.position = position
        self.version = version
        self.server = ""  # the origin that was asked last
        self.meters = Meters(patience.remember_s)
        self.changes: list[Change] = []
        self._patience = patience
        self._urls = list(urls)
        self._until = float("inf")  # when the list is over
        self._can_ask = can_ask
        self._ask_at = now
        self._asked = 0  # times since the last byte
        self._not_told = 0  # times in a row
        self._ask_fault = ""
        self._is_refused = False  # a list, for good
        self._out: dict[str, Leave] = {}
        self._strikes = Strikes()
        self._tried: dict[str, float] = {}  # when each origin was asked last
        self._why = ""  # the one that was asked last was left, or is no more asked
        self._byte_at = now
        self._span: _Span | None = None

    @property
    def size(self) -> int:
        """Of the object, once it is known."""
        assert self.version is not None
        return self.version.size

    # -- what is next ----------------------------------------------------------------------------

    def next(self, now: float) -> Step:
        """What is to be done now."""
        if self.version is not None and self.position >= self.version.size:
            self._move(FollowEvent.WHOLE)
            return Done()
        fit = [url for url in self._urls if url not in self._out]
        free = [url for url in fit if not self._strikes.counts(url, now)]
        if self._is_to_ask(fit, free, now):
            self._move(FollowEvent.ASK)
            return Ask()
        if free:
            return self._fetch(self._best(free, now), now)
        if self._urls and not fit:
            return self._end_of_list(now)
        if self._is_refused and not self._urls:
            return self._give_up("there is no list of servers")
        if now - self._byte_at >= self._patience.give_up_s:
            return self._give_up(f"no byte in {self._patience.give_up_s:g} s")
        return self._try_anyway(fit, now)

    def _is_to_ask(self, fit: list[str], free: list[str], now: float) -> bool:
        is_of_use = not free or now >= self._until
        is_time = self._can_ask and now >= self._ask_at
        return is_of_use and is_time and not self._is_asked_enough(fit)

    def _is_asked_enough(self, fit: list[str]) -> bool:
        """Whether asking again and again gives nothing but URLs that are out."""
        return bool(self._urls) and not fit and self._asked >= _MOST_ASKED

    def _best(self, free: list[str], now: float) -> str:
        rates = {url: self.meters.known_rate(url, now) for url in free}
        bar = (
            max((rate for rate in rates.values() if rate), default=0.0) * self._patience.slow_share
        )
        best = next(url for url, rate in rates.items() if rate is None or rate >= bar)
        rate, left = rates[best], (self.version.size - self.position) if self.version else 0
        if not rate or left / rate <= self._patience.long_s:
            return best  # else what is left takes so long that one not known is worth a try
        return next((url for url, rate in rates.items() if rate is None), best)

    def _fetch(self, url: str, now: float) -> Fetch:
        self._move(FollowEvent.CHOSEN)
        server = origin_of(url)
        if self.server and server != self.server:
            why = self._why or self._why_better(server, now)
            self.changes.append(Change(self.position, self.server, server, why))
        self.server, self._why = server, ""
        self._tried[server] = now
        expected = self.meters.known_rate(url, now) or 0.0
        self._span = _Span(url, expected, now, self._patience.judge_s)
        patience = self._patience
        usual = (self.meters.of(url).bytes_per_s or 0.0) * patience.span_s
        stop = self.position + int(min(max(usual, patience.least_span), patience.most_span))
        if self.version is not None:
            stop = min(stop, self.version.size)
        return Fetch(url, self.position, stop, self.version)

    def _why_better(self, server: str, now: float) -> str:
        mine, other = self.meters.known_rate(self.server, now), self.meters.known_rate(server, now)
        if mine and other and other > mine:
            return f"faster: {rate_text(other)} after {rate_text(mine)}"
        servers = [origin_of(url) for url in self._urls]
        if mine and self.server in servers[: servers.index(server)]:
            return f"a trial: {rate_text(mine)} is slow for what is left"
        return "better: it stands before in the list"

    def _try_anyway(self, fit: list[str], now: float) -> Step:
        """All are left alone; but a server that is back is better than none."""
        times = {url: self._again_at(url) for url in fit}
        first = min(times, key=times.__getitem__, default=None)
        if first is not None and times[first] <= now:
            return self._fetch(first, now)
        waits = [*times.values(), *([self._ask_at] if self._can_ask else [])]
        said = {self._strikes.of(url).last for url in fit} | {self._ask_fault}
        return Wait(min(waits), "; ".join(sorted(said - {""})) or "no server is known")

    def _again_at(self, url: str) -> float:
        strikes = self._strikes.of(url).strikes
        pause = min(_LONGEST_AGAIN_S, _FIRST_AGAIN_S * 2.0 ** min(strikes - 1, 30))
        return self._tried.get(origin_of(url), 0.0) + pause

    def _end_of_list(self, now: float) -> Step:
        """Every URL is out."""
        faults = {url: self._out[url] for url in self._urls}
        if all(each.fault is Fault.CHANGED for each in faults.values()):
            return BeginAnew()
        if self._can_ask and not self._is_asked_enough([]):
            return Wait(max(self._ask_at, now), "no URL of the list is good any more")
        said = (f"{origin_of(url)}: {each.fault}: {each.why}" for url, each in faults.items())
        return self._give_up("no URL is good: " + "; ".join(said))

    def _give_up(self, why: str) -> GiveUp:
        self._move(FollowEvent.HOPELESS)
        return GiveUp(f"{why}; {self._ask_fault}" if self._ask_fault else why)

    # -- what has happened -----------------------------------------------------------------------

    def told(self, urls: Sequence[str], until: float, now: float) -> None:
        """A list has come, which is good until then."""
        self._move(FollowEvent.TOLD)
        self._urls = list(urls)
        self._until = until
        self._out = {url: self._out[url] for url in urls if url in self._out}
        self._ask_fault, self._not_told = "", 0
        self._put_off_asking(now)

    def not_told(self, why: str, now: float, *, is_final: bool = False) -> None:
        """No list has come. is_final: nor will one; what is known of servers is what there is."""
        self._move(FollowEvent.NOT_TOLD)
        self._ask_fault, self._is_refused = why, is_final
        self._not_told += 1
        self._put_off_asking(now)

    def _put_off_asking(self, now: float) -> None:
        self._asked += 1
        doublings = min(max(self._asked, self._not_told), 30) - 1
        self._ask_at = now + min(_LONGEST_ASK_AGAIN_S, 2.0**doublings)

    def opened(self, version: Version, now: float) -> None:
        """The head of an answer has come, and is of what was asked for."""
        self._move(FollowEvent.OPENED)
        assert self.version in (None, version), "another version is a fault"
        self.version = version
        span = self._now_spanned()
        span.open(now, self._patience.judge_s)
        self.meters.of(span.url).begin(now - span.began)

    def received(self, count: int, now: float) -> None:
        """So many bytes have come, and are kept."""
        assert self.state is FollowState.RECEIVING
        self.position += count
        self._byte_at, self._asked = now, 0
        span = self._now_spanned()
        span.count += count
        span.heard = now
        span.window.add(count, now)

    def judge(self, now: float) -> Leave | None:
        """Whether the server that sends is to be left."""
        assert self.state is FollowState.RECEIVING
        span, patience = self._now_spanned(), self._patience
        if now - span.heard >= patience.stall_s:
            return Leave(Fault.STALLED, f"no byte in {patience.stall_s:g} s")
        rate = span.window.rate(now)
        if rate is None or not (others := self._others(span.url, now)):
            return None
        best = max(self.meters.known_rate(url, now) or 0.0 for url in others)
        bar = max(patience.min_bytes_per_s, patience.slow_share * max(best, span.expected))
        if rate < bar:
            return Leave(Fault.SLOW, f"{rate_text(rate)}; {rate_text(bar)} are wanted")
        return None

    def judge_at(self, now: float) -> float:
        """When it is to be asked again whether to leave, if nothing happens before."""
        stalled_at = self._now_spanned().heard + self._patience.stall_s
        return min(stalled_at, now + self._patience.judge_s / 4)

    def _others(self, url: str, now: float) -> list[str]:
        """URLs of other servers that could be asked now."""
        server = origin_of(url)
        return [
            each
            for each in self._urls
            if each not in self._out
            and origin_of(each) != server
            and not self._strikes.counts(each, now)
        ]

    def span_ended(self, now: float) -> None:
        """All that was asked for has come."""
        self._move(FollowEvent.SPAN_ENDED)
        span = self._now_spanned()
        self.meters.of(span.url).add(span.count, now - span.opened, now)
        self._strikes.clear(span.url)

    def left(self, fault: Fault, why: str, now: float) -> None:
        """The server was left, for this fault of it."""
        if self.state is FollowState.RECEIVING:
            span = self._now_spanned()
            self.meters.of(span.url).add(span.count, now - span.opened, now)
        self._move(FollowEvent.LEFT)
        url = self._now_spanned().url
        self._why = f"{fault}: {why}"
        if fault in OUT:
            self._out[url] = Leave(fault, why)
            if fault is not Fault.REFUSED or now >= self._until:
                return  # it says nothing of the server's other URLs
        self._strikes.add(url, fault, why, now)
        self.meters.of(url).forget()

    def begin_anew(self) -> None:
        """What was there is thrown away."""
        assert self.state is FollowState.CHOOSING
        self.position, self.version = 0, None
        self._out.clear()

    def _now_spanned(self) -> _Span:
        assert self._span is not None, "nobody was asked"
        return self._span

    def _move(self, event: FollowEvent) -> None:
        self.state = advance(STATES, self.state, event)


class _Span:
    """A range that one server was asked for. expected: its rate until then, in bytes a second."""

    def __init__(self, url: str, expected: float, now: float, window_s: float) -> None:
        self.url = url
        self.expected = expected
        self.began = now
        self.count = 0
        self.open(now, window_s)

    def open(self, now: float, window_s: float) -> None:
        self.opened = self.heard = now
        self.window = Window(window_s, now)
