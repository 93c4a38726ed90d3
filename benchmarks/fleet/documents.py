"""What a model appliance tells of itself: whole reports, and what has changed since."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from benchmarks.fleet.world import Site, World
from bgp.prefixes import WIDTH, parse_prefix
from ocaserve.routing.forms import Form
from ocaserve.steering.objects import Holdings
from ocaserve.steering.report import SCHEMA
from ocaserve.steering.table_digest import name_of, share_of, text_of

_MODULUS = 1 << 128
_PEER = 1


class Routes:
    """Of the appliances of one site: what its routers tell. extra: beside the networks of its
    providers, by their text, with path length and MED; gone: numbers of networks that are not told.
    """

    def __init__(self, world: World, site: Site) -> None:
        self._world, self._site = world, site
        self.extra: dict[str, tuple[int, int]] = {}
        self.gone: set[int] = set()
        sums = [_sums(world, each, *self._nearness(each)) for each in site.providers]
        self.prefix_digest = sum(each[0] for each in sums)
        self.table_digest = sum(each[1] for each in sums)

    def _nearness(self, provider: int) -> tuple[int, int]:
        """What the ranks of a provider's networks depend on: base, and region or -1."""
        region = self._site.region if self._site.kind == "embedded" else -1
        return self._site.base, region

    def __len__(self) -> int:
        blocks = self._world.networks.blocks
        told = sum(blocks[each].last - blocks[each].first for each in self._site.providers)
        return told - len(self.gone) + len(self.extra)

    def whole(self) -> bytes:
        """`routes` and `attributes` of a report, as members of its object."""
        texts, attributes = [], []
        for provider in self._site.providers:
            texts.append(_routes_text(self._world, provider, frozenset(self.gone)))
            attributes.append(_attributes_text(self._world, provider, *self._nearness(provider)))
        extra = self.changes((), self.extra)
        texts.append(extra[0])
        attributes.append(extra[1])
        return _members(texts, attributes)

    def changed(self, numbers: Iterable[int], extra: Iterable[str]) -> bytes:
        """Likewise, of these alone, as they are now."""
        return _members(*zip(self.changes(numbers, extra), strict=True))

    def changes(self, numbers: Iterable[int], extra: Iterable[str]) -> tuple[str, str]:
        networks, routes, attributes = self._world.networks, [], {}
        for number in numbers:
            group = int(networks.group[number])
            told = f'{{"peer":{_PEER},"attributes":{group + 1}}}'
            routes.append(f'"{networks.text(number)}":[{"" if number in self.gone else told}]')
            if number not in self.gone:
                attributes[group + 1] = self._attributes(number)
        for text in extra:
            if text in self.extra:
                number = -parse_prefix(text).bits - 1  # a group of its own
                routes.append(f'"{text}":[{{"peer":{_PEER},"attributes":{number}}}]')
                attributes[number] = _attributes(number, *self.extra[text])
            else:
                routes.append(f'"{text}":[]')
        return ",".join(routes), ",".join(f'"{key}":{text}' for key, text in attributes.items())

    def _attributes(self, number: int) -> str:
        group, provider = int(self._world.networks.group[number]), self._provider_of(number)
        return _attributes(group, *self._world.rank(self._site, number, provider))

    def _provider_of(self, number: int) -> int:
        blocks = self._world.networks.blocks
        return next(
            each
            for each in self._site.providers
            if blocks[each].first <= number < blocks[each].last
        )

    def withdraw(self, number: int) -> None:
        """Its routers do not tell of a network any more."""
        self._count(number, -1)
        self.gone.add(number)

    def announce(self, number: int) -> None:
        """They do again."""
        self.gone.discard(number)
        self._count(number, 1)

    def _count(self, number: int, sign: int) -> None:
        networks = self._world.networks
        rank = self._world.rank(self._site, number, self._provider_of(number))
        prefix, share = _hashes(networks.text(number), networks.code(number), rank)
        self.prefix_digest += sign * prefix
        self.table_digest += sign * share

    def leak(self, text: str, rank: tuple[int, int] | None) -> None:
        """They tell of a network that is none of its providers', or no longer (None)."""
        parsed = parse_prefix(text)
        old = self.extra.pop(text, None)
        for each, sign in ((old, -1), (rank, 1)):
            if each is not None:
                prefix, share = _hashes(text, parsed, each)
                self.prefix_digest += sign * prefix
                self.table_digest += sign * share
        if rank is not None:
            self.extra[text] = rank


def _members(routes: Iterable[str], attributes: Iterable[str]) -> bytes:
    told = (",".join(filter(None, each)) for each in (routes, attributes))
    return '"routes":{{{}}},"attributes":{{{}}}'.format(*told).encode()


@lru_cache(maxsize=4_096)
def _routes_text(world: World, provider: int, gone: frozenset[int]) -> str:
    block, networks = world.networks.blocks[provider], world.networks
    return ",\n".join(
        f'"{networks.text(number)}":[{{"peer":{_PEER},"attributes":{group + 1}}}]'
        for number, group in zip(
            range(*block), networks.group[block.first : block.last].tolist(), strict=True
        )
        if number not in gone
    )


@lru_cache(maxsize=1_024)
def _attributes_text(world: World, provider: int, base: int, region: int) -> str:
    groups = _groups(world, provider)
    return ",\n".join(
        f'"{group + 1}":{_attributes(group, *_rank(world, provider, base, region, group, depth))}'
        for group, depth in groups.items()
    )


def _groups(world: World, provider: int) -> Mapping[int, int]:
    """The depth of each group of a provider."""
    first, last = world.networks.blocks[provider]
    groups, depths = world.networks.group[first:last], world.networks.depth[first:last]
    return dict(zip(groups.tolist(), depths.tolist(), strict=True))


def _rank(
    world: World, provider: int, base: int, region: int, group: int, depth: int
) -> tuple[int, int]:
    site = Site(0, "", "embedded" if region >= 0 else "exchange", (0, 0), (), region)
    _, med = world.rank_of_group(site, group, depth, provider)
    return base + depth, med


def _attributes(group: int, path_length: int, med: int) -> str:
    path = [65_001, *(70_000 + (group * 7 + place) % 300_000 for place in range(path_length - 1))]
    return (
        f'{{"next_hop":"192.0.2.1","as_path":{str(path[:path_length]).replace(" ", "")},'
        f'"origin":"igp","med":{med},"communities":["65001:{group % 1_000}","65001:200"]}}'
    )


@lru_cache(maxsize=8_192)
def _sums(world: World, provider: int, base: int, region: int) -> tuple[int, int]:
    """Of a provider's networks: of `prefix_digest` and of the table's."""
    networks, prefix_sum, table_sum = world.networks, 0, 0
    ranks = {
        group: _rank(world, provider, base, region, group, depth)
        for group, depth in _groups(world, provider).items()
    }
    for number in range(*networks.blocks[provider]):
        rank = ranks[int(networks.group[number])]
        prefix, share = _hashes(networks.text(number), networks.code(number), rank)
        prefix_sum += prefix
        table_sum += share
    return prefix_sum, table_sum


def _hashes(text: str, code: tuple[int, int, int], rank: tuple[int, int]) -> tuple[int, int]:
    """A network's shares of both digests, as docs/report.md has them."""
    family, length, bits = code
    start = bits << (WIDTH[family] - length)
    name = name_of(family, start << 8 | length)
    return share_of(text.encode()), share_of(name, text_of(*rank))


class ModelAppliance:
    """One appliance. number: of all. form: of its next document. taken: the serial that the
    receiver has, where it is told changes.

    load: what it sends, in bits per second. changed, leaked: networks that the receiver does not
    know as they are now. what: sections that are new to the receiver.
    """

    def __init__(self, number: int, site: Site, routes: Routes, session: str, total: float) -> None:
        self.number, self.site, self.routes = number, site, routes
        self.id = f"oca-{number:05}"
        self.session = session
        self.total = total
        self.load = 0.0
        self.state, self.is_alive = "serving", True
        self.serial = 1
        self.form = Form.BRIEF
        self.taken = 0
        self.changed: set[int] = set()
        self.leaked: set[str] = set()
        self.held: Holdings | None = None
        self.held_told: Holdings | None = None
        self.held_told_at = float("-inf")  # monotonic
        self.skew_s = 0.0
        self.url = f"http://10.{number >> 16}.{number >> 8 & 255}.{number & 255}:8080"
        self._said: dict[str, Any] = {}
        self._told: dict[str, Any] = {}  # what of it the receiver knows

    @property
    def takes_traffic(self) -> bool:
        return self.state == "serving"

    def restart(self, session: str) -> None:
        """Its control process has begun anew: it knows of nobody that was told anything."""
        self.session, self.serial, self.form = session, 1, Form.BRIEF

    def route_changed(self, numbers: Iterable[int] = (), texts: Iterable[str] = ()) -> None:
        self.changed.update(numbers)
        self.leaked.update(texts)
        self.serial += 1

    def say(self, now: float) -> bytes:
        """The next document, plain. now: seconds since the epoch."""
        sections = self._now()
        is_all = self.form is not Form.CHANGES
        news = sections if is_all else {
            name: value for name, value in sections.items() if self._told.get(name) != value
        }  # fmt: skip
        if news:
            self.serial += 1
        self._said = sections
        heading = {
            "schema": SCHEMA,
            "kind": "report" if is_all else "changes",
            "appliance": self.id,
            "site": self.site.name,
            "session": self.session,
            "serial": self.serial,
            "as_of": round(now + self.skew_s, 3),
            "digest": f"{self.number:032x}",
            "prefix_digest": f"{self.routes.prefix_digest % _MODULUS:032x}",
            "complete": True,
            **({} if is_all else {"after": self.taken}),
            **news,
        }
        objects = self._objects(is_whole=is_all)
        if objects is not None:
            heading["objects"] = objects
        if self.form is Form.BRIEF:
            heading["table"] = f"{self.routes.table_digest % _MODULUS:032x}"
            return msgspec.json.encode(heading)
        routes = self.routes.whole() if is_all else self._changes()
        return msgspec.json.encode(heading)[:-1] + b"," + routes + b"}\n"

    def _changes(self) -> bytes:
        return self.routes.changed(self.changed, self.leaked)

    def _objects(self, *, is_whole: bool) -> dict[str, Any] | None:
        held = self.held
        if held is None or (held is self.held_told and not is_whole):
            return None
        here = b64encode(held.here).decode("ascii")
        return {"manifest": held.manifest, "count": held.count, "here": here}

    def _now(self) -> dict[str, Any]:
        free = max(0, round(self.total - self.load)) if self.takes_traffic else 0
        level = "ok" if self.takes_traffic else "warning"
        return {
            "place": {
                "urls": [self.url], "location": self.site.location, "site_kind": self.site.kind,
            },
            "health": {
                "state": self.state, "takes_traffic": self.takes_traffic, "level": level,
                "reasons": [], "components": dict.fromkeys(_COMPONENTS, "ok"),
            },
            "capacity": {
                "serving_workers": 16, "total_bits_per_s": round(self.total),
                "free_bits_per_s": free, "free_connections": 60_000, "limited_by": "network",
            },
            "content": {
                "stores": 24, "stores_in_error": 0, "total_bytes": 360 * 10**12,
                "free_bytes": 10**12,
            },
            "peers": [{"peer": _PEER, "address": "192.0.2.1", "state": "up", "as": 65_001,
                       "families": {}, "since": 1_795_000_000.0}],
            "totals": {"routes": len(self.routes), "accepted": len(self.routes), "filtered": {},
                       "unconfirmed": 0, "attribute_sets": len(self.routes) // 6},
        }  # fmt: skip

    def was_taken(
        self, said: int, changed: set[int], leaked: set[str], held: Holdings | None
    ) -> None:
        """The receiver has a document of this serial, with these networks."""
        self.taken, self.form, self._told = said, Form.CHANGES, self._said
        self.changed -= changed
        self.leaked -= leaked
        if held is not self.held_told:
            self.held_told, self.held_told_at = held, time.monotonic()


_COMPONENTS = ("workers", "stores", "network", "cpu", "memory", "routes", "fill", "contact")
