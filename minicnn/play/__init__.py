"""One page to draw for a trained network, to watch it and to teach it.

    minicnn play runs/lenet5-mnist

writes one HTML file with the run's network, its weights, sixty test images and an engine in plain
JavaScript, the third implementation of every operation. The file works offline.

    graph.py      from the tree of modules to a list of nodes
    content.py    the data of the run for the page
    bundle.py     one HTML file from the page's parts and these data
    page/         HTML, styles and modules; engine/ has the operations
"""

from minicnn.play.bundle import page, write
from minicnn.play.content import accuracy, content
from minicnn.play.graph import PlayError, build

__all__ = ["PlayError", "accuracy", "build", "content", "page", "write"]
