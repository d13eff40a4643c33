"""The networks of minicnn in PyTorch: what it is compared with, and the way past one CPU.

``reference.models`` are the networks, which know nothing of minicnn. ``python -m reference.bench``
times both sides, ``python -m reference.train`` trains on GPUs and many machines, with the recipes
of ``reference.presets`` and the images of ``reference.data``; ``python -m reference.exchange``
carries weights from one side to the other.
"""
