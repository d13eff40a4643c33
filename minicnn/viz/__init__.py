"""Pictures of a run. Each function takes arrays and returns a matplotlib Figure; save writes it.

    save(curves({"epoch": [1, 2], "train_loss": [0.4, 0.2], ...}), "curves.png")

No display is needed and nothing global is touched: pyplot, which keeps both, stays out. matplotlib
is imported when the first picture is drawn, so importing this is fast.
"""

from __future__ import annotations

from minicnn.viz.classification import confusion
from minicnn.viz.first_layer import filters
from minicnn.viz.paper import save
from minicnn.viz.training import curves

__all__ = ["confusion", "curves", "filters", "save"]
