# %% [markdown]
# # A convolution by hand
#
# A convolution slides a small window over an image and computes one number at each position. That
# is all. Three things about it still surprise people who have used it for years. It is not what
# mathematics calls a convolution. Its kernels have odd sizes for a reason. And fast libraries
# compute it as one product of matrices. We do each of these by hand and compare with `minicnn.ops`.
#
# Run it with `python examples/01_a_convolution_by_hand.py`. It takes a few seconds and has no
# options. It uses a photograph that comes with scikit-learn. The pictures go to
# `runs/01_a_convolution_by_hand/`.

# %%
import argparse
from pathlib import Path

import course
import numpy as np
from sklearn.datasets import load_sample_image

from minicnn.ops import conv2d, fold, unfold
from minicnn.viz.paper import BLUE, GREY, INK, VERMILION, empty, shades

parser = argparse.ArgumentParser(description="A convolution by hand, and by the library.")
course.arguments(parser)
folder = Path("runs/01_a_convolution_by_hand")

# %% [markdown]
# ## The sliding window
#
# Lay the kernel $w$ on the image $x$ at every position. Multiply the numbers that lie on top of
# each other, and add the products:
#
# $$y_{i,j} = \sum_{r,s} w_{r,s} \; x_{i+r,\,j+s}$$


# %%
def by_hand(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    kh, kw = weight.shape
    y = np.empty((x.shape[0] - kh + 1, x.shape[1] - kw + 1), x.dtype)
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = (x[i : i + kh, j : j + kw] * weight).sum()
    return y


def conv(x: np.ndarray, weight: np.ndarray, **options) -> np.ndarray:
    """The same by the library, which takes batches (n, c, h, w) and kernels (o, c, kh, kw)."""
    y, _ = conv2d.forward(x[None, None], weight[None, None], **options)
    return y[0, 0]


rng = np.random.default_rng(0)
x, weight = rng.standard_normal((7, 9)), rng.standard_normal((3, 2))
apart = np.abs(by_hand(x, weight) - conv(x, weight)).max()
print(f"{x.shape} and a kernel {weight.shape} give {conv(x, weight).shape}, by hand and by minicnn")
course.claim("the loops and minicnn compute the same", apart < 1e-12, f"a difference of {apart}")

# %% [markdown]
# ## It is not a convolution
#
# In mathematics and in NumPy, a convolution first turns the kernel around. What we computed above
# is called a cross-correlation there.

# %%
signal, taps = np.array([1.0, 2, 3, 4]), np.array([1.0, 0, -1])
ours = conv(signal[None], taps[None])[0]
theirs = np.convolve(signal, taps, mode="valid")
print(f"minicnn {ours}, np.convolve {theirs}, np.correlate {np.correlate(signal, taps)}")
turned = np.convolve(signal, taps[::-1], mode="valid")
course.claim("ours is NumPy's correlation", (ours == np.correlate(signal, taps)).all(), ours)
course.claim("ours is np.convolve with the kernel turned around", (ours == turned).all(), ours)
course.claim("this kernel, turned around, changes its sign", (ours == -theirs).all(), theirs)

# %% [markdown]
# A kernel shows itself best in its answer to a single bright pixel. We take a kernel whose top you
# can see, a letter F. We send one bright pixel through the layer, forward. Then we send the same
# pixel through backward, as if it were a gradient.

# %%
letter = np.array(
    [
        [0, 1, 1, 1, 0],
        [0, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0],
    ],
    np.float64,
)
pixel = np.zeros((11, 11))
pixel[5, 5] = 1
y, cache = conv2d.forward(pixel[None, None], letter[None, None], padding="same")
forward = y[0, 0]
dx, _, _ = conv2d.backward(pixel[None, None], cache)
backward = dx[0, 0]
half_turn, upright = letter[::-1, ::-1], letter
course.claim(
    "forward gives the kernel turned by half a turn", (forward[3:8, 3:8] == half_turn).all()
)
course.claim("backward gives the kernel as it is", (backward[3:8, 3:8] == upright).all())

figure = empty(9, 2.7)
for axes, picture, title in zip(
    figure.subplots(1, 4),
    (letter, pixel, forward, backward),
    ("the kernel, 5 x 5", "one bright pixel", "through forward", "through backward"),
    strict=True,
):
    side = len(picture)
    axes.imshow(picture, cmap=shades("white", BLUE))
    axes.hlines(np.arange(side + 1) - 0.5, -0.5, side - 0.5, color=GREY, linewidth=0.4)
    axes.vlines(np.arange(side + 1) - 0.5, -0.5, side - 0.5, color=GREY, linewidth=0.4)
    middle = (side - 1) / 2  # all four to one scale: a cell is a pixel
    axes.set_xlim(middle - 5.7, middle + 5.7)
    axes.set_ylim(middle + 5.7, middle - 5.7)
    axes.set_title(title, fontsize=11)
    axes.set_axis_off()
course.show(figure, folder / "turned.png")

# %% [markdown]
# In `turned.png`, forward turns the F by half a turn, and backward leaves it upright. In forward,
# each output looks through its window. An output at the lower right of the pixel finds the pixel in
# the upper left of its window. So the kernel appears turned by half a turn. In backward, the
# gradient of an output goes to the pixels of its window. So backward stamps the kernel as it is. A
# sum of stamps is what mathematics calls a convolution: **the forward pass of a convolution is a
# correlation, and its backward pass is a convolution.**
#
# Why does no library turn the kernel in forward? Because kernels are learned. A network that needs
# an upright F learns a turned one, and nobody notices. The difference matters only if you bring a
# kernel from a book on signal processing. We do that below with an edge filter, and its sign
# changes.

# %% [markdown]
# ## What happens at the edge
#
# A window that must lie inside the image has fewer positions than the image has pixels. So `valid`
# padding loses `kernel - 1` pixels. To keep the size, `same` padding puts that many zeros around
# the image. These zeros change the result. Take the 3x3 mean of an image of ones. It should be one
# everywhere.

# %%
ones, mean3 = np.ones((5, 6)), np.full((3, 3), 1 / 9)
valid, same = conv(ones, mean3, padding="valid"), conv(ones, mean3, padding="same")
print(f"valid {valid.shape}, same {same.shape}:\n{np.round(9 * same).astype(int)} / 9")
sizes, ninths = (valid.shape, same.shape), 9 * same[:2, :2]
course.claim("valid loses 2 pixels of each side, same none", sizes == ((3, 4), (5, 6)), sizes)
course.claim("the mean is 4/9, 6/9 and 1", np.allclose(ninths, [[4, 6], [6, 9]]), f"{ninths} / 9")

# %% [markdown]
# The result is four ninths in the corner and six ninths at the side. A network can learn from this
# where the border is.
#
# Half of the `kernel - 1` zeros go before the image and half after it. That works for odd kernels.
# A 2x2 kernel needs one zero, and one cannot be halved. minicnn puts it after the image, as PyTorch
# does. Is half a pixel important? Stack a few layers. Below, a spot is blurred again and again, by
# 3x3 means and by 2x2 means. After some layers we compute the spot's centre of mass.

# %%
size = 33
row_of, column_of = np.mgrid[:size, :size]
spot = ((row_of - 16) ** 2 + (column_of - 16) ** 2 <= 9).astype(np.float64)


def centre(image: np.ndarray) -> tuple[float, float]:
    mass = image.sum()
    return float((image * row_of).sum() / mass), float((image * column_of).sum() / mass)


figure = empty(9, 4.9)
for line, k in zip(figure.subplots(2, 4), (3, 2), strict=True):
    image, depth = spot, 0
    for axes, layers in zip(line, (0, 4, 8, 16), strict=True):
        while depth < layers:
            image, depth = conv(image, np.full((k, k), 1 / k**2), padding="same"), depth + 1
        down, right = (position - 16 for position in centre(image))
        expected = layers / 2 if k == 2 else 0.0
        course.claim(
            f"after {layers} layers of {k}x{k} the spot has moved by {expected:g} pixels",
            abs(down + expected) < 0.01 and abs(right + expected) < 0.01,
            f"{-down:.2f} up and {-right:.2f} left",
        )
        axes.imshow(image, cmap=shades("white", BLUE), vmin=0)
        axes.axhline(16, color=VERMILION, linewidth=0.8)
        axes.axvline(16, color=VERMILION, linewidth=0.8)
        axes.set_title(f"{layers} layers: moved by {abs(down):.1f}", fontsize=11)
        axes.set_xticks([])
        axes.set_yticks([])
    line[0].set_ylabel(f"{k}x{k} means", fontsize=11)
course.show(figure, folder / "even_kernels.png")

# %% [markdown]
# In `even_kernels.png`, the spot of the 3x3 means stays on the cross. The spot of the 2x2 means
# moves to the upper left, by half a pixel a layer: four pixels after 8 layers, eight after 16. This
# is why nearly every kernel that you will meet is 1x1, 3x3, 5x5 or 7x7.

# %% [markdown]
# ## Stride, and the formula for the size
#
# With a stride, the window jumps. If you design networks, you compute sizes all day. For a side of
# $n$ pixels, a kernel of $k$, stride $s$, padding $p$ and dilation $d$, the output has
#
# $$\left\lfloor \frac{n + 2p - d\,(k - 1) - 1}{s} \right\rfloor + 1$$
#
# pixels. The floor $\lfloor \cdot \rfloor$ can leave pixels that no window reaches. They are easy
# to count: their gradient is exactly 0.

# %%
table = [
    # what, size, kernel, stride, padding, dilation, out and unseen as the text says
    ("LeNet-5, the first layer", 28, 5, 1, 0, 1, 24, 0),
    ("LeNet-5, the second", 12, 5, 1, 0, 1, 8, 0),
    ("ResNet-20, where it halves", 32, 3, 2, 1, 1, 16, 0),
    ("ResNet-18, the first layer", 224, 7, 2, 3, 1, 112, 0),
    ("AlexNet's paper", 224, 11, 4, 0, 1, 54, 1),
    ("AlexNet, as it is built", 224, 11, 4, 2, 1, 55, 0),
    ("dilated", 16, 3, 1, 4, 4, 16, 0),
    ("does not divide", 8, 3, 2, 0, 1, 3, 1),
    ("stride larger than kernel", 10, 2, 3, 0, 1, 3, 4),
]
print(f"{'':28}size kernel stride padding dilation  out  pixels unseen (along a row)")
for what, n, kernel, stride, padding, dilation, *expected in table:
    out = (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    y, cache = conv2d.forward(
        np.ones((1, 1, 1, n)), np.ones((1, 1, 1, kernel)), stride=(1, stride),
        padding=(0, padding), dilation=(1, dilation),
    )  # fmt: skip
    dx, _, _ = conv2d.backward(np.ones_like(y), cache)
    unseen = int((dx == 0).sum())
    print(f"{what:28}{n:4}{kernel:7}{stride:7}{padding:8}{dilation:9}{out:5}{unseen:8}")
    course.claim(
        f"of {what} the formula and the layer give {expected[0]}, with {expected[1]} pixels unseen",
        [y.shape[-1], unseen] == [out, unseen] == expected,
        f"{out} by the formula, {y.shape[-1]} by the layer, {unseen} unseen",
    )

# %% [markdown]
# Look at AlexNet. Its paper (Krizhevsky et al. 2012) gives images of 224, kernels of 11, a stride
# of 4, and an output of 55. The formula gives 54.25 before the floor. The authors must have used
# about two pixels of padding, and everyone who rebuilt the network had to discover this. Compute
# sizes; do not copy them.

# %% [markdown]
# ## Edges in a photograph
#
# If the weights of a kernel add up to 0, constant areas give 0 and changes give large numbers.
# Sobel's kernel takes the difference of left and right, averaged over three rows. Turned by 90
# degrees, it takes the difference of above and below. The grey image is the result of a convolution
# too, a 1x1 one: each output mixes red, green and blue. (The weights are those of television, ITU-R
# BT.601.)

# %%
photograph = load_sample_image("china.jpg")  # (427, 640, 3), bytes
colours = photograph.transpose(2, 0, 1)[None] / 255
television = np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
grey, _ = conv2d.forward(colours, television)

sobel = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
bank = np.stack([sobel, sobel.T])[:, None]  # (2, 1, 3, 3): two kernels, two output channels
edges, _ = conv2d.forward(grey, bank)
across, down = edges[0]
strength = np.hypot(across, down)
constant, _ = conv2d.forward(np.ones_like(grey), bank)
course.claim("a constant image has no edges", (constant == 0).all(), np.abs(constant).max())
turned, _ = conv2d.forward(grey, bank[..., ::-1, ::-1])
course.claim(
    "turning the kernels around changes the sign", np.allclose(turned, -edges, atol=1e-12, rtol=0),
    f"a difference of {np.abs(turned + edges).max():.1g}",
)  # fmt: skip

figure = empty(9, 6.6)
grey_shades, signed = shades("black", "white"), shades(BLUE, "white", VERMILION)
panels = [
    (grey[0, 0], "grey, by a 1x1 kernel", grey_shades, 0, 1),
    (across, "left to right", signed, -2, 2),
    (down, "top to bottom", signed, -2, 2),
    (strength, "strength of both", shades("white", INK), 0, 2),
]
for axes, (picture, title, colour_map, low, high) in zip(
    figure.subplots(2, 2).flat, panels, strict=True
):
    axes.imshow(picture, cmap=colour_map, vmin=low, vmax=high)
    axes.set_title(title, fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])
course.show(figure, folder / "edges.png")

# %% [markdown]
# In `edges.png`, vermilion marks places where the image gets lighter, to the right or downwards.
# Blue marks places where it gets darker. The columns of the temple stand out in the second picture.
# They are gone in the third, which shows the roofs. The sky is blank in both, because nothing
# changes there. If you turn the kernels around, as a book on signals does, the two colours change
# places.
#
# The first layer of a network is such a bank, of 64 kernels in place of 2. Nobody tells it to look
# for edges. It learns that from the images.

# %% [markdown]
# ## One product of matrices
#
# At one position, the kernel computes an inner product of nine numbers with nine numbers. Many
# inner products are a product of matrices, and computers are very fast at those. So write each
# window as a column (`unfold`, also called im2col), and the kernel as a row. `fold` is the way
# back: it puts columns into an image and adds where they overlap. It turns the gradient of the
# columns into the gradient of the image.

# %%
ramp = np.arange(1.0, 17).reshape(1, 1, 4, 4)
ramp[0, 0, 1, 1] += 4  # a ramp with a bump
laplace = np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])  # the neighbours against the middle
windows, window_cache = unfold.forward(ramp, kernel_size=3)
product = laplace.reshape(1, 9) @ windows[0]
course.claim(
    "the product of matrices is the convolution",
    np.allclose(product.reshape(2, 2), by_hand(ramp[0, 0], laplace)), product,
)  # fmt: skip
course.claim("it is -16, 4, 4 and 0", product.tolist() == [[-16, 4, 4, 0]], product)

counts, _ = fold.forward(np.ones_like(windows), output_size=(4, 4), kernel_size=3)
course.claim(
    "a corner lies in 1 window and a middle pixel in 4",
    (counts[0, 0, :2, :2] == [[1, 2], [2, 4]]).all(), counts[0, 0, :2, :2],
)  # fmt: skip

# %%
figure = empty(9.6, 3.8)
grid = figure.add_gridspec(1, 5, width_ratios=[4, 9, 4, 4, 4])
panels = [  # a matrix, its title, and (h, w) of its first window
    (ramp[0, 0], "the image", (3, 3)),
    (laplace.reshape(1, 9), "the kernel as a row,", (1, 9)),
    (windows[0], "times its windows\nas columns,", (9, 1)),
    (product, "gives the output.", (1, 1)),
    (counts[0, 0], "fold of ones", (3, 3)),
]
for place, (matrix, title, (h, w)) in enumerate(panels):
    axes = figure.add_subplot(grid[place])
    axes.imshow(matrix, cmap=shades("white", BLUE), vmin=0, vmax=32)
    for (i, j), number in np.ndenumerate(matrix):
        axes.text(j, i, f"{number:g}", ha="center", va="center", fontsize=9, color=INK)
    axes.plot(
        [-0.5, w - 0.5, w - 0.5, -0.5, -0.5], [-0.5, -0.5, h - 0.5, h - 0.5, -0.5],
        color=VERMILION, linewidth=2.5, clip_on=False, zorder=3,
    )  # fmt: skip
    axes.set_xticks(np.arange(matrix.shape[1] + 1) - 0.5, [])
    axes.set_yticks(np.arange(matrix.shape[0] + 1) - 0.5, [])
    axes.tick_params(length=0)
    axes.grid(color=GREY, linewidth=0.4)
    axes.set_title(title, fontsize=11)
course.show(figure, folder / "im2col.png")

# %% [markdown]
# In `im2col.png`, the frame marks one window: nine pixels of the image, one column of the matrix,
# one number of the output. The kernel is Laplace's. It compares a pixel with its neighbours, so a
# ramp gives 0. The bump, a 10 in place of a 6, gives -16 in its own window and 4 in the two windows
# beside it.
#
# The last picture is the `fold` of ones. It counts the windows of each pixel: the middle pixels lie
# in 4, a corner lies in 1. So `fold` does not undo `unfold`. It is the transpose of `unfold`: for
# any image $x$ and columns $c$,
#
# $$\langle \mathrm{unfold}(x),\, c \rangle = \langle x,\, \mathrm{fold}(c) \rangle$$
#
# The transpose is what backward needs.

# %%
some_x, some_columns = rng.standard_normal(ramp.shape), rng.standard_normal(windows.shape)
left = (unfold.forward(some_x, 3)[0] * some_columns).sum()
right = (some_x * fold.forward(some_columns, (4, 4), 3)[0]).sum()
course.claim("fold is the transpose of unfold", np.isclose(left, right), f"{left} and {right}")
same_gradient = np.array_equal(
    unfold.backward(some_columns, window_cache), fold.forward(some_columns, (4, 4), 3)[0]
)
course.claim("the backward of unfold is fold", same_gradient, "other numbers")

image_bytes = grey.astype(np.float32).nbytes
matrix_bytes = unfold.forward(grey.astype(np.float32), kernel_size=3, padding=1)[0].nbytes
print(f"the photograph takes {image_bytes:,} bytes, its windows {matrix_bytes:,}")
course.claim(
    "the matrix takes nine times the memory", matrix_bytes == 9 * image_bytes,
    f"{matrix_bytes / image_bytes:g} times",
)  # fmt: skip

# %% [markdown]
# The product has a price: each pixel is written nine times, and the matrix takes nine times the
# memory of the image. Lesson 12 shows how to compute the product without the matrix.
#
# ## Exercises
#
# `python -m examples.solutions 1.1` shows the solution of the first exercise and runs it.
#
# 1. Find the 3x3 kernel that moves an image to the right by one pixel. Check:
#    `(conv(spot, kernel)[:, 1:] == spot[1:-1, 1:-2]).all()`. Which kernel would `np.convolve` need?
# 2. Keep the spot of the 2x2 means in its place. Pad the image yourself (`np.pad`) and call `conv`
#    with `padding=0`. Check: `centre` is (16, 16) again after 8 layers.
# 3. Sobel's kernel is a column times a row. Find both. Check that the two convolutions, one after
#    the other, give `across` to 1e-12. How many products does each pixel take now, in place of 9?
