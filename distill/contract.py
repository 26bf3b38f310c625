"""What the three contracts on disk (Card, Manifest, Measurement) have in common.

A contract is a strict, frozen record: unknown, missing or mistyped keys are errors, and a file written under another
schema version is refused by name. Files appear whole or not at all. This module imports nothing of ours but the
errors and what this machine is, and no heavy package, so that every other package may use it.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from distill.errors import UsageError, WorkFailed
from distill.system import did_you_mean


class Strict(BaseModel):
    """Base of every record that comes from outside: no coercion, no unknown keys, no change after construction."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class _Later:
    """Marks a setting that runs did without at first: at its default it has no part in a run's identity."""


LATER = _Later()


class Contract(Strict):
    """A record with a schema version, read from and written to one JSON file."""

    SCHEMA_VERSION: ClassVar[int]
    """A subclass also declares the field `schema_version: Literal[N] = N` with the same number."""

    def to_json(self, *, indent: int | None = 2) -> str:
        """The record as JSON text, keys in field order, without a final newline."""
        return self.model_dump_json(indent=indent)

    @classmethod
    def upgraded(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """What a file holds, of an older schema version as of this one; anything else as it is. By default all is."""
        return raw

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str) -> Self:
        """Parse one record, of this schema version or of one that `upgraded` knows.

        Raises:
            UsageError: the text is not JSON, has another schema version, or breaks the schema; names `source`.
        """
        try:
            raw: object = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{source} is not valid JSON ({error}). It may be cut off; make it again.") from error
        version = None
        if isinstance(raw, dict):
            old = cast("dict[str, Any]", raw)
            new = cls.upgraded(old)
            version = new.get("schema_version")
            text = text if new is old else json.dumps(new)
        if version != cls.SCHEMA_VERSION:
            raise UsageError(
                f"{source} has schema version {version!r}, but this version of the toolkit reads {cls.SCHEMA_VERSION} "
                f"({cls.__name__}). Use the toolkit that wrote it, or make it again with this one."
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            given = json.loads(text)
            raise UsageError(f"{source} is not a valid {cls.__name__}: {explain(error, given)}.") from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read one record from a file; errors as `from_json`, and UsageError if there is no such file."""
        try:
            text = path.read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror or error}.") from error
        return cls.from_json(text, source=str(path))

    def write(self, path: Path) -> None:
        """Write the record so that the file is either the old or the new one, whole."""
        write_whole(path, (self.to_json() + "\n").encode())


def explain(error: ValidationError, given: object = None) -> str:
    """Every complaint of a pydantic error in one line: `dotted.path: what is wrong (found ...)`.

    What a check between several settings says stands for itself, without them all.

    Args:
        error: of a validation.
        given: what was validated, if paths are to be those of its keys alone: pydantic also names the kind of a group.
    """
    parts: list[str] = []
    for item in error.errors(include_url=False):
        keys = list(item["loc"] if given is None else _keys(item["loc"], given))
        path = ".".join(str(step) for step in keys)
        if item["type"] == "extra_forbidden":
            message = f"unknown key{_near(keys, given)}"
        elif item["type"] == "missing":
            message = "missing key"
        elif item["type"] == "union_tag_invalid" and "ctx" in item:
            tag, known = item["ctx"]["tag"], item["ctx"]["expected_tags"].replace("'", "")
            path += f".{item['ctx']['discriminator']}".replace("'", "")
            message = f"there is no {tag!r}{did_you_mean(tag, known.split(', '))} Known: {known}"
        else:
            ours = item["type"] == "value_error"
            message = str(item["ctx"]["error"]).rstrip(".") if ours and "ctx" in item else _begun_small(item["msg"])
            if not (ours and isinstance(item["input"], Mapping | BaseModel)):
                message += f" (found {item['input']!r:.80})"
        parts.append(f"{path}: {message}" if path else message)
    return "; ".join(parts)


def _keys(path: Sequence[str | int], given: object) -> Iterator[str | int]:
    """The steps of a complaint's path that lead through what was given; those between are kinds of groups."""
    inside = given
    for place, step in enumerate(path, 1):
        known = cast("Mapping[str | int, object]", inside) if isinstance(inside, Mapping) else None
        if known is not None and step not in known and place < len(path):
            continue
        yield step
        inside = _part(inside, step)


def _near(path: Sequence[str | int], given: object) -> str:
    """Keys beside an unknown one that it may be meant for, in words; empty if there are none."""
    group = given
    for step in path[:-1]:
        group = _part(group, step)
    others = [str(key) for key in cast("Mapping[object, object]", group)] if isinstance(group, Mapping) else []
    near = did_you_mean(str(path[-1]), [key for key in others if key != path[-1]])
    return f" ({near.removeprefix('; ')})" if near != "." else ""


def _part(given: Any, step: str | int) -> object:
    """What lies at a key of a mapping or a place of a sequence; None where nothing does."""
    try:
        return given[step]
    except (KeyError, IndexError, TypeError):
        return None


def _begun_small(message: str) -> str:
    return message[:1].lower() + message[1:]


@contextmanager
def whole_file(path: Path) -> Generator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`, on failure removed.

    Raises:
        WorkFailed: the disk is full or the folder cannot be written. Whatever `path` held before is untouched.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise WorkFailed(
            f"cannot write {path}: {error.strerror or error}. What was there before is unchanged; "
            "free some space or choose another folder, then run the same command again."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write bytes to a file that appears whole or not at all; errors as `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_bytes(data)


def append_line(path: Path, line: str) -> None:
    """Append one line to a journal (`*.jsonl`) in a single synced write; errors as `whole_file`.

    A last line that an earlier crash left without its newline is closed first, so it can never swallow the new one.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            prefix = b""
            if size:
                file.seek(size - 1)
                prefix = b"" if file.read(1) == b"\n" else b"\n"
            file.write(prefix + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WorkFailed(f"cannot write {path}: {error.strerror or error}. Earlier lines are unchanged.") from error


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """Hex SHA-256 of a JSON-serialisable value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
