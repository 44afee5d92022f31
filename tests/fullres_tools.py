"""The float path to compare the one pass with."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

from exposure_gym.fullres import develop_file
from exposure_gym.photo import DisplayPhoto, read_input, write_display
from exposure_gym.recipe import Edit, Recipe

Array = NDArray[Any]


RECIPE = Recipe(
    (
        Edit("exposure", (1.3,)),
        Edit("gamma", (1 / 2.4,)),
        Edit("contrast", (0.3,), (1.0, -2.0, 3.0, 0.5, 4.0, 3.0)),
        Edit("white_balance", (1.05, 0.99, 0.92)),
        Edit("saturation", (0.4,)),
        Edit("tone", (0.8, 1.0, 1.2, 1.3, 1.2, 1.0, 0.9, 0.8)),
        Edit("vignette", (2.0, -1.0, 3.0, 4.0, 1.0)),
    )
)


AS_IT_IS = Recipe(input_domain="display")


def by_floats(source: Path, recipe: Recipe, target: Path, brightness: Any = "as-is", bits: Any = None) -> Path:
    """The same by reading, editing in float64, which has no compiled loops, and writing."""
    reading = "display" if recipe.input_domain == "display" else "raw-like" if brightness == "raw-like" else "linear"
    photo = read_input(source, reading, space=recipe.working_space)  # type: ignore[arg-type]
    pixels = recipe.apply_photo(photo.pixels.astype(np.float64)).astype(np.float32)
    write_display(target, DisplayPhoto(pixels, recipe.working_space, photo.metadata), bits=bits)
    return target


def difference(one: Array, other: Array) -> Array:
    """CIEDE2000 of pictures in display values."""
    return np.asarray(deltaE_ciede2000(rgb2lab(one), rgb2lab(other)))  # type: ignore[no-untyped-call]


def stored(path: Path) -> Array:
    """The codes of a file, read by nobody's code of this project."""
    data = path.read_bytes()
    if path.suffix == ".tif":
        pixels = np.asarray(tifffile.imread(io.BytesIO(data)))
    else:
        pixels = np.asarray(imagecodecs.imread(data))
    return pixels.astype(int)


def assert_same(folder: Path, source: Path, recipe: Recipe, kind: str = "tif", **options: Any) -> None:
    """Both ways give the same file, to one code."""
    ours = folder / f"ours.{kind}"
    size = develop_file(source, recipe, ours, **options)
    theirs = by_floats(
        source, recipe, folder / f"theirs.{kind}", options.get("brightness", "as-is"), options.get("bits")
    )
    one, other = stored(ours), stored(theirs)
    assert one.shape == other.shape == (*size, 3)
    assert np.abs(one - other).max() <= 1
    assert (one != other).mean() < 0.05
    head = len(ours.read_bytes()) - one.size * (2 if kind == "tif" else 0)
    if kind == "tif":
        assert ours.read_bytes()[:head] == theirs.read_bytes()[:head]
