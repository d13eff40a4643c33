# %% [markdown]
# # What it looks at: gradients with respect to the image
#
# Training asks how the loss changes with the weights. The same backward, carried one step further,
# says how a score changes with each pixel, and on the way how it changes with each place of each
# layer. From these come maps of what moved a decision, and images that a filter would like best.
#
# Run it with `python examples/10_what_it_looks_at.py` (some ten seconds; `--quick` takes half). It
# uses the digits that come with scikit-learn; `--data mnist` takes MNIST. The pictures go to
# `runs/10_what_it_looks_at/`.

# %%
import argparse
import sys
from pathlib import Path

import numpy as np

import minicnn
from minicnn import data, insight, nn, optim, viz

parser = argparse.ArgumentParser(description="Saliency, Grad-CAM, occlusion, preferred images.")
parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
parser.add_argument("--quick", action="store_true", help="less training, smaller pictures")
options = parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has none
folder = Path("runs/10_what_it_looks_at")

# %% [markdown]
# ## A network with a mean at its end
#
# Three convolutions, the mean over the places of the last, and one linear layer.

# %%
train, _, test = data.load(options.data)
if len(train) > 3000:
    train = train.subset(np.arange(3000))
normalization = data.normalization(train)


def network(seed: int) -> nn.Sequential:
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        conv1=nn.Conv2d(1, 12, 3, padding=1, rng=rng), bn1=nn.BatchNorm2d(12), relu1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(12, 24, 3, padding=1, rng=rng), bn2=nn.BatchNorm2d(24), relu2=nn.ReLU(),
        conv3=nn.Conv2d(24, 32, 3, padding=1, rng=rng), bn3=nn.BatchNorm2d(32), relu3=nn.ReLU(),
        pool2=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(32, 10, rng=rng),
    )  # fmt: skip


model = network(0)
epochs = 4 if options.quick else 8
loader = data.Loader(train, 32, normalization=normalization, shuffle=True, seed=0)
loss_function, optimizer = nn.CrossEntropyLoss(), optim.Adam(model.parameters())
schedule = optim.OneCycleLR(max_lr=0.02, total_steps=epochs * len(loader))
fast, step = minicnn.fuse(model), 0  # the same parameters, fewer passes over the memory
for epoch in range(epochs):
    for x, target in loader.batches(epoch):
        schedule.apply(optimizer, step)
        optimizer.zero_grad()
        logits, cache = fast.forward(x, training=True)
        _, loss_cache = loss_function.forward(logits, target)
        fast.backward(loss_function.backward(1.0, loss_cache), cache, input_grad=False)
        optimizer.step()
        step += 1
test = test.subset(np.arange(min(len(test), 500)))
x_test = data.normalize(test.images, normalization)
logits = model(x_test)
predicted = logits.argmax(axis=1)
accuracy = float((predicted == test.labels).mean())
print(f"test accuracy {accuracy:.2%} on {len(test)} images")
assert accuracy > 0.85

# %% [markdown]
# ## Three maps of one decision
#
# **Saliency** is the size of the gradient of the score with respect to each pixel: one backward.
# **Grad-CAM** stops on the way, at a layer whose places still stand where they stood in the image:
# each channel counts by its mean gradient, and what speaks for the class is kept. **Occlusion** is
# an experiment: cover a patch, and see how far the score falls.

# %%
right = [
    int(np.flatnonzero((test.labels == digit) & (predicted == digit))[0]) for digit in (0, 3, 4, 8)
]
x = x_test[right]
saliency = insight.saliency(model, x)
cam = insight.grad_cam(model, x, "relu3")
fall = insight.occlusion(
    model, x, size=5, stride=2 if options.quick else 1, fill=float(x_test.min())
)
viz.save(
    viz.heatmaps(
        test.images[right],
        {"saliency": saliency, "Grad-CAM": cam, "occlusion": fall},
        [f"a {digit}" for digit in test.labels[right]],
        title="What matters to the digit; blue, in occlusion alone: what speaks against it",
    ),
    folder / "maps.png",
)

# %% [markdown]
# In `maps.png` saliency is rough, for each pixel is judged alone; Grad-CAM is coarse, 14 x 14, and
# marks the strokes and the gaps by which the digit is known; occlusion also shows, in blue, where
# covering would help.
#
# ## Are they right?
#
# Saliency first: a gradient is a slope, and can be measured. Grad-CAM: with a mean and one linear
# layer at the end, it is the class's weights applied to the maps, divided by the number of places,
# of which there are 14 * 14 = 196.

# %%
pixel = np.unravel_index(saliency[0].argmax(), saliency[0].shape)
probe = np.concatenate([x[:1], x[:1]])
probe[0][0][pixel] += 1e-3
probe[1][0][pixel] -= 1e-3
scores = model(probe)[:, predicted[right[0]]]
slope = abs(float(scores[0] - scores[1])) / 2e-3
print(f"saliency {saliency[0].max():.4f}, the slope there {slope:.4f}")
assert abs(slope - saliency[0].max()) < 0.1 * slope

with insight.watching(model, "relu3") as seen:
    model(x)
assert seen["relu3"].y.shape[2:] == (14, 14)
weights = model.fc.weight.data[test.labels[right]]
by_hand = np.maximum(np.einsum("nc,nchw->nhw", weights, seen["relu3"].y) / 196, 0)
assert np.abs(by_hand - cam).max() < 1e-5 * np.abs(cam).max()

# %% [markdown]
# Do the maps mark what matters? Cover the 7x7 pixels that a map marks most, and the score must fall
# further than under a patch that is laid by chance.

# %%
some = x_test[predicted == test.labels][: 50 if options.quick else 200]
rows, own, size = np.arange(len(some)), model(some).argmax(axis=1), some.shape[2:]
maps = {
    "saliency": insight.saliency(model, some),
    "Grad-CAM": insight.resize(insight.grad_cam(model, some, "relu3"), size),
    "chance": np.random.default_rng(0).random((len(some), *size)),
}
falls = {}
for name, values in maps.items():
    patches = np.lib.stride_tricks.sliding_window_view(values, (7, 7), axis=(1, 2)).sum(axis=(3, 4))
    hidden = some.copy()
    for image, patch in zip(hidden, patches, strict=True):
        i, j = np.unravel_index(patch.argmax(), patch.shape)
        image[:, i : i + 7, j : j + 7] = x_test.min()
    falls[name] = float((model(some)[rows, own] - model(hidden)[rows, own]).mean())
    print(f"without the 7x7 that {name:8} marks, the score falls by {falls[name]:.2f}")
assert falls["saliency"] > falls["chance"]
assert falls["Grad-CAM"] > falls["chance"]

# %% [markdown]
# And do they depend on what was learnt? A map that looks the same with random weights shows the
# image, not the network (Adebayo et al., 2018). Those of an untrained network are others:

# %%
untrained = network(1)
pairs = [
    (insight.grad_cam(net, x, "relu3", test.labels[right]).ravel()) for net in (model, untrained)
]
alike = float(np.corrcoef(*pairs)[0, 1])
print(f"Grad-CAM with learnt and with random weights: correlation {alike:.2f}")
assert alike < 0.8

# %% [markdown]
# ## Why not the other digit?
#
# The target is a choice. For a mistake, or the least certain answer where there is none, ask both:
# what spoke for the digit that was chosen, and what for the true (or the second) one? `why.png`
# shows four of them.

# %%
order = np.sort(logits, axis=1)
margin = np.where(predicted == test.labels, order[:, -1] - order[:, -2], -1)
hard = np.argsort(margin, kind="stable")[:4]
second = np.argsort(logits[hard], axis=1)[:, -2]
other = np.where(predicted[hard] == test.labels[hard], second, test.labels[hard])
viz.save(
    viz.heatmaps(
        test.images[hard],
        {
            "for the choice": insight.grad_cam(model, x_test[hard], "relu3", predicted[hard]),
            "for the other": insight.grad_cam(model, x_test[hard], "relu3", other),
        },
        [f"{p}, or {o}?" for p, o in zip(predicted[hard], other, strict=True)],
        title="What speaks for one digit, and what for the other",
    ),
    folder / "why.png",
)

# %% [markdown]
# ## What a filter looks for
#
# Now the weights stay, and the image is learnt: gradient ascent on its pixels until a channel
# answers as strongly as it can. Left to itself it finds noise, so each step shifts, blurs and
# shrinks the image a little. In `filters.png` the first layer wants edges and lines of one
# direction, a later one patterns of them. In `classes.png` are images made for a digit's score.
# Most reach a higher one than any digit of the test part, the network takes about half of them for
# the digit that they were made for, and none looks like it: the mean at the network's end counts
# strokes wherever they stand, and a field of small strokes has more of them than a digit. What it
# has learnt is not what a digit looks like, but how to tell ten apart.

# %%
rng = np.random.default_rng(0)
image = x_test.shape[1:]
ascent = 30 if options.quick else 100


def shown(images: np.ndarray) -> np.ndarray:
    """Return (n, h, w) between 0 and 1, each image on its own scale."""
    low, high = images.min(axis=(1, 2, 3)), images.max(axis=(1, 2, 3))
    return ((images[:, 0].T - low) / (high - low)).T


wanted = [
    insight.maximize(model, layer, range(10), image, steps=ascent, rng=rng)
    for layer in ("relu1", "relu3")
]
titles = [f"{layer}, {i}" for layer in ("relu1", "relu3") for i in range(10)]
viz.save(
    viz.images(shown(np.concatenate(wanted)), titles, columns=10, title="What filters look for"),
    folder / "filters.png",
)
dreamt = insight.maximize(model, "", range(10), image, steps=ascent, rng=rng)
scores = model(dreamt)
made, real = scores.diagonal(), logits.max(axis=0)
viz.save(
    viz.images(
        shown(dreamt),
        [f"made for {d}: {made[d]:.0f}\na real {d}: {real[d]:.0f}" for d in range(10)],
        columns=5, title="Images of the greatest score",
    ),
    folder / "classes.png",
)  # fmt: skip
higher = int((made > real).sum())
taken = int((scores.argmax(axis=1) == np.arange(10)).sum())
print(f"{higher} of 10 have a higher score than any test image; {taken} are taken for their digit")
assert higher >= 6
assert 3 <= taken <= 7
print(f"pictures: {folder}")

# %% [markdown]
# ## Try it
#
# 1. Cover the 7x7 that a map marks *least*: `patch.argmin()` in place of `patch.argmax()`. How far
#    does the score fall? (By some 0.15, for saliency as for Grad-CAM, in place of more than 3.)
# 2. Does saliency depend on what was learnt? Compare as with Grad-CAM. (The correlation is 0.07:
#    two networks that have nothing in common but the image.)
