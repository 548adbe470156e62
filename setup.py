"""Compiles ext/ with LMDB and libnghttp2 inside; everything else is in pyproject.toml."""
import os
import sys
from glob import glob
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

LMDB, NGHTTP2 = "third_party/lmdb/lib", "third_party/nghttp2/lib"
SYSTEM_NGHTTP2 = os.environ.get("USE_SYSTEM_LIBS") == "1"
PROFILE = os.environ.get("REGATTA_BUILD", "release")
SANITIZERS = ["-fsanitize=address,undefined"]
COMPILE, LINK, MACROS = {
    "release": (["-O3", "-g", "-fno-omit-frame-pointer", "-fvisibility=hidden"], [], []),
    "coverage": (["-O0"], [], [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]),
    "sanitize": (["-O1", "-g", "-fno-omit-frame-pointer", *SANITIZERS], SANITIZERS, []),
}[PROFILE]  # fmt: skip

if not Path(LMDB, "mdb.c").exists():
    sys.exit("setup.py: third_party/ is missing: run `make build`, which fetches the C libraries first.")

# A sync that fails is final, and a failed commit does not tell: our wrapper remembers (regatta.store._env).
SYNC = "MDB_FDATASYNC(fd)", "__extension__({ extern int regatta_fdatasync(int); regatta_fdatasync(fd); })"


def extensions():
    """Return one extension a .pyx file; the two that bind a C library compile it in."""
    pattern = Extension("*", ["ext/regatta/**/*.pyx"], include_dirs=[LMDB, f"{NGHTTP2}/includes", "build/include"],
                        extra_compile_args=COMPILE, extra_link_args=LINK, define_macros=MACROS)  # fmt: skip
    directives = {"language_level": 3, "auto_pickle": False, "wraparound": False, "cdivision": True,
                  "boundscheck": PROFILE != "release", "linetrace": PROFILE == "coverage"}  # fmt: skip
    build_dir = None if PROFILE == "coverage" else f"build/cython-{PROFILE}"
    made = cythonize([pattern], include_path=["ext"], build_dir=build_dir, compiler_directives=directives,
                     nthreads=os.cpu_count() or 1, annotate=bool(os.environ.get("REGATTA_ANNOTATE")),
                     force=bool(os.environ.get("REGATTA_ANNOTATE")), emit_linenums=PROFILE == "sanitize")  # fmt: skip
    for extension in made:
        if extension.name == "regatta.store._env":
            extension.sources += [f"{LMDB}/mdb.c", f"{LMDB}/midl.c"]
            extension.define_macros += [("MDB_MAXKEYSIZE", "0"), ("MDB_FDATASYNC_WORKS", "1"), SYNC]
        elif extension.name == "regatta.http2._session" and SYSTEM_NGHTTP2:
            extension.libraries += ["nghttp2"]
        elif extension.name == "regatta.http2._session":
            extension.sources += sorted(glob(f"{NGHTTP2}/*.c"))
            extension.define_macros += [(name, "1") for name in (
                "NGHTTP2_STATICLIB", "HAVE_ARPA_INET_H", "HAVE_NETINET_IN_H", "HAVE_TIME_H",
                "HAVE_CLOCK_GETTIME", "HAVE_DECL_CLOCK_MONOTONIC")]  # fmt: skip
    return made


def write_nghttp2_version():
    """Fill in the one header that nghttp2's own build makes."""
    template = Path(NGHTTP2, "includes/nghttp2/nghttp2ver.h.in").read_text()
    header = Path("build/include/nghttp2/nghttp2ver.h")
    text = template.replace("@PACKAGE_VERSION@", "1.70.0").replace("@PACKAGE_VERSION_NUM@", "0x014600")
    if not header.exists() or header.read_text() != text:
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text(text)


write_nghttp2_version()
setup(ext_modules=extensions())
