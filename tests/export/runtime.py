"""What onnxruntime computes of a network, beside what minicnn computes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from minicnn import export, nn

TOLERANCE = 1e-4


def difference(model: nn.Module, image: tuple[int, ...], batches: tuple[int, ...] = (2,)) -> float:
    """Return the greatest difference by the greatest number, for batches of random images."""
    session = session_of(export.to_onnx(model, image))
    worst = 0.0
    for n in batches:
        x = np.random.default_rng(n).standard_normal((n, *image)).astype(np.float32)
        worst = max(worst, apart(session.run(None, {"images": x})[0], model(x)))
    return worst


def session_of(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def apart(theirs: np.ndarray, ours: np.ndarray) -> float:
    assert theirs.shape == ours.shape
    assert theirs.dtype == np.float32
    assert np.isfinite(ours).all()
    return float(np.abs(theirs - ours).max() / max(np.abs(ours).max(), 1e-30))
