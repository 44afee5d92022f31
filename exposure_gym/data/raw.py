"""Decode RAW files into linear light, through rawpy (LibRaw), which comes with the ``raw`` extra."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from exposure_gym.photo import LinearPhoto, PhotoError, Space

if TYPE_CHECKING:
    import rawpy

MISSING = "RAW files need rawpy: pip install 'exposure-gym[raw]'"


def available() -> bool:
    """Whether rawpy is installed."""
    return find_spec("rawpy") is not None


def read_raw(
    path: str | Path,
    *,
    ev: float = 0.0,
    space: Space = "prophoto",
    half_size: bool = False,
    max_megapixels: float = 200.0,
) -> LinearPhoto:
    """Develop a RAW file in daylight white balance, without a curve and without anything that depends on the picture.

    The white balance is LibRaw's daylight: that of light of 6500 K, from the colour matrix of the camera. A value of 1
    is where the first channel of the sensor clips; the others are cut there. The orientation that the file names is
    baked in.

    :param path: a DNG or any other file that LibRaw knows.
    :param ev: exposure, in stops, as a factor on the linear values.
    :param space: primaries of the result; colours outside them are cut off at 0.
    :param half_size: take every 2 × 2 pixels of the sensor as one, instead of interpolating their colours: for pictures
        that are made smaller anyway.
    :param max_megapixels: larger photographs are refused before they are decoded.
    :return: ``(H, W, 3)`` linear light in [0, 2**ev].
    :raises PhotoError: rawpy is not installed, or the file cannot be read; one line.
    """
    path = Path(path)
    if not available():
        raise PhotoError(path, "is a RAW file", MISSING)
    import rawpy

    try:
        with path.open("rb") as file, rawpy.imread(file) as raw:
            megapixels = raw.sizes.height * raw.sizes.width / 1e6
            if megapixels > max_megapixels:
                reason = f"has {megapixels:.0f} megapixels, more than {max_megapixels:g}"
                raise PhotoError(path, reason, "allow more with max_megapixels")
            codes = _develop(raw, space, half_size)
    except rawpy.LibRawError as error:
        reason = f"is no RAW file or is damaged ({_words(error)})"
        raise PhotoError(path, reason, "copy it from the camera again") from None
    except MemoryError:
        raise PhotoError(path, "does not fit in memory", "decode it on a larger machine") from None
    except OSError as error:
        raise PhotoError(path, f"cannot be read ({error.strerror or error})", "check the name") from None
    return LinearPhoto(codes * np.float32(2.0**ev / 65535.0), space, path=path)


def _develop(raw: rawpy.RawPy, space: Space, half_size: bool) -> NDArray[np.float32]:
    """Return the 16-bit codes of a picture, ``(H, W, 3)``, linear."""
    import rawpy

    codes = raw.postprocess(
        use_camera_wb=False,
        use_auto_wb=False,  # neither: LibRaw's daylight
        output_color=rawpy.ColorSpace.ProPhoto if space == "prophoto" else rawpy.ColorSpace.sRGB,
        output_bps=16,
        gamma=(1, 1),
        no_auto_bright=True,
        adjust_maximum_thr=0.0,  # white stays that of the sensor, whatever the brightest pixel is
        half_size=half_size,
    )
    if codes.ndim == 2 or codes.shape[2] == 1:  # a sensor without colour
        codes = np.repeat(codes.reshape(*codes.shape[:2], 1), 3, axis=2)
    return cast("NDArray[np.float32]", codes.astype(np.float32))


def _words(error: Exception) -> str:
    """Return what LibRaw says, which rawpy hands on as bytes."""
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
