"""The trainer: the networks of ``reference.models`` and torchvision's, on one GPU or many machines.

    python -m reference.train lenet5-mnist
    torchrun --nproc-per-node 8 -m reference.train resnet50-imagenet --data imagefolder:PATH

``run.py`` is the loop, ``network.py`` what it trains, ``machine.py`` where; ``reference.presets``
are the recipes and ``reference.data`` the images.
"""
