"""Networks as ONNX files, which other runtimes, browsers and viewers read.

    model, config = minicnn.train.load_model(Path("runs/lenet5-digits"))
    proto = minicnn.export.to_onnx(model, config.image, config.normalization, config.classes)
    minicnn.export.write(proto, Path("lenet5.onnx"))

The file computes what the network does in inference. The number of images is free, their size is
that of the run. It takes pixels from 0 to 255 and normalises them itself, unless it is made without
a normalization; it gives what the network gives, mostly logits.

graph.py collects nodes and weights, layers.py and containers.py have one rule for each kind of
module, and a layer of the reader's own gets one by ``minicnn.export.rule.register``.

Source
    The operators of ONNX, version 17: https://onnx.ai/onnx/operators/
"""

from minicnn.export import containers, layers
from minicnn.export.graph import ExportError, Graph, Value, rule
from minicnn.export.model import to_onnx, write

__all__ = ["ExportError", "Graph", "Value", "containers", "layers", "rule", "to_onnx", "write"]
