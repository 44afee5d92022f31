"""The built-in photographs as files, for a person who gives none."""

from __future__ import annotations

from pathlib import Path

import tifffile

from exposure_gym.data import sample_photos
from exposure_gym.files import replacing


def lay_out(folder: Path, seed: int = 0) -> list[Path]:
    """Put them there, dark as a camera records them: TIFF files of linear light in 32-bit floats.

    Those that are there already stay.

    :param seed: of darkness and cast.
    :raises FileNotFoundError: scikit-image came without its sample photographs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, pixels in sample_photos(seed).items():
        path = folder / f"{name}.tif"
        if not path.exists():
            with replacing(path) as temporary:
                tifffile.imwrite(temporary, pixels, photometric="rgb", metadata=None)
        paths.append(path)
    return paths
