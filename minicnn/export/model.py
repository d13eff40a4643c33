"""The whole file: input, graph, output and metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import files
from minicnn.data import Normalization
from minicnn.export.graph import ExportError, Graph, Value
from minicnn.insight.watch import refuse_fused
from minicnn.nn import Module
from minicnn.version import __version__

OPSET = 17
IR = 8  # the file format of that version; older runtimes can read it
LIMIT = 2**31 - 1  # bytes; the limit of protobuf


def to_onnx(
    model: Module,
    image: tuple[int, int, int],
    normalization: Normalization | None = None,
    classes: Sequence[str] | None = None,
) -> Any:
    """Return an ``onnx.ModelProto`` of ``model`` for images (n, *image), any n.

    With ``normalization`` it takes pixels from 0 to 255 as float32, otherwise normalised images.
    ``classes`` go into its metadata. Raises ExportError for a layer without a rule, and if onnx is
    not installed.
    """
    refuse_fused("export", model)
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise ExportError(
            'export: onnx is not installed. Install it by: pip install "minicnn[onnx]"'
        ) from error
    graph = Graph(model)
    first = "pixels" if normalization else "images"
    value = Value(first, tuple(image))
    if normalization:
        value = _normalized(model, value, graph, normalization)
    value = graph.run([model], value)
    if value.name == first:  # a network that does nothing
        value = graph.add("Identity", model, [value], value.shape)
    weights = [numpy_helper.from_array(array, name) for name, array in graph.weights.items()]
    if sum(array.nbytes for array in graph.weights.values()) > LIMIT:
        raise ExportError("export: the weights take more than 2 GB, the limit of an ONNX file.")
    last = "scores"
    for node in graph.nodes:  # the node that produces it, and the nodes that use it
        for names in (node.input, node.output):
            names[:] = [last if name == value.name else name for name in names]
    say = "pixels from 0 to 255" if normalization else "normalised images"
    inside = helper.make_graph(
        graph.nodes,
        "minicnn",
        [helper.make_tensor_value_info(first, TensorProto.FLOAT, ["n", *image])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", *value.shape])],
        weights,
        doc_string=f"Takes {first} (n, channels, height, width), {say}, as float32.",
    )
    proto = helper.make_model(
        inside, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR,
        producer_name="minicnn", producer_version=__version__,
    )  # fmt: skip
    about: dict[str, Any] = {"image": list(image)} | ({"classes": list(classes)} if classes else {})
    if normalization:
        about |= {"mean": list(normalization.mean), "std": list(normalization.std)}
    texts = {name: json.dumps(fact, ensure_ascii=False) for name, fact in about.items()}
    helper.set_model_props(proto, texts)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def write(proto: Any, path: Path) -> None:
    """Write the file, whole. If it raises OSError, the old file remains."""
    files.write_whole(path, proto.SerializeToString())


def _normalized(model: Module, value: Value, graph: Graph, normalization: Normalization) -> Value:
    """Add (pixel/255 - mean) / std, as pixel * 1/(255 std) - mean/std."""
    mean, std = (np.reshape(part, (1, -1, 1, 1)) for part in normalization)
    scale = graph.constant(model, "scale", 1 / (255 * std))
    shift = graph.constant(model, "shift", -mean / std)
    value = graph.add("Mul", model, [value, scale], value.shape)
    return graph.add("Add", model, [value, shift], value.shape)
