# %% [markdown]
# # How fast is a convolution, and why?
#
# One layer, one image, 115,605,504 multiply-adds. Six programs compute it, with the same result up
# to rounding. On the machine that this was written on, the slowest took thousands of times as long
# as the fastest. Where does the time go, if not into the arithmetic? And what bounds the fastest?
#
# Run it with `python examples/12_how_fast_and_why.py` (a quarter of a minute). Speed depends on
# the machine, and on what else it does: so no time and no rate is claimed here. Yours are printed
# and drawn in three pictures under `runs/12_how_fast_and_why/`. What is claimed, counts and errors,
# holds on any machine. All is measured on one core. Cores multiply the speed by their number at
# best, and change none of the reasons.

# %%
import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from minicnn import fuse, nn, ops, viz
from minicnn.viz import paper

parser = argparse.ArgumentParser(description="One convolution by six programs.")
parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has none
numba.set_num_threads(1)
blas = threadpool_limits(1)  # matrix products of NumPy
folder = Path("runs/12_how_fast_and_why")


def channels_last(x: np.ndarray) -> np.ndarray:
    """Return x (n, c, h, w) with the channels of a pixel side by side in memory."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def seconds(ways: dict[str, Callable], rounds: int = 9) -> dict[str, float]:
    """Return the fastest of some calls of each; they take turns, and so meet the same noise."""
    taken = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - begin)
    return {name: min(times[1:]) for name, times in taken.items()}  # the first call compiles


# %% [markdown]
# ## The layer
#
# It is one of the 3x3 convolutions in the first stage of ResNet-18: 64 channels of 56x56 pixels
# become 64 others. Each of the 64 * 56 * 56 outputs is a sum of 64 * 3 * 3 = 576 products. Its
# value in float64 is what the errors are measured against.

# %%
rng = np.random.default_rng(0)
x = channels_last(rng.standard_normal((1, 64, 56, 56), dtype=np.float32))
weight = rng.standard_normal((64, 64, 3, 3), dtype=np.float32)
products = 64 * 56 * 56 * weight[0].size
assert products == 115_605_504
assert weight[0].size == 576
exact, _ = ops.conv2d.forward(
    x.astype(np.float64), weight.astype(np.float64), padding=1, impl="textbook"
)

# %% [markdown]
# ## Loops
#
# The definition, once in plain Python and once compiled by Numba: the same lines. Python runs a
# single row of a single channel; the whole takes 64 * 56 = 3,584 times as long.


# %%
def loops(x, weight, y):
    for o in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                total = np.float32(0)
                for c in range(x.shape[0]):
                    for r in range(weight.shape[2]):
                        for s in range(weight.shape[3]):
                            total += weight[o, c, r, s] * x[c, i + r, j + s]
                y[o, i, j] = total


padded = np.pad(x[0], ((0, 0), (1, 1), (1, 1)))
by_python, by_loops = np.empty((1, 1, 56), np.float32), np.empty((64, 56, 56), np.float32)
compiled = numba.njit(loops)

# %% [markdown]
# Now exchange the loops, so that the innermost runs along a row of the image. Each output is the
# sum of the same products in the same order, so not one bit of the result changes. What changes is
# that neighbouring outputs, which need not wait for each other, take turns: the compiler packs
# several into one instruction, where before each addition had to wait for the one before it.


# %%
@numba.njit
def rows(x, weight, y):
    for o in range(y.shape[0]):
        for i in range(y.shape[1]):
            row = y[o, i]
            row[:] = 0
            for c in range(x.shape[0]):
                for r in range(weight.shape[2]):
                    for s in range(weight.shape[3]):
                        factor = weight[o, c, r, s]
                        pixels = x[c, i + r, s : s + row.size]
                        for j in range(row.size):
                            row[j] += factor * pixels[j]


by_rows = np.empty_like(by_loops)
taken = seconds(
    {
        "Python": lambda: loops(padded[:, :3], weight[:1], by_python),
        "loops, compiled": lambda: compiled(padded, weight, by_loops),
        "loops, exchanged": lambda: rows(padded, weight, by_rows),
    },
    rounds=3,
)
taken["Python"] *= 3584
assert 64 * 56 == 3584
assert np.array_equal(by_python[0, 0], by_loops[0, 0])
assert np.array_equal(by_loops, by_rows)

# %% [markdown]
# ## From loops to a matrix product, and past it
#
# - **im2col** (`impl="textbook"`) copies every window into a column of a matrix and multiplies. The
#   matrix is nine times the image, but matrix products have been tuned for decades.
# - **direct** does the same product without the matrix. It holds a tile of sums in registers: each
#   number that it reads takes part in many products, where in `rows` every product reads a pixel,
#   and reads and writes a sum. `minicnn/ops/conv2d/direct.py` tells how.
# - **Winograd** computes 4x4 outputs at once with 36 multiplications in place of 144, at the price
#   of additions before and after: `minicnn/ops/conv2d/winograd.py`.

# %%
results = dict.fromkeys(taken, by_loops)  # the same bits
assert weight[0].size * 56 * 56 == 9 * x.size  # the matrix
ways = {"im2col": "textbook", "direct": "direct", "Winograd": "winograd"}
calls = {
    name: lambda impl=impl: ops.conv2d.forward(x, weight, padding=1, impl=impl)[0]
    for name, impl in ways.items()
}
taken |= seconds(calls, rounds=30)
results |= {name: call()[0] for name, call in calls.items()}


def error(y: np.ndarray) -> float:
    """Return the root mean square error, relative to the root mean square of the result."""
    return float(np.sqrt(((y - exact[0]) ** 2).mean() / (exact**2).mean()))


errors = {name: error(y) for name, y in results.items()}
rates = {name: 2e-9 * products / taken[name] for name in taken}
for name, time_taken in taken.items():
    print(
        f"{name:17} {1e3 * time_taken:12.2f} ms {rates[name]:8.2f} GFLOP/s  "
        f"{taken['loops, compiled'] / time_taken:8.3f} times the compiled loops  "
        f"error {errors[name]:.1e}"
    )

# %% [markdown]
# ## The errors
#
# No sum of 576 float32 products is exact. All errors are below 1e-6 of the result. Order matters
# here too: a matrix product that adds up blocks rounds less than one long chain. Winograd's error
# is the largest, 1.5 to 3 times direct's, because its transformations add and subtract numbers
# larger than the result: of the seven digits of a float32 it leaves six.

# %%
assert max(errors.values()) < 1e-6
assert 1.5 < errors["Winograd"] / errors["direct"] < 3
assert max(errors, key=errors.__getitem__) == "Winograd"

# %% [markdown]
# In `ladder.png` each step down is one idea: a compiler, vectors, sums that stay in registers, no
# matrix, fewer multiplications. The scale is logarithmic, or only the first bar would be seen. On
# the right are the errors: speed was not bought with them until the last step.


# %%
def short(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


figure = paper.empty(9.6, 3.4)
left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
names = list(taken)
left.barh(names, [1e3 * taken[name] for name in names], color=paper.BLUE, log=True)
for place, name in enumerate(names):
    label = f" {short(1e3 * taken[name])} ms, {short(rates[name])} GFLOP/s"
    left.text(1e3 * taken[name], place, label, va="center", fontsize=9)
left.set_xlim(3e2 * min(taken.values()), 1e5 * taken["Python"])  # room for the last label
left.set_xlabel("milliseconds (logarithmic), one core")
left.invert_yaxis()
right.plot([1e7 * errors[name] for name in names], names, "o", color=paper.VERMILION)
right.set_xlim(0, 10)
right.set_xlabel("relative error, $10^{-7}$")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
figure.suptitle(f"One convolution, {products:,} multiply-adds")
viz.save(figure, folder / "ladder.png")

# %% [markdown]
# ## The roof
#
# A core can do no more multiply-adds in a second than its units have room for, and read and write
# no more bytes than its path to the memory lets through. For the first limit we take the speed of
# NumPy's matrix product, in which each number that is read takes part in hundreds of products. What
# comes near the second is a pass over vectors too large for the caches near the core, with next to
# no arithmetic.


# %%
@numba.njit
def triad(a, b, c):
    for i in range(a.size):
        a[i] = b[i] + np.float32(2) * c[i]


matrix = rng.standard_normal((512, 512), dtype=np.float32)
vectors = [np.ones(2**20, np.float32) for _ in range(3)]
fastest = seconds({"product": lambda: matrix @ matrix, "pass": lambda: triad(*vectors)}, rounds=50)
peak = 2e-9 * 512**3 / fastest["product"]  # GFLOP/s; a multiply-add counts as two
bandwidth = 1e-9 * 3 * vectors[0].nbytes / fastest["pass"]  # GB/s
ridge = peak / bandwidth
print(
    f"one core: {peak:.0f} GFLOP/s, {bandwidth:.1f} GB/s; the roof bends at {ridge:.0f} FLOP/byte"
)

# %% [markdown]
# An operation that does `a` operations for each byte that it must read or write (its **arithmetic
# intensity**) can reach `min(peak, a * bandwidth)`: the roofline of Williams, Waterman & Patterson
# (2009). Left of the bend the memory bounds it, and faster arithmetic would change nothing.
#
# Take images of 64 channels, 6.4 MB. ReLU does one operation, a comparison, for a number read and
# a number written: 1/8 a byte. A 1x1 convolution does 128 operations for the same two numbers: 16 a
# byte. The 3x3 convolution above does 1,152, and reads its weights besides: 132 a byte.

# %%
images = channels_last(rng.standard_normal((2, 64, 112, 112), dtype=np.float32))
mixing = rng.standard_normal((64, 64, 1, 1), dtype=np.float32)
assert f"{images.nbytes / 1e6:.1f}" == "6.4"
times = seconds({"ReLU": lambda: ops.relu.forward(images)}, rounds=20)
times |= seconds({"1x1, direct": lambda: ops.conv2d.forward(images, mixing)}, rounds=20)
once = 4 * (x.size + weight.size + exact.size)  # bytes
intensity = {
    "ReLU": 1 / 8, "1x1, direct": 2 * 64 / 8,
    "3x3, direct": 2 * products / once, "3x3, Winograd": 2 * products / once,
}  # fmt: skip
assert [round(value, 3) for value in intensity.values()][:2] == [0.125, 16]
assert round(intensity["3x3, direct"]) == 132
reached = {name: 8e-9 * images.size * intensity[name] / times[name] for name in times}
reached |= {"3x3, direct": rates["direct"], "3x3, Winograd": rates["Winograd"]}
for name, rate in reached.items():
    roof = min(peak, intensity[name] * bandwidth)
    print(f"{name:13} {rate:7.1f} GFLOP/s, {rate / roof:.2f} of the roof")

# %% [markdown]
# In `roofline.png` ReLU's place is on the slope, far below the peak. Faster arithmetic would not
# help it, fewer bytes would. The direct convolution's place is under the flat part, where only
# fewer operations help.
#
# A point above the roof breaks no law. It shows what the roof left out, and there are two such
# points to look for. Winograd's rate counts the products of the definition, 144 for each 36 that it
# multiplies. And the slope is the bandwidth of one pass over three vectors of 4 MB: ReLU lies above
# it where a processor keeps more of ReLU's two arrays in its caches than of these three vectors. A
# product of NumPy that is slow (an older BLAS, or one held to an older processor) lowers the flat
# part, and the convolutions rise above it.

# %%
slope = np.geomspace(1 / 16, 1024, 200)
figure = paper.empty(7.2, 4.6)
axes = figure.subplots()
axes.loglog(slope, np.minimum(peak, slope * bandwidth), color=paper.INK)
axes.text(ridge / 6, bandwidth * ridge / 4, f"{bandwidth:.1f} GB/s", ha="right")
axes.text(ridge / 1.2, peak, f"{peak:.0f} GFLOP/s", ha="right", va="center")
for name, rate in reached.items():
    colour = paper.VERMILION if "Winograd" in name else paper.BLUE
    axes.plot(intensity[name], rate, "o", color=colour)
    away = 12 if rate > peak else -12  # from the line
    place = {"xy": (intensity[name], rate), "xytext": (7, away), "textcoords": "offset points"}
    axes.annotate(name, **place, va="center", color=colour)
axes.set_xlim(1 / 24, 3000)
axes.set_ylim(min(reached.values()) / 3, 2 * max(peak, *reached.values()))
axes.set_xlabel("arithmetic intensity, FLOP/byte")
axes.set_ylabel("GFLOP/s, one core")
axes.grid(alpha=0.3)
axes.spines[["top", "right"]].set_visible(False)
viz.save(figure, folder / "roofline.png")

# %% [markdown]
# ## Fewer bytes: fusing
#
# A network is a row of layers, and most of them hang on the slope. In this stage of a small
# residual network, batch norm and ReLU have one percent of the arithmetic. What have they of the
# time?

# %%
pixels = channels_last(rng.standard_normal((32, 16, 32, 32), dtype=np.float32))
triples = [
    [nn.Conv2d(16, 16, 3, padding=1, rng=rng), nn.BatchNorm2d(16), nn.ReLU()] for _ in range(3)
]
stage = nn.Sequential(*(layer for triple in triples for layer in triple))
for _ in range(50):
    stage.forward(pixels, training=True)  # batch norm learns its means and variances


def layer_times(model: nn.Sequential, rounds: int = 30) -> dict[str, float]:
    """Return the seconds of inference by kind of layer, each in its place in the row."""
    fastest: dict[str, list[float]] = {}
    for _ in range(rounds):
        x, caches = pixels, []
        for name, layer in model.named_children():
            begin = time.perf_counter()
            x, cache = layer.forward(x, training=False)
            fastest.setdefault(name, []).append(time.perf_counter() - begin)
            caches.append(cache)  # as the network does
    total = dict.fromkeys(operations, 0.0)
    for name, layer in model.named_children():
        total[type(layer).__name__] += min(fastest[name])
    return total


operations = {"Conv2d": 2 * 9 * 16, "BatchNorm2d": 2, "ReLU": 1}  # for a number, in inference
assert round(1 - operations["Conv2d"] / sum(operations.values()), 3) == 0.010
apart = layer_times(stage)
share = 1 - apart["Conv2d"] / sum(apart.values())
print(f"batch norm and ReLU: 1.0 % of the arithmetic, {share:.0%} of the time of inference")

# %% [markdown]
# `fuse` returns a network with the same parameters that does several layers in one pass, while the
# numbers are in registers or in the nearest cache. For inference alone it goes further: batch norm
# is then a fixed scale and shift, and disappears into the weights of the convolution.

# %%
trained, inferring = fuse(stage), fuse(stage, inference=True)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


assert difference(inferring(pixels), stage(pixels)) < 1e-5
gradient = channels_last(rng.standard_normal(pixels.shape, dtype=np.float32))


def step(model: nn.Module) -> np.ndarray:
    """Run forward and backward; return what came out of forward."""
    y, cache = model.forward(pixels, training=True)
    model.backward(gradient, cache)
    return y


inference = seconds({"by layer": lambda: stage(pixels), "fused": lambda: inferring(pixels)}, 30)
training = seconds({"by layer": lambda: step(stage), "fused": lambda: step(trained)}, 15)
for kind, both in {"inference": inference, "training step": training}.items():
    layered, fused = 1e3 * both["by layer"], 1e3 * both["fused"]
    print(f"{kind}: {layered:.2f} ms layer by layer, {fused:.2f} ms fused, {fused / layered:.2f}")
assert difference(step(trained), step(stage)) < 1e-5

# %%
figure = paper.empty(8, 3.6)
left, right = figure.subplots(1, 2)
bottom = 0.0
colours = {"Conv2d": paper.BLUE, "BatchNorm2d": paper.VERMILION, "ReLU": paper.GREY}
for kind, time_taken in apart.items():
    left.bar("layer by layer", 1e3 * time_taken, 0.6, bottom, color=colours[kind], label=kind)
    bottom += 1e3 * time_taken
left.bar("fused for inference", 1e3 * inference["fused"], 0.6, color=paper.INK)
left.legend(frameon=False)
left.set_title("Inference")
left.set_ylabel("milliseconds, one core")
right.bar("layer by layer", 1e3 * training["by layer"], 0.6, color=paper.INK)
right.bar("fused", 1e3 * training["fused"], 0.6, color=paper.INK)
right.set_title("Training step")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
viz.save(figure, folder / "fused.png")

# %% [markdown]
# In `fused.png` what lies above the convolutions in the first bar is the price of reading and
# writing, and fused, on our machine, nothing is left of it. What is saved beyond that is the
# convolutions' own reading and writing, and the arranging of their weights, done once when the
# network is fused. A training step must keep what backward needs.
#
# ## Exercises
#
# 1. Which algorithm does the fast convolution take for an image of 4 channels, and from how many
#    channels on Winograd? Guess the reason from what its transformations cost, then ask
#    `ops.conv2d.algorithm((8, c, 56, 56), (c, c, 3, 3), padding=1)` and time both.
# 2. What is the intensity of a linear layer of 2,048 inputs and outputs for one image, and for
#    which batch does it pass your bend of the roof? Count the weights as read once. Then time
#    `ops.linear.forward` with batches of 1, 8, 64 and 512 and look for the bend.
# 3. Winograd multiplies a quarter as often as direct. Is it four times as fast? Time both with 16,
#    64 and 256 channels: the products grow with their square, and what with their number?
# 4. Train `examples/05_lenet5_on_mnist.py` twice, once with the environment variable
#    `MINICNN_WINOGRAD=0`. By how much do the accuracies differ, and why by exactly that?
