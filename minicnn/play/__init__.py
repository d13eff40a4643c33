"""One page in which a trained network is drawn for, watched and taught.

    minicnn play runs/lenet5-mnist

writes one HTML file with the run's network, its weights, sixty test images and an engine in plain
JavaScript, the third writing of every operation. The file asks no network for anything.

    graph.py      from the tree of modules to a list of nodes
    content.py    what the page knows of the run
    bundle.py     one HTML file of the page's parts and this content
    page/         HTML, styles and modules; engine/ has the operations
"""

from minicnn.play.bundle import page, write
from minicnn.play.content import accuracy, content
from minicnn.play.graph import PlayError, build

__all__ = ["PlayError", "accuracy", "build", "content", "page", "write"]
