"""Photo sets: crops to play on and crops to compare with, each in the domain that it names."""

from __future__ import annotations

from exposure_gym.data.builtin import builtin_names, builtin_photos, sample_photos
from exposure_gym.data.photo_set import Photos, PhotoSet
from exposure_gym.data.scenes import Scene, generate_scene

__all__ = [
    "PhotoSet",
    "Photos",
    "Scene",
    "builtin_names",
    "builtin_photos",
    "generate_scene",
    "sample_photos",
]
