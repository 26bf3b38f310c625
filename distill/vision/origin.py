"""Where weights that a run began with come from."""

from typing import Annotated

from pydantic import Field

from distill.contract import Strict

LONGEST_LICENCE = 40_000


class Origin(Strict):
    """Name, hash and licence of weights.

    Attributes:
        name: of the package with its version, or of the file.
        licence: its text, if it lies beside the weights; None where nothing was said.
    """

    name: str
    sha256: str
    licence: Annotated[str, Field(max_length=LONGEST_LICENCE)] | None
