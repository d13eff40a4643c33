# %% [markdown]
# # Why deep is hard, and the residual
#
# A network of 56 layers can do everything that one of 20 layers can: 36 of its layers need only do
# nothing. Yet for years the deeper network did worse, even on the *training* images. So this was
# not overfitting. The deep network could not be trained. He et al. (2016) solved the problem with a
# sum: the input of two layers is added to their output. The sum has no parameters. What was the
# problem, and what does the sum change?
#
# The popular answer is that gradients vanish. We measure four networks below. In one of them
# gradients do vanish, but nobody had trouble with that one.
#
# Run it with `python examples/06_deep_and_residual.py`. It takes about half a minute on two free
# cores. `--quick` trains the networks of 20 layers only, in less than half of that. The networks
# are those that He et al. made for CIFAR-10. CIFAR-10 has to be downloaded, so the default data are
# scikit-learn's digits at 14x14 pixels. `--data cifar10`, or `--data imagefolder:PATH` for a folder
# of such images, trains on colour images and takes some minutes. The pictures go to
# `runs/06_deep_and_residual/`.

# %%
import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import course
import numpy as np

import minicnn
from minicnn import data, models, nn, optim, viz

parser = argparse.ArgumentParser(description="Plain and residual networks, shallow and deep.")
parser.add_argument("--data", default="digits", help="digits, cifar10 or imagefolder:PATH")
parser.add_argument("--quick", action="store_true", help="train the networks of 20 layers only")
options = course.arguments(parser)
digits = options.data == "digits"
folder = Path("runs/06_deep_and_residual")

try:
    train = data.load(options.data).train
except data.DataError as error:
    parser.error(str(error))
if digits:  # 8x8 pixels, enlarged to 28x28: half as many hold the same
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
# have no parameters. (Where the channels double, the shortcut adds channels of zeros.) So both
# networks have the same parameters, and from the same seed the same values. A third network,
# "bare", is the plain one without batch norm. (Batch norm gives each channel mean 0 and variance 1
# over the batch: `minicnn/ops/batch_norm.py`.) `block.svg` draws a residual block at which the
# channels double.

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
    sizes = size(network(depth, "plain")), size(network(depth, "residual"))
    print(f"{depth} layers: {sizes[0]:,} parameters, plain or residual")
    course.claim("plain and residual have equally many", sizes[0] == sizes[1], sizes)
block = network(20, "residual").layer2[0]
course.show(viz.diagram(block, (16, 14, 14)), folder / "block.svg")

# %% [markdown]
# ## Experiment 1: how large is the gradient at the first layer?
#
# Backward is a chain: each block takes the gradient with respect to its output and returns the
# gradient with respect to its input. We walk down the chain by hand, before the first step of
# training, and note the norm at the input of each of the 27 blocks. We do this in four networks of
# 56 layers:
#
# - bare, with PyTorch's default weights, which were not made for 56 layers in a row;
# - bare, with the weights of He et al. (2015);
# - plain, with the same weights and batch norm, as it was usual in that year;
# - residual, with the same weights and batch norm.

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
course.show(picture, folder / "gradient_norms.png")
ratio = {name: of_blocks[0] / of_blocks[-1] for name, of_blocks in norms.items()}
for name, value in ratio.items():
    print(f"{name:24} gradient at the first block / at the last = {value:.2g}")
for name, low, high in (
    ("bare, default weights", 0, 1e-20),
    ("bare, He's weights", 0.001, 1),
    ("plain, batch norm", 1000, np.inf),
    ("residual, batch norm", 1, 100),
):
    sentence = f"the ratio of '{name}' lies between {low:g} and {high:g}"
    course.claim(sentence, low < ratio[name] < high, f"{ratio[name]:.2g}")

# %% [markdown]
# Read `gradient_norms.png` from right to left, as the gradient travels.
#
# With the default weights the gradient vanishes: each layer leaves less than half of it, and in all
# it falls by more than twenty powers of ten. Good weights alone solve this. He's weights have a
# variance of 2/fan-in (the fan-in is the number of products in one output), six times that of the
# default. They keep the norm within three powers of ten over 52 layers.
#
# Batch norm was meant to help, and with it the gradient *explodes*, by a factor above a thousand.
# Batch norm keeps every forward signal at variance 1. How can backward grow? Let $z$ be normal with
# variance 1, as it leaves batch norm. ReLU keeps half of its mean square: $1/2$. Part of that is a
# mean, $1/\sqrt{2\pi}$, and the next batch norm subtracts it. What remains is a variance of
# $1/2 - 1/(2\pi)$, and batch norm scales it up to 1. In backward, ReLU lets $1/2$ of the gradient's
# mean square pass, and batch norm divides by this variance. (The convolution between them has a
# factor of its own. It is the same in both directions, so it cancels.) Each layer multiplies the
# mean square by
#
# $$\frac{1/2}{1/2 - 1/(2\pi)} = \frac{\pi}{\pi - 1} = 1.47$$
#
# and the norm by $\sqrt{1.47} = 1.21$ (Yang et al. 2019, A mean field theory of batch
# normalization). The measured factor is 1.15 to 1.25.

# %%
layers = 2 * (len(blocks(default)) - 1)  # between the first block and the last
growth = ratio["plain, batch norm"] ** (1 / layers)
print(f"batch norm, each layer: times {growth:.2f}, in theory {np.sqrt(np.pi / (np.pi - 1)):.2f}")
theory = np.pi / (np.pi - 1)
course.claim("the gradient grows by 1.15 to 1.25 a layer", 1.15 < growth < 1.25, f"{growth:.2f}")
course.claim("theory gives 1.47", abs(theory - 1.47) < 0.005, theory)
course.claim("its root is 1.21", abs(np.sqrt(theory) - 1.21) < 0.005, np.sqrt(theory))

# %% [markdown]
# ## Experiment 2: do they learn?
#
# Both networks get the same images in the same order, the same optimiser and the same first
# parameters. Only the sums differ. The curves are losses of *training*.

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
steps = 30 if options.quick else 100 if digits else 300
curves = {}
for depth in (20,) if options.quick else (20, 56):
    for kind in KINDS:
        name = f"{kind}, {depth} layers"
        curves[name] = smooth(learn(network(depth, kind), steps))
        print(f"{name:20} training loss after {steps} steps {curves[name][-1]:.2f}")
picture = viz.lines(curves, xlabel="step", ylabel="training loss, mean of 10 steps")
course.show(picture, folder / "losses.png")
last = {name: losses[-1] for name, losses in curves.items()}
for better, worse in (
    ("residual, 20 layers", "plain, 20 layers"),
    ("plain, 20 layers", "plain, 56 layers"),
    ("residual, 56 layers", "plain, 56 layers"),
):
    if better in last and worse in last:
        losses = f"{last[better]:.2f} and {last[worse]:.2f}"
        course.claim(f"'{better}' learns better than '{worse}'", last[better] < last[worse], losses)
if not options.quick:
    first = curves["residual, 56 layers"][0]
    course.claim("the deep residual network begins above log(10)", first > np.log(10) > 2.30, first)

# %% [markdown]
# In `losses.png`, the plain network of 56 layers is far behind the plain one of 20 layers. He et
# al. call this the degradation. With the sums, the deep network learns. It even begins *above*
# $\log 10 = 2.30$, because 27 sums make its signal large, and still overtakes the plain one.
#
# ## Experiment 3: the real problem
#
# Exploding gradients cannot be the whole answer, because batch norm ignores the scale of a weight.
# If a step is too large, the weight becomes longer. Its next steps then turn it less, by the square
# of its length, because the weight has grown and its gradient has shrunk. Also, the length of a
# gradient is one number, and an optimiser can correct it. It cannot correct the direction. A step
# helps only if the gradient at its end still points in the direction of the gradient at its start.
#
# The first layers receive a product of the Jacobians of all later layers. (A layer's Jacobian is
# the matrix of the slopes of each output with respect to each input.) The gradient with respect to
# the image is the whole product. So we walk from one image to another in 64 steps. At each point we
# compute the gradient of the first logit with respect to the image, and compare it with the
# gradient at the next point. A cosine of 1 means the same direction. A cosine of 0 means no
# relation, as between two random directions. Batch norm keeps the statistics of one batch during
# the walk, as in inference, so that the points do not act on one another.

# %%
POINTS = 65


def alignment(model: nn.Sequential) -> float:
    """Return the mean cosine between gradients at neighbouring points between two images."""
    share = np.linspace(0, 1, POINTS, dtype=np.float32)[:, None, None, None]
    way = images[0] + share * (images[1] - images[0])
    for module in model.below():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # the next statistics replace the running ones
    model.forward(images, training=True)
    logits, cache = model.forward(way, training=False)
    dlogits = np.zeros_like(logits)
    dlogits[:, 0] = 1
    gradients = model.backward(dlogits, cache).reshape(POINTS, -1)
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    return float((unit[1:] * unit[:-1]).sum(axis=1).mean())


depths = (8, 56) if options.quick else (8, 20, 32, 44, 56)
aligned = {kind: [alignment(network(depth, kind)) for depth in depths] for kind in KINDS}
for kind, cosines in aligned.items():
    cells = (f"{d} layers: {c:5.2f}" for d, c in zip(depths, cosines, strict=True))
    print(f"{kind:9}", "  ".join(cells))
picture = viz.lines(
    aligned, depths, xlabel="layers", ylabel="cosine between gradients\nat neighbouring points"
)
course.show(picture, folder / "shattering.png")
begin, end, least = aligned["plain"][0], aligned["plain"][-1], min(aligned["residual"])
course.claim("plain, 8 layers, has a cosine above 0.5", begin > 0.5, f"{begin:.2f}")
course.claim("plain, 56 layers, has one below 0.1", abs(end) < 0.1, f"{end:.2f}")
course.claim("the residual networks stay above 0.5", least > 0.5, f"{least:.2f}")

# %% [markdown]
# In `shattering.png`, both kinds are above 0.5 at 8 layers. At 56 layers, the plain network has a
# cosine below 0.1: the gradient at one point says nothing about the gradient 1/64 of the way
# further. It looks like noise, and there is little to descend along. In the residual network,
# neighbouring gradients still agree by more than 0.5. Balduzzi et al. (2017) call this the
# shattered gradients problem.
#
# The sum is the reason. The Jacobian of a block is $1 + M$ in place of $M$, the Jacobian of its
# main branch (followed by that of a ReLU). In a product of 27 random $M$, a small change of each
# changes everything. The product of 27 factors $(1 + M)$ is a sum of many terms. The terms with few
# factors $M$ come through, above all the 1, and they hardly change. So the signal no longer has to
# pass through every layer.
#
# ## Exercises
#
# `python -m examples.solutions 6.1` shows the solution of the first exercise and runs it.
#
# 1. `models.cifar_resnet(..., zero_init_residual=True)` starts each block as the identity. What are
#    the first loss, and the line in `gradient_norms.png`? Think first, then measure.
# 2. Leave the ReLUs out of the plain network with batch norm. By which factor does the gradient
#    grow in each layer now? Why?
# 3. Measure the cosine of the plain network of 56 layers again after 100 steps of training. What
#    has it learnt so far?
