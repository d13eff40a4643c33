# %% [markdown]
# # A convolution by hand
#
# A convolution slides a small window over an image and writes down one number at each place. That
# is all, and yet three things about it surprise people who have used it for years: it is not a
# convolution, its kernels have odd sizes for a reason, and fast libraries do it as one product of
# matrices. We do each by hand and hold it against `minicnn.ops`.
#
# Run it with `python examples/01_a_convolution_by_hand.py` (a few seconds; it has no options). It
# uses a photograph that comes with scikit-learn. The pictures go to
# `runs/01_a_convolution_by_hand/`.

# %%
import argparse
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_image

from minicnn import viz
from minicnn.ops import conv2d, fold, unfold
from minicnn.viz.paper import BLUE, GREY, INK, VERMILION, empty, shades

parser = argparse.ArgumentParser(description="A convolution by hand, and by the library.")
parser.parse_args([] if "ipykernel" in sys.modules else None)  # a notebook has none
folder = Path("runs/01_a_convolution_by_hand")

# %% [markdown]
# ## The sliding window
#
# At every place lay the kernel on the image, multiply what lies on top of each other, and add up:
#
#     y[i, j] = sum over r, s of weight[r, s] * x[i + r, j + s]


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
np.testing.assert_allclose(by_hand(x, weight), conv(x, weight), rtol=1e-12)
print(f"{x.shape} and a kernel {weight.shape} give {conv(x, weight).shape}, by hand as by minicnn")

# %% [markdown]
# ## It is not a convolution
#
# Mathematics and NumPy mean something else by the word: a convolution turns the kernel around
# first. What we did above they call a cross-correlation.

# %%
signal, taps = np.array([1.0, 2, 3, 4]), np.array([1.0, 0, -1])
ours = conv(signal[None], taps[None])[0]
theirs = np.convolve(signal, taps, mode="valid")
print(f"minicnn {ours}, np.convolve {theirs}, np.correlate {np.correlate(signal, taps)}")
assert (ours == np.correlate(signal, taps)).all()
assert (ours == np.convolve(signal, taps[::-1], mode="valid")).all()
assert (ours == -theirs).all()

# %% [markdown]
# The clearest view of a kernel is its answer to a single bright pixel. We take a kernel that shows
# which way up it is, a letter F, and send the pixel through the layer: forward, and, as if it were
# a gradient, backward.

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
assert (forward[3:8, 3:8] == letter[::-1, ::-1]).all()
assert (backward[3:8, 3:8] == letter).all()

figure = empty(9, 2.7)
for axes, picture, title in zip(
    figure.subplots(1, 4),
    (letter, pixel, forward, backward),
    ("the kernel", "one bright pixel", "through forward", "through backward"),
    strict=True,
):
    axes.imshow(picture, cmap=shades("white", BLUE))
    axes.set_title(title, fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])
viz.save(figure, folder / "turned.png")

# %% [markdown]
# In `turned.png` forward stands the F on its head, and backward stands it up again. Forward lets
# each output look through the window, so the output to the lower right of the pixel sees it in the
# upper left of its window: the kernel appears turned by half a turn. Backward sends the gradient of
# an output to the pixels of its window, so it stamps the kernel as it is. A sum of stamps is what
# mathematics calls a convolution: **the forward pass of a convolution is a correlation, and its
# backward pass is a convolution.**
#
# Why did nobody turn the kernel in forward? Because kernels are learned. A network that needs the F
# upright learns it on its head, and nobody notices. It matters to whoever brings kernels from a
# book on signals, as we shall with an edge filter: its sign changes.

# %% [markdown]
# ## What happens at the edge
#
# A window that has to lie inside the image has fewer places than the image has pixels: `valid`
# loses `kernel - 1`. To keep the size, `same` puts that many zeros around. They are not harmless:
# the mean over 3x3 of an image of ones should be one.

# %%
ones, mean3 = np.ones((5, 6)), np.full((3, 3), 1 / 9)
valid, same = conv(ones, mean3, padding="valid"), conv(ones, mean3, padding="same")
print(f"valid {valid.shape}, same {same.shape}:\n{np.round(9 * same).astype(int)} / 9")
assert (valid.shape, same.shape) == ((3, 4), (5, 6))
np.testing.assert_allclose([same[0, 0], same[0, 1], same[1, 1]], [4 / 9, 6 / 9, 1])

# %% [markdown]
# Four ninths in the corner, six at the side. A network can tell by this where the border is.
#
# `kernel - 1` zeros go half before and half after, which works for odd kernels. A 2x2 kernel needs
# one zero, and one does not halve. minicnn, like PyTorch, puts it after. Is half a pixel worth a
# thought? Stack a few layers. Here a spot is blurred again and again, by means over 3x3 and by
# means over 2x2, and now and then we ask where its centre of mass is.

# %%
size = 33
rows, columns = np.mgrid[:size, :size]
spot = ((rows - 16) ** 2 + (columns - 16) ** 2 <= 9).astype(np.float64)


def centre(image: np.ndarray) -> tuple[float, float]:
    mass = image.sum()
    return float((image * rows).sum() / mass), float((image * columns).sum() / mass)


figure = empty(9, 4.9)
for line, k in zip(figure.subplots(2, 4), (3, 2), strict=True):
    image, depth = spot, 0
    for axes, layers in zip(line, (0, 4, 8, 16), strict=True):
        while depth < layers:
            image, depth = conv(image, np.full((k, k), 1 / k**2), padding="same"), depth + 1
        down, right = (place - 16 for place in centre(image))
        np.testing.assert_allclose([down, right], -layers / 2 if k == 2 else 0, atol=0.01)
        axes.imshow(image, cmap=shades("white", BLUE), vmin=0)
        axes.axhline(16, color=VERMILION, linewidth=0.8)
        axes.axvline(16, color=VERMILION, linewidth=0.8)
        axes.set_title(f"{layers} layers: moved by {round(down, 1) + 0.0}", fontsize=11)
        axes.set_xticks([])
        axes.set_yticks([])
    line[0].set_ylabel(f"means over {k}x{k}", fontsize=11)
viz.save(figure, folder / "even_kernels.png")

# %% [markdown]
# In `even_kernels.png` the spot of the 3x3 means stays where it was, on the cross. That of the 2x2
# means walks to the upper left, half a pixel a layer: four pixels after 8 layers, eight after 16.
# That is why nearly every kernel you will meet is 1x1, 3x3, 5x5 or 7x7.

# %% [markdown]
# ## Stride, and the formula for the size
#
# With a stride the window jumps. Whoever designs a network computes sizes all day:
#
#     out = floor((size + 2*padding - dilation*(kernel - 1) - 1) / stride) + 1
#
# The floor hides something: pixels that no window reaches. They are easy to count, for their
# gradient is exactly 0.

# %%
layers = [
    # what, size, kernel, stride, padding, dilation, out and unseen as the text says
    ("LeNet-5, the first layer", 28, 5, 1, 0, 1, 24, 0),
    ("LeNet-5, the second", 12, 5, 1, 0, 1, 8, 0),
    ("ResNet-20, where it halves", 32, 3, 2, 1, 1, 16, 0),
    ("ResNet-18, the first layer", 224, 7, 2, 3, 1, 112, 0),
    ("AlexNet's paper", 224, 11, 4, 0, 1, 54, 1),
    ("AlexNet, as it is built", 224, 11, 4, 2, 1, 55, 0),
    ("dilated", 16, 3, 1, 4, 4, 16, 0),
    ("does not divide", 8, 3, 2, 0, 1, 3, 1),
    ("stride beyond the kernel", 10, 2, 3, 0, 1, 3, 4),
]
print(f"{'':28}size kernel stride padding dilation  out  pixels unseen (along a row)")
for what, size, kernel, stride, padding, dilation, *expected in layers:
    out = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    row, taps = np.ones((1, 1, 1, size)), np.ones((1, 1, 1, kernel))
    y, cache = conv2d.forward(
        row, taps, stride=(1, stride), padding=(0, padding), dilation=(1, dilation)
    )
    dx, _, _ = conv2d.backward(np.ones_like(y), cache)
    unseen = int((dx == 0).sum())
    print(f"{what:28}{size:4}{kernel:7}{stride:7}{padding:8}{dilation:9}{out:5}{unseen:8}")
    assert [y.shape[-1], unseen] == [out, unseen] == expected

# %% [markdown]
# Look at AlexNet. Its paper (Krizhevsky et al. 2012) says images of 224, kernels of 11, a stride of
# 4, and an output of 55. The formula says 54.25 before the floor. Something like two pixels of
# padding must have been there, and everybody who rebuilt it had to find out. Compute sizes; do not
# copy them.

# %% [markdown]
# ## Edges in a photograph
#
# A kernel whose weights add up to 0 is blind to what is constant and answers to change. Sobel's
# takes the difference of left and right, averaged over three rows; turned by a quarter it takes the
# difference of above and below. The grey image is itself a convolution, of 1x1: each output is a
# mixture of red, green and blue (the weights are those of television, ITU-R BT.601).

# %%
photograph = load_sample_image("china.jpg")  # (427, 640, 3), bytes
image = photograph.transpose(2, 0, 1)[None] / 255
television = np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
grey, _ = conv2d.forward(image, television)

sobel = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
bank = np.stack([sobel, sobel.T])[:, None]  # (2, 1, 3, 3): two kernels, two output channels
edges, _ = conv2d.forward(grey, bank)
across, down = edges[0]
strength = np.hypot(across, down)
constant, _ = conv2d.forward(np.ones_like(grey), bank)
assert edges.shape == (1, 2, 425, 638)
assert (constant == 0).all()
turned, _ = conv2d.forward(grey, bank[..., ::-1, ::-1])
np.testing.assert_allclose(turned, -edges, atol=1e-12)

figure = empty(9, 6.6)
grey_shades, signed = shades("black", "white"), shades(BLUE, "white", VERMILION)
panels = [
    (grey[0, 0], "grey, by a 1x1 kernel", grey_shades, 0, 1),
    (across, "left to right", signed, -2, 2),
    (down, "top to bottom", signed, -2, 2),
    (strength, "strength of both", shades("white", INK), 0, 2),
]
for axes, (picture, title, colours, low, high) in zip(
    figure.subplots(2, 2).flat, panels, strict=True
):
    axes.imshow(picture, cmap=colours, vmin=low, vmax=high)
    axes.set_title(title, fontsize=11)
    axes.set_xticks([])
    axes.set_yticks([])
viz.save(figure, folder / "edges.png")

# %% [markdown]
# In `edges.png` vermilion is where it gets lighter, to the right or downwards, and blue where it
# gets darker. The columns of the temple stand out in the second picture and are gone in the third,
# where the roofs are. The sky is blank in both: nothing changes there. Turn the kernels around, as
# a book on signals would have it, and the two colours change places.
#
# The first layer of a network is such a bank, of 64 kernels instead of 2, and nobody tells it to
# look for edges. It finds them by itself.

# %% [markdown]
# ## One product of matrices
#
# A kernel at one place is an inner product of nine numbers with nine numbers. Many inner products
# are a product of matrices, which computers are best at. So write each window as a column
# (`unfold`, also called im2col) and the kernel as a row. `fold` puts columns back into an image and
# adds up where they overlap: so the gradient of the columns becomes the gradient of the image.

# %%
x = np.arange(1.0, 17).reshape(1, 1, 4, 4)
x[0, 0, 1, 1] += 4  # a ramp with a bump
kernel = np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])  # Laplace's: neighbours against the middle
columns, cache = unfold.forward(x, kernel_size=3)
product = kernel.reshape(1, 9) @ columns[0]
np.testing.assert_allclose(product.reshape(2, 2), by_hand(x[0, 0], kernel))
assert product.tolist() == [[-16, 4, 4, 0]]

counts, _ = fold.forward(np.ones_like(columns), output_size=(4, 4), kernel_size=3)
assert (counts[0, 0, :2, :2] == [[1, 2], [2, 4]]).all()

# %%
figure = empty(9.6, 3.8)
grid = figure.add_gridspec(1, 5, width_ratios=[4, 9, 4, 4, 4])


def draw(place: int, matrix: np.ndarray, title: str, window: tuple[int, int]) -> None:
    """Draw the numbers of a matrix; the first window (h, w) in a frame."""
    axes = figure.add_subplot(grid[place])
    axes.imshow(matrix, cmap=shades("white", BLUE), vmin=0, vmax=32)
    for (i, j), number in np.ndenumerate(matrix):
        axes.text(j, i, f"{number:g}", ha="center", va="center", fontsize=9, color=INK)
    h, w = window
    axes.plot(
        [-0.5, w - 0.5, w - 0.5, -0.5, -0.5], [-0.5, -0.5, h - 0.5, h - 0.5, -0.5],
        color=VERMILION, linewidth=2.5, clip_on=False, zorder=3,
    )  # fmt: skip
    axes.set_xticks(np.arange(matrix.shape[1] + 1) - 0.5, [])
    axes.set_yticks(np.arange(matrix.shape[0] + 1) - 0.5, [])
    axes.tick_params(length=0)
    axes.grid(color=GREY, linewidth=0.4)
    axes.set_title(title, fontsize=11)


draw(0, x[0, 0], "the image", (3, 3))
draw(1, kernel.reshape(1, 9), "the kernel as a row,", (1, 9))
draw(2, columns[0], "times its windows\nas columns,", (9, 1))
draw(3, product, "gives the output.", (1, 1))
draw(4, counts[0, 0], "fold of ones", (3, 3))
viz.save(figure, folder / "im2col.png")

# %% [markdown]
# In `im2col.png` the frame marks one window: nine pixels of the image, one column of the matrix,
# one number of the output. The kernel is Laplace's, which compares a pixel with its neighbours: a
# ramp gives 0, and only the 10, which should be a 6, gives -16, and 4 in the windows beside it.
#
# On the right `fold` has added up a one from each window: the middle pixels lie in all 4, a corner
# in 1. So `fold` does not undo `unfold`. It is its transpose, <unfold(x), c> = <x, fold(c)> for any
# x and c, and that is what backward needs.

# %%
some_x, some_columns = rng.standard_normal(x.shape), rng.standard_normal(columns.shape)
left = (unfold.forward(some_x, 3)[0] * some_columns).sum()
right = (some_x * fold.forward(some_columns, (4, 4), 3)[0]).sum()
np.testing.assert_allclose(left, right, rtol=1e-12)
np.testing.assert_array_equal(
    unfold.backward(some_columns, cache), fold.forward(some_columns, (4, 4), 3)[0]
)

picture = grey.astype(np.float32)
matrix, _ = unfold.forward(picture, kernel_size=3, padding=1)
print(f"the photograph takes {picture.nbytes:,} bytes, its windows {matrix.nbytes:,}")
assert matrix.nbytes == 9 * picture.nbytes

# %% [markdown]
# The price: each pixel is written nine times, and the matrix takes nine times the memory of the
# image. How to have the product without the matrix is the story of the lesson on speed.
#
# ## Exercises
#
# 1. Find the 3x3 kernel that moves an image by one pixel to the right. Check:
#    `(conv(spot, kernel)[:, 1:] == spot[1:-1, 1:-2]).all()`. Which one would `np.convolve` need?
# 2. Let the 2x2 means stand still: give `conv` an image that you have padded yourself (`np.pad`),
#    before in one layer and after in the next, with `padding=0`. Check: `centre` is (16, 16) again
#    after 8 layers.
# 3. Sobel's kernel is a column times a row. Which? Check that the two convolutions one after the
#    other give `across` to 1e-12, with 6 products for each pixel in the place of 9.
