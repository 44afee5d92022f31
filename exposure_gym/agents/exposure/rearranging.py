"""Pictures rearranged before a critic sees them, so that it judges tones and colours and cannot learn photographs by
heart: with few targets it soon knows each by what it shows, and its gradient then wishes for that and not for a style.

An augmentation of both sides of the critic's comparison, and of what the actor is judged by, as in Zhao et al. 2020
(Differentiable Augmentation for Data-Efficient GAN Training). Values are moved and never changed: every statistic of
tones and colours stays as it is. Not in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor


def arrangements(count: int, size: int, tiles: int, generator: torch.Generator) -> Tensor:
    """Draw where each pixel comes from: tiles in any order, the whole mirrored and turned.

    :param count: of pictures.
    :param size: of their edge, in pixels.
    :param tiles: along an edge; must divide `size`. 1 keeps the picture whole: then it is mirrored and turned only.
    :param generator: on the device of the pictures.
    :return: ``(count, size * size)`` int64, for :func:`rearrange`.
    """
    device = generator.device
    edge = size // tiles
    pixels = torch.arange(size * size, device=device).view(tiles, edge, tiles, edge).transpose(1, 2).flatten(0, 1)
    order = torch.rand(count, tiles * tiles, generator=generator, device=device).argsort(dim=1)
    source = pixels[order].view(count, tiles, tiles, edge, edge).transpose(2, 3).reshape(count, size, size)
    mirrored, flipped, turned = (torch.rand(3, count, 1, 1, generator=generator, device=device) < 0.5).unbind()
    source = torch.where(mirrored, source.flip(2), source)
    source = torch.where(flipped, source.flip(1), source)
    return torch.where(turned, source.transpose(1, 2), source).flatten(1)


def rearrange(images: Tensor, arrangement: Tensor | None) -> Tensor:
    """``(B, C, S, S)`` with each picture's pixels where its arrangement ``(B, S * S)`` puts them; ``None``: as is."""
    if arrangement is None:
        return images
    return images.flatten(2).gather(2, arrangement[:, None].expand(-1, images.shape[1], -1)).view_as(images)
