"""The tests of kernels with another release of Numba: python -m tests.other_numba [RELEASE]

Installs it, with the llvmlite that it needs, into a folder of its own, which stands before the
installed packages for these tests only. Without a release it takes the newest that there is, even
one that pyproject.toml does not allow yet: so it is seen whether the bound may be raised.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = (
    "tests/test_numba_internals.py", "tests/test_backend.py", "tests/test_kernel_cache.py",
    "tests/test_threads.py", "tests/test_pool.py", "tests/kernels", "tests/fused",
    "tests/ops/test_conv2d.py", "tests/ops/test_max_pool2d.py", "tests/ops/test_winograd.py",
)  # fmt: skip
BOUND = "test_this_numba_is_one_that_may_be_installed"  # fails where a newer release is tried


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.other_numba", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("release", nargs="?", help="such as 0.61.2; the newest if not given")
    release = parser.parse_args().release
    with tempfile.TemporaryDirectory() as folder:
        asked = f"numba=={release}" if release else "numba"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade"]
        subprocess.run([*pip, "--target", folder, asked], check=True)
        path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")]))
        environment = {**os.environ, "PYTHONPATH": path}
        environment["NUMBA_CACHE_DIR"] = str(Path(folder, "cache"))
        code = "import numba; print('numba', numba.__version__, 'from', numba.__file__)"
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        tests = [sys.executable, "-m", "pytest", "-q", *TESTS, "-k", f"not {BOUND}"]
        return subprocess.run(tests, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
