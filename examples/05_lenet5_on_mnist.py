# %% [markdown]
# # LeNet-5 learns handwritten digits, every step in the open
#
# `minicnn train lenet5` does all of this for you. Here is what it does, with the public pieces
# only: data, a network, a loss, an optimiser, and a loop of forward, backward, step. There is no
# tape and no hidden state: forward returns what backward needs.
#
# Run it with `python examples/05_lenet5_on_mnist.py` (a quarter of a minute). It uses the digits
# that come with scikit-learn; `--data mnist` takes MNIST. The picture goes to
# `runs/05_lenet5_on_mnist/`.

# %%
import argparse
from pathlib import Path

import numpy as np

from minicnn import data, models, nn, optim, viz

parser = argparse.ArgumentParser(description="Train LeNet-5 by a loop written out.")
parser.add_argument("--data", default="digits", help="digits or mnist (default: digits)")
parser.add_argument("--quick", action="store_true", help="two epochs only")
options = parser.parse_args()
epochs = 2 if options.quick else 12

# %% [markdown]
# ## Data
#
# Three parts without a common image: the network learns from the first, we choose by the second,
# and look at the third once, at the end. Pixels are normalised by the mean and the standard
# deviation of the training part.

# %%
train, validation, test = data.load(options.data)
normalization = data.normalization(train)
loader = data.Loader(train, batch_size=32, normalization=normalization, shuffle=True, seed=0)
print(f"{len(train)} images to train, {len(validation)} to validate, {len(test)} to test")

# %% [markdown]
# ## Network, loss, optimiser
#
# With label smoothing the target is 0.91 for the digit and 0.01 for each of the others, so the
# network need not be certain, and the few digits are not learnt by heart so fast. Its least
# possible loss is not 0 then, but the entropy of that target, 0.50.

# %%
model = models.lenet5(rng=np.random.default_rng(0))
loss_function = nn.CrossEntropyLoss(label_smoothing=0.1)
optimizer = optim.Adam(model.parameters())
schedule = optim.OneCycleLR(max_lr=2e-3, total_steps=epochs * len(loader))
print(model)


def accuracy(dataset: data.Dataset) -> float:
    logits = model(data.normalize(dataset.images, normalization))
    return float((logits.argmax(axis=1) == dataset.labels).mean())


# %% [markdown]
# ## The loop
#
# The whole of training is these few lines. `input_grad=False` spares the gradient with respect to
# the image, which nobody asks for.

# %%
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
        logits, cache = model.forward(x, training=True)
        loss, loss_cache = loss_function.forward(logits, target)
        model.backward(loss_function.backward(1.0, loss_cache), cache, input_grad=False)
        optimizer.step()
        step += 1
        losses.append(float(loss))
        hits.append(float((logits.argmax(axis=1) == target).mean()))
    logits = model(data.normalize(validation.images, normalization))
    validation_loss, _ = loss_function.forward(logits, validation.labels)
    for name, value in zip(
        metrics,
        (epoch + 1, np.mean(losses), np.mean(hits), validation_loss, accuracy(validation)),
        strict=True,
    ):
        metrics[name].append(float(value))
    print(
        f"epoch {epoch + 1:2}  loss {metrics['train_loss'][-1]:.4f}  "
        f"validation accuracy {metrics['validation_accuracy'][-1]:.2%}"
    )

# %% [markdown]
# ## What came out
#
# In `curves.png` the training loss comes near its floor of 0.50 while the validation loss levels
# off above it: from there on the network learns the training images by heart. On the digits expect
# about 99 % on the test images.

# %%
folder = Path("runs/05_lenet5_on_mnist")
folder.mkdir(parents=True, exist_ok=True)
viz.save(viz.curves(metrics), folder / "curves.png")
result = accuracy(test)
print(f"test accuracy {result:.2%}; picture: {folder / 'curves.png'}")
assert result > (0.5 if options.quick else 0.96)
