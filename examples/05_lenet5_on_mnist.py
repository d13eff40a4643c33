# %% [markdown]
# # LeNet-5 learns handwritten digits, every step in the open
#
# `minicnn train lenet5` does all of this for you. Here is what it does, with the public pieces
# only: data, a network, a loss, an optimiser, and a loop of forward, backward, step. There is no
# tape and no hidden state: forward returns what backward needs. Then we look inside: what does a
# network see that has never been told what a line is?
#
# Run it with `python examples/05_lenet5_on_mnist.py` (a quarter of a minute). It uses the digits
# that come with scikit-learn; `--data mnist` takes MNIST (half a minute, and a download the first
# time) and reaches over 99 %. The pictures go to `runs/05_lenet5_on_mnist/`.

# %%
import argparse
import sys
from pathlib import Path

import numpy as np

import minicnn
from minicnn import data, models, nn, ops, optim, viz

parser = argparse.ArgumentParser(description="Train LeNet-5 by a loop written out.")
parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
options = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has none
mnist = options.data == "mnist"
epochs, batch_size, max_lr, smoothing = (8, 64, 4e-3, 0.0) if mnist else (12, 32, 2e-3, 0.1)
folder = Path("runs/05_lenet5_on_mnist")

# %% [markdown]
# ## Data
#
# Three parts without a common image: the network learns from the first, we choose by the second,
# and look at the third once, at the end. Pixels are normalised by the mean and the standard
# deviation of the training part.

# %%
train, validation, test = data.load(options.data)
normalization = data.normalization(train)
loader = data.Loader(train, batch_size, normalization=normalization, shuffle=True, seed=0)
print(f"{len(train)} images to train, {len(validation)} to validate, {len(test)} to test")

# %% [markdown]
# ## Network
#
# Two convolutions, two pools, three linear layers. Look at the columns of the table before you
# read on: which layers hold the parameters, and which do the work?
#
# The two convolutions hold 6 % of the parameters and do 85 % of the multiply-adds. A weight of a
# convolution is used at every place of the image, a weight of a linear layer once.

# %%
model = models.lenet5(rng=np.random.default_rng(0))
rows = nn.summarize(model, (1, 28, 28))
parameters, work = sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)
for row in rows:
    if row.parameters:
        print(
            f"{row.name:6} {row.parameters:7,} parameters ({row.parameters / parameters:4.0%})"
            f" {row.multiply_adds:8,} multiply-adds ({row.multiply_adds / work:4.0%})"
        )
convolutions = [row for row in rows if row.kind == "Conv2d"]
assert round(100 * sum(row.parameters for row in convolutions) / parameters) == 6
assert round(100 * sum(row.multiply_adds for row in convolutions) / work) == 85

# %% [markdown]
# ## Loss and optimiser
#
# A network that knows nothing gives each of ten classes a tenth, and its cross-entropy is
# ln 10 = 2.30. If your first loss is far from that, do not train: look for the mistake.
#
# With label smoothing of 0.1 the target is 0.91 for the digit and 0.01 for each of the others, so
# the network need not be certain, and the few images are not learnt by heart so fast. Its least
# possible loss is then the entropy of that target, 0.50. MNIST has images enough and does without.
#
# Adam divides each step by the usual size of its gradient, and `OneCycleLR` lets the learning rate
# rise for a third of the training, and then fall to nearly nothing.
#
# `fuse` gives a network with the same parameters and the same numbers, up to rounding, in fewer
# passes over the memory.

# %%
loss_function = nn.CrossEntropyLoss(label_smoothing=smoothing)
optimizer = optim.Adam(model.parameters())
schedule = optim.OneCycleLR(max_lr=max_lr, total_steps=epochs * len(loader))
network = minicnn.fuse(model)
drawn = model.conv1.weight.data.copy()

x, target = next(loader.batches())
print(f"loss before training {loss_function.forward(model(x), target)[0]:.3f}")
assert abs(loss_function.forward(model(x), target)[0] - np.log(10)) < 0.05
smoothed = np.array([0.91] + 9 * [0.01])
assert abs(-(smoothed * np.log(smoothed)).sum() - 0.50) < 0.005

# %% [markdown]
# ## The loop
#
# The whole of training is these few lines. `input_grad=False` spares the gradient with respect to
# the image, which nobody asks for.

# %%


def evaluate(dataset: data.Dataset) -> tuple[float, np.ndarray]:
    """Return the loss, and the logits (n, 10)."""
    logits = network(data.normalize(dataset.images, normalization))
    return float(loss_function.forward(logits, dataset.labels)[0]), logits


metrics: dict[str, list[float]] = {
    "epoch": [], "train_loss": [], "train_accuracy": [], "validation_loss": [],
    "validation_accuracy": [],
}  # fmt: skip
step = 0
for epoch in range(epochs):
    losses, hits = [], []
    for x, target in loader.batches(epoch):
        schedule.apply(optimizer, step)
        optimizer.zero_grad()
        logits, cache = network.forward(x, training=True)
        loss, loss_cache = loss_function.forward(logits, target)
        network.backward(loss_function.backward(1.0, loss_cache), cache, input_grad=False)
        optimizer.step()
        step += 1
        losses.append(float(loss))
        hits.append(float((logits.argmax(axis=1) == target).mean()))
    validation_loss, logits = evaluate(validation)
    accuracy = float((logits.argmax(axis=1) == validation.labels).mean())
    values = epoch + 1, np.mean(losses), np.mean(hits), validation_loss, accuracy
    for name, value in zip(metrics, values, strict=True):
        metrics[name].append(float(value))
    print(f"epoch {epoch + 1:2}  loss {values[1]:.4f}  validation accuracy {accuracy:.2%}")

viz.save(viz.curves(metrics), folder / "curves.png")
assert metrics["train_loss"][-1] < metrics["validation_loss"][-1]
assert mnist or metrics["train_loss"][-1] < 0.55

# %% [markdown]
# `curves.png`: the training loss falls on, on the digits to below 0.55, near its floor, while the
# validation loss levels off above it. The gap is what the network knows about the training images
# only.
#
# ## The exam
#
# On the digits over 97 % of the test images are right, on MNIST over 99 %. An accuracy hides more
# than it tells, so look at the mistakes: `confusion.png` says which digit is taken for which, and
# `mistakes.png` shows the images themselves, the most certain mistake first, with the probability
# of the wrong and of the right answer. For some of them you would not bet on the label either.

# %%
_, logits = evaluate(test)
probabilities, _ = ops.softmax.forward(logits)
predicted = probabilities.argmax(axis=1)
result = float((predicted == test.labels).mean())
print(f"test accuracy {result:.2%}")
assert result > (0.99 if mnist else 0.97)

confusion = np.zeros((10, 10), np.int64)
np.add.at(confusion, (test.labels, predicted), 1)
viz.save(viz.confusion(confusion, test.classes), folder / "confusion.png")
viz.save(
    viz.mistakes(test.images, test.labels, probabilities, test.classes), folder / "mistakes.png"
)

# %% [markdown]
# Is a probability of 0.9 right nine times in ten? Smoothing trained the network to say 0.91 at
# most, so on the digits it is more often right than it says: modest. Trained without, as here on
# MNIST, it is less often right than it says: boastful. What a network calls a probability is a
# number that sums to one. Whether it is also a frequency has to be measured.

# %%
said = float(probabilities.max(axis=1).mean())
print(f"says {said:.1%} on average, is right {result:.1%}")
assert (said > result) if mnist else (said < result)

# %% [markdown]
# ## What it sees
#
# `filters.png` are the six filters of the first layer, the only ones that look at pixels. If you
# expected edges, as in the pictures of textbooks: so did we. On the digits the filters are nearly
# as they were drawn. Between the weights before and after training the cosine is above 0.8, and
# what you see is mostly the chance of the seed. The layers behind have learnt to read what they
# get. On MNIST there is more to learn from: the cosine falls below 0.7, and here and there a stroke
# or an edge appears. The textbooks' pictures take a million colour images.
#
# `filters_conv2.png` has a column for each of the 16 filters of the second layer and a row for each
# of the six maps it reads. They mix maps, not pixels, and to the eye mean little.
#
# `maps_*.png` follow one test image through the layers. After `conv1` the digit is there six times,
# in some maps its strokes, in others their surroundings or one of their sides. ReLU drops what is
# negative, pooling the exact place. After `pool2` there are 16 maps of 4x4, in which you no longer
# read the digit: they say that something is there, and roughly where. From these 256 numbers the
# linear layers decide.

# %%
learnt = model.conv1.weight.data
cosine = float((drawn * learnt).sum() / np.linalg.norm(drawn) / np.linalg.norm(learnt))
print(f"cosine between the first filters before and after training {cosine:.2f}")
assert cosine < 0.7 if mnist else cosine > 0.8
viz.save(viz.filters(learnt), folder / "filters.png")
second = model.conv2.weight.data  # (16, 6, 5, 5)
picture = viz.filters(second.transpose(1, 0, 2, 3).reshape(96, 1, 5, 5))
picture.axes[0].set_title("conv2: a column for each filter, a row for each map it reads")
viz.save(picture, folder / "filters_conv2.png")

five = np.flatnonzero(test.labels == 5)[:1]
y = data.normalize(test.images[five], normalization)
for name, layer in model.named_children():
    if name == "flatten":
        break
    y = layer(y)
    title = f"{name}: {type(layer).__name__}, {y.shape[1]} maps of {y.shape[2]} x {y.shape[3]}"
    picture = viz.feature_maps(y[0], columns=6 if y.shape[1] == 6 else 8, title=title)
    viz.save(picture, folder / f"maps_{name}.png")
assert y.shape == (1, 16, 4, 4)
print(f"pictures: {folder}")

# %% [markdown]
# ## Try it
#
# 1. Freeze the first layer at its random weights: `model.conv1.freeze()` before the optimiser is
#    made. How much is lost? (On the digits nothing: a good accuracy does not prove that every layer
#    has learnt.)
# 2. Shift the test images by four pixels, `np.roll(test.images, 4, axis=2)`, and evaluate again.
#    Convolutions move with the image; the linear layers do not. (On the digits about half are
#    right.) Then give the loader `augment=data.Augment(shift=4)` and train anew. (Over 95 %.)
# 3. Leave out `optimizer.zero_grad()`. What does the network descend along, and how far does it
#    get? (Along the sum of all gradients so far, however old; on the digits not to 30 %.)
