"""What minicnn takes from Numba beside its documented names, and why; no other file takes any.

Numba may change these in any release. Therefore pyproject.toml bounds Numba by the newest release
that has been tried (``python -m tests.other_numba VERSION`` tries another), and ``SHARES`` is False
where a name that ``share`` needs is missing: tasks then run in a ``prange``, which is documented.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numba

TESTED = "numba>=0.61,<0.69"
try:
    # Writes calls and loops in LLVM; every library with intrinsics of its own uses it.
    from numba.core import cgutils
    from numba.core.caching import IndexDataCacheFile
    from numba.core.event import Event, Listener, register
    from numba.core.imputils import lower_constant  # a type whose values are known to the compiler
    from numba.core.registry import CPUDispatcher
except ImportError as error:  # pragma: no cover: none of the releases that are allowed
    raise ImportError(
        f"minicnn needs names of Numba that release {numba.__version__} does not have ({error}). "
        f'Install a release that has been tested: pip install "{TESTED}"'
    ) from error

__all__ = ["cgutils", "lower_constant"]

# ------------------------------------------------------------------------------ how kernels compile

# A kernel that only kernels call needs no way in from Python, which takes as long to compile again.
NO_WAY_IN = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def counting_references(counts: bool) -> dict[str, bool]:
    """Return the option of njit that keeps or leaves out the counts of references to arrays."""
    return {"_nrt": counts}


def without_overlap(compiled: Any) -> None:
    """Tell LLVM that the arrays of this kernel do not overlap, as prange does of its own."""

    def customize(flags: Any) -> Any:
        flags.noalias = True
        return flags

    compiled._compiler._customize_flags = customize


def is_compiled(value: Any) -> bool:
    """Whether this is what njit makes of a function."""
    return isinstance(value, CPUDispatcher)


def when_compiling(say: Callable[[Any], None]) -> None:
    """Have ``say`` called with each kernel that Numba begins to compile."""

    class Told(Listener):
        def on_start(self, event: Event) -> None:
            say(event.data.get("dispatcher"))

        def on_end(self, event: Event) -> None:
            pass

    register("numba:compile", Told())


# ------------------------------------------------------------------------------- compiled, on disk


class CacheFiles(IndexDataCacheFile):
    """The files of one kernel: an index, and a file of code for each type of its arguments.

    Numba calls ``save``, and ``load``, which asks ``entries`` for the file of a key. A subclass
    writes both anew.
    """

    @property
    def folder(self) -> Path:
        return Path(self._cache_path)

    @property
    def index(self) -> Path:
        return Path(self._index_path)

    @property
    def name(self) -> str:
        """What the names of all these files begin with."""
        return str(self._index_name.removesuffix(".nbi"))

    @property
    def version(self) -> str:
        """The release of Numba that reads and writes."""
        return str(self._version)

    @property
    def stamp(self) -> Any:
        """What the sources were when the code was compiled."""
        return self._source_stamp

    def entries(self) -> dict:
        """Return the name of the file of code for each key."""
        return dict(super()._load_index())

    def _load_index(self) -> dict:
        return self.entries()

    def write_code(self, name: str, code: Any) -> None:
        self._save_data(name, code)

    def write_index(self, entries: dict) -> None:
        self._save_index(entries)


def cache_files(compiled: Any) -> IndexDataCacheFile | None:
    """Return where Numba would keep the code of a kernel; None if it keeps it nowhere."""
    return getattr(compiled._cache, "_cache_file", None)


def place_of(files: IndexDataCacheFile) -> tuple[str, str, Any]:
    """Return folder, name and stamp of a kernel's files."""
    return files._cache_path, files._index_name.removesuffix(".nbi"), files._source_stamp


def keep_in(compiled: Any, files: CacheFiles) -> None:
    """Have Numba keep the code of a kernel in these files."""
    compiled._cache._cache_file = files


def cache_folder(compiled: Any) -> str:
    """Return the folder with the code of a kernel; "" if there is none."""
    return getattr(compiled._cache, "cache_path", None) or ""


# ------------------------------------------------------------------------- tasks on Numba's threads

# Two functions of the pool, as compiled code calls them; prange calls the same.
GET_NUM_THREADS, PARALLEL_FOR = "get_num_threads", "numba_parallel_for"


def compile_task(task: Any, typing: Any, kinds: tuple) -> tuple[Any, Any]:
    """Compile a task for arguments of these types; return the type of its result, and its code."""
    result = task.get_call_type(typing, kinds, {}).return_type
    return result, task.dispatcher.overloads[kinds]


def task_caller(context: Any, module: Any, code: Any, kinds: tuple) -> Callable:
    """Return what writes a call of the task: of the builder and the arguments; it has a status."""
    context.add_linking_libs([code.library])
    callee = context.declare_function(module, code.fndesc)

    def call(builder: Any, arguments: list) -> Any:
        return context.call_conv.call_function(
            builder, callee, numba.types.none, kinds, arguments, attrs=("noinline",)
        )[0]

    return call


def no_error() -> list[Any]:
    """Return the code and the exception, in LLVM, of a call that went well."""
    callconv = import_module("numba.core.callconv")
    return [callconv.errcode_t(0), callconv.excinfo_ptr_t(None)]


def raise_if_error(context: Any, builder: Any, code: Any, exception: Any) -> None:
    """Write instructions that raise what a task has raised."""
    status = context.call_conv._get_return_status(builder, code, exception)
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)


_NEEDED = (  # by the functions above, each as "module:object.attribute"
    "numba.core.callconv:errcode_t",
    "numba.core.callconv:excinfo_ptr_t",
    "numba.core.callconv:CPUCallConv._get_return_status",
    "numba.core.callconv:CPUCallConv.return_status_propagate",
    "numba.core.callconv:CPUCallConv.call_function",
    "numba.core.types:Dispatcher.get_call_type",
    "numba.core.cpu:CPUContext.add_linking_libs",
    "numba.core.cpu:CPUContext.declare_function",
    "numba.np.ufunc.workqueue:parallel_for",
    f"numba.np.ufunc.workqueue:{GET_NUM_THREADS}",
)


def missing(names: tuple[str, ...] = _NEEDED) -> Iterator[str]:
    """Yield those of some names, "module:object.attribute", that this Numba does not have."""
    for name in names:
        module, _, path = name.partition(":")
        try:
            functools.reduce(getattr, path.split("."), import_module(module))
        except (ImportError, AttributeError):
            yield name


# Whether tasks are run by ``share``. MINICNN_PRANGE=1 in the environment has them run by prange.
SHARES = os.environ.get("MINICNN_PRANGE", "") in ("", "0") and not any(missing())

# ------------------------------------------------------------------------------------ its threads


def loads(layer: str) -> bool:
    """Whether the pool of threads of this name can be loaded here, of "tbb", "omp", "workqueue"."""
    name = layer if layer == "workqueue" else f"{layer}pool"
    try:
        import_module(f"numba.np.ufunc.{name}")
    except ImportError:
        return False
    return True


def relaunch_openmp(threads: int) -> None:
    """Tell Numba, in a fork, that the pool belongs to this process, under GNU OpenMP on Linux."""
    assert sys.platform == "linux"
    omppool = import_module("numba.np.ufunc.omppool")
    ctypes.CFUNCTYPE(None, ctypes.c_int)(omppool.launch_threads)(threads)
