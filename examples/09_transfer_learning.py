# %% [markdown]
# # Transfer learning: what does a network know that nobody taught it?
#
# A network that has learnt the digits 0 to 4 has never seen a 7. Does it learn 5 to 9 from fewer
# images than a network that has learnt nothing? Which of its layers should we keep? And how much of
# the gain comes from what it has *learnt*? This last question needs a control, and most tutorials
# leave it out.
#
# Run it with `python examples/09_transfer_learning.py`. It takes about half a minute on two free
# cores. `--quick` has fewer seeds, sets and competitors, and takes less than half of that. The
# digits of scikit-learn have some 650 images of 5 to 9 to learn from, so the largest set has 600;
# `--data mnist` goes up to 1000. The pictures go to `runs/09_transfer_learning/`.

# %%
import argparse
from pathlib import Path

import course
import numpy as np

import minicnn
from minicnn import data, models, nn, optim, viz

parser = argparse.ArgumentParser(description="Digits 5 to 9 by a network that knows 0 to 4.")
parser.add_argument("--data", default="digits", choices=("digits", "mnist"))
parser.add_argument("--quick", action="store_true", help="fewer seeds, sets and competitors")
options = course.arguments(parser)
sizes = (10, 100) if options.quick else (10, 100, 1000 if options.data == "mnist" else 600)
seeds = 3 if options.quick else 8
folder = Path("runs/09_transfer_learning")

splits = data.load(options.data)
normalization = data.normalization(splits.train)
Examples = tuple[np.ndarray, np.ndarray]  # images (n, 1, 28, 28) and labels (n,), 0 to 4


def five_classes(dataset: data.Dataset, first: int) -> Examples:
    """Return the images of the five digits from ``first`` on."""
    chosen = (first <= dataset.labels) & (dataset.labels < first + 5)
    images = data.normalize(dataset.images[chosen], normalization)
    return images, dataset.labels[chosen] - first


old_train, old_test = five_classes(splits.train, 0), five_classes(splits.test, 0)
new_train, new_test = five_classes(splits.train, 5), five_classes(splits.test, 5)
if options.data == "digits":
    count = len(new_train[0])
    course.claim("some 650 images are 5 to 9", 645 < count < 665, count)
loss_function = nn.CrossEntropyLoss()


def learn(model: nn.Module, examples: Examples, steps: int, rng: np.random.Generator) -> None:
    images, labels = examples
    fast = minicnn.fuse(model)
    optimizer = optim.Adam([p for p in model.parameters() if p.trainable])
    schedule = optim.OneCycleLR(max_lr=2e-3, total_steps=steps)
    for step in range(steps):
        batch = rng.choice(len(images), min(32, len(images)), replace=False)
        schedule.apply(optimizer, step)
        optimizer.zero_grad()
        logits, cache = fast.forward(images[batch], training=True)
        _, loss_cache = loss_function.forward(logits, labels[batch])
        fast.backward(loss_function.backward(1.0, loss_cache), cache, input_grad=False)
        optimizer.step()


def accuracy(model: nn.Module, examples: Examples) -> float:
    images, labels = examples
    return float((model(images).argmax(axis=1) == labels).mean())


# %% [markdown]
# ## The old task
#
# LeNet-5 with five outputs learns 0 to 4, to over 95 % of the test images.

# %%
knowing = models.lenet5(5, rng=np.random.default_rng(0))
learn(knowing, old_train, 800 if options.data == "mnist" else 300, np.random.default_rng(0))
known = accuracy(knowing, old_test)
print(f"0 to 4: accuracy {known:.2%} on {len(old_test[0])} test images")
course.claim("the network knows 0 to 4 to over 95 %", known > 0.95, f"{known:.1%}")

# %% [markdown]
# ## The new task
#
# Each competitor is a LeNet-5. Its first $k$ of five layers are copied from a network, and its
# other layers are new. The copied layers are frozen: `freeze()` keeps the optimiser from changing
# them. Backward stops at the last frozen layer, because no layer below it needs a gradient.
#
# - scratch: $k = 0$, nothing copied.
# - frozen: $k$ = 1 to 4, copied from the network that knows 0 to 4.
# - fine-tuned: both convolutions copied, and nothing frozen.
# - *random, frozen*: the control. Both convolutions are frozen too, but they come from a network
#   that has learnt nothing. There is another one for each seed.
#
# A set of ten images has two of each digit, and the result depends on which two. So each competitor
# gets the *same* sets, one for each seed, and we compare set by set.

# %%
LAYERS = "conv1", "conv2", "fc1", "fc2"  # and fc3, which gives the logits, is always new


def competitor(source: nn.Module, keep: int, frozen: bool, rng: np.random.Generator) -> nn.Module:
    """Return a new LeNet-5 with the first ``keep`` layers of ``source``."""
    model = models.lenet5(5, rng=rng)
    copied = {
        name: array
        for name, array in source.state_dict().items()
        if name.split(".")[0] in LAYERS[:keep]
    }
    model.load_state_dict(model.state_dict() | copied)
    for name in LAYERS[:keep] if frozen else ():
        getattr(model, name).freeze()
    return model


def draw(size: int, rng: np.random.Generator) -> Examples:
    """Return so many images of 5 to 9, equally many of each."""
    images, labels = new_train
    drawn = [rng.choice(np.flatnonzero(labels == k), size // 5, replace=False) for k in range(5)]
    chosen = np.concatenate(drawn)
    return images[chosen], labels[chosen]


competitors = {  # how many layers are kept, and whether frozen
    "scratch": (0, False),
    "1 layer frozen": (1, True),
    "2 layers frozen": (2, True),
    "3 layers frozen": (3, True),
    "4 layers frozen": (4, True),
    "2 fine-tuned": (2, False),
    "2 random, frozen": (2, True),
}
if options.quick:
    for name in ("1 layer frozen", "3 layers frozen", "2 fine-tuned"):
        del competitors[name]

results = {name: np.zeros((len(sizes), seeds)) for name in competitors}
for i, size in enumerate(sizes):
    for seed in range(seeds):
        examples = draw(size, np.random.default_rng(seed))
        ignorant = models.lenet5(5, rng=np.random.default_rng(1000 + seed))
        for name, (keep, frozen) in competitors.items():
            source = ignorant if "random" in name else knowing
            rng = np.random.default_rng(seed)
            model = competitor(source, keep, frozen, rng)
            learn(model, examples, 120, rng)
            results[name][i, seed] = accuracy(model, new_test)
            pairs = zip(model.parameters(), source.parameters(), strict=True)
            same = all(p.trainable or np.array_equal(p.data, old.data) for p, old in pairs)
            course.claim("frozen layers stay as they were copied", same)

print(f"\n5 to 9: test accuracy, mean and standard deviation of {seeds} seeds")
print(" " * 18 + "".join(f"{size:>6} images" for size in sizes))
for name, of_sizes in results.items():
    cells = (f"{row.mean():6.1%} ±{row.std():5.1%}" for row in of_sizes)
    print(f"{name:18}" + "".join(f"{cell:>13}" for cell in cells))

# %% [markdown]
# ## What came out
#
# Look at `by_images.png`. With ten images, the frozen convolutions are ahead of scratch by more
# than two points. With more images the lead becomes small: on the digits less than half of it is
# left with a hundred images or more. The common part of the two tasks is worth some images, and not
# more.
#
# The standard deviations in the table are large. They come from the luck of the draw, which all
# competitors share. So compare set by set, as printed below. With ten images, the lead is there in
# most of the sets, though not in all.

# %%
mean = {name: of_sizes.mean(axis=1) for name, of_sizes in results.items()}
shown = ["scratch", "2 layers frozen", "2 random, frozen", "4 layers frozen"]
picture = viz.lines(
    {name: 100 * mean[name] for name in shown}, sizes, xscale="log",
    xlabel="images of 5 to 9 to learn from", ylabel="test accuracy in percent",
)  # fmt: skip
picture.axes[0].set_xticks(sizes, [str(size) for size in sizes])
picture.axes[0].minorticks_off()
course.show(picture, folder / "by_images.png")
for i, size in enumerate(sizes):
    lead = results["2 layers frozen"][i] - results["scratch"][i]
    print(
        f"{size:4} images: 2 layers frozen ahead of scratch by {lead.mean():+.1%} "
        f"±{lead.std():.1%}, in {(lead > 0).sum()} of {seeds} sets"
    )
few, hundred = 0, 1  # positions in ``sizes``
lead = mean["2 layers frozen"] - mean["scratch"]
enough = f"{lead[few]:+.1%}"
course.claim("with ten images the lead is over two points", lead[few] > 0.02, enough)
share = (results["2 layers frozen"][few] > results["scratch"][few]).mean()
course.claim(
    "it is there in most of the sets", share > (0.6 if options.quick else 0.7), f"{share:.0%}"
)
half = (2 if options.data == "digits" else 1) * lead[1:].max()
course.claim("less than half is left with more images", lead[few] > half, f"{lead[1:].max():+.1%}")

# %% [markdown]
# `by_layers.png` (not with `--quick`) shows that keeping more layers is not better. With four
# layers kept and 100 images, the network is more than ten points worse than from scratch. The late
# layers have learnt to separate 0 to 4, and they drop everything else. Is there a bar across, as in
# a 7? They do not say. The early layers are general, and the late layers are special (Yosinski et
# al. 2014).

# %%
if not options.quick:
    kept = ["scratch", "1 layer frozen", "2 layers frozen", "3 layers frozen", "4 layers frozen"]
    by_layers = {
        f"{size} images": [100 * mean[name][i] for name in kept] for i, size in enumerate(sizes)
    }
    picture = viz.lines(
        by_layers, xlabel="layers kept and frozen", ylabel="test accuracy in percent"
    )
    picture.axes[0].set_xticks(range(5), ["none", "conv1", "+ conv2", "+ fc1", "+ fc2"])
    course.show(picture, folder / "by_layers.png")
behind = mean["scratch"][hundred] - mean["4 layers frozen"][hundred]
course.claim("four layers are ten points behind scratch", behind > 0.10, f"{behind:.1%}")

# %% [markdown]
# Now look at the control. Its *random* convolutions are frozen as they were drawn, and still it is
# within five points of scratch for every size of set. So a network whose convolutions never learn
# is nearly as good as one that learns them from so few images. A good result of a frozen network
# therefore proves nothing. The value of the learnt convolutions is their lead over the random ones.
# With ten images it is more than two points. On MNIST, which has more to learn from, it is more
# than five. Only this lead is transfer.

# %%
gain = mean["2 layers frozen"] - mean["2 random, frozen"]
for size, value in zip(sizes, gain, strict=True):
    print(f"{size:4} images: learnt ahead of random convolutions by {value:+.1%}")
points = 0.05 if options.data == "mnist" else 0.02
lead_few = f"{gain[few]:+.1%}"
course.claim(f"learnt convolutions lead by over {points:.0%}", gain[few] > points, lead_few)
most = abs(mean["2 random, frozen"] - mean["scratch"]).max()
course.claim("random convolutions are within five points of scratch", most < 0.05, f"{most:.1%}")
print(f"pictures: {folder}")

# %% [markdown]
# ## Exercises
#
# `python -m examples.solutions 9.1` shows the solution of the first exercise and runs it.
#
# 1. Frozen layers give the same numbers in every step. Compute them once and train only the other
#    layers. How many times faster is a step? Is the accuracy the same?
# 2. Let all layers learn 5 to 9. Then put the old `fc3` back and test on 0 to 4. How much is
#    forgotten? How much is forgotten with four layers frozen?
# 3. Exchange the tasks: learn 5 to 9 first, then 0 to 4. Is the lead the same? Why?
