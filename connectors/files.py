"""Files that people own: which may be touched, and how one is replaced so that nobody's edit is lost."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from connectors.base import Access
from connectors.errors import OptionsError, OutcomeUnknown, StreamGone, Unavailable

# A file that is being written to changes under a read; a fresh look or two usually finds it at rest.
LOOKS = 3

_TEMPORARY = ".syncline-tmp"


def allowed(path: Path, access: Access) -> Path:
    """The real place of `path`, symbolic links followed.

    Raises OptionsError unless it lies inside a folder that this installation opened to connectors and
    is none of its own files.
    """
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise OptionsError(f"'{path}' is not a usable path. Correct it in the connection.") from error
    if not access.folders:
        raise OptionsError(
            f"'{path}' may not be opened: no folder is open to connectors. Name one in SOURCES_FOLDERS."
        )
    if not any(real.is_relative_to(folder.resolve()) for folder in access.folders):
        folders = ", ".join(f"'{folder}'" for folder in access.folders)
        raise OptionsError(
            f"'{path}' lies outside the folders that connectors may use ({folders})."
            " Move it there, or add its folder to SOURCES_FOLDERS."
        )
    if any(_is_same(real, forbidden) for forbidden in access.forbidden_files):
        raise OptionsError(f"'{path}' belongs to Syncline itself. Choose another file.")
    return real


def anchored(folder: str, access: Access) -> Path:
    """A folder from a connection's options; a relative one starts at the first of the open folders."""
    path = Path(folder).expanduser()
    return path if path.is_absolute() or not access.folders else access.folders[0] / path


def content(path: Path) -> bytes:
    """All bytes of a regular file, as they stood at one moment.

    Raises StreamGone when it is not there, OptionsError when it is no file or may not be read,
    Unavailable when somebody keeps writing to it.
    """
    for _ in range(LOOKS):
        with _opened(path) as descriptor:
            before = _signature(os.fstat(descriptor))
            with os.fdopen(os.dup(descriptor), "rb") as file:
                found = file.read()
            if _signature(os.fstat(descriptor)) == before:
                return found
    raise Unavailable(f"'{path.name}' is being written to by another program. Try again when it is done.")


def digest(found: bytes) -> bytes:
    return hashlib.blake2b(found, digest_size=16).digest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other runs of ours from replacing the file meanwhile. Raises Unavailable if one does so now."""
    for _ in range(LOOKS):
        with _opened(path) as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Unavailable(
                    f"Another run is writing to '{path.name}'. Try again in a moment."
                ) from None
            # Whoever held the lock before may have put another file in this place.
            if _is_at(descriptor, path):
                yield
                return
    raise Unavailable(f"'{path.name}' is replaced again and again by another program. Try again later.")


def replace(path: Path, new: bytes, old_digest: bytes) -> bool:
    """Put `new` in the place of the file, at once and durably, with its mode and owner.

    Called under `locked`. False, and nothing is touched, if the file no longer has `old_digest`. Raises
    OptionsError when the folder may not be written, Unavailable when there is no room, OutcomeUnknown
    when the last step is not known to be durable.
    """
    # The caller holds the lock, so what lies here was left by a process that died.
    for left_over in path.parent.glob(f".{glob.escape(path.name)}.*{_TEMPORARY}"):
        left_over.unlink(missing_ok=True)
    temporary = _written(path, new, _stat(path))
    try:
        if digest(content(path)) != old_digest:
            return False
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    _make_durable(path)
    return True


def create(path: Path, new: bytes) -> bool:
    """Make a file that is not there. False, and nothing is touched, if it is. Raises as `replace`."""
    temporary = _written(path, new, None)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    _make_durable(path)
    return True


def _written(path: Path, new: bytes, like: os.stat_result | None) -> Path:
    """A durable temporary file beside `path`."""
    name = ""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_TEMPORARY, dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(new)
            file.flush()
            if like is not None:
                # Giving a file away needs privileges; the group alone often does not.
                with suppress(PermissionError):
                    os.fchown(descriptor, -1, like.st_gid)
                with suppress(PermissionError):
                    os.fchown(descriptor, like.st_uid, -1)
                os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            else:
                os.fchmod(descriptor, 0o640)
            os.fsync(descriptor)
    except OSError as error:
        if name:
            Path(name).unlink(missing_ok=True)
        raise _cannot_write(path, error) from error
    return Path(name)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        raise StreamGone(f"The file '{path}' was removed meanwhile.", stream=path.name) from None


def _make_durable(path: Path) -> None:
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutcomeUnknown(
            f"'{path.name}' was replaced, but the disk did not confirm it: {error.strerror}."
        ) from error


def _cannot_write(path: Path, error: OSError) -> OptionsError | Unavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return Unavailable(f"'{path}' could not be written: {error.strerror}. Make room on that disk.")
    return OptionsError(
        f"'{path}' could not be written: {error.strerror}. Give Syncline the right to write in that folder."
    )


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        # Never wait for the other end of a pipe; links were followed before the path was judged.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise StreamGone(f"There is no file '{path}'.", stream=path.name) from None
    except PermissionError:
        raise OptionsError(f"'{path}' may not be read. Give Syncline the right to read it.") from None
    except OSError as error:
        raise OptionsError(f"'{path}' cannot be opened: {error.strerror}.") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OptionsError(f"'{path}' is not a file. Name a regular file.")
        yield descriptor
    finally:
        os.close(descriptor)


def _signature(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _is_same(path: Path, other: Path) -> bool:
    """Whether both name one file, by whatever link."""
    try:
        return path == other.resolve() or path.samefile(other)
    except OSError:
        return False
