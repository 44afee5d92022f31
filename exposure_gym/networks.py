"""The convolutional encoder that the policy, the value and the critic share (paper, section 5.1 and figure 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FEATURE_MAP_SIZE = 4
"""Side of the last feature map, whatever the image size (published ``min_feature_map_size``)."""


LEAK = 0.2
"""Slope of every leaky ReLU below 0."""


def leaky_tangent(direction: Tensor, activation: Tensor) -> Tensor:
    """A direction times the slope of the leaky ReLU that gave this activation, 1 or (at 0 too) 0.2."""
    # In one pass over memory; a mask and a product are four.
    product: Tensor = torch.ops.aten.leaky_relu_backward(direction, activation.detach(), LEAK, True)
    return product


class ConvEncoder(nn.Module):
    """4x4 convolutions of stride 2 with leaky ReLU (0.2), doubling the channels, down to 4x4; then flattened.

    :param planes: input planes (image and repeated state values).
    :param image_size: side of the square input in pixels, 4 times a power of two (64: four layers).
    :param base_channels: channels after the first layer.
    :param features: length of the output; its last layer has ``features / 16`` channels. By default every layer
        doubles (base 32 at 64 pixels: 32, 64, 128, 256 channels and 4096 features).
    :raises ValueError: for an image size or feature count that does not fit.
    """

    def __init__(self, planes: int, image_size: int = 64, base_channels: int = 32, features: int | None = None) -> None:
        super().__init__()
        layers = (image_size // FEATURE_MAP_SIZE).bit_length() - 1
        if layers < 1 or image_size != FEATURE_MAP_SIZE * 2**layers:
            raise ValueError(f"image_size {image_size} must be 4 times a power of two: 8, 16, 32, 64, 128, ...")
        channels = [base_channels * 2**i for i in range(layers)]
        if features is not None:
            if features % FEATURE_MAP_SIZE**2:
                raise ValueError(f"features {features} must be a multiple of {FEATURE_MAP_SIZE**2}")
            channels[-1] = features // FEATURE_MAP_SIZE**2
        self.features = channels[-1] * FEATURE_MAP_SIZE**2
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1)
            for inputs, outputs in zip([planes, *channels], channels, strict=False)
        )

    def forward(self, planes: Tensor, trace: list[Tensor] | None = None) -> Tensor:
        """``(B, planes, S, S)`` to ``(B, features)``; 0.5 is subtracted from every plane first, as published.

        :param trace: gets each layer's activations appended, for :meth:`tangent`.
        """
        hidden = (planes - 0.5).contiguous(memory_format=torch.channels_last)
        for convolution in self.convolutions:
            hidden = nn.functional.leaky_relu(convolution(hidden), LEAK, inplace=True)
            if trace is not None:
                trace.append(hidden)
        return hidden.flatten(1)

    def tangent(self, planes: Tensor, trace: list[Tensor]) -> Tensor:
        """How the features change when the planes move in a direction: the Jacobian times it, linear in the weights.

        :param planes: ``(B, planes, S, S)`` the direction; :param trace: activations where the Jacobian is taken.
        :return: ``(B, features)``.
        """
        hidden = planes.contiguous(memory_format=torch.channels_last)
        for convolution, activation in zip(self.convolutions, trace, strict=True):
            assert isinstance(convolution, nn.Conv2d)
            hidden = nn.functional.conv2d(hidden, convolution.weight, stride=2, padding=1)
            hidden = leaky_tangent(hidden, activation)
        return hidden.flatten(1)


def with_planes(image: Tensor, values: Tensor) -> Tensor:
    """Append each value of ``(B, n)`` to ``(B, 3, H, W)`` as a constant plane: ``(B, 3 + n, H, W)``."""
    height, width = image.shape[2:]
    return torch.cat([image, values.to(image.dtype)[:, :, None, None].expand(-1, -1, height, width)], dim=1)


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Xavier-uniform weights and zero biases, the default of the published TensorFlow layers, from a generator."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
