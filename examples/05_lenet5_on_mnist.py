# %% [markdown]
# # LeNet-5 learns handwritten digits, step by step
#
# `minicnn train lenet5` does all of this for you. This lesson does it with the public pieces: data,
# a network, a loss, an optimiser, and a loop of forward, backward, step. There is no tape and no
# hidden state: forward returns everything that backward needs. Then we look inside the network.
# What does it see? Nobody has told it what a line is.
#
# Run it with `python examples/05_lenet5_on_mnist.py`. It takes a quarter of a minute; `--quick`
# takes half of that and learns less. It uses the digits that come with scikit-learn. `--data mnist`
# takes MNIST: half a minute, a download the first time, and over 99 % of the test images right. The
# pictures go to `runs/05_lenet5_on_mnist/`.

# %%
import argparse
from pathlib import Path

import course
import numpy as np

import minicnn
from minicnn import data, models, nn, ops, optim, viz

parser = argparse.ArgumentParser(description="Train LeNet-5 by a loop written out.")
parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
parser.add_argument("--quick", action="store_true", help="train for a third of the epochs")
options = course.arguments(parser)
mnist, quick = options.data == "mnist", options.quick
epochs, batch_size, max_lr, smoothing = (8, 64, 4e-3, 0.0) if mnist else (12, 32, 2e-3, 0.1)
epochs = epochs // 3 if quick else epochs
folder = Path("runs/05_lenet5_on_mnist")

# %% [markdown]
# ## Data
#
# There are three parts, and no image is in two of them. The network learns from the first part. We
# choose by the second part. We look at the third part once, at the end. Pixels are normalised by
# the mean and the standard deviation of the training part.

# %%
train, validation, test = data.load(options.data)
normalization = data.normalization(train)
loader = data.Loader(train, batch_size, normalization=normalization, shuffle=True, seed=0)
print(f"{len(train)} images to train, {len(validation)} to validate, {len(test)} to test")

# %% [markdown]
# ## Network
#
# The network has two convolutions, two pools and three linear layers. `network.svg` draws them,
# with the shape between any two. Before you read on, look at the columns of the table. Which layers
# hold the parameters? Which layers do the work?
#
# The two convolutions hold 6 % of the parameters and do 85 % of the multiply-adds. The reason: a
# weight of a convolution is used at every position of the image, and a weight of a linear layer is
# used once.

# %%
model = models.lenet5(rng=np.random.default_rng(0))
course.show(viz.diagram(model, (1, 28, 28)), folder / "network.svg")
rows = nn.summarize(model, (1, 28, 28))
parameters, work = sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)
for row in rows:
    if row.parameters:
        print(
            f"{row.name:6} {row.parameters:7,} parameters ({row.parameters / parameters:4.0%})"
            f" {row.multiply_adds:8,} multiply-adds ({row.multiply_adds / work:4.0%})"
        )
convolutions = [row for row in rows if row.kind == "Conv2d"]
held = sum(row.parameters for row in convolutions) / parameters
done = sum(row.multiply_adds for row in convolutions) / work
course.claim("the convolutions hold 6 % of the parameters", round(100 * held) == 6, f"{held:.1%}")
course.claim("the convolutions do 85 % of the work", round(100 * done) == 85, f"{done:.1%}")

# %% [markdown]
# ## Loss and optimiser
#
# A network that knows nothing gives each of the ten classes a tenth. Its cross-entropy is
# $\log 10 = 2.30$. If your first loss is far from that, do not train. Look for the mistake.
#
# We use label smoothing of 0.1 on the digits. The target is then 0.91 for the right digit and 0.01
# for each of the others. The network need not be certain, so it does not learn the few images by
# heart so fast. The least possible loss is the entropy of this target, 0.50. MNIST has enough
# images and needs no smoothing.
#
# Adam divides each step by the usual size of its gradient. `OneCycleLR` raises the learning rate
# for a third of the training, and then lowers it to nearly nothing. `fuse` returns a network with
# the same parameters and the same results, up to rounding, that passes over the memory less often.

# %%
loss_function = nn.CrossEntropyLoss(label_smoothing=smoothing)
optimizer = optim.Adam(model.parameters())
schedule = optim.OneCycleLR(max_lr=max_lr, total_steps=epochs * len(loader))
network = minicnn.fuse(model)
drawn = model.conv1.weight.data.copy()

x, target = next(loader.batches())
first = float(loss_function.forward(model(x), target)[0])
print(f"loss before training {first:.3f}")
course.claim("the first loss is log(10)", abs(first - np.log(10)) < 0.05, f"{first:.3f}")
smoothed = np.array([0.91] + 9 * [0.01])
entropy = -(smoothed * np.log(smoothed)).sum()
course.claim("the entropy of the smoothed target is 0.50", abs(entropy - 0.50) < 0.005, entropy)

# %% [markdown]
# ## The loop
#
# These few lines are the whole training. Nobody needs the gradient with respect to the image, so
# `input_grad=False` saves the time for it.

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

course.show(viz.curves(metrics), folder / "curves.png")
train_loss, validation_loss = metrics["train_loss"][-1], metrics["validation_loss"][-1]
if not quick:
    gap = f"{train_loss:.3f} and {validation_loss:.3f}"
    course.claim("training ends below validation", train_loss < validation_loss, gap)
    course.claim("training ends below 0.55", mnist or train_loss < 0.55, f"{train_loss:.3f}")

# %% [markdown]
# Look at `curves.png`. The training loss falls to the end; on the digits it falls below 0.55, near
# its floor. The validation loss stops above it. The gap between them is the part that the network
# knows about the training images only.
#
# ## The exam
#
# On the digits over 97 % of the test images are right, on MNIST over 99 %. One number hides a lot,
# so look at the mistakes. `confusion.png` shows which digit is taken for which. `mistakes.png`
# shows the images themselves, the most certain mistake first, with the probabilities of the wrong
# and of the right answer. For some of them, would you bet on the label?

# %%
_, logits = evaluate(test)
probabilities, _ = ops.softmax.forward(logits)
predicted = probabilities.argmax(axis=1)
result = float((predicted == test.labels).mean())
print(f"test accuracy {result:.2%}")
share = 0.99 if mnist else 0.97
course.claim(
    f"over {share:.0%} of the test images are right", quick or result > share, f"{result:.1%}"
)

confusion = np.zeros((10, 10), np.int64)
np.add.at(confusion, (test.labels, predicted), 1)
course.show(viz.confusion(confusion, test.classes), folder / "confusion.png")
course.show(
    viz.mistakes(test.images, test.labels, probabilities, test.classes), folder / "mistakes.png"
)

# %% [markdown]
# Is a probability of 0.9 right nine times in ten? On the digits, smoothing trained the network to
# say at most 0.91. So it is right more often than it says. On MNIST there is no smoothing, and the
# network is right less often than it says. The numbers sum to one, and that alone does not make
# them frequencies. Whether a network's probability is a frequency has to be measured.

# %%
said = float(probabilities.max(axis=1).mean())
print(f"says {said:.1%} on average, is right {result:.1%}")
too_sure = said > result
sentence = "says more than it knows" if mnist else "knows more than it says"
course.claim(f"the network {sentence}", quick or too_sure == mnist, f"{said:.1%} and {result:.1%}")

# %% [markdown]
# ## What it sees
#
# `filters.png` shows the six filters of the first layer, the only layer that looks at pixels. Did
# you expect edges, as in the pictures of textbooks? So did we. On the digits, the filters hardly
# change in training: between the weights before and after it, the cosine is above 0.8. So you
# mostly see the random first weights. The later layers have learnt to read these filters' maps.
# MNIST has more to learn from: there the cosine falls below 0.7, and some filters show a stroke or
# an edge. The pictures of textbooks need a million colour images.
#
# `filters_conv2.png` has a column for each of the 16 filters of the second layer, and a row for
# each of the six maps that it reads. These filters mix maps, not pixels. A human eye reads little
# in them.
#
# `maps.png` follows one test image from the left to the right. After `conv1` the digit is there six
# times. Some maps show its strokes, others what surrounds them, or one side of them. Pooling keeps
# the strongest number and drops its exact position. After `pool2` there are 16 maps of 4x4, and you
# cannot read the digit any more. The maps say that something is there, and roughly where. The
# linear layers decide from these 256 numbers. `conv1.png` shows the six maps before ReLU, which
# sets all negative numbers (blue) to 0.

# %%
learnt = model.conv1.weight.data
cosine = float((drawn * learnt).sum() / np.linalg.norm(drawn) / np.linalg.norm(learnt))
print(f"cosine between the first filters before and after training {cosine:.2f}")
changed, sentence = (cosine < 0.7, "below 0.7") if mnist else (cosine > 0.8, "above 0.8")
course.claim(f"the cosine is {sentence}", quick or changed, f"{cosine:.2f}")
course.show(viz.filters(learnt), folder / "filters.png")
course.show(viz.filters(model.conv2.weight.data, by_channel=True), folder / "filters_conv2.png")

five = int(np.flatnonzero(test.labels == 5)[0])
x = data.normalize(test.images[five : five + 1], normalization)
picture = viz.forward_pass(model, x, test.classes, image=test.images[five, :, :, 0])
course.show(picture, folder / "maps.png")
picture = viz.feature_maps(model.conv1(x)[0], columns=6, title="conv1: 6 maps, before ReLU")
course.show(picture, folder / "conv1.png")
print(f"pictures: {folder}")

# %% [markdown]
# ## Exercises
#
# `python -m examples.solutions 5.1` shows the solution of the first exercise and runs it.
#
# 1. Freeze the first layer at its random weights: write `model.conv1.freeze()` before the optimiser
#    is made. How much accuracy is lost? What does a good accuracy prove, then?
# 2. Shift the test images by four pixels, `np.roll(test.images, 4, axis=2)`, and evaluate again.
#    Then give the loader `augment=data.Augment(shift=4)` and train anew. Check: over 95 % of the
#    shifted digits are right.
# 3. Leave out `optimizer.zero_grad()`. Which direction does the network descend along? How far does
#    it get?
