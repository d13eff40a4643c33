"""Draw the picture of the README: a digit on its way through LeNet-5.

    minicnn train lenet5 --data mnist
    python examples/pictures/lenet5.py runs/lenet5-mnist

It takes a second and writes lenet5.png beside this file, or where --out says. The digit belongs to
no data set: a curve through ten points is drawn with a round pen and prepared like any photo.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline

from minicnn import data, train, viz

# A 3 as a pen writes it: (x, y) on a paper of 280 x 280 pixels, from the first to the last point.
POINTS = (
    (84, 78), (118, 48), (168, 52), (184, 88), (158, 122), (120, 134),
    (168, 146), (192, 186), (160, 228), (88, 214),
)  # fmt: skip
PEN = 11.0  # pixels, half the width of a stroke


def written(points: tuple[tuple[int, int], ...] = POINTS) -> np.ndarray:
    """Return the digit as dark ink on light paper, uint8 (280, 280)."""
    paper = Image.new("L", (280, 280), 255)
    pen = ImageDraw.Draw(paper)
    curve = CubicSpline(range(len(points)), points)
    for x, y in curve(np.linspace(0, len(points) - 1, 600)):
        pen.ellipse((x - PEN, y - PEN, x + PEN, y + PEN), fill=0)
    return np.asarray(paper)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a digit on its way through a network.")
    parser.add_argument("run", type=Path, help="a run on MNIST, runs/lenet5-mnist")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".png"))
    args = parser.parse_args()

    model, config = train.load_model(args.run)
    digit = data.prepare_digit(written()).image  # (28, 28), light ink on dark paper, as MNIST
    x = data.normalize(digit[None, ..., None], config.normalization)
    figure = viz.forward_pass(model, x[0], config.classes, image=digit)
    print(viz.save(figure, args.out))


if __name__ == "__main__":
    main()
