# %% [markdown]
# # What it looks at: gradients with respect to the image
#
# Training asks how the loss changes with the weights. The same backward, carried one step further,
# says how a score changes with each pixel. On its way it says how the score changes with each
# position of each layer. From these gradients come maps of the pixels that decide, and images that
# a filter answers most strongly.
#
# Run it with `python examples/10_what_it_looks_at.py`. It takes about ten seconds; `--quick` takes
# half. It uses the digits that come with scikit-learn; `--data mnist` takes MNIST. The pictures go
# to `runs/10_what_it_looks_at/`.

# %%
import argparse
from pathlib import Path

import course
import numpy as np

import minicnn
from minicnn import data, insight, nn, optim, viz

parser = argparse.ArgumentParser(description="Saliency, Grad-CAM, occlusion, preferred images.")
parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
parser.add_argument("--quick", action="store_true", help="less training, smaller pictures")
options = course.arguments(parser)
folder = Path("runs/10_what_it_looks_at")

# %% [markdown]
# ## A network with a mean at its end
#
# The network has three convolutions, the mean over all positions of the last one, and one linear
# layer. `network.svg` draws it.

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
course.show(viz.diagram(model, (1, 28, 28)), folder / "network.svg")
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
course.claim("the network knows over 85 %", accuracy > 0.85, f"{accuracy:.1%}")

# %% [markdown]
# ## Three maps of one decision
#
# - **Saliency** is the size of the gradient of the score with respect to each pixel. It takes one
#   backward.
# - **Grad-CAM** stops that backward at a layer whose positions still belong to positions of the
#   image. It weights each channel by its mean gradient, and keeps what raises the score of the
#   class.
# - **Occlusion** is an experiment. It covers a patch and measures how far the score falls.

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
picture = viz.heatmaps(
    test.images[right],
    {"saliency": saliency, "Grad-CAM": cam, "occlusion": fall},
    [f"a {digit}" for digit in test.labels[right]],
    title="What decides for the digit",
)
course.show(picture, folder / "maps.png")
picture = viz.heatmap(
    test.images[right[3], :, :, 0], insight.resize(cam[3:], (28, 28))[0],
    title="Grad-CAM: what raises the score of the 8", label="share of the score, for each position",
)  # fmt: skip
course.show(picture, folder / "grad_cam.png")

# %% [markdown]
# In `maps.png`, saliency is rough, because it judges each pixel alone. Grad-CAM is coarse, 14 x 14.
# It marks the strokes and the gaps by which the network knows the digit; `grad_cam.png` shows it
# larger, on one digit. Occlusion also shows, in blue, the patches whose cover *raises* the score.
#
# ## Are they right?
#
# Saliency first: a gradient is a slope, so we can measure it. Then Grad-CAM. Our network ends with
# a mean and one linear layer. For such a network, Grad-CAM is simple: multiply the maps by the
# weights of the class, and divide by the number of positions, $14 \cdot 14 = 196$.

# %%
pixel = np.unravel_index(saliency[0].argmax(), saliency[0].shape)
probe = np.concatenate([x[:1], x[:1]])
probe[0][0][pixel] += 1e-3
probe[1][0][pixel] -= 1e-3
scores = model(probe)[:, predicted[right[0]]]
slope = abs(float(scores[0] - scores[1])) / 2e-3
print(f"saliency {saliency[0].max():.4f}, the slope there {slope:.4f}")
agree = abs(slope - saliency[0].max()) < 0.1 * slope
course.claim("saliency is the slope", agree, f"{saliency[0].max():.4f} and {slope:.4f}")

with insight.watching(model, "relu3") as seen:
    model(x)
sides = seen["relu3"].y.shape[2:]
course.claim("the maps are 14 x 14", sides == (14, 14), sides)
weights = model.fc.weight.data[test.labels[right]]
by_hand = np.maximum(np.einsum("nc,nchw->nhw", weights, seen["relu3"].y) / 196, 0)
apart = np.abs(by_hand - cam).max() / np.abs(cam).max()
course.claim("Grad-CAM is the weights times the maps", apart < 1e-5, f"a difference of {apart:.1g}")

# %% [markdown]
# Do the maps mark the important pixels? Cover the 7x7 pixels that a map marks most. If the map is
# right, the score falls further than under a random patch.

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
for name in ("saliency", "Grad-CAM"):
    numbers = f"{falls[name]:.2f} and {falls['chance']:.2f}"
    course.claim(f"{name} finds more than chance", falls[name] > falls["chance"], numbers)

# %% [markdown]
# Do the maps depend on what the network has learnt? If a map looks the same with random weights, it
# shows the image and not the network (Adebayo et al., 2018). So compare with the maps of an
# untrained network.

# %%
untrained = network(1)
pairs = [
    insight.grad_cam(net, x, "relu3", test.labels[right]).ravel() for net in (model, untrained)
]
alike = float(np.corrcoef(*pairs)[0, 1])
print(f"Grad-CAM with learnt and with random weights: correlation {alike:.2f}")
course.claim("the maps depend on what was learnt", alike < 0.8, f"a correlation of {alike:.2f}")

# %% [markdown]
# ## Why not the other digit?
#
# You can ask for any class. Take the four images that the network got wrong, or that it was least
# certain of. For each, ask two questions. What raised the score of the chosen digit? And what
# raised the score of the other one, the true or the second digit? `why.png` shows both.

# %%
order = np.sort(logits, axis=1)
margin = np.where(predicted == test.labels, order[:, -1] - order[:, -2], -1)
hard = np.argsort(margin, kind="stable")[:4]
second = np.argsort(logits[hard], axis=1)[:, -2]
other = np.where(predicted[hard] == test.labels[hard], second, test.labels[hard])
picture = viz.heatmaps(
    test.images[hard],
    {
        "for the choice": insight.grad_cam(model, x_test[hard], "relu3", predicted[hard]),
        "for the other": insight.grad_cam(model, x_test[hard], "relu3", other),
    },
    [f"{p}, or {o}?" for p, o in zip(predicted[hard], other, strict=True)],
    title="What raises the score of one digit, and what of the other",
)
course.show(picture, folder / "why.png")

# %% [markdown]
# ## What a filter looks for
#
# Now the weights stay as they are, and the image learns. Gradient ascent changes its pixels until a
# channel answers as strongly as it can. Plain ascent ends in noise, so each step shifts, blurs and
# shrinks the image a little. In `filters.png`, filters of the first layer prefer edges and lines of
# one direction. Filters of a later layer prefer patterns of them.
#
# `classes.png` shows images that were made for the score of a digit. Most of them have a higher
# score than any digit of the test part. The network takes about half of them for their digit. And
# no human would: none looks like a digit. The reason is the mean at the end of the network. It
# counts strokes, wherever they are, and a field of small strokes has more of them than a digit. The
# network has not learnt how a digit looks. It has learnt to tell ten digits apart.

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
picture = viz.images(
    shown(np.concatenate(wanted)), titles, columns=10, title="What filters answer most strongly"
)
course.show(picture, folder / "filters.png")
dreamt = insight.maximize(model, "", range(10), image, steps=ascent, rng=rng)
scores = model(dreamt)
made, real = scores.diagonal().tolist(), logits.max(axis=0).tolist()
picture = viz.images(
    shown(dreamt),
    [f"made for {d}: {round(made[d])}\na real {d}: {round(real[d])}" for d in range(10)],
    columns=5, title="Images with the largest scores",
)  # fmt: skip
course.show(picture, folder / "classes.png")
higher = sum(np.greater(made, real).tolist())
taken = int((scores.argmax(axis=1) == np.arange(10)).sum())
print(f"{higher} of 10 have a higher score than any test image; {taken} are taken for their digit")
course.claim("most have a higher score than any test image", higher >= 6, f"{higher} of 10")
course.claim("about half are taken for their digit", 3 <= taken <= 7, f"{taken} of 10")
print(f"pictures: {folder}")

# %% [markdown]
# ## Exercises
#
# `python -m examples.solutions 10.1` shows the solution of the first exercise and runs it.
#
# 1. Cover the 7x7 pixels that a map marks *least*: `patch.argmin()` in place of `patch.argmax()`.
#    How far does the score fall?
# 2. Does saliency depend on what the network has learnt? Compare it with an untrained network, as
#    we did for Grad-CAM.
