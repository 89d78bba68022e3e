"""Build the optional extension: the compiled hot path of the forwarder.

``BASCULE_BUILD_EXTENSION``: ``auto`` (default) builds it when there is a C compiler and
leaves it out with a message when there is none; ``yes`` insists; ``no`` leaves it out.
A compiler that is there and fails, or that was told not to optimise, is an error: a
slow build nobody notices is worse than none.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

SOURCE = "src/bascule/forwarder/_hot.pyx"


def compiler() -> str | None:
    """Return the C compiler that would be used, if it is installed. A blank ``CC`` asks for none."""
    asked = os.environ.get("CC", "").strip()
    if not asked:
        os.environ.pop("CC", None)  # setuptools would run what it names, blank or not
    command = asked or sysconfig.get_config_var("CC") or "cc"
    return shutil.which(shlex.split(command)[0])


def has_headers() -> bool:
    """Tell whether Python's own headers are installed."""
    return (Path(sysconfig.get_path("include")) / "Python.h").exists()


def extensions() -> list[Extension]:
    """Return the extension, or nothing where it is not wanted or cannot be built."""
    wanted = os.environ.get("BASCULE_BUILD_EXTENSION", "auto")
    if wanted not in ("auto", "yes", "no"):
        sys.exit(f"BASCULE_BUILD_EXTENSION is {wanted!r}; allowed: auto, yes, no")
    if wanted == "no" or not Path(SOURCE).exists():
        return []
    missing = None if compiler() else "C compiler"
    missing = missing or (None if has_headers() else "python3-dev (Python's headers)")
    if missing:
        if wanted == "yes":
            sys.exit(f"BASCULE_BUILD_EXTENSION=yes, but there is no {missing}")
        print(f"bascule: no {missing}; the pure-Python hot path will be used", file=sys.stderr)  # noqa: T201
        return []
    from Cython.Build import cythonize

    extension = Extension(
        "bascule.forwarder._hot",
        [SOURCE],
        # _hot.pyx has an #error for a compiler that does not optimise. Python's own flags often ask for debug
        # information, which is four fifths of what is built; profilers find the names without it.
        extra_compile_args=["-O2", "-g0", "-fno-plt", "-Wall", "-Wno-unused-function"],
    )
    built: list[Extension] = cythonize(
        [extension],
        compiler_directives={"language_level": "3"},
        build_dir="build/cython",
    )
    return built


setup(ext_modules=extensions())
