"""A policy as it is handed in: a program, `NAME.star`, and the library files that it loads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from ocaserve.policies.policy_limits import LIMITS

HOOKS: Mapping[str, int] = {"admit": 2, "weight": 3, "order": 2}
"""What a program may define, and how many arguments each takes."""

NAME_FORM = "[a-z][a-z0-9_-]{0,62}"
_NAME = re.compile(NAME_FORM)
_LIBRARY = re.compile(r"lib/[a-z0-9_]{1,64}\.star")
_WORD = re.compile(r"\w+")
_DEFINED = re.compile(r"^def[ \t]+(\w+)[ \t]*\(", re.MULTILINE)


class BundleError(ValueError):
    """What is no bundle; the text names what is wrong and what is allowed."""


@dataclass(frozen=True)
class Bundle:
    """Texts by path. Made by `make_bundle`."""

    name: str
    files: Mapping[str, str]

    @property
    def program(self) -> str:
        return self.files[f"{self.name}.star"]

    @cached_property
    def version(self) -> str:
        """The digest of all its files, in hexadecimal: equal texts are one version."""
        digest = sha256()
        for path, text in sorted(self.files.items()):
            data = text.encode()
            digest.update(b"%b %d\n%b" % (path.encode(), len(data), data))
        return digest.hexdigest()[:32]

    @cached_property
    def words(self) -> frozenset[str]:
        """All that stand anywhere in it: what it does not name it cannot ask for."""
        return frozenset(word for text in self.files.values() for word in _WORD.findall(text))

    @cached_property
    def hooks(self) -> tuple[str, ...]:
        """Those of `HOOKS` that it defines."""
        defined = _DEFINED.findall(self.program)
        return tuple(hook for hook in HOOKS if hook in defined)

    @cached_property
    def tests(self) -> tuple[str, ...]:
        """The names of its tests, as they stand."""
        return tuple(name for name in _DEFINED.findall(self.program) if name.startswith("test_"))


def make_bundle(name: str, files: Mapping[str, str]) -> Bundle:
    """Raises BundleError."""
    if not _NAME.fullmatch(name):
        raise BundleError(f"{name[:80]!r} is no name of a policy: it must be {NAME_FORM}")
    own = f"{name}.star"
    if own not in files:
        raise BundleError(f"{own!r} is missing: it is the program of the policy {name!r}")
    for path in files:
        if path != own and not _LIBRARY.fullmatch(path):
            allowed = f"{own!r} and lib/NAME.star, of small letters, digits and _"
            raise BundleError(f"{path[:80]!r} is no file of a policy: allowed are {allowed}")
    if len(files) > LIMITS.files:
        raise BundleError(f"{len(files)} files: at most {LIMITS.files} are allowed")
    size = sum(len(text.encode()) for text in files.values())
    if size > LIMITS.bundle_bytes:
        raise BundleError(f"{size:,} bytes: at most {LIMITS.bundle_bytes:,} are allowed")
    bundle = Bundle(name, dict(files))
    if not bundle.hooks:
        raise BundleError(f"{own!r} defines none of {', '.join(HOOKS)}: it would change nothing")
    return bundle
