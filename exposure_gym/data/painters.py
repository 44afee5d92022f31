"""What a generated scene shows: textures, and painters that make surfaces of them.

A painter returns what each pixel reflects, how much direct light arrives there and what shines of
itself. Light, camera and finish are in `exposure_gym.data.scenes`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
"""``(S, S)`` or ``(S, S, 3)``, or a colour ``(3,)``; float32."""


class Surface(NamedTuple):
    """What a painter returns, before there is light."""

    colour: Plane  # (S, S, 3) reflectance
    sun: Plane  # (S, S) share of the direct light that arrives, 0 in shadow
    sky: Plane | None = None  # (S, S, 3) what shines of itself; white paper in the sun is 1


@lru_cache(maxsize=4)
def _grid(size: int) -> tuple[Plane, Plane]:
    """Rows and columns of the pixel centres in [0, 1]: y ``(S, 1)``, x ``(1, S)``."""
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return centres[:, None], centres[None, :]


def _noise(
    rng: np.random.Generator,
    size: int,
    cells: tuple[int, int] | int,
    octaves: int,
    gain: float = 0.5,
) -> Plane:
    """Fractal value noise in [0, 1]; `cells` (down, across) of the coarsest octave; 0 down gives
    one row, a profile.
    """
    down, across = (cells, cells) if isinstance(cells, int) else cells
    height = size if down else 1
    total = np.zeros((height, size), np.float32)
    for octave in range(octaves):
        shape = (min(down << octave, size) + 1, min(across << octave, size) + 1)
        layer = rng.random(shape, dtype=np.float32)
        layer *= gain**octave
        total += cv2.resize(layer, (size, height), interpolation=cv2.INTER_CUBIC if octave < 2 else cv2.INTER_LINEAR)
    low, high = total.min(), total.max()
    total -= low
    total /= high - low
    return total


def _rgb(*values: float) -> Plane:
    return np.array(values, np.float32)


def _step(value: Plane, edge: float | Plane, width: float) -> Plane:
    """0 below the edge, 1 above, smooth over `width`."""
    t = np.clip((value - edge) / np.float32(width) + 0.5, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _mix(a: Plane, b: Plane, share: Plane) -> Plane:
    """`a` where share is 0, `b` where it is 1; a colour or a picture each."""
    return np.asarray(a + (b - a) * share[..., None], np.float32)


def _pigment(rng: np.random.Generator, *names: str) -> Plane:
    """One of the named pigments, a little off: reflectance, ``(3,)``."""
    base = np.array(_PIGMENTS[names[rng.integers(len(names))]])
    own = base * np.exp(rng.normal(0.0, 0.22) + rng.normal(0.0, 0.1, 3))
    return _rgb(*np.clip(own, 0.01, 0.92))


def _paint(rng: np.random.Generator) -> Plane:
    """Any strong colour a person would give a thing."""
    hue = rng.uniform(0, 360)
    colour = cv2.cvtColor(_rgb(hue, rng.uniform(0.35, 0.95), rng.uniform(0.15, 0.8))[None, None], cv2.COLOR_HSV2RGB)
    return np.asarray(colour[0, 0], np.float32)


_PIGMENTS = {
    "leaf": (0.07, 0.13, 0.025),
    "moss": (0.12, 0.15, 0.04),
    "pine": (0.03, 0.06, 0.03),
    "straw": (0.38, 0.30, 0.13),
    "autumn": (0.38, 0.15, 0.03),
    "soil": (0.16, 0.10, 0.06),
    "sand": (0.50, 0.40, 0.27),
    "rock": (0.22, 0.20, 0.18),
    "slate": (0.09, 0.10, 0.12),
    "snow": (0.80, 0.82, 0.85),
    "brick": (0.32, 0.11, 0.06),
    "plaster": (0.62, 0.56, 0.46),
    "concrete": (0.34, 0.33, 0.31),
    "wood": (0.28, 0.15, 0.07),
    "white": (0.78, 0.77, 0.74),
    "blue": (0.07, 0.14, 0.32),
    "teal": (0.06, 0.22, 0.22),
    "ochre": (0.45, 0.27, 0.08),
}


def _shadows(rng: np.random.Generator, size: int) -> Plane:
    """Where the sun arrives: everywhere, past a slanted edge, or through leaves."""
    kind = rng.random()
    y, x = _grid(size)
    if kind < 0.3:
        return np.ones((size, size), np.float32)
    if kind < 0.65:
        angle = rng.uniform(0, 2 * np.pi)
        across = np.float32(np.cos(angle)) * (x - 0.5) + np.float32(np.sin(angle)) * (y - 0.5)
        wobble = 0.06 * _noise(rng, size, 3, 3)
        return _step(across + wobble, rng.uniform(-0.25, 0.25), rng.uniform(0.02, 0.12))
    return _step(
        _noise(rng, size, int(rng.integers(3, 7)), 3),
        rng.uniform(0.4, 0.55),
        rng.uniform(0.25, 0.5),
    )


# Painters: what there is to see.


def _sky(rng: np.random.Generator, size: int, horizon: float) -> Plane:
    """A sky that pales towards the horizon, with clouds; dusk now and then."""
    y, _ = _grid(size)
    height = np.clip(1 - y / np.float32(horizon), 0, 1)
    if rng.random() < 0.25:
        low, high = _rgb(1.1, rng.uniform(0.45, 0.7), 0.3), _rgb(0.12, 0.18, rng.uniform(0.3, 0.5))
        bright = rng.uniform(0.35, 0.8)
    else:
        low, high = _rgb(0.62, 0.76, 0.92), _rgb(0.12, 0.27, rng.uniform(0.55, 0.75))
        bright = rng.uniform(0.7, 1.3)
    sky = _mix(low, high, np.broadcast_to(height ** np.float32(rng.uniform(0.5, 1.0)), (size, size)))
    clouds = _step(_noise(rng, size, (3, 2), 5, 0.55), rng.uniform(0.4, 0.85), 0.35)
    folds = 0.75 + 0.5 * _noise(rng, size, 4, 3)[..., None]
    lit = _rgb(1.05, 1.0, 0.97) * (0.45 + 0.4 * low) * folds
    return _mix(sky, lit, clouds) * _rgb(bright)


def _landscape(rng: np.random.Generator, size: int) -> Surface:
    """Ridges one behind the other under a sky, each paler and bluer the farther it is."""
    y, x = _grid(size)
    horizon = rng.uniform(0.3, 0.7)
    sky = _sky(rng, size, horizon)
    colour = np.zeros((size, size, 3), np.float32)
    layers = int(rng.integers(1, 5))
    haze = sky[int(horizon * size) - 1].mean(axis=0)
    sun = np.zeros((size, size), np.float32)
    shadows, patches = _shadows(rng, size), _noise(rng, size, 3, 4)
    ground = ("leaf", "moss", "straw", "pine", "soil", "sand", "rock", "snow", "autumn")
    for layer in range(layers):
        near = (layer + 1) / layers
        top = horizon + (1 - horizon) * 0.75 * layer / layers
        rough = rng.uniform(0.05, 0.3) * (1.15 - near)
        ridge = top - rough * (_noise(rng, size, (0, int(rng.integers(2, 5))), 5) - 0.3)
        covers = _step(y - ridge, 0.0, 2.0 / size)
        grain = _noise(rng, size, (int(4 + 8 / near), int(3 + 5 / near)), 5, 0.75)
        skin = _mix(_pigment(rng, *ground), _pigment(rng, *ground), patches)
        skin = skin * (0.35 + 1.2 * grain[..., None])
        mist = np.float32(0.75 * (1 - near) ** 1.2)
        colour = _mix(colour, skin * (1 - mist), covers)
        sky = _mix(sky, haze * mist, covers)
        relief = np.clip(0.55 + 1.6 * (grain - np.roll(grain, 1, axis=1)) + 0.4 * (x - 0.5), 0.05, 1)
        sun = sun + (relief * shadows - sun) * covers
    return Surface(colour, sun, sky)


def _seaside(rng: np.random.Generator, size: int) -> Surface:
    """Sky over water that mirrors it, and sometimes a beach."""
    y, x = _grid(size)
    horizon = rng.uniform(0.35, 0.6)
    sky = _sky(rng, size, horizon)
    row = int(horizon * size)
    waves = _noise(rng, size, (24, 4), 3, 0.7)
    depth = np.clip((y - horizon) / (1 - horizon), 0, 1)
    mirrored = np.clip(2 * row - np.arange(size) + ((waves - 0.5) * 10 * (0.2 + depth)).astype(int).T, 0, row - 1)
    reflection = sky[mirrored.T, np.arange(size)[None, :]]
    water = _rgb(0.02, 0.06, 0.08) + reflection * (0.35 + 0.4 * (1 - depth[..., None])) * (0.5 + waves[..., None])
    glitter = (
        np.exp(-(((x - rng.uniform(0.2, 0.8)) / (0.06 + 0.1 * depth)) ** 2)) * (waves > 0.72) * rng.uniform(0, 2.5)
    )
    below = np.broadcast_to(_step(y, horizon, 1.5 / size), (size, size))
    sky = _mix(sky, water + glitter[..., None].astype(np.float32), below)
    shore = 1.25 - rng.uniform(0, 0.6) + 0.25 * (x - 0.5) * rng.uniform(-1, 1) + 0.05 * _noise(rng, size, (0, 3), 3)
    beach = _step(y - shore, 0.0, 3.0 / size)
    sand = _pigment(rng, "sand", "rock", "straw") * (0.7 + 0.5 * _noise(rng, size, 12, 3, 0.8)[..., None])
    return Surface(
        sand * beach[..., None],
        np.full((size, size), 0.85, np.float32),
        sky * (1 - beach[..., None]),
    )


def _foliage(rng: np.random.Generator, size: int) -> Surface:
    """Leaves over leaves, the lower ones in the dark, and perhaps flowers."""
    count = int(rng.integers(120, 250))
    length = rng.uniform(0.05, 0.13)
    palette = ("leaf", "moss", "leaf", "pine", "autumn", "straw") if rng.random() < 0.35 else ("leaf", "moss", "leaf")
    kinds = np.stack([_pigment(rng, *palette) for _ in range(4)])
    height = np.linspace(0, 1, count + 1)[:, None]
    own = kinds[rng.integers(0, 4, count + 1)] * np.exp(rng.normal(0, 0.2, (count + 1, 1))) * (0.3 + height)
    lit = np.clip(0.05 + 0.8 * height[:, 0] + rng.normal(0, 0.12, count + 1), 0, 1)
    flowers = count - int(rng.integers(3, 25)) if rng.random() < 0.5 else count + 1
    own[flowers:] = _paint(rng) if rng.random() < 0.6 else _pigment(rng, "white", "ochre")
    axes = rng.uniform(0.6, 1.4, (count, 1)) * np.array([length, 0.4 * length])
    axes[flowers - 1 :] = rng.uniform(0.25, 0.5) * length
    fine = 2 * size  # painted twice as large: averaging makes the edges smooth
    leaf = _ellipses(rng, fine, axes)
    veins = 0.7 + 0.6 * _noise(rng, fine, 20, 2, 0.8)[..., None]
    painted = np.dstack([own[leaf].astype(np.float32) * veins, lit[leaf].astype(np.float32)])
    painted = cv2.resize(painted, (size, size), interpolation=cv2.INTER_AREA)
    return Surface(np.clip(painted[..., :3], 0.005, 0.9), painted[..., 3] * (0.25 + 0.75 * _shadows(rng, size)))


def _ellipses(rng: np.random.Generator, size: int, axes: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Ellipses at random places, numbered from 1, later ones on top of earlier; `axes` (N, 2) as
    shares of `size`.
    """
    canvas = np.zeros((size, size), np.uint8)
    centres = rng.uniform(0, size, axes.shape)
    turns = rng.uniform(0, 180, len(axes))
    for number, (centre, axis, turn) in enumerate(
        zip(centres.tolist(), (2 * size * axes).tolist(), turns, strict=True), 1
    ):
        cv2.ellipse(canvas, (centre, axis, turn), number, -1)
    return canvas


def _wall(rng: np.random.Generator, size: int) -> Surface:
    """Bricks, planks, tiles or plaster, weathered, with a shadow across."""
    y, x = _grid(size)
    angle = rng.normal(0, 0.06)
    u, v = x + np.float32(angle) * y, y - np.float32(angle) * x
    rows = rng.uniform(4, 14)
    kind = rng.integers(4)
    columns = rows * (rng.uniform(0.35, 0.6) if kind == 0 else 1.0 if kind == 1 else 0.0)
    gap = rng.uniform(0.06, 0.14)
    down = v * np.float32(rows)
    row = np.floor(down)
    across = u * np.float32(columns) + (0.5 * (row % 2) if kind == 0 else 0.0)
    column = np.floor(across)
    inside = _edge(down - row, gap, rows / size)
    if columns:
        inside = inside * _edge(across - column, gap * columns / rows, columns / size)
    table = rng.normal(0, 1, (32, 32, 1)) * 0.18 + rng.normal(0, 0.05, (32, 32, 3))
    each = np.exp(table[row.astype(int) % 32, column.astype(int) % 32]).astype(np.float32)
    face = (
        _pigment(rng, "brick", "brick", "ochre"),
        _paint(rng) if rng.random() < 0.5 else _pigment(rng, "white", "teal", "concrete", "slate"),
        _pigment(rng, "wood", "wood", "rock", "teal", "blue"),
        _pigment(rng, "plaster", "concrete", "ochre", "white", "teal", "brick"),
    )[kind]
    mortar = _pigment(rng, "concrete", "plaster") if kind < 2 else 0.3 * face
    grain = _noise(rng, size, (3, 12) if kind == 2 else (10, 10), 4, 0.8)
    colour = _mix(mortar, face * each, inside) if kind < 3 else np.broadcast_to(face, (size, size, 3))
    stains = _noise(rng, size, (2, 4), 4)
    colour = colour * (0.7 + 0.6 * grain[..., None]) * (0.65 + 0.5 * stains[..., None])
    sun = np.float32(rng.uniform(0.6, 1.0)) * _shadows(rng, size) * (0.8 + 0.3 * grain)
    if rng.random() < 0.4:
        colour, sun = _window(rng, size, colour, sun)
    return Surface(np.clip(colour, 0.005, 0.92), sun)


def _edge(position: Plane, gap: float, blur: float) -> Plane:
    """1 inside a cell, 0 in the gap around it; `position` in the cell, 0 to 1."""
    return _step(0.5 - np.abs(position - 0.5), gap / 2, max(gap / 2, blur))


def _window(rng: np.random.Generator, size: int, colour: Plane, sun: Plane) -> tuple[Plane, Plane]:
    """A window or door: a frame around dark glass that shows some of the sky."""
    y, x = _grid(size)
    cy, cx = rng.uniform(0.3, 0.7, 2)
    h, w = rng.uniform(0.15, 0.3), rng.uniform(0.1, 0.22)
    beyond = np.maximum(np.abs(y - cy) / np.float32(h), np.abs(x - cx) / np.float32(w))
    frame, glass = 1 - _step(beyond, 1.0, 0.08), 1 - _step(beyond, 0.85, 0.08)
    bars = np.minimum(np.abs(x - cx), np.abs(y - cy)) > 0.008
    reflection = _rgb(0.10, 0.13, 0.17) * (0.3 + 1.2 * _noise(rng, size, 2, 3)[..., None])
    colour = _mix(colour, np.broadcast_to(_pigment(rng, "white", "wood", "blue", "teal"), colour.shape), frame)
    return _mix(colour, reflection, (glass * bars).astype(np.float32)), sun


def _still_life(rng: np.random.Generator, size: int) -> Surface:
    """Round things on a table before a wall, lit from one side, each with its shadow."""
    y, x = _grid(size)
    edge = rng.uniform(0.4, 0.7)
    table = _step(y, edge, 2.0 / size)
    grain = _noise(rng, size, (14, 2), 4, 0.7)[..., None]
    cloth = _pigment(rng, "plaster", "slate", "teal", "concrete", "ochre", "white", "blue")
    wood = _pigment(rng, "wood", "white", "slate", "wood", "sand")
    colour = _mix(
        np.broadcast_to(cloth, (size, size, 3)),
        wood * (0.6 + 0.8 * grain),
        np.broadcast_to(table, (size, size)),
    )
    side = np.float32(rng.choice([-1.0, 1.0]))
    speckle = 0.8 + 0.3 * _noise(rng, size, 5, 2)[..., None]
    sun = np.clip(0.6 - side * rng.uniform(0.2, 0.7) * (x - 0.5) + 0.25 * table, 0.02, 1) * np.ones(
        (size, 1), np.float32
    )
    for cy in np.sort(rng.uniform(edge, 0.88, int(rng.integers(2, 7)))):
        radius = np.float32(rng.uniform(0.07, 0.19) * (0.5 + 0.6 * cy))
        cx = np.float32(rng.uniform(0.1, 0.9))
        tall = np.float32(rng.uniform(0.8, 1.3))
        middle = np.float32(cy) - radius * tall * 0.8
        shade = ((x - cx - side * radius * 0.9) / (1.5 * radius)) ** 2 + ((y - cy) / (0.38 * radius)) ** 2
        sun = sun * (1 - 0.85 * (1 - _step(shade, 0.8, 0.8)) * table)
        dx, dy = (x - cx) / radius, (y - middle) / (radius * tall)
        square = dx * dx + dy * dy
        inside = 1 - _step(square, 1.0, 4.0 / size / radius)
        normal = np.sqrt(np.maximum(1 - square, 0))
        lambert = np.clip(-0.62 * side * dx - 0.5 * dy + 0.6 * normal, 0, 1)
        gloss = np.float32(rng.uniform(0, 1.2)) * np.clip(-0.5 * side * dx - 0.42 * dy + 0.75 * normal, 0, 1) ** 40
        skin = _paint(rng) * speckle
        colour = _mix(colour, skin * (0.45 + 0.55 * normal[..., None]) + gloss[..., None], inside)
        sun = sun + (lambert - sun) * inside
    return Surface(np.clip(colour, 0.005, 1.5), sun.astype(np.float32))


def _pebbles(rng: np.random.Generator, size: int) -> Surface:
    """Stones, petals or a market's fruit: Voronoi cells, rounded and each of its own colour."""
    count = int(rng.integers(15, 160))
    seeds = np.full((size, size), 255, np.uint8)
    seeds.flat[rng.choice(size * size, count, replace=False)] = 0
    distance, label = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    radius = np.float32(0.75 * size / np.sqrt(count))
    bulge = np.clip(1 - (distance / radius) ** 2, 0, 1)
    if rng.random() < 0.5:
        families = np.stack([_pigment(rng, "rock", "sand", "slate", "soil", "white", "brick") for _ in range(4)])
    else:
        families = np.stack([_paint(rng) for _ in range(3)])
    own = families[rng.integers(0, len(families), count + 1)] * np.exp(rng.normal(0, 0.25, (count + 1, 1)))
    colour = own[label].astype(np.float32) * (0.75 + 0.5 * _noise(rng, size, 12, 3, 0.8)[..., None])
    relief = np.clip(0.55 + 1.2 * (bulge - np.roll(bulge, 2, axis=(0, 1))), 0, 1)
    return Surface(colour * (0.15 + 0.85 * bulge[..., None]), relief * (0.25 + 0.75 * _shadows(rng, size)))


def _town(rng: np.random.Generator, size: int) -> Surface:
    """Houses side by side with rows of windows, some lit, against the sky."""
    y, x = _grid(size)
    sky = _sky(rng, size, 0.8)
    colour = np.zeros((size, size, 3), np.float32)
    sun = np.zeros((size, size), np.float32)
    dirt = 0.75 + 0.4 * _noise(rng, size, 6, 3)[..., None]
    night = rng.random() < 0.35
    if night:
        sky = sky * np.float32(rng.uniform(0.05, 0.25))
    for _ in range(int(rng.integers(4, 11))):
        left, wide = int(rng.uniform(-0.1, 0.95) * size), int(rng.uniform(0.09, 0.2) * size)
        top = int(rng.uniform(0.15, 0.65) * size)
        house = np.s_[top:, max(left, 0) : left + wide]
        stories, bays = rng.uniform(9, 22), rng.uniform(10, 26)
        floor, bay = (y[house[0]] - y[top]) * np.float32(stories), x[:, house[1]] * np.float32(bays)
        glass = (np.abs(floor % 1 - 0.5) < 0.28) & (np.abs(bay % 1 - 0.5) < 0.25) & (floor > 0.4)
        lit = glass & (rng.random((32, 32)) < (0.45 if night else 0.06))[floor.astype(int), bay.astype(int)]
        face = _pigment(rng, "plaster", "brick", "concrete", "white", "slate", "ochre", "sand", "blue")
        colour[house] = np.where(glass[..., None], np.float32(0.05), face) * dirt[house]
        sky[house] = lit[..., None] * (_rgb(1.0, 0.6, 0.25) * np.float32(rng.uniform(0.4, 1.4)))
        sun[house] = rng.uniform(0.1, 1.0) * (0.12 if night else 1.0)
    street = _step(y, 0.86, 2.0 / size) * np.ones((1, size), np.float32)
    asphalt = _pigment(rng, "concrete", "slate", "soil") * (0.6 + 0.6 * _noise(rng, size, 10, 3)[..., None])
    colour = _mix(colour, asphalt, street)
    sun = sun + (0.5 * sun.max() - sun) * street
    return Surface(colour, sun * (0.4 + 0.6 * _shadows(rng, size)), sky * (1 - street[..., None]))


Painter = Callable[[np.random.Generator, int], Surface]
PAINTERS: tuple[Painter, ...] = (
    _landscape,
    _seaside,
    _foliage,
    _wall,
    _still_life,
    _pebbles,
    _town,
)
SHARES = (0.25, 0.10, 0.12, 0.17, 0.16, 0.08, 0.12)
