"""Pixels for a screen: from floats to codes, to a size, to a file."""

from __future__ import annotations

import base64
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from exposure_gym.files import replacing

Rgb8 = NDArray[np.uint8]


def to_rgb8(image: NDArray[Any]) -> Rgb8:
    """Values 0 to 1, clipped, to codes 0 to 255, rounded: ``(H, W, 3)``; uint8 stays as it is."""
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"a picture must have shape (H, W, 3), not {image.shape}")
    if image.dtype == np.uint8:
        return image
    codes = np.rint(255.0 * np.nan_to_num(image, nan=0.0).clip(0.0, 1.0))
    result: Rgb8 = codes.astype(np.uint8)
    return result


def shrink(pixels: NDArray[Any], long_edge: int) -> NDArray[Any]:
    """A photograph ``(H, W, 3)`` no larger than this, averaged over areas; never enlarged."""
    height, width = pixels.shape[:2]
    scale = long_edge / max(height, width)
    if scale >= 1.0:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small: NDArray[Any] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small


def fit(picture: Rgb8, width: int, height: int) -> Rgb8:
    """Resampled to this size; a picture that has it already is not touched."""
    if picture.shape[:2] == (height, width):
        return picture
    method = cv2.INTER_AREA if height < picture.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)


def write_png(path: str | os.PathLike[str], rgb8: Rgb8) -> None:
    """Write ``(H, W, 3)`` uint8 sRGB as PNG; the file appears whole or not at all."""
    with replacing(Path(path)) as temporary:
        Image.fromarray(rgb8).save(temporary, format="PNG", compress_level=4)


def encoded(rgb8: Rgb8, format: str, quality: int = 90) -> bytes:
    """``(H, W, 3)`` as a file: ``"PNG"``, or ``"JPEG"`` of this quality with its colours at full resolution."""
    buffer = BytesIO()
    Image.fromarray(rgb8).save(buffer, format, quality=quality, subsampling=0)
    return buffer.getvalue()


def data_uri(rgb8: Rgb8, format: str, quality: int = 90) -> str:
    """The file that :func:`encoded` gives as an address that holds it."""
    data = base64.b64encode(encoded(rgb8, format, quality)).decode()
    return f"data:image/{format.lower()};base64,{data}"
