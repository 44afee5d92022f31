"""A recipe for other programs: a ``.cube`` 3D LUT, or a few lines of NumPy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exposure_gym.color import LUMINANCE_WEIGHTS, SPACE_NAMES, srgb_decode
from exposure_gym.files import replacing
from exposure_gym.filters import CURVE_STEPS, MASK_MINIMUM_STRENGTH

if TYPE_CHECKING:
    from exposure_gym.recipe import Edit, Recipe

# A .cube file.


class LutError(NamedTuple):
    """How far a LUT is from its recipe, in 8-bit codes, over test colours and channels."""

    mean: float
    max: float


def to_cube(recipe: Recipe, path: str | os.PathLike[str], size: int = 65, title: str = "exposure-gym") -> LutError:
    """Write a recipe as a 3D LUT in the ``.cube`` format (Adobe Cube LUT Specification 1.0).

    In: the unedited photograph with the sRGB curve on its linear light, 0 to 1, which for a recipe
    of a finished photograph is the photograph itself. Out: display values, not clipped. Both have
    the recipe's working-space primaries. The file says so, and states its error.

    :param size: nodes along each axis, 2 to 256.
    :param title: the name that other programs show.
    :return: the error with trilinear interpolation, measured on :func:`check_colours`.
    :raises ValueError: the recipe depends on place (a mask or a vignette), or a bad size or title.
    """
    for edit in recipe:
        if edit.mask is not None or edit.filter == "vignette":
            what = "a mask" if edit.mask is not None else "a vignette"
            raise ValueError(f"a .cube file maps colours, not places: remove {what} first")
    if not 2 <= size <= 256:
        raise ValueError(f"a .cube LUT has 2 to 256 nodes an axis, not {size}")
    if '"' in title or not title.isprintable() or len(title.encode()) > 200:
        raise ValueError("a .cube title is one line of at most 200 bytes, without quotation marks")
    axis = np.linspace(0.0, 1.0, size)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")  # red changes fastest in the file
    table = _edit_encoded(recipe, np.stack([red, green, blue], -1).reshape(-1, 3))
    table = np.round(table, 6) + 0.0  # as the file holds them; + 0.0 turns -0 into 0
    colours = check_colours(size)
    lookup = _trilinear(table.reshape(size, size, size, 3), colours)
    codes = 255.0 * abs(lookup.clip(0.0, 1.0) - _edit_encoded(recipe, colours).clip(0.0, 1.0))
    error = LutError(float(codes.mean()), float(codes.max()))
    space = SPACE_NAMES[recipe.working_space]
    head = [
        f'TITLE "{title}"',
        *(f"# {i}. {_ascii(edit.describe())}" for i, edit in enumerate(recipe, 1)),
        *_input_comment(recipe, space),
        f"# out: display values in {space} primaries; show them as they are",
        f"# error in 8-bit codes: mean {error.mean:.4f}, max {error.max:.3f}",
        f"LUT_3D_SIZE {size}",
        "DOMAIN_MIN 0.0 0.0 0.0",
        "DOMAIN_MAX 1.0 1.0 1.0",
    ]
    rows = [f"{red:.6f} {green:.6f} {blue:.6f}" for red, green, blue in table.tolist()]
    with replacing(Path(path)) as temporary:
        temporary.write_text("\n".join([*head, *rows, ""]), encoding="utf-8")
    return error


def _ascii(text: str) -> str:
    return text.replace("−", "-")


def check_colours(size: int) -> NDArray[np.float64]:
    """The encoded colours that a LUT's error is measured on: ``(N, 3)`` in [0, 1].

    The middle of every cell, where a LUT is farthest from its nodes, greys between the nodes, and
    100,000 colours at random, the same ones each time.
    """
    middle = (np.arange(size - 1) + 0.5) / (size - 1)
    cells = np.stack(np.meshgrid(middle, middle, middle, indexing="ij"), -1).reshape(-1, 3)
    greys = np.repeat(np.linspace(0.0, 1.0, 4 * size + 1)[:, None], 3, 1)
    return np.concatenate([cells, greys, np.random.default_rng(0).random((100_000, 3))])


def _input_comment(recipe: Recipe, space: str) -> list[str]:
    if recipe.input_domain == "display":
        return [f"# in: the unedited photograph as it is, display values in {space} primaries"]
    return [
        f"# in: the unedited photograph, linear light in {space} primaries,",
        "#     with the sRGB curve (IEC 61966-2-1) on it",
    ]


def _edit_encoded(recipe: Recipe, encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB-encoded colours ``(N, 3)`` of the photograph to display values of the edited one."""
    colours = encoded if recipe.input_domain == "display" else srgb_decode(encoded)
    edited: NDArray[np.float64] = recipe.apply_photo(colours[None])[0]
    return edited


def _trilinear(table: NDArray[np.float64], colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Look ``(N, 3)`` colours up in a table ``(n, n, n, 3)``, indexed by blue, green, red."""
    size = len(table)
    place = colours[:, ::-1] * (size - 1)
    low = place.astype(int).clip(0, size - 2)
    part = place - low
    result = np.zeros_like(colours)
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(np.array(corner) == 1, part, 1.0 - part).prod(1, keepdims=True)
        blue, green, red = (low + corner).T
        result += weight * table[blue, green, red]
    return result


# NumPy code.

_RED, _GREEN, _BLUE = LUMINANCE_WEIGHTS

_LUMINANCE = f"""
def luminance(x):
    return {_RED} * x[..., 0:1] + {_GREEN} * x[..., 1:2] + {_BLUE} * x[..., 2:3]
"""

_PLACE = """
def place(x):  # rows (H, 1, 1) and columns (1, W, 1) from the centre, in units of the short edge
    height, width = x.shape[:2]
    rows, columns = np.arange(height) - height / 2, np.arange(width) - width / 2
    return rows[:, None, None] / min(height, width), columns[None, :, None] / min(height, width)
"""

_MASK = f"""
def mask(x, vertical, horizontal, light, offset, sharpness, strength):
    rows, columns = place(x)
    slope = rows * vertical + columns * horizontal + light * (luminance(x) - 0.5) + 2 * offset
    part = (0.5 + 0.5 * np.tanh(slope * sharpness / 10)) * (strength / 10 + 0.5)
    return {1 - MASK_MINIMUM_STRENGTH} * part + {MASK_MINIMUM_STRENGTH}
"""

_SATURATION = """
def saturate(x, strength):
    x = np.minimum(x, 1)
    high, low = x.max(-1, keepdims=True), x.min(-1, keepdims=True)
    chroma = np.where(high - low > 1e-6, high - low, np.inf)  # grey has no hue: leave it
    boost = 0.8 * (0.5 - abs(0.5 - high)) * low / chroma
    return x - strength * boost * (high - x)
"""

_CURVE = f"""
def curve(x, slopes):  # through (0, 0) and (1, 1)
    heights = np.cumsum([0, *slopes])
    return np.interp(x, np.linspace(0, 1, {CURVE_STEPS + 1}), heights / heights[-1])
"""

_CONTRAST = """
def contrast(x, strength):
    light = np.clip(luminance(x), 0, 1)
    return (1 - strength) * x + strength * x / (light + 1e-6) * (0.5 - 0.5 * np.cos(np.pi * light))
"""

_VIGNETTE = """
def vignette(x, vertical, horizontal, offset, sharpness, strength):
    rows, columns = place(x)
    radius = (rows * vertical) ** 2 + (columns * horizontal) ** 2 + offset - 5
    return x * (1 - (0.5 + 0.5 * np.tanh(radius * sharpness / 10)) * (strength / 10 + 0.5))
"""

# Who uses comes before who is used.
_HELPERS = {
    "vignette(": _VIGNETTE,
    "contrast(": _CONTRAST,
    "saturate(": _SATURATION,
    "curve(": _CURVE,
    "mask(": _MASK,
    "place(": _PLACE,
    "luminance(": _LUMINANCE,
}


def to_python(recipe: Recipe) -> str:
    """A recipe as NumPy code that needs nothing else: ``def edit(x)``, ``(H, W, 3)`` in the recipe's
    input domain in, display values out.

    Only the helper functions that this recipe needs are written. The picture is the one that
    ``Recipe.apply_photo`` gives, within rounding.
    """
    body = "".join(_lines(edit) for edit in recipe)
    space = SPACE_NAMES[recipe.working_space]
    values = {"linear": "linear light", "display": "display values"}[recipe.input_domain]
    code = f"""
def edit(x):  # (H, W, 3) {values}, {space} primaries, in; display values out
{body}    return x
"""
    for call, helper in _HELPERS.items():
        if call in code:
            code = helper + "\n" + code
    return "import numpy as np\n\n" + code


def _lines(edit: Edit) -> str:
    """One edit as indented lines that change ``x``."""
    change = f"    x = {_expression(edit)}\n"
    if edit.mask is not None:
        arguments = ", ".join(map(repr, edit.mask))
        change = f"    m = mask(x, {arguments})\n    x = (1 - m) * x + m * ({_expression(edit)})\n"
    return f"    # {edit.describe()}\n{change}"


def _expression(edit: Edit) -> str:
    values = edit.parameters
    first = values[0]
    if edit.filter == "exposure":
        return f"x * 2 ** {first!r}"
    if edit.filter == "gamma":
        return f"np.maximum(x, 0.001) ** {first!r}"
    if edit.filter == "white_balance":
        return f"x * {list(values)!r}"
    if edit.filter == "saturation":
        return f"saturate(x, {first!r})"
    if edit.filter == "tone":
        return f"curve(x, {list(values)!r})"
    if edit.filter == "contrast":
        return f"contrast(x, {first!r})"
    if edit.filter == "black_white":
        return f"{1 - first!r} * x + {first!r} * luminance(x)"
    if edit.filter == "color":
        red, green, blue = (list(values[i : i + CURVE_STEPS]) for i in range(0, 3 * CURVE_STEPS, CURVE_STEPS))
        return (
            "np.stack([\n"
            f"        curve(x[..., 0], {red}),\n"
            f"        curve(x[..., 1], {green}),\n"
            f"        curve(x[..., 2], {blue}),\n"
            "    ], -1)"
        )
    if edit.filter == "level":
        black, white = values
        return f"np.clip((x - {black!r}) / {white - black + 1e-6!r}, 0, 1)"
    return f"vignette(x, {', '.join(map(repr, values))})"
