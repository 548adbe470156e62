"""What strace wrote, as the calls that change files, each with its beginning and its end.

strace handles one stop at a time, and no thread goes on before the line about its call is written.
So the order of the lines is an order of cause and effect, over all threads and processes: whoever
acts on the outcome of a call does so further down. No clock is needed.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

SYSCALLS = (
    "openat,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,"
    "truncate,ftruncate,fallocate,lseek,write,writev,pwrite64,pwritev,pwritev2,sendfile,"
    "copy_file_range,fdatasync,fsync,sync,syncfs,sync_file_range,msync"
)

# -xx and -s: every byte of every write; -y: the path behind each descriptor.
STRACE = ["strace", "-f", "--seccomp-bpf", "-y", "-v", "-xx", "-s", "1000000000"]
STRACE += ["-e", "signal=none", "-e", f"trace={SYSCALLS}"]

LINE = re.compile(r"(?P<thread>\d+) +(?P<text>.*)")
RESUMED = re.compile(r"<\.\.\. \w+ resumed>(?P<rest>.*)")
CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)")
DESCRIPTOR = re.compile(r"(?P<number>AT_FDCWD|\d+)<(?P<path>(?:\\x[0-9a-f]{2})*)(?:\(deleted\))?>")
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')

UNFINISHED = " <unfinished ...>"


class TraceError(Exception):
    """The trace holds something that this module does not understand."""


@dataclass(slots=True, eq=False)
class Call:
    """One system call on a file; *path* is what its descriptor or its first string names."""

    name: str
    path: Path
    descriptor: int = -1
    target: Path | None = None  # of a rename
    offset: int = 0
    data: bytes = b""
    length: int = 0  # of a truncation
    flags: str = ""  # of an open
    result: int | None = None  # None: it never returned

    @property
    def place(self) -> tuple[Path, int]:
        """What tells this descriptor from others that are open on the file."""
        return self.path, self.descriptor


@dataclass(frozen=True, slots=True)
class Step:
    """A moment of the trace: *call* begins, or ends."""

    call: Call
    ends: bool


@dataclass(slots=True)
class Reader:
    """Takes the trace line by line."""

    root: Path  # calls on other paths are left out
    directory: Path  # what relative paths are relative to
    open_calls: dict[str, tuple[Call | None, str]] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)  # threads, with their last words

    def steps(self, lines: Iterable[str]) -> Iterator[Step]:
        """Return every beginning and end of a call on a file under the root, in order."""
        for line in lines:
            found = LINE.fullmatch(line.rstrip("\n"))
            if found is None:
                raise TraceError(f"{line[:80]} … {line[-80:]}")
            yield from self._step(found["thread"], found["text"])

    def _step(self, thread: str, text: str) -> Iterator[Step]:
        if text.startswith(("+++", "---", "???")):  # the last: nothing is known but its end
            return
        if thread in self.ended:
            raise TraceError(f"{self.ended[thread]}, and then {text[:80]}")
        resumed = RESUMED.fullmatch(text)
        if resumed is not None:
            call, beginning = self.open_calls.pop(thread)
            whole = CALL.match(beginning + resumed["rest"])
            begun = call
        elif UNFINISHED in text:
            beginning = text.partition(UNFINISHED)[0]
            call = self._call(beginning)
            self.open_calls[thread] = call, beginning
            if call is not None:
                yield Step(call, ends=False)
            return
        else:
            whole, begun = CALL.match(text), None
        if whole is None:
            # The line breaks off where the thread was killed.
            self.ended[thread] = f"{text[:80]} … {text[-80:]}"
            call = self._call(text) if begun is None else None
            if call is not None:
                yield Step(call, ends=False)
            return
        call = self._call(whole["name"] + "(" + whole["arguments"])
        if call is None:
            return
        result = None if whole["result"] == "?" else int(whole["result"])
        if begun is None:
            begun = call
            yield Step(begun, ends=False)
        # An open tells its descriptor, and with it the path, only at the end.
        begun.descriptor, begun.result = call.descriptor, result
        if begun.name in ("openat", "creat") and result is not None:
            begun.descriptor = result
        if result is not None:
            yield Step(begun, ends=True)

    def _call(self, text: str) -> Call | None:
        name, _, arguments = text.partition("(")
        strings = [unhex(found) for found in STRING.findall(arguments)]
        first = DESCRIPTOR.match(arguments)
        if name in ("openat", "creat", "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir"):
            folder = Path(unhex(first["path"]).decode()) if first else self.directory
            call = Call(name, folder / strings[0].decode(), flags=arguments)
        elif name == "rename":
            source, target = (self.directory / string.decode() for string in strings)
            call = Call(name, source, target=target)
        elif first is None:
            return None  # a closed descriptor, or one that is no file
        else:
            path = Path(unhex(first["path"]).decode())
            call = Call(name, path, int(first["number"]))
            numbers = [int(word) for word in re.findall(r", (\d+)(?=,|$|\))", arguments)]
            if name in ("write", "writev", "pwrite64", "pwritev", "pwritev2"):
                call.data = b"".join(strings)
            if name in ("pwrite64", "pwritev"):
                call.offset = numbers[-1]
            if name == "ftruncate":
                call.length = numbers[-1]
        return call if self.root in (call.path, *call.path.parents) else None


def unhex(text: str) -> bytes:
    """Return the bytes that strace -xx wrote as *text*."""
    return bytes.fromhex(text.replace("\\x", ""))
