"""How close photographs are to photographs that people finished.

Every function here takes *display values*: sRGB codes / 255, ``(H, W, 3)``, float in [0, 1]. Values
outside are clipped first, as a file or a screen would.

The paper compares two *sets* of pictures that show different things, so it
compares distributions: the mean luminance, the contrast and the saturation of each picture, 32-bin
histograms of these over a set, and how much the histograms of two sets overlap. PSNR, SSIM and
CIEDE2000 compare two renderings of the *same* picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from exposure_gym.color import LUMINANCE_WEIGHTS

__all__ = [
    "HistogramIntersection",
    "ciede2000",
    "five_crops",
    "histogram_intersection",
    "photo_statistics",
    "psnr",
    "ssim",
]

_BINS = 32


class HistogramIntersection(NamedTuple):
    """Overlap of the statistics of two sets of pictures: 0 (apart) to 1 (the same distribution)."""

    luminance: float
    contrast: float
    saturation: float

    @property
    def mean(self) -> float:
        """The average of the three, the figure that the paper's tables end with."""
        return (self.luminance + self.contrast + self.saturation) / 3


def photo_statistics(images: Iterable[ArrayLike]) -> NDArray[np.float64]:
    """Luminance, contrast and saturation of each picture.

    Luminance is the mean of 0.27 R + 0.67 G + 0.06 B, contrast is twice its standard deviation,
    saturation is the mean S of HLS: each in [0, 1] (published code: ``get_statistics`` in
    ``histogram_intersection.py``).

    :param images: ``(N, H, W, 3)`` array, or ``(H, W, 3)`` arrays of any sizes; display values,
        float.
    :return: ``(N, 3)``.
    :raises ValueError: a picture is not ``(H, W, 3)`` float.
    """
    return np.array([_statistics(image) for image in images], dtype=np.float64).reshape(-1, 3)


def _statistics(image: ArrayLike) -> tuple[float, float, float]:
    pixels = _display(image)
    luminance = pixels @ np.array(LUMINANCE_WEIGHTS)
    saturation = cv2.cvtColor(pixels.astype(np.float32), cv2.COLOR_RGB2HLS)[..., 2]
    return (
        float(luminance.mean()),
        float(2 * luminance.std()),
        float(saturation.mean(dtype=np.float64)),
    )


def histogram_intersection(results: ArrayLike, targets: ArrayLike) -> HistogramIntersection:
    """How much of the distributions of luminance, contrast and saturation two sets of pictures
    share.

    Each statistic is counted in 32 equal bins on [0, 1] and divided by the size of its set; the
    intersection is the sum over the bins of the smaller share (published code:
    ``histogram_intersection.py``).

    :param results: pictures as `photo_statistics` takes them, or the ``(N, 3)`` that it returned.
    :param targets: the same, of any other number.
    :raises ValueError: a set is empty.
    """
    a, b = _histograms(results), _histograms(targets)
    luminance, contrast, saturation = np.minimum(a, b).sum(axis=1)
    return HistogramIntersection(float(luminance), float(contrast), float(saturation))


def _histograms(pictures: ArrayLike) -> NDArray[np.float64]:
    """``(3, 32)`` shares. Every picture counts: a mean that rounding lifted over 1 stays in the
    last bin.
    """
    statistics = pictures if isinstance(pictures, np.ndarray) and pictures.ndim == 2 else _set_statistics(pictures)
    if len(statistics) == 0:
        raise ValueError("histogram_intersection needs at least one picture on each side")
    if statistics.shape[1] != 3:
        raise ValueError(f"statistics must be (N, 3), as photo_statistics returns them, not {statistics.shape}")
    counts = [np.histogram(column, bins=_BINS, range=(0.0, 1.0))[0] for column in np.clip(statistics, 0.0, 1.0).T]
    return np.array(counts) / len(statistics)


def _set_statistics(pictures: ArrayLike) -> NDArray[np.float64]:
    return photo_statistics(pictures)  # type: ignore[arg-type]  # a sequence of pictures is an array-like


def five_crops(pixels: NDArray[np.floating], size: int = 64) -> NDArray[np.float32]:
    """Five evenly spaced squares along the long side: how a photo enters a histogram here.

    The first touches one end and the last the other, so that every photo counts five times whatever
    its shape. A square picture gives five equal crops.

    :param pixels: ``(H, W, C)`` float.
    :param size: edge of the crops after averaging down (``INTER_AREA``).
    :return: ``(5, size, size, C)``.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    crops = []
    for offset in np.linspace(0, max(height, width) - side, 5).round().astype(int):
        top, left = (offset, 0) if height > width else (0, offset)
        square = np.asarray(pixels[top : top + side, left : left + side], np.float32)
        crops.append(cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA))
    return np.stack(crops)


def psnr(result: ArrayLike, target: ArrayLike) -> float:
    """Peak signal-to-noise ratio in dB, peak 1; ``inf`` for equal pictures.

    :param result: ``(H, W, 3)`` display values, float; as is `target`.
    """
    from skimage.metrics import peak_signal_noise_ratio

    a, b = _pair(result, target)
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(b, a, data_range=1.0))  # type: ignore[no-untyped-call]


def ssim(result: ArrayLike, target: ArrayLike) -> float:
    """Structural similarity with the settings of Wang et al. 2004 (Gaussian window, sigma 1.5),
    mean over R, G and B.

    :param result: ``(H, W, 3)`` display values, float, at least 11 pixels each way; as is `target`.
    """
    from skimage.metrics import structural_similarity

    a, b = _pair(result, target)
    if min(a.shape[:2]) < 11:
        raise ValueError(f"SSIM needs pictures of at least 11 x 11 pixels, not {a.shape[1]} x {a.shape[0]}")
    value = structural_similarity(  # type: ignore[no-untyped-call]
        b,
        a,
        data_range=1.0,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    return float(value)


def ciede2000(result: ArrayLike, target: ArrayLike) -> float:
    """Mean CIEDE2000 colour difference of sRGB pictures (D65): about 1 is just noticeable.

    :param result: ``(H, W, 3)`` display values, float; as is `target`.
    """
    from skimage.color import deltaE_ciede2000, rgb2lab

    a, b = _pair(result, target)
    return float(np.mean(deltaE_ciede2000(rgb2lab(b), rgb2lab(a))))  # type: ignore[no-untyped-call]


def _pair(result: ArrayLike, target: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = _display(result), _display(target)
    if a.shape != b.shape:
        raise ValueError(f"pictures of one size are needed, not {a.shape} and {b.shape}")
    return a, b


def _display(image: ArrayLike) -> NDArray[np.float64]:
    """Return a picture as float64 in [0, 1]. Integers are refused: they would be read as white."""
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[-1] != 3 or not np.issubdtype(pixels.dtype, np.floating):
        raise ValueError(f"a picture must be (H, W, 3) float display values, not {pixels.shape} {pixels.dtype}")
    return np.clip(pixels.astype(np.float64), 0.0, 1.0)
