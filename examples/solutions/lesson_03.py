"""Solutions of lesson 3: pooling and invariance."""

from __future__ import annotations

import course
import numpy as np

from examples.solutions import changed
from minicnn import data

FEW = {"some = test.images[:60]": "some = test.images[:8]"}  # enough to see it


def exercise_1() -> None:
    """With a stride of 1 nothing is dropped, so the maps move by whole pixels with the digit, and
    their maxima do not change at all. The price: the maps behind the first pooling have 4 times as
    many positions, and the maps behind the second 16 times as many.
    """
    line = "nn.ReLU(), nn.MaxPool2d(2),\n        nn.Conv2d({}, {}, 5"
    edits = {
        line.format(*sizes): line.format(*sizes).replace("(2)", "(2, 1)")
        for sizes in ((8, 16), (16, 32))
    }
    lesson = changed(3, FEW | edits, until="## Is it important")
    usual = changed(3, FEW, until="## Is it important")
    most = lesson["max_change"].max()
    course.claim("the maxima do not change at any shift", most < 1e-6, most)
    factor = lesson["maps"][0][0].size / usual["maps"][0][0].size
    course.claim("the last maps have about 16 times as many positions", 15 < factor < 17, factor)


def exercise_2() -> None:
    """Yes: away from the border the mean loses nothing, and at a shift of 4, a whole period of the
    two poolings, the maps are the same, moved. They are not exactly the same, because a unit of the
    last convolution sees 32 pixels: with a border of 24, a few units still see the digit and the
    border at once. From 36 on none does, and then the means are equal.

    The lesson trains the network. Here it is enough to look at the means of one that is not
    trained, which takes a second.
    """
    lesson = changed(3, FEW, until="## Is it important")
    model, images = lesson["untrained"], lesson["some"]

    def means(border: int, shift: int) -> np.ndarray:
        return model(lesson["as_input"](lesson["moved"](images, shift, border))).mean(axis=(2, 3))

    def change(border: int, shift: int) -> float:
        here, there = means(border, 0), means(border, shift)
        return float(np.linalg.norm(there - here) / np.linalg.norm(here))

    changes = {border: change(border, 4) for border in (6, 24, 36)}
    course.claim("a near border changes the means", changes[6] > 10 * changes[24], changes)
    course.claim("from 36 on they do not change", changes[36] < 1e-5, changes)


def exercise_3() -> None:
    """Shifted images teach the network every position that it will meet. The price is training: it
    needs many more epochs, and its accuracy on digits in the middle falls.

    The lesson's 40 epochs take half a minute; 12 show the same.
    """
    lesson = changed(
        3, {"epochs = 2 if options.quick else 8": "epochs = 12", "    learn(model)\n": ""}
    )
    model = lesson["networks"]["two linear"]
    lesson["learn"](model)
    before = lesson["accuracy"](model, 6)
    shifted = data.Loader(
        lesson["centred"], 32, normalization=lesson["scale"], shuffle=True, seed=0,
        augment=data.Augment(shift=6),
    )  # fmt: skip
    lesson["loader"] = shifted
    lesson["learn"](model)
    after = lesson["accuracy"](model, 6)
    course.claim("it knew little at six pixels", before < 0.25, f"{before:.1%}")
    course.claim("now it knows far more", after > 2 * before, f"{after:.1%}")
