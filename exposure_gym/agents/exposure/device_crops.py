"""Photographs where the agent learns: on a GPU they are copied there once, and no picture crosses the bus again."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from exposure_gym.data.photo_set import Draw, PhotoSet


class DeviceCrops:
    """Draws from a photo set, on a device.

    On the CPU the set is used as it is: a memory-mapped one stays on disk. On another device the crops are cut there;
    which ones, is drawn alike, so that a seed gives the same pictures everywhere.

    :param photos: to draw from.
    :param device: where the crops are wanted.
    """

    def __init__(self, photos: PhotoSet, device: torch.device) -> None:
        self.photos = photos
        self.device = device
        self._stored: Tensor | None = None

    def sample(self, count: int, rng: np.random.Generator, size: int) -> Tensor:
        """``(count, 3, size, size)``, float32: as ``PhotoSet.sample``, on the device."""
        if self.device.type == "cpu":
            return torch.from_numpy(self.photos.sample(count, rng, size))
        if self._stored is None:
            self._stored = torch.from_numpy(np.array(self.photos.crops)).to(self.device)
        return cut(self._stored, self.photos.draw(count, rng, size))


def cut(stored: Tensor, draw: Draw) -> Tensor:
    """Cut the crops of a draw: ``PhotoSet.cut`` in one indexing operation, on the device of ``stored``.

    :param stored: ``(N, 3, S, S)``.
    :return: ``(count, 3, size, size)``, float32.
    """
    along = np.arange(draw.size)
    rows = draw.tops[:, None] + along
    columns = draw.lefts[:, None] + np.where(draw.flips[:, None], along[::-1], along)
    indices = draw.indices[:, None].repeat(draw.size, axis=1)
    index, row, column = torch.from_numpy(np.stack([indices, rows, columns])).to(stored.device)  # one copy
    channel = torch.arange(3, device=stored.device)[:, None, None]
    return stored[index[:, :1, None, None], channel, row[:, None, :, None], column[:, None, None, :]].float()
