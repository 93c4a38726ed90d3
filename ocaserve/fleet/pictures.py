"""What is known of the network, as workers are shown it: a picture, which does not change.

The control process draws one whenever something is another, and puts it in the place of the one
before by a rename; workers look for that a few times a second. What is large lies in files of its
own, which workers map: the atlas, the index of the catalogue, what each appliance holds. The
picture names them. One that is the same in the next picture has the same name, and stays mapped.
"""

from __future__ import annotations

from msgspec import Struct

from ocaserve.fleet.decisions import Labels, Place, Server, SiteKind
from ocaserve.policies.in_force import PoliciesInForce

PICTURE = "picture"  # the file's name, in the folder of the run
NOTES = "notes"  # the folder in it where workers leave what they have noted


class PicturedServer(Struct, frozen=True, array_like=True):
    """An appliance. base: of its URLs, empty where it has none. held: the file of what it holds.

    place: its number where grants are counted (`grant_sheet`).
    """

    id: str
    site: str
    kind: str
    location: Place | None
    weight: float
    fault: str
    base: str
    place: int
    held: str = ""
    labels: Labels = ()

    def server(self) -> Server:
        """As decisions see it."""
        return Server(
            self.id,
            self.site,
            SiteKind(self.kind),
            self.location,
            self.weight,
            self.fault,
            self.labels,
        )


class PicturedContent(Struct, frozen=True, array_like=True):
    """The files of the catalogue's index and of the bits of what may be offered; see `contents`."""

    index: str
    live: str


class Picture(Struct, frozen=True, array_like=True):
    """content: None where every appliance is taken to hold every object."""

    atlas: str
    servers: list[PicturedServer]
    content: PicturedContent | None = None
    policies: PoliciesInForce = PoliciesInForce()

    def files(self) -> set[str]:
        """All that it names."""
        named = {self.atlas, *(each.held for each in self.servers)}
        if self.content is not None:
            named |= {self.content.index, self.content.live}
        return named - {""}
