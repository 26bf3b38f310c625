"""What one check found, as data that its process leaves behind and the report is written from."""

from typing import ClassVar, Literal

from distill.contract import Contract, Strict


class Table(Strict):
    """A table of the report; every cell is text already."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Finding(Contract):
    """How one check ended.

    Attributes:
        passed: None where it could not be judged (`words` say why).
        words: what was seen, in a sentence or two.
        tables: figures, if it measured some.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    schema_version: Literal[1] = 1
    passed: bool | None
    words: str
    tables: tuple[Table, ...] = ()
