"""A file as a reader writes it: a layer of their own, and two ways to make a network."""

SOURCE = '''
import numpy as np
from minicnn import nn


class Depthwise(nn.Module):
    """A 3x3 convolution of each channel by itself, without padding."""

    def __init__(self, channels, rng):
        self.weight = nn.Param(rng.normal(0, 0.3, (channels, 3, 3)))  # float64, as NumPy has it

    def forward(self, x, *, training):
        h, w = x.shape[2] - 2, x.shape[3] - 2
        y = np.zeros((*x.shape[:2], h, w), x.dtype)
        for i in range(3):
            for j in range(3):
                y += self.weight.data[:, i, j, None, None] * x[:, :, i : i + h, j : j + w]
        return y, x

    def backward(self, dy, x, *, input_grad=True):
        h, w = dy.shape[2:]
        dw, dx = np.zeros_like(self.weight.data), np.zeros_like(x)
        for i in range(3):
            for j in range(3):
                dw[:, i, j] = (dy * x[:, :, i : i + h, j : j + w]).sum(axis=(0, 2, 3))
                dx[:, :, i : i + h, j : j + w] += self.weight.data[:, i, j, None, None] * dy
        self.weight.add_grad(dw)
        return dx if input_grad else None


def net(width=4, classes=10, *, rng):
    return nn.Sequential(
        nn.Conv2d(1, width, 5, stride=2, rng=rng),
        nn.ReLU(),
        Depthwise(width, rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(width * 25, classes, rng=rng),
    )


class Net(nn.Module):
    """The same with a forward and a backward of its own."""

    def __init__(self, classes=10, width=4, *, rng):
        self.body = net(width, classes, rng=rng)
        self.act = nn.LeakyReLU(0.5)

    def forward(self, x, *, training):
        y, body = self.body.forward(x, training=training)
        z, act = self.act.forward(y, training=training)
        return y + z, (body, act)

    def backward(self, dy, cache, *, input_grad=True):
        body, act = cache
        return self.body.backward(dy + self.act.backward(dy, act), body, input_grad=input_grad)


pair = nn.Conv2d, nn.ReLU
'''
