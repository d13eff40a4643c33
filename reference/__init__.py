"""The networks of minicnn in PyTorch: what it is compared with, in values and in time.

``reference.models`` are the networks, which know nothing of minicnn. ``python -m reference.bench``
times both sides.
"""
