"""What routes have in common, held once: paths and their attributes, by what they say."""

from __future__ import annotations

import msgspec

from bgp.attributes import Attributes
from ocaserve.steering.communities import Marks
from ocaserve.steering.paths import AttributeSet, Path, RouteSource

_encode = msgspec.json.Encoder(order="sorted").encode


class HeldPaths:
    """Those that some route refers to. A path counts its routes, a set of attributes its paths.

    Numbers of attribute sets are never used again.
    """

    def __init__(self) -> None:
        self._attributes: dict[str, AttributeSet] = {}
        self._paths: dict[int, Path] = {}
        self._verdicts: dict[tuple[str | None, str | None], int] = {}
        self._numbered = 0

    def __len__(self) -> int:
        """How many paths there are."""
        return len(self._paths)

    @property
    def attribute_sets(self) -> int:
        """How many there are."""
        return len(self._attributes)

    def hold_attributes(self, attributes: Attributes, next_hop: str, marks: Marks) -> AttributeSet:
        """The set that equals these; it goes with the last path that has it."""
        values = {**attributes.values, "next_hop": next_hop, **marks.values()}
        text = _encode(values).decode()
        held = self._attributes.get(text)
        if held is None:
            self._numbered += 1
            held = self._attributes[text] = AttributeSet(
                self._numbered, text, attributes.path_length, attributes.med, attributes.origin_as,
                marks.is_backup,
            )  # fmt: skip
        return held

    def hold_path(
        self,
        source: RouteSource,
        attributes: AttributeSet,
        generation: int,
        path_id: int,
        reason: str | None,
        rov: str | None,
    ) -> Path:
        """The path that equals this; who has no route for it says `forget`."""
        key = self._path_key(source, generation, path_id, attributes, reason, rov)
        path = self._paths.get(key)
        if path is None:
            attributes.uses += 1
            source.allowance.take(attributes)
            path = Path(source, path_id, attributes, reason, rov, generation)
            self._paths[key] = path
        return path

    def _path_key(
        self,
        source: RouteSource,
        generation: int,
        path_id: int,
        attributes: AttributeSet,
        reason: str | None,
        rov: str | None,
    ) -> int:
        """One number: tuples would be a million more objects for the garbage collector."""
        verdict = self._verdicts.setdefault((reason, rov), len(self._verdicts))
        key = generation << 32 | source.number
        return ((key << 32 | path_id) << 40 | attributes.number) << 8 | verdict

    def let_go(self, path: Path) -> None:
        """One route fewer refers to the path."""
        source = path.source
        if path.generation != source.generation:
            source.old -= 1
        path.routes -= 1
        if not path.routes:
            self.forget(path)

    def forget(self, path: Path) -> None:
        """No route refers to it."""
        source, attributes = path.source, path.attributes
        key = self._path_key(
            source, path.generation, path.path_id, attributes, path.reason, path.rov
        )
        del self._paths[key]
        source.allowance.give_back(attributes)
        attributes.uses -= 1
        if not attributes.uses:
            del self._attributes[attributes.text]
