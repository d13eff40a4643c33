# %% [markdown]
# # Why deep is hard, and the residual
#
# A network of 56 layers can do whatever one of 20 layers can: let 36 layers do nothing. Yet for
# years the deeper one did worse, on the *training* images, so it was no overfitting: it could not
# be trained. Adding to the output of every second layer what came in two layers before (He et al.
# 2016) mended that, and needs not one parameter more. What was wrong, and what does the sum change?
#
# The popular answer is that gradients vanish. Of the four networks measured below that is true of
# one, and it is not the one that people had trouble with.
#
# Run it with `python examples/06_deep_and_residual.py` (about half a minute on two free cores).
# `--quick` trains the networks of 20 layers only (a quarter of a minute). The networks are those
# that He et al. made for CIFAR-10. Since a lesson should not need a network of cables, the default
# data are not CIFAR-10 but scikit-learn's digits, at 14x14 pixels. `--data cifar10`, or
# `--data imagefolder:PATH` for a folder of such images, trains on colour and takes some minutes.
# The pictures go to `runs/06_deep_and_residual/`.

# %%
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

import minicnn
from minicnn import data, models, nn, optim, viz

parser = argparse.ArgumentParser(description="Plain and residual networks, shallow and deep.")
parser.add_argument("--data", default="digits", help="digits, cifar10 or imagefolder:PATH")
parser.add_argument("--quick", action="store_true", help="train the networks of 20 layers only")
options = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has none
digits = options.data == "digits"
folder = Path("runs/06_deep_and_residual")

try:
    train = data.load(options.data).train
except data.DataError as error:
    parser.error(str(error))
if digits:  # drawn with 8x8 pixels and enlarged: half as many lose nothing, and cost a quarter
    train = data.Dataset(train.name, train.images[:, ::2, ::2], train.labels, train.classes)
channels = train.images.shape[3]
loader = data.Loader(
    train, 32, normalization=data.normalization(train), shuffle=True, seed=0, drop_last=True
)
images, labels = next(loader.batches())
loss_function = nn.CrossEntropyLoss()

# %% [markdown]
# ## Two networks with the same parameters
#
# A residual block computes `relu(main(x) + x)`, with main = conv, norm, relu, conv, norm. The plain
# network is the residual one without the sums: its blocks compute `relu(main(x))`. The shortcuts
# have no parameters (where the channels double they pad with zeros), so both networks have exactly
# the same, and from the same seed the same values. A third, "bare", is plain without batch norm
# (which gives each channel mean 0 and variance 1 over the batch, `minicnn/ops/batch_norm.py`).

# %%


def network(depth: int, kind: Literal["residual", "plain", "bare"]) -> nn.Sequential:
    model = models.cifar_resnet(
        depth, len(train.classes), in_channels=channels, rng=np.random.default_rng(0)
    )
    if kind == "residual":
        return model
    for stage in (model.layer1, model.layer2, model.layer3):
        for name, block in list(stage.named_children()):
            main, _, activation = block.branches()
            if kind == "bare":
                main = [layer for layer in main if not isinstance(layer, nn.BatchNorm2d)]
            setattr(stage, name, nn.Sequential(*main, *activation))
    if kind == "bare":
        model.bn1 = nn.Sequential()  # hands on what it is given
    return model


def size(model: nn.Module) -> int:
    return sum(p.data.size for p in model.parameters())


for depth in (20, 56):
    assert size(network(depth, "residual")) == size(network(depth, "plain"))
    print(f"{depth} layers: {size(network(depth, 'plain')):,} parameters, plain or residual")

# %% [markdown]
# ## Experiment 1: how loud is the gradient when it comes home?
#
# Backward is a chain: each block takes the gradient with respect to its output and returns the one
# with respect to its input. We walk down the chain by hand and write down the norm in front of each
# of the 27 blocks, before the first step of training, in four networks of 56 layers:
#
# - bare, with PyTorch's default weights, which nobody meant for 56 layers in a row;
# - bare, with the weights of He et al. (2015);
# - plain, with the same weights and batch norm: what one would have trained that year;
# - residual, likewise with batch norm.

# %%


def blocks(model: nn.Sequential) -> list[nn.Module]:
    return [*model.layer1, *model.layer2, *model.layer3]


def gradient_norms(model: nn.Sequential) -> list[float]:
    """Return the norm of the loss's gradient at the input of each block, the first block first."""
    first = [model.conv1, model.bn1, model.relu]
    chain = [*first, *blocks(model), model.avgpool, model.flatten, model.fc]
    x, caches = images, []
    for module in chain:
        x, cache = module.forward(x, training=True)
        caches.append(cache)
    _, loss_cache = loss_function.forward(x, labels)
    gradient = loss_function.backward(1.0, loss_cache)
    norms = []
    for module, cache in zip(reversed(chain), reversed(caches), strict=True):
        gradient = module.backward(gradient, cache)
        norms.append(float(np.linalg.norm(gradient.astype(np.float64))))  # squares need the range
    return norms[::-1][len(first) : -3]


default = network(56, "bare")
rng = np.random.default_rng(0)
for parameter in default.parameters():
    if parameter.data.ndim == 4:  # the weights of a convolution
        parameter.data = nn.init.default_weight(parameter.data.shape, rng=rng)
norms = {
    "bare, default weights": gradient_norms(default),
    "bare, He's weights": gradient_norms(network(56, "bare")),
    "plain, batch norm": gradient_norms(network(56, "plain")),
    "residual, batch norm": gradient_norms(network(56, "residual")),
}
picture = viz.lines(
    norms, range(1, 28), yscale="log", xlabel="block", ylabel="norm of the gradient at its input"
)
viz.save(picture, folder / "gradient_norms.png")
ratio = {name: of_blocks[0] / of_blocks[-1] for name, of_blocks in norms.items()}
for name, value in ratio.items():
    print(f"{name:24} gradient at the first block / at the last = {value:.2g}")
assert ratio["bare, default weights"] < 1e-20 < 0.5**52  # 52 layers lie between
assert ratio["plain, batch norm"] > 1000
assert 0.001 < ratio["bare, He's weights"] < 1 < ratio["residual, batch norm"] < 100

# %% [markdown]
# `gradient_norms.png`, read from right to left, as the gradient travels:
#
# With the default weights it vanishes indeed: each layer leaves less than half of it, and it falls
# by more than twenty powers of ten. Good weights alone solve that: a variance of 2/fan-in (the
# fan-in is how many products an output adds up), where the default's is a sixth of it, holds the
# norm within three powers of ten over 52 layers.
#
# And with batch norm, which was to make all well, it *explodes*: by a factor above a thousand.
# Batch norm keeps every forward signal at variance 1, so how can backward grow? Let z be normal
# with variance 1, as batch norm leaves it. ReLU keeps half of its mean square, 1/2, but part of
# that is a mean, 1/sqrt(2 pi), which the next batch norm subtracts. What it scales up to 1 again is
# the variance, 1/2 - 1/(2 pi). Backward, ReLU passes 1/2 of the gradient's mean square, and the
# batch norm multiplies by one over that variance. (The convolution between the two has a factor of
# its own, the same both ways, so that it cancels.) In all, for each layer
#
#     (1/2) / (1/2 - 1/(2 pi)) = pi / (pi - 1) = 1.47,  in the norm sqrt(1.47) = 1.21
#
# (Yang et al. 2019, A mean field theory of batch normalization). Measured, it is 1.15 to 1.25.

# %%
layers = 2 * (len(blocks(default)) - 1)  # between the first block and the last
growth = ratio["plain, batch norm"] ** (1 / layers)
print(f"batch norm, each layer: times {growth:.2f}, in theory {np.sqrt(np.pi / (np.pi - 1)):.2f}")
assert 1.15 < growth < 1.25
assert abs(np.pi / (np.pi - 1) - 1.47) < 0.005
assert abs(np.sqrt(np.pi / (np.pi - 1)) - 1.21) < 0.005

# %% [markdown]
# ## Experiment 2: do they learn?
#
# The same images in the same order, the same optimiser, the same parameters to begin with. Only the
# sums differ. The curves are losses of *training*.

# %%


def smooth(losses: Sequence[float]) -> np.ndarray:
    """Return the mean of each loss and of up to nine before it."""
    return np.array([np.mean(losses[max(0, i - 9) : i + 1]) for i in range(len(losses))])


def learn(model: nn.Sequential, steps: int) -> list[float]:
    fast = minicnn.fuse(model)
    optimizer = optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    schedule = optim.Warmup(optim.Constant(0.03), total_iters=10, start_factor=0.01)
    losses: list[float] = []
    while len(losses) < steps:
        for x, target in loader.batches(epoch=len(losses) // len(loader)):
            if len(losses) == steps:
                break
            schedule.apply(optimizer, len(losses))
            optimizer.zero_grad()
            logits, cache = fast.forward(x, training=True)
            loss, loss_cache = loss_function.forward(logits, target)
            fast.backward(loss_function.backward(1.0, loss_cache), cache, input_grad=False)
            optimizer.step()
            losses.append(float(loss))
    return losses


KINDS = "plain", "residual"
steps = 40 if options.quick else 100 if digits else 300
curves = {}
for depth in (20,) if options.quick else (20, 56):
    for kind in KINDS:
        name = f"{kind}, {depth} layers"
        curves[name] = smooth(learn(network(depth, kind), steps))
        print(f"{name:20} training loss after {steps} steps {curves[name][-1]:.2f}")
viz.save(
    viz.lines(curves, xlabel="step", ylabel="training loss, mean of 10 steps"),
    folder / "losses.png",
)
last = {name: losses[-1] for name, losses in curves.items()}
assert last["residual, 20 layers"] < last["plain, 20 layers"]
if not options.quick:
    assert last["plain, 56 layers"] > last["plain, 20 layers"]  # deeper is worse
    assert curves["residual, 56 layers"][0] > np.log(10) > 2.30  # loud at first
    assert last["residual, 56 layers"] < last["plain, 56 layers"]

# %% [markdown]
# `losses.png`: the plain network of 56 layers lags far behind the plain one of 20: that is the
# degradation. With the sums the deep one learns. It even begins *above* ln 10 = 2.30, since 27 sums
# make its signal large, and overtakes all the same.
#
# ## Experiment 3: what is really wrong
#
# Exploding gradients cannot be the whole answer. In front of a batch norm the scale of a weight
# does not matter: too large a step makes it longer, and its next steps turn it less, by the square
# of its length, for it grows and its gradient shrinks. And a gradient's length is one number, which
# an optimiser can mend; its direction is not. A step helps if, where it lands, the gradient still
# points the way it pointed where it started.
#
# What the first layers receive is a product of the Jacobians of all layers behind them (a layer's
# Jacobian is the matrix of how each of its outputs moves with each of its inputs), and the gradient
# with respect to the image is that whole product. So: walk from one image to another in 64 steps
# and compare the gradient of the first logit with respect to the image at each place with that at
# the next. Cosine 1: the same direction. Cosine 0: no relation, as between two directions drawn at
# random. Batch norm keeps the statistics of one batch meanwhile, as in inference, so that the
# places do not act on one another.

# %%
PLACES = 65


def alignment(model: nn.Sequential) -> float:
    """Return the mean cosine between the gradients at neighbours on the way between two images."""
    share = np.linspace(0, 1, PLACES, dtype=np.float32)[:, None, None, None]
    way = images[0] + share * (images[1] - images[0])
    for module in model.below():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the next statistics replace the running ones
    model.forward(images, training=True)
    logits, cache = model.forward(way, training=False)
    dlogits = np.zeros_like(logits)
    dlogits[:, 0] = 1
    gradients = model.backward(dlogits, cache).reshape(PLACES, -1)
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    return float((unit[1:] * unit[:-1]).sum(axis=1).mean())


depths = (8, 20, 32, 44, 56)
aligned = {kind: [alignment(network(depth, kind)) for depth in depths] for kind in KINDS}
for kind, cosines in aligned.items():
    cells = (f"{d} layers: {c:5.2f}" for d, c in zip(depths, cosines, strict=True))
    print(f"{kind:9}", "  ".join(cells))
viz.save(
    viz.lines(
        aligned, depths, xlabel="layers",
        ylabel="cosine between gradients\nat neighbouring images",
    ),
    folder / "shattering.png",
)  # fmt: skip
assert aligned["plain"][0] > 0.5 > 0.1 > abs(aligned["plain"][-1])
assert min(aligned["residual"]) > 0.5

# %% [markdown]
# `shattering.png`: at 8 layers both kinds stay above 0.5. At 56 layers the plain network's gradient
# at one image says nothing about the gradient 1/64 of the way further: the cosine is below 0.1. It
# is as good as noise, and there is little to descend along. The residual network's still agree by
# more than 0.5. Balduzzi et al. (2017) call it the shattered gradients problem.
#
# The sum explains it. Backward through a block, the Jacobian is `1 + main'` in place of `main'`
# (and then that of a ReLU). A product of 27 random `main'` changes wholly when each changes a
# little. In the product of 27 `(1 + main')` the terms with few factors, above all the 1, come
# through, and they hardly change. Depth is no longer a price that every signal pays.
#
# ## Try it
#
# 1. `models.cifar_resnet(..., zero_init_residual=True)` begins each block as the identity. What are
#    the first loss, and the line in `gradient_norms.png`? (About ln 10, and flat to the last digit:
#    backward, too, each block hands on what it is given.)
# 2. Leave the ReLUs out of the plain network with batch norm. By which factor does the gradient
#    grow in each layer now? (1.03 in place of 1.18: there is hardly a mean to subtract.)
# 3. Measure the cosine of the plain 56 layers again after the 100 steps. (Over 0.5, while the
#    loss is still above 1: what it has learnt so far is to be a network that can learn.)
