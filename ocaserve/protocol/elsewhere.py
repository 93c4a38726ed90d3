"""Where an object that is not here is sure to be: what a redirect says (RFC 9110 section 15.4.8).

A template is a URL with `{key}`, the object's key, or `{path}`, the same behind `range/A-B/` where
a part was asked for by the path, as other appliances take it. Both are percent-encoded. Of the
query nothing is passed on but, if it is to be signed, the right that it has shown: for the host of
the template, until the same time. A right that stood in the path, which players keep for what comes
next, is passed on in the path, for the folder that the object is in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from ocaserve.protocol.signatures import make_folder_token, make_token, normalize_host
from ocaserve.protocol.target import ObjectTarget, parameter_values

KEY, PATH = "{key}", "{path}"
_PLACE = re.compile(r"\{[^{}]*\}|[{}]")
_SAFE = "/~"  # a key may stand in a query, where more has a meaning
_READ_AS_FORMS = (b"range/", b"s/", b"speedtest/")


def find_template_fault(template: str) -> str:
    """What is wrong with where the key stands in a URL, in words; empty if nothing is."""
    places = _PLACE.findall(template)
    if len(places) != 1 or places[0] not in (KEY, PATH):
        return f"must have {KEY} or {PATH} once, and no other braces"
    if places[0] in urlsplit(template).netloc:
        return f"must have {places[0]} behind the host"
    return ""


class Elsewhere(NamedTuple):
    """template: without fault. keys: to sign with, secrets by version; None: it is not signed."""

    template: str
    keys: Mapping[bytes, bytes] | None = None

    def locate(self, target: ObjectTarget) -> bytes | None:
        """The URL to go on at; None if the template has no way to say what was asked for.

        target: admitted already, if it has to be.
        """
        prefix = ""
        if PATH in self.template:
            if (target.key + b"/").startswith(_READ_AS_FORMS):
                return None
            if target.part is not None:
                prefix = f"range/{target.part.start}-{target.part.stop - 1}/"
        elif target.part is not None:
            return None  # the whole object would be another answer
        path = prefix + quote(target.key, _SAFE)
        if self.keys is None:
            return self._url(path)
        host = normalize_host(urlsplit(self._url("")).netloc)
        if not target.signature:
            version, expiry = (parameter_values(target.query, name)[0] for name in (b"v", b"e"))
        else:  # what stands in the query beside it was not looked at
            version, expiry, _ = target.signature.rsplit(b".", 2)
            folder = target.key.rpartition(b"/")[0]  # the whole of it is within the folder shown
            if PATH in self.template and folder:
                token = make_folder_token(self.keys[version], host, folder, expiry, version)
                return self._url(f"s/{version.decode()}.{expiry.decode()}.{token.decode()}/{path}")
        token = make_token(self.keys[version], host, target.key, expiry, version)
        url = self._url(path)
        mark = b"&" if b"?" in url else b"?"
        return b"%b%bv=%b&e=%b&t=%b" % (url, mark, version, expiry, token)

    def _url(self, path: str) -> bytes:
        return self.template.replace(KEY, path).replace(PATH, path).encode("ascii")
