"""The photo set that needs no file and no network: scikit-image's sample photographs and generated
scenes.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from exposure_gym.color import srgb_decode
from exposure_gym.data.photo_set import Photos, PhotoSet
from exposure_gym.data.scenes import generate_scene

Split = Literal["train", "test"]

# The natural colour photographs inside scikit-image's wheel. They are read as files: `skimage.data`
# would fetch over the network what it does not find.
_FILES = {
    "astronaut": "astronaut.png",
    "coffee": "coffee.png",
    "motorcycle": "motorcycle_left.png",
    "cat": "chelsea.png",
    "rocket": "rocket.jpg",
}
_SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("astronaut", "coffee", "motorcycle"),
    "test": ("cat", "rocket"),
}
_SIZE = 80
_CROPS = 12  # of each sample photograph
_TEST_SHARE = 4  # the test split has one generated scene for every four in the training split


def builtin_names(split: Split | None = None) -> tuple[str, ...]:
    """Return the names of the sample photographs, of both splits or one.

    :raises ValueError: there is no such split.
    """
    if split is None:
        return tuple(_FILES)
    return _SPLITS[_checked(split)]


@cache
def builtin_photos(seed: int = 0, scenes: int = 256, split: Split = "train") -> Photos:
    """Make the built-in photo set: paired crops of 80 pixels, inputs raw-like and linear, targets
    finished.

    The sample photographs are the targets as they are; their inputs are the same crops linearised,
    darkened by 0 to 3 EV and given a mild cast, another for each crop. Generated scenes bring their
    own finished version. A photograph or scene is in one split only. Calling again returns the same
    object: do not write to it.

    :param seed: of crops, darkness and scenes; the two splits share none for any seed.
    :param scenes: number of generated scenes in the training split; the test split has a quarter.
    :param split: ``"train"`` or ``"test"``.
    :raises ValueError: there is no such split, or `scenes` is negative.
    :raises FileNotFoundError: scikit-image came without its sample photographs.
    """
    if scenes < 0:
        raise ValueError(f"scenes must be 0 or more, not {scenes}")
    rng = np.random.default_rng([seed, list(_SPLITS).index(_checked(split))])
    inputs: list[NDArray[np.float32]] = []
    targets: list[NDArray[np.float32]] = []
    names: list[str] = []
    for name in builtin_names(split):
        display = _read(name)
        for _ in range(_CROPS):
            target = _random_square(display, rng)
            inputs.append(_raw_like(target, rng))
            targets.append(target)
            names.append(name)
    for number in range(scenes if split == "train" else -(-scenes // _TEST_SHARE)):
        scene = generate_scene(rng, _SIZE)
        inputs.append(scene.linear)
        targets.append(scene.display)
        names.append(f"scene-{split}-{number:04d}")
    return Photos(_photo_set(inputs, "linear", names), _photo_set(targets, "display", names), paired=True)


def sample_photos(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return the sample photographs at full size, raw-like: linear, dark and a little off-colour.

    :param seed: of darkness and cast.
    :return: ``(H, W, 3)`` linear RGB, sRGB primaries, by name in the order of `builtin_names`.
    :raises FileNotFoundError: scikit-image came without its sample photographs.
    """
    rng = np.random.default_rng(seed)
    return {name: _raw_like(_read(name), rng) for name in builtin_names()}


def _checked(split: Split) -> Split:
    if split not in _SPLITS:
        raise ValueError(f'split is "train" or "test", not {split!r}')
    return split


def _read(name: str) -> NDArray[np.float32]:
    """Return a sample photograph as display values, ``(H, W, 3)``."""
    package = find_spec("skimage")  # where it is, without the time that importing it takes
    places = package.submodule_search_locations if package else None
    path = Path(places[0] if places else "skimage", "data", _FILES[name])
    codes = cv2.imread(str(path)) if path.is_file() else None
    if codes is None:
        raise FileNotFoundError(f"{path}: no sample photograph; run: pip install --force-reinstall scikit-image")
    return np.asarray(cv2.cvtColor(codes, cv2.COLOR_BGR2RGB) / np.float32(255), np.float32)


def _random_square(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a random square between half and all of the shorter edge, averaged down to `_SIZE`."""
    height, width = pixels.shape[:2]
    side = int(min(height, width) * rng.uniform(0.5, 1.0))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    square = pixels[top : top + side, left : left + side]
    shrunk = cv2.resize(square, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk.clip(0, 1), np.float32)  # an average of ones can round to above 1


def _raw_like(display: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Take a finished picture back to linear light, 0 to 3 EV darker, under a tinted light."""
    warmth, tint = rng.normal(0.0, 0.12), rng.normal(0.0, 0.06)
    cast = np.exp([warmth, tint, -warmth])
    gain = 2.0 ** rng.uniform(-3.0, 0.0) * cast / cast.max()
    return np.asarray(srgb_decode(display) * gain, np.float32)


def _photo_set(pixels: list[NDArray[np.float32]], domain: Literal["linear", "display"], names: list[str]) -> PhotoSet:
    crops = np.stack(pixels).transpose(0, 3, 1, 2).copy()
    crops.flags.writeable = False  # every caller gets this one object
    return PhotoSet(crops, domain, names)
