"""What a time depends on beside the code: processor, versions, threads, environment variables."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

VARIABLES = (
    "OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER",
    "NUMBA_DISABLE_JIT", "MINICNN_WINOGRAD",
)  # fmt: skip


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """Return the settings of this process, in which both sides must have worked before."""
    import numba
    import torch
    from numba import config
    from threadpoolctl import threadpool_info

    # Numba chooses a layer when it first runs a loop in parallel; uncompiled, it never does.
    layer = "none" if config.DISABLE_JIT else numba.threading_layer()  # type: ignore[attr-defined]
    return {
        "processor": _processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()} | _versions(),
        "minicnn": {
            "threads": numba.get_num_threads(),
            "threading_layer": layer,
        },
        "torch": {
            "threads": torch.get_num_threads(),
            "mkldnn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
            "mkl": torch.backends.mkl.is_available(),
            "vectors": torch.backends.cpu.get_cpu_capability(),
        },
        "pools": [
            {
                "library": Path(pool["filepath"]).name,
                "of": Path(pool["filepath"]).parent.name,
                "kind": pool["user_api"],
                "version": pool.get("version"),
                "architecture": pool.get("architecture"),
                "threads": pool["num_threads"],
            }
            for pool in threadpool_info()
        ],
        "variables": {name: os.environ.get(name) for name in VARIABLES},
    }


def _versions() -> dict[str, str]:
    import torch

    import minicnn

    found = {name: metadata.version(name) for name in ("numpy", "numba")}
    return found | {"torch": torch.__version__, "minicnn": minicnn.__version__}


def _processor() -> str:
    try:
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
