"""OpenSSL's contexts: which certificate a client gets, and what lets it resume its session.

A handshake begins with a *front*, a context without a certificate. Its callback looks at the name
that the client asks for and changes to the context of a certificate (SNI, RFC 6066 section 3).
OpenSSL encrypts session tickets with the keys of the context that a handshake began with, so fronts
that were made once, before the workers were forked, let a session be resumed at whichever worker,
before and after a reload, and whatever happened to the certificates. There is no need to get at the
keys, which Python has no call for.

Ticket keys should not live for ever: who steals one can read what was recorded before (RFC 8446
appendix F.1, RFC 5077 section 5.5). So there are fronts for many periods; all workers go from one
to the next at the same time, and drop those that have passed. Tickets of before mean a full
handshake then, nothing worse. A reload adds fronts for the periods that have passed; the workers of
before have those of them that they need. A new version of the program (USR2) begins with new keys.

Contexts of certificates are never changed, only replaced: a connection keeps the one that it has.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

import msgspec

from ocaserve.certificates import describe_load_error, load_pair, read_leaf
from ocaserve.serving.client_hello import PROTOCOLS
from ocaserve.settings import Certificate, Tls

_PERIOD_S = 12 * 3600.0
_PERIODS = 64  # a month; a front takes 0.1 ms to make. The last one stays until a reload
_SETS_KEPT = 2  # the one that is wanted, and the one that a failed reload goes back to

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def new_context(tls: Tls) -> ssl.SSLContext:
    """A server's context with these settings and no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    set_up(context, tls)
    return context


def set_up(context: ssl.SSLContext, tls: Tls) -> None:
    context.minimum_version = _VERSIONS[tls.min_version]
    context.set_ciphers(tls.ciphers)
    context.set_alpn_protocols(PROTOCOLS)
    # A client that may renegotiate makes the server compute as often as it likes.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def _terms(tls: Tls) -> tuple[str, str]:
    """What of the settings every context of a certificate has in it."""
    return tls.min_version, tls.ciphers


# -- certificates --------------------------------------------------------------------------------

_Version = tuple[tuple[int, int, int], ...]


def _version_of(pair: Certificate) -> _Version:
    """What tells one version of a pair of files from another. Raises OSError."""
    statuses = [os.stat(file) for file in (pair.cert, pair.key)]
    return tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in statuses)


@dataclass(slots=True)
class _Source:
    """One pair of the settings. `context` and `names` are those of the last good version."""

    pair: Certificate
    seen: _Version = ()
    context: ssl.SSLContext | None = None
    names: frozenset[str] = frozenset()
    fault: str = ""

    def read(self, tls: Tls) -> bool:
        """Look at the files; whether there is news of them."""
        before = self.fault
        try:
            version = _version_of(self.pair)
            if version == self.seen:
                return False
            self.seen = version
            names = read_leaf(self.pair.cert).names
            context = new_context(tls)
            load_pair(context, self.pair)
        except ssl.SSLError as error:
            self.fault = f"{self.pair.key}: {describe_load_error(error, self.pair)}"
        except OSError as error:
            self.fault = f"{error.filename or self.pair.cert}: {error.strerror}"
        except ValueError:
            self.fault = f"{self.pair.cert}: holds no certificate"
        else:
            self.context, self.names, self.fault = context, names, ""
            return True
        return self.fault != before


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which context is for which name."""

    default: ssl.SSLContext
    by_name: dict[str, ssl.SSLContext]

    def of(self, name: str | None) -> ssl.SSLContext:
        """For the name itself, else for `*.` and all but its first label, else the default."""
        if name is None:
            return self.default
        name = name.lower()
        found = self.by_name.get(name) or self.by_name.get("*." + name.partition(".")[2])
        return found or self.default


class Certificates:
    """The certificates of the settings as their files are; those that are not good are left out.

    before: those of other settings, whose good versions stay in force where files are broken now.
    """

    def __init__(self, tls: Tls, before: Certificates | None = None) -> None:
        self.tls = tls
        self._sources = [_Source(pair) for pair in tls.certificates]
        self._combined: dict[tuple[int, ...], ssl.SSLContext] = {}
        self._choice: _Choice | None = None
        self.refresh()
        if before is not None:
            self._inherit(before)

    def _inherit(self, before: Certificates) -> None:
        """A reload that meets a broken file must not take from clients what they had."""
        if _terms(self.tls) != _terms(before.tls):
            return  # what was loaded then has not what is asked for now
        good = {source.pair: source for source in before._sources if source.context is not None}
        broken = [each for each in self._sources if each.context is None and each.pair in good]
        for source in broken:
            source.context = good[source.pair].context
            source.names = good[source.pair].names
        if broken:
            self._choice = self._make_choice()

    def choose(self, name: str | None) -> ssl.SSLContext | None:
        """The context for a name that a client asks for; None: it asks for none.

        None as well while no certificate is good: there is nothing to shake hands with.
        """
        return None if self._choice is None else self._choice.of(name)

    def refresh(self) -> Refreshed:
        """Read files that have changed. One that can't be used leaves what was there in force.

        May run in a thread: what handshakes look at is replaced as a whole.
        """
        news = [source for source in self._sources if source.read(self.tls)]
        fresh = [source.pair.cert for source in news if not source.fault]
        if fresh:
            self._choice = self._make_choice()
        return Refreshed(fresh, [source.fault for source in news if source.fault])

    def _make_choice(self) -> _Choice:
        groups: dict[frozenset[str], list[int]] = {}
        for place, source in enumerate(self._sources):
            if source.context is not None:
                groups.setdefault(source.names, []).append(place)
        by_name: dict[str, ssl.SSLContext] = {}
        contexts = {group[0]: self._context_of(group) for group in groups.values()}
        for names, group in groups.items():
            for name in names:
                by_name.setdefault(name, contexts[group[0]])
        return _Choice(contexts[min(contexts)], by_name)

    def _context_of(self, group: Sequence[int]) -> ssl.SSLContext:
        """One context for pairs with the same names: OpenSSL takes the one a client can use."""
        sources = [self._sources[place] for place in group]
        own = sources[0].context
        assert own is not None
        if len(sources) == 1:
            return own
        combined = new_context(self.tls)
        try:
            for source in sources:
                load_pair(combined, source.pair)
        except OSError:  # told when the source was read
            return self._combined.get(tuple(group), own)
        self._combined[tuple(group)] = combined
        return combined


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a look at the files has found: certificates that are new, and why others are not."""

    certificates: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


# -- what is made before the fork ----------------------------------------------------------------


class TlsHeritage:
    """What workers have from the supervisor: fronts, and certificates that were good.

    A worker that replaces one that died may find files that are broken just then; with what it
    inherits it serves all the same. Nothing is made until a configuration asks for TLS.
    """

    def __init__(self) -> None:
        self._fronts: tuple[ssl.SSLContext, ...] = ()
        self._period = 0  # that of the first of them
        self._began = monotonic()
        self._sets: dict[bytes, Certificates] = {}

    def prepare(self, tls: Tls) -> None:
        """In the supervisor, before the fork: make what workers need for these settings."""
        if not tls.listen:
            return
        self._add_fronts(monotonic())
        key = msgspec.json.encode(tls)
        before = next(reversed(self._sets.values()), None)
        self._sets.pop(key, None)  # the last one is that of the last reload
        self._sets[key] = Certificates(tls, before)
        for outdated in list(self._sets)[:-_SETS_KEPT]:
            del self._sets[outdated]

    def certificates(self, tls: Tls) -> Certificates:
        """Those of these settings."""
        return self._sets.get(msgspec.json.encode(tls)) or Certificates(tls)

    def _add_fronts(self, now: float) -> None:
        """For a month from now; the one in use stays until its period is over."""
        if self._fronts:
            self.front(now)
        else:
            self._began = now
        self._period = self._period_at(now)
        missing = _PERIODS - len(self._fronts)
        self._fronts += tuple(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(missing))

    def _period_at(self, now: float) -> int:
        return int((now - self._began) / _PERIOD_S)

    def front(self, now: float) -> ssl.SSLContext:
        """The front of this time; those of before are gone, and their keys with them."""
        passed = min(self._period_at(now) - self._period, len(self._fronts) - 1)
        self._fronts = self._fronts[passed:]
        self._period += passed
        return self._fronts[0]
