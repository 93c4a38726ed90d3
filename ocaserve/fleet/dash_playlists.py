"""An MPD with pathways: a BaseURL for each appliance, and ContentSteering (ETSI TS 103 998, 6).

The document is not made anew from what it means: what is put in and taken out is cut into its text,
so that prefixes, comments and what we do not know stay as the packager wrote them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from ocaserve.fleet.client_urls import Object
from ocaserve.fleet.pathways import Pathway, PlaylistError, resolve

MEDIA_TYPE_DASH = "application/dash+xml"

_TAKEN_OUT = ("BaseURL", "Location", "PatchLocation", "ContentSteering")
"""Of the MPD's own elements: they would lead players past the pathways."""
_NAME = "-"  # of an object that need not be there: its URL without it is that of the folder
_LIKE_ASCII = ("utf-8", "us-ascii", "iso-8859-1")


@dataclass(slots=True)
class _Found:
    """In the text. cuts: from the first byte up to the one behind the last, of what goes out.

    begins: behind the start of the root, or its last ProgramInformation.
    """

    prefix: str = ""
    begins: int = -1
    cuts: list[tuple[int, int]] = field(default_factory=list)
    base: list[str] = field(default_factory=list)
    has_period: bool = False


def add_dash_pathways(
    data: bytes, base: Object, pathways: Sequence[Pathway], server_uri: str
) -> bytes:
    """The MPD of an object with a pathway for each appliance, the first to begin with.

    data: the object's own. base: the object. server_uri: of the steering manifest; absolute, since
    dash.js takes another for one of its page. Raises PlaylistError.
    """
    found = _Reader().read(data)
    if not found.has_period:
        raise PlaylistError("is no MPD with a Period")
    beside = resolve(base, _beside(found.base[0].strip() if found.base else "")).wanted
    assert beside is not None, "it has no host"
    prefix, inserted = found.prefix, []
    for pathway in pathways:
        url = pathway.locate(beside).removesuffix(_NAME)
        inserted.append(
            f"<{prefix}BaseURL serviceLocation={quoteattr(pathway.id)}>{escape(url)}"
            f"</{prefix}BaseURL>"
        )
    inserted.append(
        f"<{prefix}ContentSteering defaultServiceLocation={quoteattr(pathways[0].id)} "
        f'queryBeforeStart="false">{escape(server_uri)}</{prefix}ContentSteering>'
    )
    return _splice(data, found, "\n".join(inserted).encode())


def _beside(base_url: str) -> str:
    """The URI of an object in the folder that a BaseURL names. Raises PlaylistError."""
    if base_url.startswith("//") or ":" in base_url.partition("/")[0]:
        raise PlaylistError(f"its BaseURL {base_url[:200]!r} names another host")
    if base_url.rpartition("/")[2] in (".", ".."):
        base_url += "/"
    return base_url[: base_url.rfind("/") + 1] + _NAME


def _splice(data: bytes, found: _Found, inserted: bytes) -> bytes:
    pieces, place = [], 0
    for start, stop in sorted([*found.cuts, (found.begins, found.begins)]):
        pieces.append(data[place:start])
        if start == stop:
            pieces.append(b"\n" + inserted)
        place = stop
    return b"".join([*pieces, data[place:]])


class _Reader:
    """One pass over the text, which notes where elements begin and end.

    expat says where each event begins; so an element ends where the event after its end begins.
    """

    def __init__(self) -> None:
        self._parser = parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.DefaultHandlerExpand = lambda _: self._look()
        parser.XmlDeclHandler = self._declare
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._found = _Found()
        self._depth = 0
        self._open_from = -1  # where the element that goes out begins
        self._is_cut_due = self._is_begin_due = self._is_base = False

    def read(self, data: bytes) -> _Found:
        """Raises PlaylistError."""
        if b"\0" in data[:4]:
            raise PlaylistError(f"is in UTF-16 or UTF-32, not one of {', '.join(_LIKE_ASCII)}")
        try:
            self._parser.Parse(data, True)
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise PlaylistError(f"is not XML: {error}") from error
        return self._found

    def _look(self) -> None:
        """An event begins here: what has waited for the end of the one before."""
        here = self._parser.CurrentByteIndex
        if self._is_begin_due:
            self._found.begins, self._is_begin_due = here, False
        if self._is_cut_due:
            self._found.cuts.append((self._open_from, here))
            self._is_cut_due = False

    def _start(self, name: str, _: dict[str, str]) -> None:
        self._look()
        local = name.rpartition(":")[2]
        if self._depth == 0:
            if local != "MPD":
                raise PlaylistError(f"its root is {name[:60]!r}, not MPD")
            self._found.prefix = name.removesuffix(local)
            self._is_begin_due = True
        elif self._depth == 1 and local in _TAKEN_OUT:
            self._open_from = self._parser.CurrentByteIndex
            if local == "BaseURL":
                self._is_base = True
                self._found.base.append("")
        elif self._depth == 1 and local == "Period":
            self._found.has_period = True
        self._depth += 1

    def _end(self, name: str) -> None:
        self._look()
        self._depth -= 1
        local = name.rpartition(":")[2]
        if self._depth == 1 and local in _TAKEN_OUT:
            self._is_cut_due, self._is_base = True, False
        elif self._depth == 1 and local == "ProgramInformation":
            self._is_begin_due = True

    def _characters(self, text: str) -> None:
        self._look()
        if self._is_base:
            self._found.base[-1] += text

    def _declare(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _LIKE_ASCII:
            raise PlaylistError(f"is in {encoding[:60]!r}, not one of {', '.join(_LIKE_ASCII)}")

    def _refuse_doctype(self, *_: object) -> None:
        raise PlaylistError("has a document type, which no MPD has")
