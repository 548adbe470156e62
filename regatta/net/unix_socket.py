"""Unix sockets: bound to a file that is removed at the end, and taken over where its owner died."""

import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

from regatta.errors import StartError

# The owner and its group may connect. There is no other guard on a connection without TLS, so
# that everybody else has to be let in by the administrator.
file_mode = 0o660


class SocketFile:
    """The file of a listening socket, known again by its inode."""

    def __init__(self, path: Path) -> None:
        """Remember the file that is at *path* now."""
        self._path = path.absolute()
        self._identity = identity(self._path)

    def remove(self) -> None:
        """Delete the file, unless another one has taken its place."""
        try:
            if identity(self._path) == self._identity:
                self._path.unlink()
        except OSError:
            return  # someone was quicker, or the directory is gone


def identity(path: Path) -> tuple[int, int]:
    """Return what tells one file from another. Raises OSError if there is none."""
    found = path.lstat()
    return found.st_dev, found.st_ino


def bind_unix(path: Path) -> socket.socket:
    """Return a socket that listens at *path*; a file that a dead process left there is replaced.

    Raises StartError if another process listens there, or something else is in the way.
    """
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise cannot_listen(path, f"{path.parent}: {os.strerror(error.errno or 0)}") from None
    try:
        # Of two nodes that start at once, one must not take the other's new file for a dead one.
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_dead(path)
        return bind_new(path)
    except BlockingIOError:
        raise cannot_listen(path, "another process is doing so right now") from None
    except OSError as error:
        raise cannot_listen(path, os.strerror(error.errno) if error.errno else str(error)) from None
    finally:
        os.close(directory)


def remove_dead(path: Path) -> None:
    """Remove the socket file at *path* if nobody listens there; StartError if it is in use."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise cannot_listen(path, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a listener whose queue is full would have us wait
        outcome = probe.connect_ex(os.fspath(path))
    if outcome == errno.ECONNREFUSED:
        path.unlink()
    elif outcome in (0, errno.EAGAIN, errno.EPROTOTYPE):
        raise cannot_listen(path, os.strerror(errno.EADDRINUSE))
    elif outcome != errno.ENOENT:
        raise OSError(outcome, os.strerror(outcome))


def bind_new(path: Path) -> socket.socket:
    """Return a socket bound to *path*, where there is nothing."""
    bound = socket.socket(socket.AF_UNIX)
    try:
        # Before the file is there, so that it is never open to more than it will be in the end.
        os.fchmod(bound.fileno(), file_mode)
        bound.bind(os.fspath(path))
        path.chmod(file_mode)
        bound.listen(1024)
    except OSError:
        bound.close()
        raise
    return bound


def cannot_listen(path: Path, reason: str) -> StartError:
    """Return the error of a path that can't be had."""
    return StartError(f"can't listen on {path}: {reason}")
