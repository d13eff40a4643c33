"""Layers and containers, with torch.nn's names and arguments."""

from minicnn.nn import init
from minicnn.nn.activation import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from minicnn.nn.auxiliary import AuxiliaryHeads
from minicnn.nn.concat import Concat
from minicnn.nn.conv import Conv2d
from minicnn.nn.dropout import Dropout
from minicnn.nn.flatten import Flatten
from minicnn.nn.linear import Linear
from minicnn.nn.loss import CrossEntropyLoss, NLLLoss
from minicnn.nn.module import Module, Param, StateDictError
from minicnn.nn.normalization import BatchNorm1d, BatchNorm2d, LocalResponseNorm
from minicnn.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from minicnn.nn.residual import Residual, ZeroPadShortcut
from minicnn.nn.sequential import Sequential
from minicnn.nn.summary import summarize

__all__ = [
    "GELU",
    "AdaptiveAvgPool2d",
    "AuxiliaryHeads",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Concat",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "MaxPool2d",
    "Module",
    "NLLLoss",
    "Param",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "StateDictError",
    "Tanh",
    "ZeroPadShortcut",
    "init",
    "summarize",
]
