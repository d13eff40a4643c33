"""The bug zoo: classic mistakes of hand-written backprop beside the sound way.

Each file is a house of the zoo. It shows the right operation, then the mistakes, each with the
reason why people make it. ``python -m examples.bug_zoo`` catches them all.
"""

from dataclasses import replace

from examples.bug_zoo import (
    axes,
    convolution,
    forgotten,
    losses,
    memory,
    normalization,
    pooling,
    training,
)
from examples.bug_zoo.animal import Animal

ANIMALS: dict[str, Animal] = {
    animal.name: replace(animal, house=house.__name__.rpartition(".")[2])
    for house in (pooling, convolution, losses, normalization, forgotten, axes, memory, training)
    for animal in house.ANIMALS
}
