"""In which form the next document goes to the control plane, by what the last one was answered."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Form(Enum):
    """How a table is told. The value is the word of logs."""

    BRIEF = "brief"
    """All, but the table by its digest: another appliance of the site may have told it."""
    WHOLE = "whole"
    CHANGES = "changes"


_OTHERWISE: Mapping[tuple[Form, int], Form] = {
    (Form.CHANGES, 409): Form.BRIEF,  # the receiver does not know what they go on from
    (Form.CHANGES, 410): Form.BRIEF,
    (Form.BRIEF, 409): Form.WHOLE,  # it does not know the table
    (Form.BRIEF, 410): Form.WHOLE,
    (Form.BRIEF, 422): Form.WHOLE,  # or not what a digest is
}


def answer_to(form: Form, status: int) -> Form | None:
    """In which form to go on, at once. None: it was not taken, and is to be tried again later."""
    if status // 100 == 2:
        return Form.CHANGES
    return _OTHERWISE.get((form, status))
