"""Files that appear complete or not at all.

Everything is written into a hidden staging folder beside the target, so on the same disk, and moved into place with
one rename. Only a kill can leave the staging folder behind, and ``remove_leftovers`` clears that away.

A result and what belongs to it get their names one after the other, and no request to end comes between them. The
command line's signal handler asks ``hold``; where nothing handles signals this way, as in Slicer, nothing is held.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from .. import InputError, OutputError

STAGING_PREFIX = ".cycleinr-"

DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names of Windows' devices, with whatever ending."""

_LOOKS_S = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Waits for programs that look at every new file, such as virus scanners."""

_ON_WINDOWS = " Close what else has it open; more than 259 characters are too long." if sys.platform == "win32" else ""


class _Section(threading.local):
    """Signal handlers run in the main thread, so that what other threads write is no concern of theirs."""

    depth = 0
    held: Callable[[], None] | None = None
    named: tuple[Path, ...] = ()


_SECTION = _Section()


@contextmanager
def in_one_piece() -> Iterator[None]:
    """From the first name that is given in the block to its end, requests to end wait."""
    if _SECTION.depth == 0:
        _SECTION.held, _SECTION.named = None, ()
    _SECTION.depth += 1
    try:
        yield
    finally:
        _SECTION.depth -= 1
    if _SECTION.depth == 0 and _SECTION.held is not None:
        _SECTION.held()


def _begin_naming(path: Path) -> None:
    """To be called before the rename that gives a finished file or folder its name."""
    if _SECTION.depth:
        _SECTION.named = (*_SECTION.named, path)


def hold(end: Callable[[], None]) -> bool:
    """Whether a request to end has to wait; ``end`` is then called in the same thread, once all names are given."""
    if not (_SECTION.depth and _SECTION.named):
        return False
    _SECTION.held = end
    return True


def names_given() -> tuple[Path, ...]:
    """What got its name in the latest block, if all went well."""
    return _SECTION.named


def check_target(path: Path, overwrite: bool) -> None:
    """Check, before any work is spent on it, that a file may be written, with an OutputError that says why not."""
    check_result_name(path)
    _check_parent(path, "output")
    if path.is_dir():
        raise OutputError(f"The output {path} is a folder. Give the name of a file in it.")
    if os.path.lexists(path) and not overwrite:
        raise OutputError(
            f"{path} exists already and was left as it is. Choose another name, or replace it (--overwrite, "
            "overwrite=True)."
        )


def _check_parent(path: Path, what: str) -> None:
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} for the {what} does not exist. Create it first.")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(
            f"The folder {path.parent} for the {what} may not be written to. Check its permissions, or choose another."
        )


def check_own_folder(folder: Path, overwrite: bool, kind: str, is_ours: Callable[[Path], bool]) -> None:
    """Check that a folder that is written as a whole may be written, before any work is spent on it.

    Args:
        overwrite: Replace what was written here before; a folder with anything else in it is never touched.
        kind: What it is to hold, such as "report".
        is_ours: Whether we wrote all that is in a folder.

    Raises:
        OutputError: The folder above is missing or closed, or ``folder`` holds something.
    """
    folder = Path(folder).resolve()
    _check_parent(folder, kind)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; a {kind} needs a folder. Choose another name.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not is_ours(folder):
        raise OutputError(
            f"{folder} holds other files than a {kind} that CycleINR wrote, and was left as it was. Choose a new or an "
            "empty folder."
        )
    if not overwrite:
        raise OutputError(f"The {kind} {folder} exists already. Add --overwrite to replace it, or choose another name.")


@contextmanager
def staging_folder(path: Path) -> Iterator[Path]:
    """A fresh folder on the disk of ``path``, gone when the block ends; an OutputError where writing fails."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{STAGING_PREFIX}{os.getpid()}-", dir=path.parent))
    except OSError as error:
        raise OutputError(
            f"Nothing can be written to {path.parent} ({error.strerror}). Check its permissions and the free space."
        ) from error
    try:
        yield folder
    except OSError as error:
        raise OutputError(
            f"{path} could not be written ({error.strerror}). Check the free space and the permissions.{_ON_WINDOWS}"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for wait_s in _LOOKS_S:
            # Windows deletes nothing that any program has open
            if not folder.exists():
                break
            time.sleep(wait_s)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def said_of(hidden: Path, place: Path) -> Iterator[None]:
    """In the block, messages on what is written to a hidden folder name the place that it will get."""
    try:
        yield
    except OutputError as error:
        raise OutputError(str(error).replace(str(hidden), str(place))) from error


def publish(staged: Path, path: Path, overwrite: bool) -> None:
    """Move a finished file into place; an OutputError says that one of that name has appeared meanwhile."""
    check_target(path, overwrite)
    # Without this, a power cut after the rename could leave a complete name on an empty file.
    with open(staged, "rb+") as file:
        os.fsync(file.fileno())
    _begin_naming(path)
    if not overwrite:
        # A second name, unlike a rename, fails where the name is taken, even since a moment ago
        try:
            os.link(staged, path)
            return
        except FileExistsError:
            check_target(path, overwrite)
            raise
        except OSError:
            # The disk or the system knows no second names
            pass
    rename(staged, path)


def rename(old: Path, new: Path) -> None:
    """As ``os.replace``, but with patience on Windows, where nobody may rename what any program has open."""
    for wait_s in _LOOKS_S if sys.platform == "win32" else ():
        with suppress(PermissionError):
            return os.replace(old, new)
        time.sleep(wait_s)
    os.replace(old, new)


@contextmanager
def new_folder(folder: Path, check: Callable[[], None]) -> Iterator[Path]:
    """A hidden folder to write into, which becomes ``folder`` with one rename when the block ends without an error.

    Args:
        check: Raises an OutputError where ``folder`` holds something that may not be replaced; asked again at the end.

    Raises:
        OutputError: As ``check``; or writing failed.
    """
    folder = Path(folder).resolve()
    check()
    with staging_folder(folder) as staging:
        staged, replaced = staging / "new", staging / "replaced"
        staged.mkdir()
        with said_of(staged, folder):
            yield staged
        # Somebody may have put files there meanwhile.
        check()
        _begin_naming(folder)
        if folder.exists():
            rename(folder, replaced)
        try:
            rename(staged, folder)
        except BaseException:
            if replaced.exists():
                rename(replaced, folder)
            raise


@contextmanager
def sidecar(path: str | Path, content: Mapping[str, object], overwrite: bool = False) -> Iterator[None]:
    """What is known about a result, as ``<path>.json`` beside it; the block writes the result itself.

    The file is complete on the disk before the block begins, and gets its name after it, so that a disk which is full
    leaves neither of the two.

    Args:
        path: The image file that is described, for example result.nii.gz; gives result.nii.gz.json.
        content: Anything that JSON can hold.

    Raises:
        OutputError: The folder is missing or cannot be written, or the file exists and ``overwrite`` is False.
    """
    target = Path(f"{path}.json")
    check_target(target, overwrite)
    text = json.dumps(dict(content), indent=2, ensure_ascii=False) + "\n"
    with in_one_piece(), staging_folder(target) as folder:
        staged = folder / target.name
        staged.write_text(text, encoding="utf-8")
        yield
        try:
            publish(staged, target, overwrite)
        except (OSError, OutputError) as error:
            raise OutputError(
                f"{path} is written and complete, but {target.name} beside it, which says how it was made, is not: "
                f"{getattr(error, 'strerror', None) or error}. Check the folder, and run again with --overwrite."
            ) from error


def remove_leftovers(folder: str | Path, pid: int) -> None:
    """Remove what a killed process, by its id, left half-written in a folder; it must have ended."""
    for leftover in Path(folder).glob(f"{STAGING_PREFIX}{pid}-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def check_scan_name(path: Path) -> None:
    """Check that a name, and those above it, are UTF-8, with an InputError: SimpleITK ends the process on others."""
    if not _is_utf8(path):
        raise InputError(f"The name {str(path)!r} is not UTF-8. Rename the file or folder, or give a link to it.")


def check_result_name(path: Path) -> None:
    """Check that a result's name is UTF-8 and no longer than the file system allows, with an OutputError."""
    if not _is_utf8(path):
        raise OutputError(f"The name {str(path)!r} is not UTF-8. Choose another name for the result.")
    if sys.platform == "win32" and DEVICE.fullmatch(path.name):
        raise OutputError(f"{path.name} is the name of a device on Windows. Choose another name for the result.")
    try:
        os.lstat(path)
    except ValueError as error:
        raise OutputError(f"{path!s:.80} cannot be the name of a result ({error}). Choose another one.") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL):
            raise OutputError(
                f"{path.name[:40]}... cannot be the name of a result ({error.strerror}): it has {len(path.name)} "
                "characters. Choose a shorter one."
            ) from error


def _is_utf8(path: Path) -> bool:
    try:
        # SimpleITK takes the text, which is other bytes where the locale is not UTF-8
        return str(path).encode() == os.fsencode(path)
    except ValueError:
        return False


def leads_out(name: str) -> bool:
    """Whether a name that a header or an archive gives may mean a place outside the folder, on any system."""
    return ".." in re.split(r"[\\/]", name) or re.match(r"[\\/]|~.*[\\/]|[A-Za-z]:", name) is not None
