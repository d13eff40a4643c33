"""``minicnn doctor``: what is installed, found and compiled, and what is wrong."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import minicnn
from minicnn import numba_internals

PACKAGES = (
    "numpy", "numba", "llvmlite", "scikit-learn", "safetensors", "pooch", "requests", "tqdm",
    "filelock", "msgspec", "matplotlib", "Pillow", "threadpoolctl", "jaxtyping",
)  # fmt: skip
VARIABLES = (
    "NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT", "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "MKL_NUM_THREADS", "MINICNN_DATA",
    "MINICNN_WINOGRAD", "MINICNN_PRANGE", "NUMBA_THREADING_LAYER",
)  # fmt: skip


def report(data_dir: Path | None = None) -> str:
    """Return the report as text."""
    sections = [
        ("versions", _versions()),
        ("torch (for tests and reference/ only)", [torch_pair()]),
        ("threads", _threads()),
        ("data", _data(data_dir)),
        ("kernels", _kernels()),
    ]
    return "\n\n".join(
        title + "\n" + "\n".join(f"  {line}" for line in lines) for title, lines in sections
    )


def _versions() -> list[str]:
    lines = [
        f"minicnn {minicnn.__version__} in {Path(minicnn.__file__).parent}",
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
    ]
    return lines + [", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)]


def torch_pair(python: str = sys.executable) -> str:
    """Return whether torch and torchvision work together, tried in a process of its own."""
    try:
        versions = (
            f"torch {metadata.version('torch')}, torchvision {metadata.version('torchvision')}"
        )
    except metadata.PackageNotFoundError as error:
        return f'{error.name} is not installed; pip install -e ".[reference]" brings the pair'
    code = "import torch, torchvision; print('cuda' if torch.cuda.is_available() else 'cpu')"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        device = "with CUDA" if done.stdout.strip() == "cuda" else "on the CPU"
        return f"{versions}: they work together, {device}"
    return f"{versions}: {explain_torch(done.stderr)}"


def explain_torch(stderr: str) -> str:
    """Explain why the pair could not be imported, in one line."""
    if "torchvision::nms does not exist" in stderr:
        return (
            "they are of different builds (operator torchvision::nms does not exist). Install both "
            "from one index: pip install --force-reinstall torch torchvision"
        )
    lines = stderr.strip().splitlines() or ["no message"]
    return f"they cannot be imported ({lines[-1]}). Reinstall both: pip install torch torchvision"


def _threads() -> list[str]:
    import numba
    from threadpoolctl import threadpool_info

    lines = [f"processor cores: {os.cpu_count()}", f"Numba: {numba.get_num_threads()} threads"]
    lines += [how_busy(), _forks(numba.threading_layer())]
    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            name = f"{pool['internal_api']} {pool.get('version') or ''}".strip()
            kind = pool.get("architecture", "unknown")
            lines.append(f"BLAS: {name} for {kind}, {pool['num_threads']} threads")
    lines += [f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ]
    return lines


def how_busy() -> str:
    """Return whether other programs keep the cores busy."""
    cores = os.cpu_count() or 1
    try:
        running = os.getloadavg()[0]
    except (AttributeError, OSError):
        return "this system does not tell whether the machine is busy"
    said = f"{running:.1f} programs running on average in the last minute, on {cores} cores"
    if running < 0.5 * cores:
        return f"the machine is quiet: {said}"
    return (
        f"the machine is BUSY: {said}. Times are longer and vary; train and evaluate use fewer "
        "threads while that is faster, and --threads N fixes their number"
    )


def _forks(layer: str) -> str:
    if layer == "omp" and sys.platform == "linux":
        return (
            "pool: GNU OpenMP; a fork of a process that has computed computes on one thread, and "
            'on all in new Python threads (multiprocessing: "spawn" or "forkserver" for all)'
        )
    return f"pool: {layer}"


def _data(data_dir: Path | None) -> list[str]:
    from minicnn import data

    lines = [f"root: {data.data_root(data_dir)}"]
    for name, place in data.available(data_dir).items():
        lines.append(f"{name}: {place or 'not here; it is downloaded when it is first needed'}")
    return lines


def kernels() -> list[Any]:
    """Return every compiled function of minicnn."""
    return [
        value
        for info in walk_packages(minicnn.__path__, "minicnn.")
        if not info.name.endswith("__main__") and not info.name.startswith("minicnn.testing")
        for value in map(_inside, vars(import_module(info.name)).values())
        if numba_internals.is_compiled(value) and value.py_func.__module__ == info.name
    ]


def _inside(value: Any) -> Any:
    """Return the kernel inside a wrapper of backend.kernel; return anything else unchanged."""
    inside = getattr(value, "__wrapped__", None)
    return inside if hasattr(inside, "targetoptions") else value


def _kernels() -> list[str]:
    found = kernels()
    if not found:
        return ["NUMBA_DISABLE_JIT is set: the kernels run as Python, very slowly"]
    cached, folder = 0, ""
    for kernel in found:
        folder = numba_internals.cache_folder(kernel)
        if not folder:
            return [
                f"{len(found)} kernels; there is no folder to keep them compiled, so each process "
                "compiles them anew. Set NUMBA_CACHE_DIR to a folder that this user may write."
            ]
        code = kernel.py_func.__code__
        name = f"{Path(code.co_filename).stem}.{code.co_name}-{code.co_firstlineno}.*.nbi"
        cached += any(Path(folder).glob(name))
    return [
        f"{cached} of {len(found)} are compiled and cached; the others compile when "
        "first used, or all now: minicnn doctor --warm",
        f"cache: {folder} (and the folders beside it)",
    ]
