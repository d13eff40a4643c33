"""Networks as ONNX files, for other runtimes, browsers and viewers.

    model, config = minicnn.train.load_model(Path("runs/lenet5-digits"))
    proto = minicnn.export.to_onnx(model, config.image, config.normalization, config.classes)
    minicnn.export.write(proto, Path("lenet5.onnx"))

The file computes the network's inference, for any number of images of the run's size. It takes
pixels from 0 to 255 and normalises them itself, unless it is made without a normalization. Its
output is the network's output, mostly logits.

graph.py collects nodes and weights. layers.py and containers.py have one rule for each kind of
module. ``minicnn.export.rule.register`` adds a rule for a layer of the user's own.

Source
    The operators of ONNX, version 17: https://onnx.ai/onnx/operators/
"""

from minicnn.export import containers, layers
from minicnn.export.graph import ExportError, Graph, Value, rule
from minicnn.export.model import to_onnx, write

__all__ = ["ExportError", "Graph", "Value", "containers", "layers", "rule", "to_onnx", "write"]
