"""The pictures: what is written in them, that nothing is cut off, and the file that is left."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from minicnn.viz import confusion, curves, filters, save
from minicnn.viz.paper import INK, empty, ink_on


def texts(figure):
    """Return all that is written in a figure, as it is drawn."""
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def nothing_is_cut_off(figure):
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def metrics(epochs):
    t = np.arange(1, epochs + 1)
    return {
        "epoch": t,
        "train_loss": 2 * np.exp(-t / 3),
        "train_accuracy": 1 - 0.5 * np.exp(-t / 3),
        "validation_loss": 0.2 + np.exp(-t / 3),
        "validation_accuracy": 0.96 - 0.001 * (t - 3.0) ** 2 / epochs,
        "learning_rate": 0.1 * t / epochs,
    }


# ----------------------------------------------------------------------------------------- curves


def panel(figure, title):
    """Return the axes whose title begins so; "learning rate" is an axis of its own."""
    (axes,) = (a for a in figure.axes if (a.get_title() or a.get_ylabel()).startswith(title))
    return axes


@pytest.mark.parametrize("epochs", [1, 12, 300])
@pytest.mark.parametrize("rate", [True, False])
def test_curves_mark_the_best_epoch(epochs, rate):
    data = metrics(epochs)
    if not rate:
        del data["learning_rate"]
    figure = curves(data)
    written = texts(figure)
    assert "Accuracy" in written
    assert any(re.fullmatch(r"Accuracy, from 9\d % on", text) for text in written)
    assert any(text.startswith("Loss") for text in written)
    assert ("learning rate" in written) == rate
    assert len(figure.axes) == 3 + rate
    best = min(3, epochs)
    percent = 100 * data["validation_accuracy"][best - 1]
    assert f"best epoch: {best}, validation accuracy {percent:.2f} %" in written
    assert nothing_is_cut_off(figure)


def test_curves_draw_the_numbers_they_are_given():
    data = metrics(12)
    figure = curves(data)
    for title, column, scale, line in (
        ("Loss", "train_loss", 1, 0),
        ("Loss", "validation_loss", 1, 1),
        ("Accuracy, from", "train_accuracy", 100, 0),
        ("Accuracy, from", "validation_accuracy", 100, 1),
        ("learning rate", "learning_rate", 1, 0),
    ):
        drawn = panel(figure, title).lines[line]
        assert np.array_equal(drawn.get_xdata(), data["epoch"])
        assert np.array_equal(drawn.get_ydata(), scale * data[column])


def test_all_panels_have_the_same_epochs():
    for epochs in (1, 12):
        figure = curves(metrics(epochs), label_smoothing=0.1)
        (limits,) = {axes.get_xlim() for axes in figure.axes}
        assert limits[0] < 1
        assert epochs < limits[1] < epochs + 1
        assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
        for axes in figure.axes:
            low, high = limits
            assert all(t == round(t) for t in axes.get_xticks() if low <= t <= high)


def test_the_best_epoch_has_a_star_and_few_epochs_have_points():
    data = metrics(12)
    axes = panel(curves(data), "Accuracy, from")
    (star,) = [line for line in axes.lines if line.get_marker() == "*"]
    assert star.get_xydata().tolist() == [[3, 100 * data["validation_accuracy"][2]]]
    assert [line.get_marker() for line in axes.lines[:2]] == [".", "."]
    assert [line.get_linestyle() for line in axes.lines[:2]] == ["--", "-"]
    for epochs, marker in ((30, "."), (31, "")):
        figure = curves(metrics(epochs))
        assert panel(figure, "Accuracy, from").lines[0].get_marker() == marker
        assert panel(figure, "learning rate").lines[0].get_marker() == marker


@pytest.mark.parametrize(
    ("worst", "low"), [(0.90, 90), (0.954, 90), (0.955, 95), (0.984, 95), (0.985, 98), (0.995, 99)]
)
def test_the_enlarged_part_has_most_of_the_points(worst, low):
    values = [worst] * 3
    figure = curves(metrics(3) | {"train_accuracy": values, "validation_accuracy": values})
    assert panel(figure, f"Accuracy, from {low} % on").get_ylim()[0] == low


def test_a_loss_of_less_than_a_power_of_ten_is_linear():
    for loss, scale in (([10.0, 1.0], "linear"), ([10.1, 1.0], "log"), ([10.0, 0.0], "linear")):
        figure = curves(metrics(2) | {"train_loss": loss, "validation_loss": loss})
        axes = panel(figure, "Loss")
        assert axes.get_yscale() == scale
        assert axes.get_title() == ("Loss (logarithmic)" if scale == "log" else "Loss")


def test_losses_that_cannot_be_compared_stand_apart():
    data = metrics(12)
    figure = curves(data, label_smoothing=0.1)
    train = panel(figure, "Training loss, with label smoothing 0.1")
    validation = panel(figure, "Validation loss, without label smoothing")
    assert np.array_equal(train.lines[0].get_ydata(), data["train_loss"])
    assert [line.get_label() for line in train.lines] == ["training"]
    assert np.array_equal(validation.lines[0].get_ydata(), data["validation_loss"])
    assert nothing_is_cut_off(figure)


@pytest.mark.parametrize(
    "losses", [[2.3, 0.3], [1e-7, 9e-7], [2.30258, 2.30261], [1e-12, 1e3], [5e5, 3e4], [0.0, 0.0]]
)
def test_ticks_are_read_without_a_factor_at_any_scale(losses):
    figure = curves(metrics(2) | {"train_loss": losses, "validation_loss": losses})
    figure.draw_without_rendering()
    axes = panel(figure, "Loss")
    low, high = axes.get_ylim()
    ticks = [t for t in axes.yaxis.get_major_ticks() if low <= t.get_loc() <= high]
    assert len(ticks) >= 2
    labels = [t.label1.get_text() for t in ticks]
    assert len(set(labels)) == len(labels)
    assert [float(label) for label in labels] == pytest.approx([t.get_loc() for t in ticks], 1e-9)
    assert axes.yaxis.get_offset_text().get_text() == ""


@pytest.mark.parametrize(
    ("loss", "best"),
    [([9, 5, 4, 1], 3), ([9, 4, 5, 1], 2), ([9, 4, 4, 1], 2), ([9, np.nan, 4, 1], 3)],
)
def test_of_equally_accurate_epochs_the_lowest_loss_is_best(loss, best):
    data = metrics(4) | {"validation_accuracy": [0.5, 0.7, 0.7, 0.6], "validation_loss": loss}
    assert f"best epoch: {best}, validation accuracy 70.00 %" in texts(curves(data))


def test_scales_follow_the_numbers():
    flat = {"train_loss": [0.9, 0.8], "validation_loss": [0.9, 0.8]}
    low = {"train_accuracy": [0.3, 0.5], "validation_accuracy": [0.3, 0.5]}
    figure = curves(metrics(2) | flat | low)
    assert len(figure.axes) == 3  # nothing to enlarge
    assert panel(figure, "Loss").get_yscale() == "linear"
    assert panel(curves(metrics(12)), "Loss").get_yscale() == "log"
    perfect = {"train_accuracy": [1.0, 1.0], "validation_accuracy": [1.0, 1.0]}
    for worst in (0.0, 0.42, 0.95, 1.0):  # every point lies within the panel, from 0 to 100 %
        perfect["train_accuracy"][0] = worst
        figure = curves(metrics(2) | perfect)
        whole = next(axes for axes in figure.axes if axes.get_title() == "Accuracy")
        assert whole.get_yscale() == "linear"
        assert whole.get_ylim()[0] == 0
        assert whole.get_ylim()[1] > 100
    enlarged = panel(figure, "Accuracy, from 99 % on")
    assert enlarged.get_ylim()[0] == 99


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_leaves_a_gap(value):
    data = metrics(6)
    data["train_loss"][3:] = value
    figure = curves(data)
    assert any("gaps: not finite" in text for text in texts(figure))
    assert np.isnan(figure.axes[0].lines[0].get_ydata()[3:]).all()
    assert np.array_equal(data["train_loss"][3:], [value] * 3, equal_nan=True)  # not written to


def test_curves_of_nothing_but_nan(tmp_path):
    data = {name: [np.nan] * 3 for name in metrics(3)} | {"epoch": [1, 2, 3]}
    figure = curves(data)
    assert not any("best" in text for text in texts(figure))
    save(figure, tmp_path / "curves.png")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"epoch": []}, "the columns must be equally long, got {'epoch': 0, 'train_loss': 3"),
        ({"train_accuracy": [0.1, 0.2, 98.0]}, "train_accuracy must lie between 0 and 1. Divide"),
        ({name: [] for name in metrics(1)}, "there is no epoch to draw. Train for at least one."),
    ],
)
def test_curves_refuse(change, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        curves(metrics(3) | change)


def test_curves_name_the_columns_that_are_missing():
    with pytest.raises(ValueError, match=r"the metrics lack train_loss, validation_accuracy\."):
        curves({"epoch": [1], "train_accuracy": [1], "validation_loss": [1]})


# -------------------------------------------------------------------------------------- confusion


@pytest.mark.parametrize("k", [2, 10, 26, 100])
def test_confusion_writes_counts_names_and_accuracy(k):
    rng = np.random.default_rng(k)
    matrix = np.diag(rng.integers(900, 1100, k))
    matrix[0, 1], matrix[k - 1, 0] = 7, 13
    figure = confusion(matrix, [f"class {i}" for i in range(k)])
    written = texts(figure)
    right, total = np.trace(matrix), matrix.sum()
    assert f"Accuracy {100 * right / total:.2f} %  ({right:,} of {total:,})" in written
    assert {"true", "predicted", "class 0", f"class {k - 1}", "7", "13"} <= set(written)
    assert {str(count) for count in matrix.diagonal()} <= set(written)
    assert nothing_is_cut_off(figure)


def test_confusion_has_true_rows_and_predicted_columns():
    axes = confusion(np.array([[5, 2], [0, 4]]), ["a", "b"]).axes[0]
    cells = {t.get_text(): t.get_position() for t in axes.texts}
    assert cells == {"5": (0, 0), "2": (1, 0), "4": (1, 1)}  # (column, row); the zero is left out
    assert axes.get_ylim() == (1.5, -0.5)  # the first row on top


def test_errors_are_seen_beside_a_dominant_diagonal():
    matrix = np.diag([10_000] * 3)
    matrix[0, 1] = 2
    wrong, right = confusion(matrix, ["a", "b", "c"]).axes[0].images
    share = 2 / 10_002
    assert np.allclose(wrong.to_rgba(share), (213 / 255, 94 / 255, 0, 1))  # the full colour
    assert np.allclose(right.to_rgba(1.0), (0, 114 / 255, 178 / 255, 1))


@pytest.mark.parametrize(("k", "longest"), [(2, 1), (10, 5), (30, 10)])
def test_a_confusion_matrix_fits_a_page_and_its_letters_fit_their_cells(k, longest):
    figure = confusion(100 * np.eye(k, dtype=int), ["n" * longest] * k)
    assert 3 < min(figure.get_size_inches()) <= max(figure.get_size_inches()) < 12
    figure.draw_without_rendering()
    axes = figure.axes[0]
    cell = axes.get_window_extent().width / k
    assert all(text.get_window_extent().width <= cell for text in axes.texts[:5])
    labels = [label.get_window_extent() for label in axes.get_yticklabels()[:5]]
    assert all(one.y0 >= other.y1 - 2 for one, other in itertools.pairwise(labels))


def test_long_names_below_a_matrix_stand_upright():
    for name, turn in (("cat", 0), ("a rather long name", 90)):
        axes = confusion(np.eye(10, dtype=int), [name] * 10).axes[0]
        assert {label.get_rotation() for label in axes.get_xticklabels()} == {turn}
        assert {label.get_rotation() for label in axes.get_yticklabels()} == {0}


def test_the_scale_of_errors_ends_at_the_largest_share():
    matrix = np.array([[97, 3], [20, 80]])
    bar = confusion(matrix, ["a", "b"]).axes[1]
    assert bar.get_ylim() == pytest.approx((0, 0.2))
    assert bar.get_ylabel() == "errors, share of the true class"
    assert bar.yaxis.get_major_formatter()(0.125, 0) == "12.5 %"
    assert confusion(np.eye(2, dtype=int), ["a", "b"]).axes[1].get_ylim()[1] > 0  # without errors


def test_counts_stand_out_from_their_cells():
    assert ink_on((1, 1, 1)) == INK
    assert ink_on((0, 0, 0)) == ink_on((0, 114 / 255, 178 / 255)) == "white"
    axes = confusion(np.array([[99, 1], [60, 40]]), ["a", "b"]).axes[0]
    colours = {t.get_text(): t.get_color() for t in axes.texts}
    assert colours == {"99": "white", "1": INK, "60": INK, "40": INK}


def test_a_class_never_right_and_a_class_never_seen():
    written = texts(confusion(np.array([[0, 3], [0, 0]]), ["a", "b"]))
    assert written.count("0") == 2  # the diagonal is written, also where it is zero
    assert "Accuracy 0.00 %  (0 of 3)" in written


def test_odd_names_are_written_as_they_are():
    names = ["$x$ and $y$", "a_b^c", "a class with a very long name indeed"]
    figure = confusion(np.eye(3, dtype=int), names)
    written = texts(figure)
    assert {"$x$ and $y$", "a_b^c", "a class with a very lon…"} <= set(written)
    axes = figure.axes[0]
    labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    assert not any(label.get_parse_math() for label in labels)  # $ is a letter
    assert nothing_is_cut_off(figure)


def test_more_classes_than_can_be_written():
    written = texts(confusion(5 * np.eye(250, dtype=int), [f"c{i}" for i in range(250)]))
    assert "5" not in written
    assert {"c0", "c248"} & set(written) == {"c0"}  # one name in three


@pytest.mark.parametrize(
    ("matrix", "error", "text"),
    [
        (np.eye(2), TypeError, "matrix must hold counts, integers, got float64. Use matrix.astype"),
        (np.eye(3, dtype=int), ValueError, "shape (3, 3), but 2 class names need (2, 2)"),
        (np.array([[1, -1], [0, 1]]), ValueError, "matrix has a negative count."),
        (np.zeros((2, 2), int), ValueError, "matrix counts no image. Evaluate on at least one."),
    ],
)
def test_confusion_refuses(matrix, error, text):
    with pytest.raises(error, match=re.escape(text)):
        confusion(matrix, ["a", "b"])


# ---------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1, 1), (6, 1, 5, 5), (10, 1, 3, 7), (64, 3, 7, 7), (1, 3, 7, 7), (20, 6, 5, 5)],
)
def test_every_filter_is_drawn_and_numbered(shape):
    weight = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    figure = filters(weight)
    o, c, kh, kw = shape
    written = texts(figure)
    assert {str(number) for number in range(o)} <= set(written)
    count = "1 filter" if o == 1 else f"{o} filters"
    mean = "" if c in (1, 3) else f", mean of {c} channels"
    assert f"First layer: {count} of {kh} x {kw}{mean}" in written
    assert ("weight" in written) == (c != 3)  # the colour bar
    assert nothing_is_cut_off(figure)

    images = figure.axes[0].images
    assert len(images) == o
    scale = np.abs(weight.mean(axis=1)).max() if c != 3 else np.abs(weight).max()
    for image, filter_ in zip(images, weight, strict=True):
        shown = image.get_array()
        if c == 3:
            assert np.allclose(shown, 0.5 + filter_.transpose(1, 2, 0) / (2 * scale), atol=1e-6)
        else:
            assert np.allclose(shown, filter_.mean(axis=0), atol=1e-6)
            assert -image.norm.vmin == image.norm.vmax == pytest.approx(scale)
            assert np.allclose(image.to_rgba(0.0), 1, atol=0.01)  # 0 is white
        left, right, bottom, top = image.get_extent()
        assert (right - left, bottom - top) == pytest.approx((kw, kh))  # square weights


def overlap(boxes):
    """Return whether two of the boxes (left, right, top, bottom) share an area."""
    return any(
        a[0] < b[1] - 1e-9 and b[0] < a[1] - 1e-9 and a[2] < b[3] - 1e-9 and b[2] < a[3] - 1e-9
        for a, b in itertools.combinations(boxes, 2)
    )


@pytest.mark.parametrize(
    ("shape", "by_channel", "columns"),
    [((6, 1, 5, 5), False, 6), ((20, 2, 3, 3), False, 7), ((64, 3, 3, 5), False, 8),
     ((65, 1, 3, 3), False, 13), ((4, 3, 5, 3), True, 4)],
)  # fmt: skip
def test_filters_stand_in_rows_each_in_its_frame_with_its_number(shape, by_channel, columns):
    axes = filters(np.random.default_rng(0).standard_normal(shape), by_channel=by_channel).axes[0]
    boxes = [(left, right, top, bottom) for left, right, bottom, top in
             (image.get_extent() for image in axes.images)]  # fmt: skip
    assert len({left for left, *_ in boxes}) == columns
    assert not overlap(boxes)
    (x0, x1), (y1, y0) = axes.get_xlim(), axes.get_ylim()
    for (left, right, top, bottom), frame in zip(boxes, axes.lines, strict=True):
        x, y = frame.get_xdata(), frame.get_ydata()
        assert (min(x), max(x), min(y), max(y)) == (left, right, top, bottom)
        assert list(zip(x, y, strict=True)) == [
            (left, top), (right, top), (right, bottom), (left, bottom), (left, top)
        ]  # fmt: skip
        assert x0 < left < right < x1
        assert y0 <= top < bottom < y1
    if not by_channel:  # below its filter, in the middle
        for text, (left, right, _, bottom) in zip(axes.texts, boxes, strict=True):
            assert text.get_position()[0] == pytest.approx((left + right) / 2)
            assert text.get_position()[1] > bottom
    else:  # a column's number above it, a row's beside it
        above = [t.get_position() for t in axes.texts if t.get_position()[1] < 0]
        beside = [t.get_position() for t in axes.texts if t.get_position()[0] < 0]
        assert [x for x, _ in above] == pytest.approx([(a + b) / 2 for a, b, *_ in boxes[:4]])
        assert [y for _, y in beside] == pytest.approx([(a + b) / 2 for *_, a, b in boxes[::4]])


def test_every_channel_of_every_filter_has_its_row_and_column():
    weight = np.random.default_rng(0).standard_normal((16, 6, 5, 5)).astype(np.float32)
    figure = filters(weight, by_channel=True)
    axes = figure.axes[0]
    written = texts(figure)
    assert "16 filters of 5 x 5: a column for each filter, a row for each channel" in written
    numbers = [int(t.get_text()) for t in axes.texts]
    assert sorted(numbers) == sorted([*range(16), *range(6)])
    assert np.array_equal(axes.images[16 * 2 + 3].get_array(), weight[3, 2])
    assert nothing_is_cut_off(figure)
    of_three = filters(weight[:, :3], by_channel=True)
    assert len(of_three.axes[0].images) == 48  # no colours here


def test_filters_of_zeros():
    assert "1 filter of 3 x 3" in "".join(texts(filters(np.zeros((1, 1, 3, 3)))))


def test_filters_refuse():
    with pytest.raises(ValueError, match=r"weight must have 4 axes \(o, c, kh, kw\), none of them"):
        filters(np.zeros((10, 84)))
    with pytest.raises(ValueError, match="weight holds NaN or infinity; "):
        filters(np.full((1, 1, 3, 3), np.nan))


# ------------------------------------------------------------------------------------------- save


def test_save_writes_a_png_whole(tmp_path):
    path = tmp_path / "curves.png"
    path.write_bytes(b"the old one")
    assert save(curves(metrics(3)), str(path)) == path
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == (1440, 1020)
        assert len(np.unique(np.asarray(image))) > 20
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_a_png_whatever_the_user_prefers(tmp_path):
    with matplotlib.rc_context({"savefig.format": "pdf"}):
        path = save(empty(1, 1), tmp_path / "a.PNG")
    assert path.read_bytes()[1:4] == b"PNG"


def test_save_makes_the_folder(tmp_path):
    path = tmp_path / "runs" / "one" / "curves.png"
    assert save(empty(1, 1), path) == path
    assert path.is_file()


def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    path.write_bytes(b"the old one")
    figure = empty(1, 1)

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(figure, path)
    assert path.read_bytes() == b"the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_save_refuses(tmp_path):
    (tmp_path / "runs").write_text("no folder", encoding="utf-8")
    for inside in ("runs", "runs/one"):
        with pytest.raises(OSError, match=r"save: /.*curves\.png cannot be written \(.+\)\. Make"):
            save(empty(1, 1), tmp_path / inside / "curves.png")
    assert (tmp_path / "runs").read_text(encoding="utf-8") == "no folder"
    with pytest.raises(ValueError, match=r"must end in \.png\. Use .*curves\.png\."):
        save(empty(1, 1), tmp_path / "curves.pdf")


def test_pyplot_stays_out_and_matplotlib_waits():
    program = (
        "import sys, minicnn.viz as viz; assert 'matplotlib' not in sys.modules;"
        "viz.filters(__import__('numpy').ones((2, 1, 3, 3)));"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
