"""Digits as people draw and photograph them: strokes of a pen, paper, light, scanner and phone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

# Each digit is written in some ways, each a list of strokes, each a list of points (x, y) from 0 to
# 1 that a smooth curve passes; a stroke in capitals' manner, of straight lines, begins with None.
STROKES: dict[int, list[list[list]]] = {
    0: [
        [[(0.5, 0), (0.15, 0.2), (0.05, 0.55), (0.25, 0.93), (0.6, 0.98), (0.92, 0.65),
          (0.88, 0.25), (0.62, 0.02), (0.47, 0.01)]],
        [[(0.6, 0.02), (0.25, 0.12), (0.12, 0.5), (0.2, 0.85), (0.48, 1), (0.78, 0.85),
          (0.86, 0.45), (0.72, 0.1), (0.5, 0)]],
    ],
    1: [
        [[None, (0.5, 0), (0.5, 1)]],
        [[None, (0.6, 0), (0.42, 1)]],
        [[None, (0.3, 0.22), (0.52, 0), (0.5, 1)]],
    ],
    2: [
        [[(0.1, 0.25), (0.3, 0.03), (0.65, 0.02), (0.85, 0.25), (0.7, 0.5), (0.4, 0.75),
          (0.1, 0.98)], [None, (0.1, 0.98), (0.92, 0.97)]],
        [[(0.15, 0.2), (0.4, 0), (0.75, 0.12), (0.75, 0.4), (0.45, 0.75), (0.15, 0.95),
          (0.12, 0.85), (0.3, 0.82), (0.6, 0.95), (0.95, 0.9)]],
    ],
    3: [
        [[(0.15, 0.12), (0.45, 0), (0.75, 0.12), (0.72, 0.34), (0.4, 0.47)],
         [(0.4, 0.47), (0.78, 0.56), (0.85, 0.8), (0.55, 1), (0.2, 0.94), (0.08, 0.82)]],
        [[None, (0.15, 0.03), (0.8, 0.03), (0.42, 0.42)],
         [(0.42, 0.42), (0.8, 0.5), (0.86, 0.78), (0.55, 1), (0.12, 0.9)]],
    ],
    4: [
        [[None, (0.35, 0), (0.08, 0.6), (0.95, 0.6)], [None, (0.68, 0.25), (0.66, 1)]],
        [[None, (0.15, 0.02), (0.12, 0.5), (0.85, 0.48)], [None, (0.8, 0.03), (0.76, 1)]],
        [[None, (0.7, 1), (0.7, 0.02), (0.08, 0.66), (0.95, 0.66)]],
    ],
    5: [
        [[None, (0.85, 0.02), (0.25, 0.02), (0.2, 0.45)],
         [(0.2, 0.45), (0.5, 0.36), (0.85, 0.52), (0.83, 0.85), (0.5, 1), (0.1, 0.9)]],
        [[None, (0.22, 0.04), (0.2, 0.44)],
         [(0.2, 0.44), (0.6, 0.4), (0.85, 0.65), (0.65, 0.95), (0.3, 1), (0.1, 0.9)],
         [None, (0.24, 0.05), (0.88, 0)]],
    ],
    6: [
        [[(0.7, 0), (0.4, 0.15), (0.15, 0.5), (0.15, 0.85), (0.45, 1), (0.8, 0.85), (0.75, 0.6),
          (0.45, 0.5), (0.17, 0.7)]],
        [[(0.5, 0), (0.25, 0.3), (0.12, 0.7), (0.3, 0.98), (0.7, 0.97), (0.85, 0.75),
          (0.6, 0.55), (0.3, 0.62), (0.15, 0.78)]],
    ],
    7: [
        [[None, (0.08, 0.03), (0.88, 0.03), (0.42, 1)]],
        [[None, (0.1, 0.08), (0.85, 0.02)], [(0.85, 0.02), (0.6, 0.4), (0.45, 0.75), (0.4, 1)]],
        [[None, (0.08, 0.03), (0.88, 0.03), (0.42, 1)], [None, (0.35, 0.5), (0.8, 0.48)]],
    ],
    8: [
        [[(0.75, 0.12), (0.5, 0), (0.22, 0.12), (0.25, 0.33), (0.6, 0.52), (0.82, 0.75),
          (0.6, 0.98), (0.3, 0.96), (0.15, 0.75), (0.4, 0.5), (0.7, 0.33), (0.78, 0.14),
          (0.65, 0.02)]],
        [[(0.5, 0.46), (0.24, 0.3), (0.3, 0.06), (0.6, 0), (0.76, 0.2), (0.5, 0.46),
          (0.18, 0.7), (0.28, 0.97), (0.65, 1), (0.84, 0.75), (0.5, 0.46)]],
    ],
    9: [
        [[(0.8, 0.2), (0.55, 0), (0.22, 0.12), (0.18, 0.38), (0.45, 0.5), (0.75, 0.35),
          (0.82, 0.15)], [None, (0.82, 0.12), (0.72, 1)]],
        [[(0.78, 0.25), (0.6, 0.02), (0.28, 0.06), (0.18, 0.32), (0.4, 0.48), (0.7, 0.38),
          (0.8, 0.15), (0.78, 0.6), (0.6, 0.9), (0.3, 1)]],
    ],
}  # fmt: skip


def curve(points: list[tuple[float, float]]) -> np.ndarray:
    """Points (n, 2) on the Catmull-Rom spline through ``points``."""
    p = np.array([points[0], *points, points[-1]], float)
    t = np.linspace(0, 1, 24, endpoint=False)[:, None]
    pieces = [
        0.5 * (
            2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
            + (3 * b - a - 3 * c + d) * t**3
        )
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]  # fmt: skip
    return np.concatenate([*pieces, p[-1:]])


def written(digit: int, rng: np.random.Generator, height: int, pen: float) -> np.ndarray:
    """Ink (h, w) from 0 to 1 of a digit so many pixels high, by a pen of ``pen`` of the height."""
    ways = STROKES[digit]
    way = ways[rng.integers(len(ways))]
    slant, turn = rng.uniform(-0.05, 0.35), np.radians(rng.uniform(-7, 7))
    aspect = rng.uniform(0.55, 0.8)
    scale = 2 * height  # drawn large and made smaller, which gives soft edges
    moved = []
    for stroke in way:
        straight = stroke[0] is None
        points = np.array(stroke[straight:], float)
        if len(points) > 2:
            points[1:-1] += rng.normal(0, 0.015, points[1:-1].shape)
        line = points if straight else curve([tuple(p) for p in points])
        x, y = (line[:, 0] - 0.5) * aspect - slant * (line[:, 1] - 0.5), line[:, 1] - 0.5
        moved.append(
            np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1)
        )
    low = np.concatenate(moved).min(axis=0) - pen
    high = np.concatenate(moved).max(axis=0) + pen
    w, h = np.ceil((high - low) * scale).astype(int).tolist()
    image = Image.new("L", (w, h), 0)
    draw = ImageDraw.Draw(image)
    radius = pen * scale / 2
    for line in moved:
        at = [tuple(p) for p in (line - low) * scale]
        draw.line(at, fill=255, width=max(round(2 * radius), 1), joint="curve")
        for x, y in at:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    small = image.resize((max(w // 2, 1), max(h // 2, 1)), Image.Resampling.BOX)
    return np.asarray(small, np.float64) / 255


class Scene(NamedTuple):
    """How a digit is put on paper and photographed."""

    h: int = 400
    w: int = 400
    paper: tuple[int, int, int] = (235, 235, 235)
    ink: tuple[int, int, int] = (40, 40, 60)
    strength: float = 1.0  # a pencil does not cover
    gradient: float = 0.0  # light lost from one side to the other
    shadow: float = 0.0  # light lost behind the edge of a shadow
    ruled: int = 0  # pixels from line to line, 0 for none
    squared: bool = False  # lines across too
    tilt: float = 0.0  # of the lines, as a tangent
    rim: int = 0  # pixels of darkness around
    specks: int = 0
    noise: float = 0.0
    blur: float = 0.0


def photographed(
    ink: np.ndarray, scene: Scene, rng: np.random.Generator, at: tuple[int, int]
) -> np.ndarray:
    """Picture (h, w, 3) uint8 of paper with ``ink`` whose corner is ``at`` (row, column)."""
    h, w = scene.h, scene.w
    y, x = np.mgrid[:h, :w].astype(np.float64)
    sheet = np.ones((h, w, 3)) * scene.paper
    if scene.ruled:
        line = np.array((120, 150, 200)) if sum(scene.paper) > 380 else np.array((150, 150, 150))
        on = (y + scene.tilt * x) % scene.ruled < max(1.2, h / 250)
        if scene.squared:
            on |= (x - scene.tilt * y) % scene.ruled < max(1.2, h / 250)
        sheet = np.where(on[..., None], line, sheet)
    cover = np.zeros((h, w))
    top, left = at
    cover[top : top + ink.shape[0], left : left + ink.shape[1]] = ink * scene.strength
    for _ in range(scene.specks):
        r, c, size = rng.integers(h), rng.integers(w), rng.integers(1, max(2, h // 120 + 1))
        cover[r : r + size, c : c + size] = rng.uniform(0.4, 1)
    sheet = sheet * (1 - cover[..., None]) + np.array(scene.ink) * cover[..., None]
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * (x / w - 0.5) + np.sin(angle) * (y / h - 0.5)
    shade = 1 - scene.gradient * (along - along.min()) / np.ptp(along)
    edge = rng.uniform(-0.2, 0.2)
    soft = rng.uniform(0.005, 0.05)
    shade *= 1 - scene.shadow / (1 + np.exp(-np.clip((along - edge) / soft, -50, 50)))
    sheet = sheet * shade[..., None]
    if scene.rim:
        for side in range(4):
            if rng.random() < 0.7:
                turned = np.rot90(sheet, side)
                depth = (
                    scene.rim
                    * rng.uniform(0.5, 1, 3)
                    @ np.stack(
                        [
                            np.ones(turned.shape[1]),
                            *rng.normal(0, 0.15, (2, 1))
                            * np.sin(np.arange(turned.shape[1]) / np.array([[40.0], [90.0]])),
                        ]
                    )
                )
                far = np.arange(turned.shape[0])[:, None] - depth
                turned[:] *= np.clip(0.12 + 0.88 * (far / 3 + 0.5), 0.12, 1)[..., None]
    if scene.blur:
        image = Image.fromarray(np.clip(sheet, 0, 255).astype(np.uint8))
        sheet = np.asarray(image.filter(ImageFilter.GaussianBlur(scene.blur)), np.float64)
    sheet = (
        sheet + rng.normal(0, scene.noise, (h, w, 1)) + rng.normal(0, scene.noise / 2, sheet.shape)
    )
    return np.clip(sheet + 0.5, 0, 255).astype(np.uint8)


def any_scene(rng: np.random.Generator) -> Scene:
    """A scene as one meets it, of 200 to 640 pixels."""
    h, w = rng.integers(200, 641, 2).tolist()
    light = rng.random() < 0.25
    papers = [(240, 240, 238), (225, 225, 225), (238, 226, 170), (205, 195, 160)]
    boards = [(25, 28, 30), (40, 70, 55), (10, 10, 10)]
    inks = [(30, 30, 35), (40, 50, 140), (70, 70, 70), (150, 40, 40)]
    chalks = [(240, 240, 235), (255, 255, 255), (225, 220, 160)]
    papers, inks = (boards, chalks) if light else (papers, inks)
    some = rng.random(8)
    return Scene(
        h, w,
        paper=papers[rng.integers(len(papers))],
        ink=inks[rng.integers(len(inks))],
        strength=rng.uniform(0.75, 1),
        gradient=rng.uniform(0.2, 0.5) if some[0] < 0.5 else 0,
        shadow=rng.uniform(0.25, 0.5) if some[1] < 0.3 else 0,
        ruled=int(rng.integers(22, 60)) if some[2] < 0.3 else 0,
        squared=some[3] < 0.3,
        tilt=rng.uniform(-0.06, 0.06),
        rim=int(rng.integers(4, 30)) if some[4] < 0.25 else 0,
        specks=int(rng.integers(3, 25)) if some[5] < 0.4 else 0,
        noise=rng.uniform(1, 8) if some[6] < 0.8 else 0,
        blur=rng.uniform(0.5, 1.5) if some[7] < 0.7 else 0,
    )  # fmt: skip


def placed(shape: tuple[int, ...], scene: Scene, rng: np.random.Generator) -> tuple[int, int]:
    """A corner, off the middle, where ink of this shape is within the paper and off its rim."""
    free = scene.rim + 8
    return tuple(
        int(rng.integers(free, max(side - n - free, free + 1)))
        for side, n in zip((scene.h, scene.w), shape, strict=True)
    )  # type: ignore[return-value]
