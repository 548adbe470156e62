"""Compiles ext/ with LMDB and libnghttp2 inside; everything else is in pyproject.toml."""

import os
import sys
from glob import glob
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

LMDB, NGHTTP2 = "third_party/lmdb/lib", "third_party/nghttp2/lib"
SYSTEM_NGHTTP2 = os.environ.get("USE_SYSTEM_LIBS") == "1"
HEADERS = [LMDB, *([] if SYSTEM_NGHTTP2 else [f"{NGHTTP2}/includes"])]
PROFILE = os.environ.get("REGATTA_BUILD", "release")
ANNOTATE = os.environ.get("REGATTA_ANNOTATE") == "1"
COMMON = ["-g", "-fno-omit-frame-pointer", "-Wno-unused-but-set-variable"]
# What UBSan finds ends the process, as what ASan finds does.
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
TRACE = ["CYTHON_TRACE=1", "CYTHON_TRACE_NOGIL=1", "CYTHON_USE_SYS_MONITORING=0"]
# Calls between libnghttp2's files and ours are many and short: inlined, a read takes 15 % less.
INLINE = ["-O3", "-flto=auto"]
COMPILE, LINK, MACROS = {
    "release": ([*INLINE, "-fvisibility=hidden", *COMMON], INLINE, []),
    "coverage": (["-O0", *COMMON], [], [tuple(macro.split("=")) for macro in TRACE]),
    "sanitize": (["-O1", *COMMON, *SANITIZE], SANITIZE, []),
    "none": ([], [], []),  # the package's metadata alone
}[PROFILE]
DIRECTIVES = {"language_level": 3, "auto_pickle": False, "wraparound": False, "cdivision": True}
DIRECTIVES |= {"boundscheck": PROFILE != "release", "linetrace": PROFILE == "coverage"}
# A sync that fails is final, and a failed commit does not tell: our wrapper in _env remembers.
SYNC = "__extension__({ extern int regatta_fdatasync(int); regatta_fdatasync(fd); })"
LMDB_MACROS = [("MDB_MAXKEYSIZE", "0"), ("MDB_FDATASYNC_WORKS", "1"), ("MDB_FDATASYNC(fd)", SYNC)]
NGHTTP2_MACROS = [(name, "1") for name in (
    "NGHTTP2_STATICLIB", "HAVE_ARPA_INET_H", "HAVE_NETINET_IN_H", "HAVE_TIME_H",
    "HAVE_CLOCK_GETTIME", "HAVE_DECL_CLOCK_MONOTONIC")]  # fmt: skip

if PROFILE != "none" and not Path(LMDB, "mdb.c").exists():
    sys.exit("setup.py: third_party/ is missing; `make build` fetches the C libraries first.")


def extensions():
    """Return one extension a .pyx file; the two that bind a C library compile it in."""
    pattern = Extension("*", ["ext/regatta/**/*.pyx"], include_dirs=HEADERS, define_macros=MACROS,
                        extra_compile_args=COMPILE, extra_link_args=LINK)  # fmt: skip
    # Coverage looks for the C files beside the .pyx.
    folder = None if PROFILE == "coverage" else f"build/cython-{'html' if ANNOTATE else PROFILE}"
    made = cythonize([pattern], include_path=["ext"], build_dir=folder, force=ANNOTATE,
                     annotate=ANNOTATE, compiler_directives=DIRECTIVES, nthreads=os.cpu_count(),
                     emit_linenums=PROFILE == "sanitize")  # fmt: skip
    for extension in made:
        if extension.name == "regatta.store._env":
            extension.sources += [f"{LMDB}/mdb.c", f"{LMDB}/midl.c"]
            extension.define_macros += LMDB_MACROS
            extension.undef_macros += ["NDEBUG"]  # its checks of pages are for us, too
        elif extension.name == "regatta.http2._session" and SYSTEM_NGHTTP2:
            extension.libraries += ["nghttp2"]
        elif extension.name == "regatta.http2._session":
            extension.sources += sorted(glob(f"{NGHTTP2}/*.c"))
            extension.define_macros += NGHTTP2_MACROS
    return made


setup(ext_modules=[] if PROFILE == "none" else extensions())
