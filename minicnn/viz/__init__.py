"""Pictures. Each function takes arrays and returns a matplotlib Figure; save writes it.

    save(curves({"epoch": [1, 2], "train_loss": [0.4, 0.2], ...}), "curves.png")

    of a run            curves, confusion, mistakes, predictions
    of a network        diagram (SVG), forward_pass, filters, feature_maps, gradient_flow,
                        receptive_field, heatmap, heatmaps
    of anything         images, lines, matrix

No display is needed and nothing global is touched: pyplot, which keeps both, stays out. matplotlib
is imported when the first picture is drawn, so importing this is fast.
"""

from __future__ import annotations

from minicnn.nn.diagram import diagram
from minicnn.viz.classification import confusion
from minicnn.viz.first_layer import filters
from minicnn.viz.forward_pass import forward_pass
from minicnn.viz.grid import feature_maps, images
from minicnn.viz.mistakes import mistakes
from minicnn.viz.paper import save
from minicnn.viz.places import heatmap, heatmaps, receptive_field
from minicnn.viz.plots import gradient_flow, lines, matrix
from minicnn.viz.predictions import predictions
from minicnn.viz.training import curves

__all__ = [
    "confusion",
    "curves",
    "diagram",
    "feature_maps",
    "filters",
    "forward_pass",
    "gradient_flow",
    "heatmap",
    "heatmaps",
    "images",
    "lines",
    "matrix",
    "mistakes",
    "predictions",
    "receptive_field",
    "save",
]
