"""What the maps are, on networks so small that the answer is known, and that nothing is changed."""

from __future__ import annotations

import numpy as np
import pytest

import minicnn
from minicnn import ShapeError, insight, models, nn
from tests.arrays import assert_close, whole_networks


def linear_network() -> nn.Sequential:
    """Return a convolution, ReLU, a mean over the pixels and two classes."""
    rng = np.random.default_rng(0)
    return nn.Sequential(
        conv=nn.Conv2d(2, 3, 3, padding=1, rng=rng, dtype=np.float64),
        relu=nn.ReLU(),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(3, 2, rng=rng, dtype=np.float64),
    )


def image(n: int = 3) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((n, 2, 6, 7))


def untouched(model: nn.Module):
    """Return all that a look must leave as it is."""
    return (
        {name: p.grad.tobytes() for name, p in model.named_parameters()},
        {name: p.trainable for name, p in model.named_parameters()},
        {name: a.tobytes() for name, a in model.state_dict().items()},
        {name: sorted(vars(m)) for name, m in model.named_modules()},
    )


def test_class_activation_maps_are_what_grad_cam_generalises():
    """Before a mean and a linear layer, Grad-CAM is the class's weights over the number of pixels.

    Selvaraju et al. (2017), section 3.1.
    """
    model, x = linear_network(), image()
    with insight.watching(model, "relu") as seen:
        y = model(x)
    for target in (1, [1, 0, 1], None):
        chosen = np.broadcast_to(y.argmax(axis=1) if target is None else target, 3)
        cam = np.einsum("nc,nchw->nhw", model.fc.weight.data[chosen], seen["relu"].y) / 42
        assert_close(insight.grad_cam(model, x, "relu", target), np.maximum(cam, 0), "map")


def test_saliency_is_the_slope_of_the_score():
    model, x = linear_network(), image()
    ours, step = insight.saliency(model, x, 1), 1e-6
    for i, j in ((0, 0), (2, 6), (5, 3)):
        slopes = []
        for c in range(2):
            plus, minus = x.copy(), x.copy()
            plus[:, c, i, j] += step
            minus[:, c, i, j] -= step
            slopes.append((model(plus) - model(minus))[:, 1] / (2 * step))
        assert np.allclose(ours[:, i, j], np.abs(slopes).max(axis=0), atol=1e-8)


def test_occlusion_of_a_sum_is_the_mean_over_the_patches():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 1, rng=np.random.default_rng(0)))
    model[1].weight.data[...] = 1
    x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    ours = insight.occlusion(model, x, size=2, stride=2)
    patches = {(i, j): x[0, 0, i : i + 2, j : j + 2].sum() for i in (0, 1) for j in (0, 2)}
    expected = np.zeros((3, 4))
    expected[0] = np.repeat([patches[0, 0], patches[0, 2]], 2)
    expected[2] = np.repeat([patches[1, 0], patches[1, 2]], 2)
    expected[1] = (expected[0] + expected[2]) / 2  # covered by both
    assert np.allclose(ours[0], expected)


def test_occlusion_runs_no_more_images_at_a_time_than_it_is_told():
    class Counted(nn.Sequential):
        def forward(self, x, *, training):
            runs.append(len(x))
            return super().forward(x, training=training)

    runs: list[int] = []
    model, x = Counted(*linear_network()), image()
    cut = insight.occlusion(model, x, size=5, batch=2)
    assert runs == [2, 1, *[2, 2, 2] * 3]  # the images, then the six places of each
    assert_close(cut, insight.occlusion(model, x, size=5), "fall")
    assert insight.occlusion(model, x[:0]).shape == (0, 6, 7)


def test_nothing_is_changed_by_looking():
    model, x = linear_network(), image()
    model.fc.weight.grad += 1
    model.conv.freeze()
    before = untouched(model), x.tobytes()
    rng = np.random.default_rng(0)
    insight.saliency(model, x)
    insight.grad_cam(model, x, "conv")
    insight.occlusion(model, x, size=3, stride=2)
    insight.maximize(model, "relu", [0, 2], (2, 6, 7), steps=2, rng=rng)
    insight.effective_field(model, x, "conv", rng=rng)
    assert (untouched(model), x.tobytes()) == before


def test_maximize_finds_the_kernel_of_a_convolution():
    """What one place of a linear filter answers to most is the filter itself."""
    model = nn.Sequential(nn.Conv2d(1, 2, 5, rng=np.random.default_rng(0)))
    found = insight.maximize(
        model, "0", [1, 0], (1, 5, 5), steps=50, jitter=0, blur=0, decay=0.1,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    for image, channel in zip(found, (1, 0), strict=True):
        kernel = model[0].weight.data[channel]
        cosine = (image * kernel).sum() / np.linalg.norm(image) / np.linalg.norm(kernel)
        assert cosine > 0.999


def smeared(image: np.ndarray, std: float) -> np.ndarray:
    """Return (h, w), each pixel the mean of all, weighed by a Gaussian of their distance to it."""
    smeared, (p, q) = np.empty_like(image), np.indices(image.shape)
    for i, j in np.ndindex(image.shape):
        weight = np.exp(-((p - i) ** 2 + (q - j) ** 2) / (2 * std**2))
        smeared[i, j] = (weight * image).sum() / weight.sum()
    return smeared


def test_a_step_of_maximize_is_what_it_says():
    """Moved, climbed, moved back, blurred and shrunk: replayed by hand with the same draws."""
    model, h, w = linear_network(), 6, 7
    ours = insight.maximize(
        model, "relu", [2, 0], (2, h, w), steps=1, lr=0.3, decay=0.2, blur=0.7, jitter=2,
        rng=np.random.default_rng(8),
    )  # fmt: skip
    rng = np.random.default_rng(8)
    x = 0.1 * rng.standard_normal((2, 2, h, w))
    down, right = rng.integers(-2, 3, 2)
    assert 0 not in (down, right)
    assert down != right  # so that neither a wrong sign nor exchanged axes go unseen
    for n, channel in enumerate((2, 0)):
        kernel, bias = model.conv.weight.data[channel], model.conv.bias.data[channel]
        inside = np.zeros((2, h + 2, w + 2))  # the moved image, in a rim of padding
        for i, j in np.ndindex(h, w):
            inside[:, 1 + (i + down) % h, 1 + (j + right) % w] = x[n, :, i, j]
        slope = np.zeros_like(inside)
        for i, j in np.ndindex(h, w):
            if (inside[:, i : i + 3, j : j + 3] * kernel).sum() + bias > 0:
                slope[:, i : i + 3, j : j + 3] += kernel / (h * w)
        back = np.empty((2, h, w))
        for i, j in np.ndindex(h, w):
            back[:, i, j] = slope[:, 1 + (i + down) % h, 1 + (j + right) % w]
        climbed = x[n] + 0.3 * back / np.sqrt((back**2).mean())
        expected = 0.8 * np.stack([smeared(plane, 0.7) for plane in climbed])
        assert_close(ours[n], expected, f"channel {channel}")


@whole_networks
def test_maximize_raises_what_it_says():
    model = models.lenet5(rng=np.random.default_rng(0))
    rng = np.random.default_rng(1)
    options = {"channels": [0, 3, 5], "image": (1, 28, 28)}
    means = []
    for steps in (0, 20):
        found = insight.maximize(model, "conv2", **options, steps=steps, rng=rng)
        with insight.watching(model, "conv2") as seen:
            model(found)
        means.append(seen["conv2"].y[np.arange(3), [0, 3, 5]].mean(axis=(1, 2)))
    before, after = means
    assert (after > before + 0.1).all()
    classes = insight.maximize(model, "", [7], (1, 28, 28), steps=20, rng=rng)
    assert model(classes).argmax() == 7


def test_gradient_norms_list_weights_in_the_order_of_layers():
    model, x = linear_network(), image()
    y, cache = model.forward(x, training=True)
    model.backward(np.ones_like(y), cache)
    norms = insight.gradient_norms(model)
    assert list(norms) == ["conv.weight", "fc.weight"]
    grad = model.fc.weight.grad
    assert norms["fc.weight"] == pytest.approx(np.linalg.norm(grad) / np.sqrt(grad.size))


# ------------------------------------------------------------------------------- effective fields


def test_the_effective_field_of_two_convolutions_is_their_kernels_smeared():
    rng = np.random.default_rng(0)
    model = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, rng=rng, dtype=np.float64)] * 2)
    kernel = model[0].weight.data[0, 0]
    both = np.zeros((5, 5))
    for r in range(3):
        for s in range(3):
            both[r : r + 3, s : s + 3] += kernel[r, s] * kernel
    expected = np.zeros((9, 8))
    expected[2:7, 2:7] = both
    x, draw = np.zeros((3, 1, 9, 8)), np.random.default_rng(5).standard_normal((3, 1))
    ours = insight.effective_field(model, x, rng=np.random.default_rng(5))
    assert_close(ours, np.abs(expected) * np.abs(draw).mean(), "field")
    corner = insight.effective_field(model, x, unit=(0, 0), rng=np.random.default_rng(5))
    around = np.zeros((4, 4))  # from pixel -1 on; of the nine units between, four are no padding
    for r in range(2):
        for s in range(2):
            around[r : r + 3, s : s + 3] += kernel[r + 1, s + 1] * kernel
    assert_close(corner[:3, :3], np.abs(around[1:, 1:]) * np.abs(draw).mean(), "corner")
    assert not corner[3:].any()


def test_a_gaussian_is_found_again():
    true = insight.Gaussian(3.0, (9.3, 14.8), (2.5, 4.0), 1.0)
    values = true(20, 31)
    found = insight.fit_gaussian(values)
    assert np.allclose([found.height, *found.centre, *found.std], [3, 9.3, 14.8, 2.5, 4], rtol=1e-6)
    assert found.r2 > 1 - 1e-9
    noisy = values + np.abs(np.random.default_rng(0).normal(0, 0.05, values.shape))
    found = insight.fit_gaussian(noisy)
    assert np.allclose(found.std, [2.5, 4], rtol=0.05)
    assert 0.97 < found.r2 < 1
    ramp = insight.fit_gaussian(np.arange(1.0, 31).reshape(5, 6))
    assert ramp.r2 < 1  # no peak is no error
    valley = 1.0 + (np.arange(9)[:, None] - 4.0) ** 2 + 0 * np.arange(7)
    ridge = np.exp(-((np.arange(7) - 2.0) ** 2) / 2) * valley
    fitted = insight.fit_gaussian(ridge)
    assert fitted.std[0] == np.inf
    assert fitted.centre[0] == 4.5
    assert np.allclose([fitted.std[1], fitted.centre[1]], [1, 2], rtol=2e-3)


# ------------------------------------------------------------------------------------------ errors


def test_refusals():
    model, x, rng = linear_network(), image(), np.random.default_rng(0)
    for call, text in (
        (lambda: insight.grad_cam(model, x, "fc"), "the output of fc has shape .* without rows"),
        (lambda: insight.saliency(model, x, 2), "target must be from 0 to 1, got 2"),
        (lambda: insight.saliency(model, x, [0, 1]), "a class, or one for each of 3 images"),
        (lambda: insight.saliency(nn.ReLU(), x), r"must give scores \(n, classes\)"),
        (lambda: insight.occlusion(model, x, size=2, stride=3), "Use a stride of at most 2"),
        (lambda: insight.occlusion(model, x, size=7), "a patch of 7 is larger than images of 6 x"),
        (lambda: insight.maximize(model, "fc", [2], (2, 6, 7), rng=rng), "there is no 2"),
        (
            lambda: insight.maximize(model, "fc", [], (2, 6, 7), rng=rng),
            "Name at least one channel",
        ),
        (lambda: insight.effective_field(model, x, rng=rng), "Name a layer before the image is"),
        (lambda: insight.effective_field(model, x, "conv", unit=(6, 0), rng=rng), "no unit"),
        (lambda: insight.resize(x, (3, 3)), r"maps must be \(n, h, w\)"),
    ):
        with pytest.raises(ShapeError, match=text):
            call()
    one_negative = np.where(np.eye(4) * np.arange(4) == 3, -0.5, 1.0)
    for values in (np.zeros((4, 4)), np.ones(9), one_negative, np.diag([1.0, 1, 1, 1])):
        with pytest.raises(ValueError, match="at least 5 of them positive"):
            insight.fit_gaussian(values)
    with pytest.raises(ValueError, match="decay must not be negative"):
        insight.maximize(model, "fc", [0], (2, 6, 7), decay=-1, rng=rng)
    for call in (insight.saliency, insight.receptive_field):
        with pytest.raises(ValueError, match="this network is fused"):
            call(minicnn.fuse(model), x)


def test_the_effective_field_of_the_middle_lies_in_the_middle_of_an_oblong_image() -> None:
    layer = nn.Conv2d(1, 2, 3, padding=1, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((2, 1, 9, 5)).astype(np.float32)
    field = insight.effective_field(layer, x, rng=np.random.default_rng(2))
    assert [axis.tolist() for axis in np.nonzero(field.any(axis=1))] == [[3, 4, 5]]
    assert [axis.tolist() for axis in np.nonzero(field.any(axis=0))] == [[1, 2, 3]]
