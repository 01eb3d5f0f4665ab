"""The three lanes a record may travel in. Source of truth: SPEC.md section 2."""

from enum import StrEnum
from typing import Final


class Lane(StrEnum):
    """How dear a record is: A is never dropped, B drops its oldest and counts, C is thinned and counts."""

    A = "A"
    B = "B"
    C = "C"

    @property
    def topic_segment(self) -> str:
        """The lane's name in a topic: its letter in lower case."""
        return self.value.lower()


LANES: Final = (Lane.A, Lane.B, Lane.C)
"""In the order in which a backlog is sent."""
