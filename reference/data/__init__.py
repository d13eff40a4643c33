"""Images for the trainer, and the tools for folders of them: ``python -m reference.data``.

``files.py`` lists class folders and manifests, ``examine.py`` reads them once for the statistics
and for what cannot be read, ``parts.py`` makes the parts of a data set, ``batches.py`` cuts them
into batches, ``split.py`` divides a folder without touching it.
"""

from reference.data.batches import Batches, Pictures, load_in_batches, normalized, of_parts
from reference.data.parts import Part, Parts, load

__all__ = [
    "Batches", "Part", "Parts", "Pictures", "load", "load_in_batches", "normalized", "of_parts",
]  # fmt: skip
