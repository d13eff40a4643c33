# %% [markdown]
# # How fast is a convolution, and why?
#
# Take one layer and one image: 115,605,504 multiply-adds. Six programs compute it, with the same
# result up to rounding. The slowest takes thousands of times as long as the fastest. Where does the
# time go, if not into the arithmetic? And what limits the fastest?
#
# Run it with `python examples/12_how_fast_and_why.py`. It takes a quarter of a minute. Speed
# depends on the machine, and on what else the machine does. So this lesson prints and draws your
# times and rates, in three pictures under `runs/12_how_fast_and_why/`, and claims none of them. It
# claims counts and errors, which hold on any machine. Everything runs on one core. More cores
# multiply the speed by their number at best, and change none of the reasons.

# %%
import argparse
import time
from pathlib import Path

import course
import numba
import numpy as np
from threadpoolctl import threadpool_limits

from minicnn import fuse, nn, ops
from minicnn.viz import paper

parser = argparse.ArgumentParser(description="One convolution by six programs.")
course.arguments(parser)
numba.set_num_threads(1)
blas = threadpool_limits(1)  # matrix products of NumPy
folder = Path("runs/12_how_fast_and_why")


def channels_last(x: np.ndarray) -> np.ndarray:
    """Return x (n, c, h, w) with the channels of a pixel side by side in memory."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


# %% [markdown]
# ## The layer
#
# The layer is one of the 3x3 convolutions in the first stage of ResNet-18. It turns 64 channels of
# 56x56 pixels into 64 others. Each of the $64 \cdot 56 \cdot 56$ outputs is a sum of
# $64 \cdot 3 \cdot 3 = 576$ products. We measure errors against its value in float64.

# %%
rng = np.random.default_rng(0)
x = channels_last(rng.standard_normal((1, 64, 56, 56), dtype=np.float32))
weight = rng.standard_normal((64, 64, 3, 3), dtype=np.float32)
products = 64 * 56 * 56 * weight[0].size
course.claim("the layer has 115,605,504 products", products == 115_605_504, products)
exact, _ = ops.conv2d.forward(
    x.astype(np.float64), weight.astype(np.float64), padding=1, impl="textbook"
)

# %% [markdown]
# ## Loops
#
# This is the definition, once in plain Python and once compiled by Numba: the same lines. Python
# computes one row of one channel. The whole layer takes $64 \cdot 56 = 3584$ times as long.


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
# Now exchange the loops, so that the innermost loop runs along a row of the image. Each output is
# the sum of the same products in the same order, so not one bit of the result changes. But
# neighbouring outputs do not depend on one another, so the compiler packs several into one
# instruction. Before, each addition had to wait for the addition before it.


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
taken = course.seconds(
    {
        "Python": lambda: loops(padded[:, :3], weight[:1], by_python),
        "loops, compiled": lambda: compiled(padded, weight, by_loops),
        "loops, exchanged": lambda: rows(padded, weight, by_rows),
    },
    rounds=3,
)
taken["Python"] *= 64 * 56
same_bits = np.array_equal(by_python[0, 0], by_loops[0, 0]) and np.array_equal(by_loops, by_rows)
course.claim("all three give the same bits", same_bits)

# %% [markdown]
# ## From loops to a matrix product, and past it
#
# - **im2col** (`impl="textbook"`) copies every window into a column of a matrix and multiplies. The
#   matrix is nine times as large as the image. But matrix products have been tuned for decades.
# - **direct** computes the same product without the matrix. It keeps a tile of sums in registers,
#   so each number that it reads takes part in many products. In `rows`, every product reads a
#   pixel, and it reads and writes a sum. The source is in `minicnn/kernels/`.
# - **Winograd** computes 4x4 outputs at once, with 36 multiplications in place of 144. The price is
#   additions before and after.

# %%
results = dict.fromkeys(taken, by_loops)  # the same bits
matrix_size = weight[0].size * 56 * 56
course.claim("the matrix is nine times the image", matrix_size == 9 * x.size, matrix_size)
ways = {"im2col": "textbook", "direct": "direct", "Winograd": "winograd"}
calls = {
    name: lambda impl=impl: ops.conv2d.forward(x, weight, padding=1, impl=impl)[0]
    for name, impl in ways.items()
}
taken |= course.seconds(calls, rounds=30)
results |= {name: call()[0] for name, call in calls.items()}


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the root mean square of a - b, relative to that of b."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


errors = {name: difference(y, exact[0]) for name, y in results.items()}
rates = {name: 2e-9 * products / taken[name] for name in taken}
for name, time_taken in taken.items():
    print(
        f"{name:17} {1e3 * time_taken:12.2f} ms {rates[name]:8.2f} GFLOP/s  "
        f"{taken['loops, compiled'] / time_taken:8.3f} x compiled loops  error {errors[name]:.1e}"
    )

# %% [markdown]
# ## The errors
#
# No sum of 576 float32 products is exact. All errors here are below 1e-6 of the result. The order
# of the sum is important: a matrix product adds blocks, and that rounds less than one long chain.
# Winograd has the largest error, 1.5 to 3 times that of direct. Its transformations add and
# subtract numbers that are larger than the result. So of the seven digits of a float32, six remain.

# %%
largest, ratio = max(errors.values()), errors["Winograd"] / errors["direct"]
course.claim("all errors are below 1e-6", largest < 1e-6, f"{largest:.1e}")
course.claim("Winograd's is 1.5 to 3 times direct's", 1.5 < ratio < 3, f"{ratio:.2f}")
course.claim("Winograd's is the largest", largest == errors["Winograd"], errors)

# %% [markdown]
# In `ladder.png`, each step down is one idea: a compiler, vectors, sums in registers, no matrix,
# fewer multiplications. The scale is logarithmic, because on another scale you would see the first
# bar only. The errors are on the right. Only the last step gives up accuracy for speed.


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
left.set(xlabel="milliseconds (logarithmic), one core")
left.invert_yaxis()
right.plot([1e7 * errors[name] for name in names], names, "o", color=paper.VERMILION)
right.set(xlim=(0, 10), xlabel="relative error, $10^{-7}$")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
figure.suptitle(f"One convolution, {products:,} multiply-adds")
course.show(figure, folder / "ladder.png")

# %% [markdown]
# ## The roof
#
# A core has two limits. Its arithmetic units do only so many multiply-adds in a second. Its path to
# the memory carries only so many bytes in a second. For the first limit we measure NumPy's matrix
# product, in which each number that is read takes part in hundreds of products. For the second we
# measure a pass over vectors that are larger than the caches near the core, with almost no
# arithmetic. Both are measurements, and the true limits may be a little higher.


# %%
@numba.njit
def triad(a, b, c):
    for i in range(a.size):
        a[i] = b[i] + np.float32(2) * c[i]


matrix = rng.standard_normal((512, 512), dtype=np.float32)
vectors = [np.ones(2**20, np.float32) for _ in range(3)]
fastest = course.seconds(
    {"product": lambda: matrix @ matrix, "pass": lambda: triad(*vectors)}, rounds=50
)
peak = 2e-9 * 512**3 / fastest["product"]  # GFLOP/s; a multiply-add counts as two
bandwidth = 1e-9 * 3 * vectors[0].nbytes / fastest["pass"]  # GB/s
ridge = peak / bandwidth
print(f"one core: {peak:.0f} GFLOP/s, {bandwidth:.1f} GB/s; the roof bends at {ridge:.0f}")

# %% [markdown]
# Count the operations of a program for each byte that it must read or write. This number $a$ is its
# **arithmetic intensity**. With it, the program can reach
#
# $$\min(\text{peak},\; a \cdot \text{bandwidth})$$
#
# operations in a second. This is the roofline of Williams, Waterman & Patterson (2009). On the left
# of the bend the memory is the limit, and faster arithmetic changes nothing.
#
# Take images of 64 channels, 6.4 MB. ReLU does one operation, a comparison, for a number read and a
# number written: $1/8$ for each byte. A 1x1 convolution does 128 operations for the same two
# numbers: 16 for each byte. The 3x3 convolution above does 1,152, and it reads its weights too: 132
# for each byte.

# %%
images = channels_last(rng.standard_normal((2, 64, 112, 112), dtype=np.float32))
mixing = rng.standard_normal((64, 64, 1, 1), dtype=np.float32)
course.claim("the images take 6.4 MB", round(images.nbytes / 1e6, 1) == 6.4, images.nbytes)
times = course.seconds({"ReLU": lambda: ops.relu.forward(images)}, rounds=20)
times |= course.seconds({"1x1, direct": lambda: ops.conv2d.forward(images, mixing)}, rounds=20)
once = 4 * (x.size + weight.size + exact.size)  # bytes
intensity = {
    "ReLU": 1 / 8, "1x1, direct": 2 * 64 / 8, "3x3, direct": 2 * products / once,
}  # fmt: skip
intensity["3x3, Winograd"] = intensity["3x3, direct"]
of_3x3 = intensity["3x3, direct"]
course.claim("the 3x3 convolution does 132 for each byte", round(of_3x3) == 132, of_3x3)
reached = {name: 8e-9 * images.size * intensity[name] / times[name] for name in times}
reached |= {"3x3, direct": rates["direct"], "3x3, Winograd": rates["Winograd"]}
for name, rate in reached.items():
    roof = min(peak, intensity[name] * bandwidth)
    print(f"{name:13} {rate:7.1f} GFLOP/s, {rate / roof:.2f} of the roof")

# %% [markdown]
# In `roofline.png`, ReLU is under the slope, far below the peak. Faster arithmetic would not help
# it; fewer bytes would. The direct convolution is under the flat part. Only fewer operations help
# it.
#
# Is one of your points above the roof? No law is broken. The roof ignores two things. First,
# Winograd does fewer products than the definition, 36 in place of 144, and its rate counts those of
# the definition. Second, the memory limit was measured for vectors that no near cache holds. If a
# cache of your machine holds the images of ReLU from one call to the next, ReLU reads them faster
# than that. Both can happen to any operation, and your machine decides.

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
low, high = min(reached.values()) / 3, 2 * max(peak, *reached.values())
axes.axvspan(1 / 24, ridge, color=paper.BLUE, alpha=0.07, linewidth=0)
axes.axvspan(ridge, 3000, color=paper.VERMILION, alpha=0.07, linewidth=0)
for x_of, words in ((ridge / 24, "memory is the limit"), (ridge * 3000, "arithmetic is the limit")):
    axes.text(x_of**0.5, low * 1.3, words, ha="center", color=paper.INK)
axes.set(xlabel="arithmetic intensity, FLOP/byte", ylabel="GFLOP/s, one core", ylim=(low, high))
axes.grid(alpha=0.3)
axes.spines[["top", "right"]].set_visible(False)
course.show(figure, folder / "roofline.png")

# %% [markdown]
# ## Fewer bytes: fusing
#
# A network is a row of layers, and most of them are under the slope. In this stage of a small
# residual network, batch norm and ReLU do one percent of the arithmetic. How much of the time do
# they take?

# %%
pixels = channels_last(rng.standard_normal((32, 16, 32, 32), dtype=np.float32))
stage = nn.Sequential()
for _ in range(3):
    conv = nn.Conv2d(16, 16, 3, padding=1, rng=rng)
    stage = nn.Sequential(*stage, conv, nn.BatchNorm2d(16), nn.ReLU())
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
apart = layer_times(stage)
part, share = (1 - of["Conv2d"] / sum(of.values()) for of in (operations, apart))
course.claim("they do 1 % of the arithmetic", round(part, 3) == 0.010, f"{part:.1%}")
print(f"batch norm and ReLU: 1.0 % of the arithmetic, {share:.0%} of the time of inference")

# %% [markdown]
# `fuse` returns a network with the same parameters. It runs several layers in one pass, while the
# numbers are in registers or in the nearest cache. For inference alone it goes further. Batch norm
# is then a fixed scale and shift, and `fuse` puts it into the weights of the convolution.

# %%
trained, inferring = fuse(stage), fuse(stage, inference=True)
apart_by = difference(inferring(pixels), stage(pixels))
course.claim("fused inference gives the same numbers", apart_by < 1e-5, apart_by)
gradient = channels_last(rng.standard_normal(pixels.shape, dtype=np.float32))


def step(model: nn.Module) -> np.ndarray:
    """Run forward and backward; return what came out of forward."""
    y, cache = model.forward(pixels, training=True)
    model.backward(gradient, cache)
    return y


inference = course.seconds(
    {"layer by layer": lambda: stage(pixels), "fused": lambda: inferring(pixels)}, 30
)
training = course.seconds(
    {"layer by layer": lambda: step(stage), "fused": lambda: step(trained)}, 15
)
for kind, both in {"inference": inference, "training step": training}.items():
    layered, fused = 1e3 * both["layer by layer"], 1e3 * both["fused"]
    print(f"{kind}: {layered:.2f} ms layer by layer, {fused:.2f} ms fused, {fused / layered:.2f}")
apart_by = difference(step(trained), step(stage))
course.claim("fused training gives the same numbers", apart_by < 1e-5, apart_by)

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
left.set(title="Inference", ylabel="milliseconds, one core")
right.bar(
    list(training), [1e3 * time_taken for time_taken in training.values()], 0.6, color=paper.INK
)
right.set(title="Training step")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
course.show(figure, folder / "fused.png")

# %% [markdown]
# In `fused.png`, the part of the first bar above the convolutions is the time of batch norm and
# ReLU, mostly for reading and writing. Compare it with the second bar, where they run inside the
# convolutions. The convolutions save reading and writing too, and `fuse` arranges their weights
# once and not in each call. A training step saves less, because it must keep the numbers that
# backward needs.
#
# ## Exercises
#
# `python -m examples.solutions 12.1` shows the solution of the first exercise and runs it.
#
# 1. Which algorithm does the fast convolution take for an image of 4 channels? From how many
#    channels does it take Winograd? Guess the reason from the cost of the transformations. Then ask
#    `ops.conv2d.algorithm((8, c, 56, 56), (c, c, 3, 3), padding=1)`, and time both.
# 2. What is the intensity of a linear layer of 2,048 inputs and outputs, for one image? For which
#    batch does it pass the bend of your roof? Count the weights as read once. Then time
#    `ops.linear.forward` with batches of 1, 8, 64 and 512.
# 3. Winograd multiplies a quarter as often as direct. Is it four times as fast? Time both with 16,
#    64 and 256 channels. The products grow with the square of the channels. What grows with their
#    number?
# 4. Train `examples/05_lenet5_on_mnist.py` twice, once with the environment variable
#    `MINICNN_WINOGRAD=0`. By how much do the accuracies differ? Why by exactly that?
