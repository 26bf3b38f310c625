"""A folder that appears whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill.contract import sync_folder
from distill.errors import WorkFailed


def staging_path(folder: Path, process_id: int) -> Path:
    """Where a process builds an artifact before it becomes `folder`."""
    return folder.with_name(f".{folder.name}.{process_id}.tmp")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; on success it takes its place, on failure it is removed.

    Raises:
        WorkFailed: the disk is full or the place cannot be written. What was there before is unchanged.
    """
    staging = staging_path(folder, os.getpid())
    try:
        with _disk_errors(folder):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        with _disk_errors(folder, only=(errno.ENOSPC, errno.EDQUOT)):
            yield staging
        with _disk_errors(folder):
            _replace(folder, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(folder: Path, staging: Path) -> None:
    """Rename `staging` to `folder`. A folder cannot be renamed over a full one, so the old one steps aside first."""
    aside = staging.with_suffix(".old")
    if folder.exists():
        folder.rename(aside)
    try:
        staging.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _disk_errors(folder: Path, *, only: tuple[int, ...] = ()) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if only and error.errno not in only:
            raise
        raise WorkFailed(
            f"cannot write {folder}: {error.strerror or error}. What was there before is unchanged; "
            "free some space or choose another --out, then run the same command again."
        ) from error
