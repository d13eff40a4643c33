"""The networks of ``minicnn.models`` in PyTorch, with the same names in their state dicts.

They share no code with minicnn, so that an error on one side shows. Where torchvision has the
network, it is torchvision's. The others are written as PyTorch's tutorials write them: layers with
parameters are attributes, the others are functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.models.googlenet import GoogLeNet, Inception, InceptionAux


class LeNet5(nn.Module):
    """LeNet-5 for images (n, 1, 28, 28); gives logits.

    "tutorial" has max pooling and ReLU, "1998" padding, average pooling and tanh as in the paper.
    """

    def __init__(
        self, num_classes: int = 10, variant: Literal["tutorial", "1998"] = "tutorial"
    ) -> None:
        super().__init__()
        if variant not in ("tutorial", "1998"):
            raise ValueError(f"LeNet5: variant must be 'tutorial' or '1998', got {variant!r}.")
        paper = variant == "1998"
        self.activation = torch.tanh if paper else F.relu
        self.pool = F.avg_pool2d if paper else F.max_pool2d
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2 if paper else 0)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5 if paper else 16 * 4 * 4, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.activation(self.conv1(x)), 2)
        x = self.pool(self.activation(self.conv2(x)), 2)
        x = torch.flatten(x, 1)
        x = self.activation(self.fc1(x))
        x = self.activation(self.fc2(x))
        return self.fc3(x)


class CNN3(nn.Module):
    """Three convolutions and two linear layers, for images (n, 1, 28, 28); gives logits."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5)
        self.conv2 = nn.Conv2d(16, 32, 5)
        self.conv3 = nn.Conv2d(32, 64, 5)
        self.fc1 = nn.Linear(64 * 3 * 3, 100)
        self.fc2 = nn.Linear(100, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.max_pool2d(F.relu(self.conv3(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc2(x)


class ConvNet(nn.Module):
    """Two convolutions and one linear layer, for (n, 1, 28, 28); gives log-probabilities."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.fc = nn.Linear(320, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        return F.log_softmax(self.fc(torch.flatten(x, 1)), dim=1)


def he_normal(model: nn.Module) -> None:
    """Draw the weights of all convolutions as torchvision's ResNet does."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def cut_and_padded(x: torch.Tensor, stride: int, more: int) -> torch.Tensor:
    """Return every ``stride``-th pixel of ``x``, with ``more`` channels of zeros behind its own."""
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, more))


# ------------------------------------------------------------------------- residual, for CIFAR


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, around which x is added.

    Where the channels change, the shortcut is "A", zeros for those that x lacks, or "B", projected.
    """

    def __init__(self, inward: int, outward: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.stride, self.more = stride, outward - inward
        self.conv1 = nn.Conv2d(inward, outward, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outward)
        self.conv2 = nn.Conv2d(outward, outward, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outward)
        if self.more and shortcut == "B":
            self.downsample = nn.Sequential(
                nn.Conv2d(inward, outward, 1, stride, bias=False), nn.BatchNorm2d(outward)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if hasattr(self, "downsample"):
            return F.relu(y + self.downsample(x))
        return F.relu(y + cut_and_padded(x, self.stride, self.more))


class PreActBlock(nn.Module):
    """The same with batch norm and ReLU before each convolution, and nothing after the sum."""

    def __init__(self, inward: int, outward: int, stride: int) -> None:
        super().__init__()
        self.stride, self.more = stride, outward - inward
        self.bn1 = nn.BatchNorm2d(inward)
        self.conv1 = nn.Conv2d(inward, outward, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outward)
        self.conv2 = nn.Conv2d(outward, outward, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        return y + cut_and_padded(x, self.stride, self.more)


class FirstPreActBlock(nn.Module):
    """A block that x enters activated; it may be projected for the shortcut."""

    def __init__(self, inward: int, outward: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inward, outward, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outward)
        self.conv2 = nn.Conv2d(outward, outward, 3, padding=1, bias=False)
        if inward != outward:
            self.downsample = nn.Conv2d(inward, outward, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(F.relu(self.bn2(self.conv1(x))))
        return y + (self.downsample(x) if hasattr(self, "downsample") else x)


class ProjectedPreActBlock(nn.Module):
    """A block whose first batch norm and ReLU stand before both of its branches."""

    def __init__(self, inward: int, outward: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inward)
        self.block = FirstPreActBlock(inward, outward, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(F.relu(self.bn1(x)))


class CifarResNet(nn.Module):
    """A residual network of 6n + 2 layers for images (n, 3, 32, 32); gives logits."""

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        shortcut: Literal["A", "B"] = "A",
        preactivation: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [(16, 16), (16, 32), (32, 64)]
        for number, (inward, outward) in enumerate(widths, start=1):
            stride, blocks = 1 if number == 1 else 2, []
            for i in range((depth - 2) // 6):
                sizes = (inward, outward, stride) if i == 0 else (outward, outward, 1)
                if not preactivation:
                    blocks.append(BasicBlock(*sizes, shortcut))
                elif number == 1 and i == 0:
                    blocks.append(FirstPreActBlock(*sizes))
                elif i == 0 and shortcut == "B":
                    blocks.append(ProjectedPreActBlock(*sizes))
                else:
                    blocks.append(PreActBlock(*sizes))
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        if preactivation:
            self.bn2 = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64, num_classes)
        he_normal(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        if hasattr(self, "bn2"):
            x = F.relu(self.bn2(x))
        return self.fc(x.mean(dim=(2, 3)))


# ----------------------------------------------------------------------------------- Inception


class InceptionA(nn.Module):
    """The block of the courses: 16 and three times 24 channels."""

    def __init__(self, inward: int) -> None:
        super().__init__()
        self.branch1x1 = nn.Conv2d(inward, 16, 1)
        self.branch5x5_1 = nn.Conv2d(inward, 16, 1)
        self.branch5x5_2 = nn.Conv2d(16, 24, 5, padding=2)
        self.branch3x3_1 = nn.Conv2d(inward, 16, 1)
        self.branch3x3_2 = nn.Conv2d(16, 24, 3, padding=1)
        self.branch3x3_3 = nn.Conv2d(24, 24, 3, padding=1)
        self.branch_pool = nn.Conv2d(inward, 24, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = [
            self.branch1x1(x),
            self.branch5x5_2(self.branch5x5_1(x)),
            self.branch3x3_3(self.branch3x3_2(self.branch3x3_1(x))),
            self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1)),
        ]
        return torch.cat(outputs, dim=1)


class InceptionMNIST(nn.Module):
    """Two Inception blocks for images (n, 1, 28, 28); gives logits."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.incep1 = InceptionA(10)
        self.conv2 = nn.Conv2d(88, 20, 5)
        self.incep2 = InceptionA(20)
        self.fc = nn.Linear(1408, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.incep1(F.relu(F.max_pool2d(self.conv1(x), 2)))
        x = self.incep2(F.relu(F.max_pool2d(self.conv2(x), 2)))
        return self.fc(torch.flatten(x, 1))


class PaperConv(nn.Module):
    """A convolution of GoogLeNet without batch norm."""

    def __init__(self, inward: int, outward: int, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inward, outward, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.conv(x))


class PaperInception(Inception):
    """Inception with a 5x5 convolution where torchvision has 3x3."""

    def __init__(self, *widths: int) -> None:
        super().__init__(*widths, conv_block=PaperConv)
        self.branch3[1] = PaperConv(widths[4], widths[5], kernel_size=5, padding=2)


class PaperAux(InceptionAux):
    """An auxiliary head with the paper's pool."""

    def __init__(self, *widths: int, dropout: float) -> None:
        super().__init__(*widths, conv_block=PaperConv, dropout=dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.flatten(self.conv(F.avg_pool2d(x, 5, stride=3)), 1)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


class GoogLeNet2014(GoogLeNet):
    """GoogLeNet as in the paper: 5x5, local response normalisation, no batch norm."""

    def __init__(self, num_classes: int = 1000, aux_logits: bool = False, **options: Any) -> None:
        super().__init__(
            num_classes,
            aux_logits,
            init_weights=False,
            blocks=[PaperConv, PaperInception, PaperAux],
            **{"dropout": 0.4, **options},
        )
        self.maxpool1 = nn.Sequential(self.maxpool1, nn.LocalResponseNorm(5))
        self.maxpool2 = nn.Sequential(nn.LocalResponseNorm(5), self.maxpool2)
        self.maxpool4 = nn.MaxPool2d(3, stride=2, ceil_mode=True)


# ------------------------------------------------------------------------------------- by name


def of_torchvision(name: str, **options: Any) -> Callable[..., nn.Module]:
    """Return what builds torchvision's network of that name; it takes num_classes first."""

    def build(num_classes: int = 1000, **more: Any) -> nn.Module:
        return getattr(torchvision.models, name)(num_classes=num_classes, **{**options, **more})

    return build


# By the names of minicnn.models; each takes num_classes.
MODELS: dict[str, Callable[..., nn.Module]] = {
    "lenet5": LeNet5,
    "lenet5-1998": partial(LeNet5, variant="1998"),
    "cnn3": CNN3,
    "convnet": ConvNet,
    "inception_mnist": InceptionMNIST,
    "resnet20": partial(CifarResNet, 20),
    "resnet32": partial(CifarResNet, 32),
    "resnet44": partial(CifarResNet, 44),
    "resnet56": partial(CifarResNet, 56),
    "resnet110": partial(CifarResNet, 110),
    "resnet20-preact": partial(CifarResNet, 20, preactivation=True),
    "resnet110-preact": partial(CifarResNet, 110, preactivation=True),
    "alexnet": of_torchvision("alexnet"),
    "vgg11": of_torchvision("vgg11"),
    "vgg11_bn": of_torchvision("vgg11_bn"),
    "vgg13": of_torchvision("vgg13"),
    "vgg13_bn": of_torchvision("vgg13_bn"),
    "vgg16": of_torchvision("vgg16"),
    "vgg16_bn": of_torchvision("vgg16_bn"),
    "vgg19": of_torchvision("vgg19"),
    "vgg19_bn": of_torchvision("vgg19_bn"),
    "googlenet": of_torchvision("googlenet", aux_logits=False, init_weights=True),
    "googlenet-2014": GoogLeNet2014,
    "resnet18": of_torchvision("resnet18"),
    "resnet34": of_torchvision("resnet34"),
    "resnet50": of_torchvision("resnet50"),
    "resnet101": of_torchvision("resnet101"),
    "resnet152": of_torchvision("resnet152"),
    "densenet121": of_torchvision("densenet121"),
    "squeezenet1_1": of_torchvision("squeezenet1_1"),
}
