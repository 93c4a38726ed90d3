"""Policies as programs: Starlark, which knows no file, no network, no clock and no environment.

Only the process that runs policies imports this (`process`): a program can crash its interpreter,
by values that are nested too deeply or by a string that is larger than the memory.

A program is called through a driver, of ours and in its own language, that takes a question and
gives an answer as one text each: a conversion of all values apart would take five times as long.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import starlark as language

from ocaserve.policies.bundles import HOOKS, Bundle
from ocaserve.policies.policy_limits import LIMITS

MOST_WEIGHT = 1e6
_MOST_REASON = 200  # characters
_DRIVER = "(the control plane)"
TESTING = "@testing"
_CALLED = re.compile(r"^ +(?:\*|-->) ([^:\n]+):(\d+)", re.MULTILINE)
_SAID = re.compile(r"^error: (?:fail: )?(.*)$", re.MULTILINE)

_Extension = language.LibraryExtension
_FOR_PROGRAMS = language.Globals.extended_by(
    [_Extension.StructType, _Extension.Map, _Extension.Filter]
)
_FOR_DRIVERS = language.Globals.extended_by([_Extension.StructType, _Extension.Json])
_DIALECT = language.Dialect.extended()

_RULE = """
def rule(text):
    client, servers, object = json.decode(text)
    client, object = struct(**client), struct(**object)
    said = []
    for fields in servers:
        server = struct(**fields)
        said.append([fields["id"], {admit}, {weight}])
    return json.encode(said)
"""
_ORDER = """
def order_ids(text):
    client, servers = json.decode(text)
    servers = [struct(**fields) for fields in servers]
    return json.encode([server.id for server in order(struct(**client), servers)])
"""
_TESTING = """
def _made(known, fields):
    for name in fields:
        if name not in known:
            fail("there is no field %r: allowed are %s" % (name, ", ".join(known)))
    return struct(**(known | fields))

def client(**fields):
    return _made(dict(family=4, network="192.0.2.0/24", hour=12, latitude=None,
                      longitude=None), fields)

def server(**fields):
    return _made(dict(id="oca-1", site="a", kind="embedded", capacity=1e10, used=0.0,
                      path_length=1, med=0, labels={}), fields)

def object(**fields):
    return _made(dict(folder="", suffix=""), fields)

def equal(found, wanted):
    if found != wanted:
        fail("%r, not %r" % (found, wanted))
"""


class ProgramError(Exception):
    """What a program did wrong; the text has its file and line. is_overrun: it took too long."""

    def __init__(self, text: str, *, is_overrun: bool = False) -> None:
        super().__init__(text)
        self.is_overrun = is_overrun


class Program:
    """A bundle that is loaded. cpu_s: what the last call took of the processor."""

    def __init__(self, bundle: Bundle) -> None:
        """Raises ProgramError."""
        self.bundle = bundle
        self.cpu_s = 0.0
        self._ends_at = 0.0
        self._options = language.EvalOptions(
            check_cancelled=self._is_over, max_callstack_size=LIMITS.depth
        )
        self._modules: dict[str, Any] = {}
        self._loading: list[str] = []
        self._within(LIMITS.test_cpu_s, self._load_all)

    def rule(
        self, client: Mapping[str, Any], servers: Sequence[Mapping[str, Any]],
        wanted: Mapping[str, Any],
    ) -> tuple[dict[str, str], dict[str, float]]:  # fmt: skip
        """Whom it refuses and why, and weights that are not 1. Raises ProgramError."""
        refused: dict[str, str] = {}
        weights: dict[str, float] = {}
        for name, admitted, weight in self._ask("rule", client, servers, wanted):
            if isinstance(admitted, str):
                refused[name] = admitted[:_MOST_REASON] or f"{self.bundle.name} refuses it"
            elif admitted is False:
                refused[name] = f"{self.bundle.name} refuses it"
            elif admitted is not True:
                raise self._wrong("admit", admitted, "True, False, or a reason")
            if not _is_weight(weight):
                raise self._wrong("weight", weight, f"0 to {MOST_WEIGHT:,.0f}")
            if weight != 1:
                weights[name] = float(weight)
        return refused, weights

    def order(self, client: Mapping[str, Any], servers: Sequence[Mapping[str, Any]]) -> list[str]:
        """All their ids, the best first. Raises ProgramError."""
        found = self._ask("order_ids", client, servers)
        if sorted(map(str, found)) != sorted(each["id"] for each in servers):
            raise self._wrong("order", found, "each server that it got, once")
        return list(found)

    def test(self, name: str) -> None:
        """Run one of its tests. Raises ProgramError."""
        self._within(LIMITS.test_cpu_s, lambda: self._call(self._program, name))

    def _ask(self, function: str, *said: object) -> Any:
        text = msgspec.json.encode(said).decode()
        answer = self._within(LIMITS.answer_cpu_s, lambda: self._call(self._driver, function, text))
        try:
            return msgspec.json.decode(answer)
        except msgspec.DecodeError as error:
            raise self._wrong(function, answer, "values that JSON has") from error

    def _wrong(self, hook: str, gave: object, allowed: str) -> ProgramError:
        return ProgramError(
            f"{self.bundle.name}.star: {hook} gave {str(gave)[:80]!r}, not {allowed}"
        )

    # -- the language ----------------------------------------------------------------------------

    def _load_all(self) -> None:
        bundle = self.bundle
        self._program = self._load(f"{bundle.name}.star", bundle.program, _FOR_PROGRAMS)
        driver = f'load("{bundle.name}.star", {", ".join(f"{hook!r}" for hook in bundle.hooks)})\n'
        calls = {"admit": "admit(client, server)", "weight": "weight(client, server, object)"}
        defaults = {"admit": "True", "weight": "1"}
        driver += _RULE.format(
            **{hook: calls[hook] if hook in bundle.hooks else defaults[hook] for hook in calls}
        )
        if "order" in bundle.hooks:
            driver += _ORDER
        self._driver = self._load(_DRIVER, driver.replace("'", '"'), _FOR_DRIVERS)

    def _load(self, file: str, text: str, known: Any) -> Any:
        module = language.Module()
        try:
            parsed = language.parse(file, text, _DIALECT)
            loader = language.FileLoader(self._find)
            language.eval_with(self._options, module, parsed, known, loader)
            frozen = module.freeze()
        except language.StarlarkError as error:
            raise self._tell(error) from None
        self._modules[file] = frozen
        return frozen

    def _find(self, path: str) -> Any:
        """What `load` names: of the same bundle, or the helpers of tests."""
        if path == TESTING and TESTING not in self._modules:
            return self._load(TESTING, _TESTING, _FOR_PROGRAMS)
        file = path.removeprefix("//")
        if file in self._modules:
            return self._modules[file]
        if file in self._loading:
            raise ProgramError(f"{file} loads itself")
        if path == file or file not in self.bundle.files:
            raise ProgramError(
                f"load({path!r}): allowed are //lib/NAME.star of the bundle, and {TESTING}"
            )
        self._loading.append(file)
        return self._load(file, self.bundle.files[file], _FOR_PROGRAMS)

    def _call(self, module: Any, function: str, *said: str) -> Any:
        try:
            return module.call_with(self._options, function, *said).value
        except language.StarlarkError as error:
            raise self._tell(error) from None

    def _within(self, cpu_s: float, act: Any) -> Any:
        """Raises ProgramError also where it takes longer."""
        begun = time.thread_time()
        self._ends_at = begun + cpu_s
        try:
            return act()
        finally:
            self.cpu_s = time.thread_time() - begun

    def _is_over(self) -> bool:
        return time.thread_time() > self._ends_at

    def _tell(self, error: Exception) -> ProgramError:
        """With the innermost line that is of the bundle: what it called may be ours."""
        text = str(error)
        lines = [
            f"{file}:{line}" for file, line in _CALLED.findall(text) if file in self.bundle.files
        ]
        place = lines[-1] if lines else f"{self.bundle.name}.star"
        if self._is_over():
            return ProgramError(f"{place}: it takes too long", is_overrun=True)
        said = _SAID.findall(text)
        words = said[-1].replace("ProgramError: ", "") if said else text.strip()[-300:]
        return ProgramError(f"{place}: {words}")


def lint(bundle: Bundle) -> list[str]:
    """What is no fault of the language and will hardly be meant, each with its place."""
    found = []
    for file, text in bundle.files.items():
        for each in language.parse(file, text, _DIALECT).lint():
            if each.severity in (language.EvalSeverity.Error, language.EvalSeverity.Warning):
                line = each.resolved_location.span.begin.line + 1
                found.append(f"{file}:{line}: {each.problem}")
    return found


def _is_weight(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= MOST_WEIGHT  # type: ignore[operator]


assert set(HOOKS) == {"admit", "weight", "order"}, "the drivers call these"
