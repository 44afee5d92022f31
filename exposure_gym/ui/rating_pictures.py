"""The results of one photograph as the page shows them: all of one size, in JPEG files that tell nothing else."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from exposure_gym.color import srgb_encode
from exposure_gym.photo import RAW_EXTENSIONS
from exposure_gym.preview import read_preview
from exposure_gym.ui.rating import Study
from exposure_gym.viz import Rgb8, encoded, shrink, to_rgb8

LONG_EDGE = 1280
"""Pixels of the longer side, at most."""
_SHORT_EDGE = 853  # the shorter side of a 3:2 picture of LONG_EDGE
_QUALITY = 92
_KEPT = 24
"""Photographs whose pictures are kept in memory."""


class RatingPictures:
    """Pictures of a study, made when the first of a photograph is wanted, and all of it together: how long one takes
    tells nothing about its set.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Mapping[str, bytes] | ValueError] = OrderedDict()

    def of(self, photo: str) -> Mapping[str, bytes]:
        """The pictures of a photograph by set, as JPEG files.

        :raises ValueError: one of them cannot be read, or the photograph is not in the study any more; one line.
        """
        with self._lock:
            found = self._kept.get(photo)
            if found is None:
                found = self._kept[photo] = self._made(photo)
            self._kept.move_to_end(photo)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        if isinstance(found, ValueError):
            raise found
        return found

    def _made(self, photo: str) -> Mapping[str, bytes] | ValueError:
        try:
            pictures = {name: _picture(files[photo]) for name, files in self._study.sets.items()}
        except KeyError:
            return ValueError(f"{photo}: not in all folders any more")
        except (ValueError, OSError, MemoryError) as error:
            return ValueError(" ".join(str(error).split()) or f"{photo}: does not fit in memory")
        edge = min(max(picture.shape) for picture in pictures.values())  # a sharper one would be known by that
        return {name: encoded(to_rgb8(shrink(picture, edge)), "JPEG", _QUALITY) for name, picture in pictures.items()}


def _picture(path: Path) -> Rgb8:
    """A finished photograph, or the light of a RAW file as a screen shows it."""
    if path.suffix.lower() in RAW_EXTENSIONS:
        pixels = srgb_encode(read_preview(path, "linear", short_edge=_SHORT_EDGE).pixels.clip(0.0, 1.0))
    else:
        pixels = read_preview(path, "display", short_edge=_SHORT_EDGE).pixels
    return to_rgb8(shrink(pixels, LONG_EDGE))
