import os
import shutil
import resource
import signal
from pathlib import Path

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.errno cimport EINVAL
from libc.errno cimport EIO
from libc.errno cimport ENOENT
from libc.errno cimport ENOMEM
from libc.errno cimport ENOSPC
from libc.errno cimport ENOTDIR
from libc.errno cimport EDQUOT
from libc.errno cimport errno
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from posix.stat cimport fstat
from posix.stat cimport stat as stat_path
from posix.stat cimport struct_stat
from posix.unistd cimport fdatasync
from posix.unistd cimport pread

from regatta.measure._histogram cimport Histogram
from regatta.measure._histogram cimport now_ns
from regatta.store._lmdb_h cimport *

from typing import NamedTuple

from regatta.errors import StartError
from regatta.measure import disk_bounds_s
from regatta.store.checkpoint import CheckpointFile
from regatta.store.checkpoint import missing_checkpoint
from regatta.store.checkpoint import sync_directory

cdef extern from *:
    uint64_t __sync_fetch_and_add(uint64_t *counter, uint64_t value) nogil
    uint64_t __sync_add_and_fetch(uint64_t *counter, uint64_t value) nogil
    uint64_t __sync_fetch_and_and(uint64_t *counter, uint64_t mask) nogil
    bint __sync_bool_compare_and_swap(int *cell, int old, int new) nogil

cdef extern from "<fcntl.h>" nogil:
    enum:
        SYNC_FILE_RANGE_WRITE
    int sync_file_range(int fd, int64_t offset, int64_t size, unsigned int flags)

cdef enum:
    READERS_MAX = 4096
    MAP_BYTES_MIN_SHIFT = 30
    META_BYTES = 152            # of a meta page that say something
    WRITE_OUT_BYTES_MAX = 16 << 10  # of commands: more would hold up the next sync of the log
    LOCK_FILE_BYTES = 4096 + 64 * READERS_MAX   # a little more than LMDB asks for
    DESCRIPTORS_MAX = 1024      # environments are opened before anything else takes descriptors

OPEN_REMEDY = "check that the directory is there, writable and not full"
CHECKPOINTED = b"checkpointed"      # a key of ``meta``: there was a checkpoint once
MAP_BYTES = 1 << 40             # address space, not disk

# Where the syncs of each open environment are counted, by file descriptor.
cdef PyObject *SYNC_TIMES[DESCRIPTORS_MAX]
cdef SyncStats stats            # written by the storage threads, with atomic operations


cdef public int regatta_fdatasync(int fd) noexcept nogil:
    """What LMDB calls to sync; it remembers a failure, which LMDB's commit doesn't tell apart."""
    cdef int64_t start = now_ns()
    cdef int code = fdatasync(fd)
    cdef int64_t duration = now_ns() - start
    if code != 0:
        __sync_bool_compare_and_swap(&stats.failure, 0, errno)
        return code
    __sync_fetch_and_add(&stats.count, 1)
    __sync_fetch_and_add(&stats.total_ns, <uint64_t>duration)
    if 0 <= fd < DESCRIPTORS_MAX and SYNC_TIMES[fd] != NULL:
        (<Histogram>SYNC_TIMES[fd]).add_ns(duration, 1)
    return 0


cdef SyncStats sync_stats() noexcept nogil:
    return stats


def sync_counts():
    """Return (syncs done, nanoseconds spent in them) of this process's environments."""
    return stats.count, stats.total_ns


@cython.final
cdef class Environment:
    """An LMDB environment with two databases, ``data`` and ``meta``.

    *checkpointed* commits without a sync: after a power cut, and after the death of the process,
    the environment is as of the newest checkpoint.
    Raises StartError if the environment can't be opened or is damaged.
    """

    def __cinit__(self):
        self.env = NULL
        self.descriptor = -1
        self.sync_time = Histogram(disk_bounds_s)

    def __init__(self, path, *, bint checkpointed=False, bint read_only=False):
        cdef unsigned int flags = MDB_NOTLS | MDB_NORDAHEAD
        self.path = os.fspath(path)
        if read_only:
            self._open_beside(flags)
            return
        self.file_name = os.fsencode(os.path.join(self.path, "data.mdb"))
        self.file_path = self.file_name
        try:
            if checkpointed:
                flags |= MDB_NOSYNC
                self.checkpoints = CheckpointFile(self.path)
            self._make_or_restore()
            self._reserve_lock_file()
            self._open(flags)
            self._note_file()
            self._count_syncs()
            # First: a look at a page that is missing would be a SIGBUS.
            self._check_length()
            self._open_databases()
            # What a killed process wrote may not be on the disk yet: first it, then what builds on it.
            self._check(mdb_env_sync(self.env, 1))
            sync_directory(self.path)
            if checkpointed:
                self._begin_at_checkpoint()
        except BaseException:
            self.close()
            raise

    def _make_or_restore(self):
        if os.path.exists(self.file_name):
            if self.checkpoints is not None:
                self.checkpoints.restore()
            return
        if self.checkpoints is not None:
            self.checkpoints.remove()
        make_environment(self.path)

    def _begin_at_checkpoint(self):
        """Keep the pages of the checkpoint that the environment was restored to."""
        cdef uint8_t[META_BYTES] meta
        if self.checkpoints.descriptor >= 0:
            self._check(self._pin(&self.pin, meta))
        elif self.read_meta(CHECKPOINTED) is not None:
            raise missing_checkpoint(self.path)

    def _open_beside(self, unsigned int flags):
        """Open what another process of this node has open, checked and writes to."""
        cdef MDB_txn *txn = NULL
        cdef int code
        self._open(flags | MDB_RDONLY)
        try:
            self._check(mdb_txn_begin(self.env, NULL, MDB_RDONLY, &txn))
            code = mdb_dbi_open(txn, b"data", 0, &self.data)
            if code == 0:
                code = mdb_dbi_open(txn, b"meta", 0, &self.meta)
            if code != 0:
                mdb_txn_abort(txn)
                self._check(code)
            self._check(mdb_txn_commit(txn))
        except BaseException:
            self.close()
            raise

    def checkpoint(self):
        """Let what is committed by now survive a power cut and the death of the process.

        For one thread at a time; others may commit meanwhile. Raises OSError when that fails; it
        may be tried again unless a sync has failed.
        """
        cdef MDB_txn *pinned = NULL
        cdef uint8_t[META_BYTES] meta
        cdef int code
        cdef int descriptor = self.checkpoints.descriptor
        raise_unless_done(stats.failure)
        with nogil:
            code = self._pin(&pinned, meta)
            if code == 0:
                __sync_fetch_and_and(&self.unwritten_bytes, 0)
                code = mdb_env_sync(self.env, 1)
        try:
            raise_unless_done(code)
            copy = PyBytes_FromStringAndSize(<char *>meta, META_BYTES)
            if descriptor < 0:
                self.checkpoints.make(copy)
            else:
                self.checkpoints.write(copy)
        except BaseException:
            mdb_txn_abort(pinned)
            raise
        if descriptor < 0:
            self.pin = pinned
            # From here on, a start without the file is none.
            self.write_meta({CHECKPOINTED: b""})
            return
        with nogil:
            code = regatta_fdatasync(descriptor)
        if code != 0:
            # Either checkpoint may be the one that is found: the pages of both are kept.
            self.doubtful_pin = pinned
            raise_unless_done(stats.failure)
        self.checkpoints.keep_written()
        mdb_txn_abort(self.pin)
        self.pin = pinned

    cdef int _pin(self, MDB_txn **pinned, uint8_t *meta) noexcept nogil:
        """Begin to read the newest state, so that its pages stay, and copy its meta page."""
        cdef MDB_txn *writer = NULL
        cdef MDB_stat stat
        # While this one is open nobody writes over the meta page.
        cdef int code = mdb_txn_begin(self.env, NULL, 0, &writer)
        if code != 0:
            return code
        code = mdb_txn_begin(self.env, NULL, MDB_RDONLY, pinned)
        if code == 0:
            mdb_env_stat(self.env, &stat)
            if pread(self.descriptor, meta, META_BYTES,
                     (mdb_txn_id(pinned[0]) & 1) * stat.ms_psize) != META_BYTES:
                code = EIO
        mdb_txn_abort(writer)
        return code

    def forget_dead_readers(self):
        """Free the places of readers whose processes have died; return how many there were."""
        cdef int dead = 0
        self._check(mdb_reader_check(self.env, &dead))
        return dead

    def __dealloc__(self):
        self.close_file()

    def _reserve_lock_file(self):
        """Give the table of readers its room on the disk.

        LMDB makes it with a hole and writes to it through a map: on a full disk that is a SIGBUS.
        """
        try:
            with open(os.path.join(self.path, "lock.mdb"), "ab") as file:
                os.chmod(file.fileno(), 0o600)
                os.posix_fallocate(file.fileno(), 0, LOCK_FILE_BYTES)
        except OSError as error:
            raise StartError(f"can't open {self.path}: {error.strerror}", OPEN_REMEDY) from None

    def _note_file(self):
        cdef struct_stat found
        cdef int descriptor
        self._check(mdb_env_get_fd(self.env, &descriptor))
        if fstat(descriptor, &found) != 0:
            self._check(errno)
        self.file_device, self.file_number = found.st_dev, found.st_ino

    cdef bint is_in_place(self) noexcept nogil:
        cdef struct_stat found
        if stat_path(self.file_path, &found) != 0:
            return errno != ENOENT and errno != ENOTDIR
        return found.st_dev == self.file_device and found.st_ino == self.file_number

    def close(self):
        """Close the environment, now or once the last view of it is gone."""
        self.closing = True
        if self.readers == 0:
            self.close_file()

    cdef void close_file(self) noexcept:
        if self.env != NULL:
            if 0 <= self.descriptor < DESCRIPTORS_MAX:
                SYNC_TIMES[self.descriptor] = NULL
            mdb_txn_abort(self.pin)
            mdb_txn_abort(self.doubtful_pin)
            self.pin = self.doubtful_pin = NULL
            mdb_env_close(self.env)
            self.env = NULL
        if self.checkpoints is not None:
            self.checkpoints.close()

    def _count_syncs(self):
        self._check(mdb_env_get_fd(self.env, &self.descriptor))
        if 0 <= self.descriptor < DESCRIPTORS_MAX:
            SYNC_TIMES[self.descriptor] = <PyObject *>self.sync_time

    cdef int begin_reading(self, MDB_txn **txn) noexcept:
        cdef int code
        if self.closing:
            return EINVAL
        code = mdb_txn_begin(self.env, NULL, MDB_RDONLY, txn)
        if code == 0:
            self.readers += 1
        return code

    cdef void end_reading(self, MDB_txn *txn) noexcept:
        mdb_txn_abort(txn)
        self.readers -= 1
        if self.closing:
            self.close()

    def _open(self, unsigned int flags):
        cdef int code
        cdef int dead
        cdef size_t map_bytes = MAP_BYTES
        while True:
            self._check(mdb_env_create(&self.env))
            self._check(mdb_env_set_maxdbs(self.env, 2))
            self._check(mdb_env_set_maxreaders(self.env, READERS_MAX))
            self._check(mdb_env_set_mapsize(self.env, map_bytes))
            code = mdb_env_open(self.env, os.fsencode(self.path), flags, 0o600)
            if code == 0:
                break
            mdb_env_close(self.env)
            self.env = NULL
            # A machine may grant less address space than we ask for.
            if code != ENOMEM or map_bytes >> MAP_BYTES_MIN_SHIFT <= 1:
                self._check(code)
            map_bytes >>= 1
        mdb_reader_check(self.env, &dead)

    def _open_databases(self):
        cdef MDB_txn *txn = NULL
        cdef MDB_stat stat
        self._check(mdb_txn_begin(self.env, NULL, 0, &txn))
        # Both are made in one transaction or not at all.
        mdb_stat(txn, MAIN_DATABASE, &stat)
        cdef unsigned int flags = MDB_CREATE if stat.ms_entries == 0 else 0
        cdef int code = mdb_dbi_open(txn, b"data", flags, &self.data)
        if code == 0:
            code = mdb_dbi_open(txn, b"meta", flags, &self.meta)
        if code != 0:
            mdb_txn_abort(txn)
            self._check(MDB_INVALID if code == MDB_NOTFOUND else code)
        self._check(mdb_txn_commit(txn))

    def _check(self, int code):
        if code == 0:
            return
        if code in (MDB_INVALID, MDB_VERSION_MISMATCH, MDB_CORRUPTED, MDB_PAGE_NOTFOUND):
            remedy = "restore the directory from a copy, or give an empty one"
        else:
            remedy = OPEN_REMEDY
        raise StartError(f"can't open {self.path}: {mdb_strerror(code).decode()}", remedy)

    def _check_length(self):
        """Refuse a file that was cut short: LMDB would run into the missing pages much later.

        Pages at the end that were allocated and freed again in one transaction were never
        written, so the ones on the free list may be missing. The free list itself may be among
        the missing ones: a child process looks, which may die of it.
        """
        cdef MDB_envinfo info
        cdef MDB_stat stat
        mdb_env_info(self.env, &info)
        mdb_env_stat(self.env, &stat)
        cdef size_t pages_used = info.me_last_pgno + 1
        cdef size_t pages_there = os.path.getsize(os.path.join(self.path, "data.mdb")) // stat.ms_psize
        if pages_there >= pages_used:
            return
        child = os.fork()
        if child == 0:
            missing = True
            try:
                # It dies in silence.
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                signal.signal(signal.SIGBUS, signal.SIG_DFL)
                missing = not self._free_pages(pages_there).issuperset(range(pages_there, pages_used))
            finally:
                os._exit(missing)
        if os.waitpid(child, 0)[1] != 0:
            raise StartError(
                f"{self.path}/data.mdb is {pages_used - pages_there} pages shorter than its contents",
                "restore the directory from a copy, or give an empty one",
            )

    def _free_pages(self, size_t least):
        """Return the numbers of all free pages from *least* on."""
        cdef MDB_txn *txn = NULL
        cdef MDB_cursor *cursor = NULL
        cdef MDB_val key, value
        cdef size_t i, page, count
        found = set()
        self._check(mdb_txn_begin(self.env, NULL, MDB_RDONLY, &txn))
        try:
            # Database 0 is LMDB's free list: transaction id -> count, then page numbers.
            self._check(mdb_cursor_open(txn, 0, &cursor))
            while mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0:
                memcpy(&count, value.mv_data, sizeof(size_t))
                for i in range(1, min(count + 1, value.mv_size // sizeof(size_t))):
                    memcpy(&page, <char *>value.mv_data + i * sizeof(size_t), sizeof(size_t))
                    if page >= least:
                        found.add(page)
            mdb_cursor_close(cursor)
        finally:
            mdb_txn_abort(txn)
        return found

    cdef void note_commit(self, size_t size) noexcept nogil:
        cdef size_t unwritten = __sync_add_and_fetch(&self.unwritten_bytes, size)
        if unwritten <= WRITE_OUT_BYTES_MAX:
            sync_file_range(self.descriptor, 0, 0, SYNC_FILE_RANGE_WRITE)
            __sync_fetch_and_and(&self.unwritten_bytes, 0)

    cdef bint may_retry(self, int code) noexcept nogil:
        # A short write on a full disk comes back as EIO, and so may a meta page that could not be
        # written; after that one LMDB answers the next try with MDB_PANIC.
        if stats.failure != 0:
            return False
        return code == ENOSPC or code == EDQUOT or code == EIO or code == MDB_MAP_FULL

    def read_meta(self, bytes key not None):
        """Return the bytes stored under *key* in ``meta``, or None."""
        cdef MDB_txn *txn = NULL
        cdef MDB_val wanted, value
        wanted.mv_data, wanted.mv_size = <char *>key, len(key)
        self._check(mdb_txn_begin(self.env, NULL, MDB_RDONLY, &txn))
        cdef int code = mdb_get(txn, self.meta, &wanted, &value)
        found = None
        if code == 0:
            found = PyBytes_FromStringAndSize(<char *>value.mv_data, value.mv_size)
        mdb_txn_abort(txn)
        if code != MDB_NOTFOUND:
            self._check(code)
        return found

    def write_meta(self, dict pairs not None):
        """Store every pair of *pairs* in ``meta`` in one transaction, synced."""
        cdef MDB_txn *txn = NULL
        cdef MDB_val name, content
        cdef int code = 0
        cdef bytes key, value
        self._check(mdb_txn_begin(self.env, NULL, 0, &txn))
        for key, value in pairs.items():
            name.mv_data, name.mv_size = <char *>key, len(key)
            content.mv_data, content.mv_size = <char *>value, len(value)
            code = mdb_put(txn, self.meta, &name, &content, 0)
            if code != 0:
                mdb_txn_abort(txn)
                self._check(code)
        self._check(mdb_txn_commit(txn))
        if self.checkpoints is None:
            self._check(mdb_env_sync(self.env, 1))
            return
        try:
            self.checkpoint()
        except OSError as error:
            raise StartError(f"can't write to {self.path}: {error.strerror}", OPEN_REMEDY) from None

    @property
    def entry_count(self):
        """Return the number of pairs in ``data``."""
        cdef MDB_txn *txn = NULL
        cdef MDB_stat stat
        self._check(mdb_txn_begin(self.env, NULL, MDB_RDONLY, &txn))
        mdb_stat(txn, self.data, &stat)
        mdb_txn_abort(txn)
        return stat.ms_entries

    def free_page_count(self):
        """Return how many pages inside the file are free for other use, now or before long.

        Those that the newest checkpoint needs are not.
        """
        cdef MDB_txn *txn = NULL
        cdef size_t total = 0
        cdef size_t pinned = mdb_txn_id(self.pin) if self.pin != NULL else <size_t>-1
        self._check(mdb_txn_begin(self.env, NULL, MDB_RDONLY, &txn))
        cdef int code = count_free_pages(txn, pinned, &total)
        mdb_txn_abort(txn)
        self._check(code)
        return total

    def disk_bytes(self):
        """Return (bytes free, bytes in all) of the file system that the file is on."""
        cdef int descriptor
        self._check(mdb_env_get_fd(self.env, &descriptor))
        system = os.fstatvfs(descriptor)
        return system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize

    def page_counts(self):
        """Return (bytes a page, pages in the file, readers at most so far)."""
        cdef MDB_envinfo info
        cdef MDB_stat stat
        mdb_env_info(self.env, &info)
        mdb_env_stat(self.env, &stat)
        return stat.ms_psize, info.me_last_pgno + 1, info.me_numreaders

    def state(self):
        """Return an EnvironmentState. Works without the GIL."""
        cdef MDB_txn *txn = NULL
        cdef MDB_envinfo info
        cdef MDB_stat stat
        cdef size_t free_pages = 0
        cdef size_t readers = self.readers
        cdef int code
        self._check(self.begin_reading(&txn))
        try:
            with nogil:
                mdb_env_info(self.env, &info)
                code = mdb_stat(txn, self.data, &stat)
                if code == 0:
                    code = count_free_pages(txn, <size_t>-1, &free_pages)
            self._check(code)
        finally:
            self.end_reading(txn)
        return EnvironmentState(stat.ms_psize, info.me_last_pgno + 1, free_pages, info.me_mapsize,
                                stat.ms_entries, stat.ms_depth, readers,
                                info.me_numreaders)


cdef int count_free_pages(MDB_txn *txn, size_t before, size_t *total) noexcept nogil:
    """Add up the pages that transactions *before* that one have freed."""
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key, value
    cdef size_t transaction, count
    # Database 0 is LMDB's free list: transaction id -> count, then page numbers.
    cdef int code = mdb_cursor_open(txn, 0, &cursor)
    if code != 0:
        return code
    code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
    while code == 0:
        if key.mv_size == sizeof(transaction) and value.mv_size >= sizeof(count):
            memcpy(&transaction, key.mv_data, sizeof(transaction))
            if transaction >= before:
                break
            memcpy(&count, value.mv_data, sizeof(count))
            total[0] += count
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
    mdb_cursor_close(cursor)
    return 0 if code == MDB_NOTFOUND else code


class EnvironmentState(NamedTuple):
    """What an environment looks like at a moment."""

    page_bytes: int
    page_count: int         # in the file
    free_page_count: int    # of those: free now, or once no reader needs what is on them
    map_bytes: int          # what the file may grow to
    entry_count: int        # pairs in ``data``
    depth: int              # pages from the root of ``data`` to a pair
    reader_count: int       # read transactions of this process that are kept open
    reader_slots: int       # readers at once, of all processes, at most so far


def make_environment(path):
    """Make an empty environment in *path*: all of it or nothing, whenever the power goes.

    LMDB refuses a file whose first pages are only partly there, so it gets its name last.
    """
    cdef Environment made = Environment.__new__(Environment)
    made.path = os.path.join(path, "unfinished")
    shutil.rmtree(made.path, ignore_errors=True)
    try:
        os.mkdir(made.path, 0o700)
    except OSError as error:
        raise StartError(f"can't open {path}: {error.strerror}", OPEN_REMEDY) from None
    try:
        made._reserve_lock_file()
        made._open(MDB_NOTLS)
        made._open_databases()
        made._check(mdb_env_sync(made.env, 1))
    finally:
        made.close()
    os.rename(os.path.join(made.path, "data.mdb"), os.path.join(path, "data.mdb"))
    sync_directory(path)
    shutil.rmtree(made.path)


def make_directory(path):
    """Make *path* with its parents, each synced into its own parent."""
    path = Path(path).absolute()
    made = not path.is_dir()
    if made:
        make_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    try:
        # Even if it was there: who made it may have been killed before this.
        sync_directory(path.parent)
    except PermissionError:
        if made:
            raise


cdef object raise_unless_done(int code):
    """Raise OSError for what LMDB or the system has said."""
    if code != 0:
        raise OSError(code, mdb_strerror(code).decode())


cdef int env_info(MDB_env *env, MDB_envinfo *info) noexcept nogil:
    return mdb_env_info(env, info)

cdef int txn_begin(MDB_env *env, MDB_txn *parent, unsigned int flags, MDB_txn **txn) noexcept nogil:
    if env == NULL:             # closed
        return EINVAL
    return mdb_txn_begin(env, parent, flags, txn)

cdef int txn_commit(MDB_txn *txn) noexcept nogil:
    return mdb_txn_commit(txn)

cdef void txn_abort(MDB_txn *txn) noexcept nogil:
    mdb_txn_abort(txn)

cdef void txn_reset(MDB_txn *txn) noexcept nogil:
    mdb_txn_reset(txn)

cdef int txn_renew(MDB_txn *txn) noexcept nogil:
    return mdb_txn_renew(txn)

cdef size_t txn_id(MDB_txn *txn) noexcept nogil:
    return mdb_txn_id(txn)

cdef int stat(MDB_txn *txn, MDB_dbi dbi, MDB_stat *stat) noexcept nogil:
    return mdb_stat(txn, dbi, stat)

cdef int get(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value) noexcept nogil:
    return mdb_get(txn, dbi, key, value)

cdef int put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned int flags) noexcept nogil:
    return mdb_put(txn, dbi, key, value, flags)

cdef int delete(MDB_txn *txn, MDB_dbi dbi, MDB_val *key) noexcept nogil:
    return mdb_del(txn, dbi, key, NULL)

cdef int cursor_open(MDB_txn *txn, MDB_dbi dbi, MDB_cursor **cursor) noexcept nogil:
    return mdb_cursor_open(txn, dbi, cursor)

cdef void cursor_close(MDB_cursor *cursor) noexcept nogil:
    mdb_cursor_close(cursor)

cdef int cursor_renew(MDB_txn *txn, MDB_cursor *cursor) noexcept nogil:
    return mdb_cursor_renew(txn, cursor)

cdef int cursor_get(MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op) noexcept nogil:
    return mdb_cursor_get(cursor, key, value, op)

cdef int cursor_put(MDB_cursor *cursor, MDB_val *key, MDB_val *value, unsigned int flags) noexcept nogil:
    return mdb_cursor_put(cursor, key, value, flags)

cdef int cursor_delete(MDB_cursor *cursor) noexcept nogil:
    return mdb_cursor_del(cursor, 0)

cdef const char *error_text(int code) noexcept nogil:
    return mdb_strerror(code)
