"""PhotoExtractor: the paper's convolutions as a features extractor for any Stable-Baselines3 algorithm."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu

from exposure_gym.networks import LEAK, ConvEncoder

KEYS = ("image", "filters_used", "step")


class PhotoExtractor(BaseFeaturesExtractor):
    """What every agent sees the game through, so that only the algorithms differ.

    ``PPO("MultiInputPolicy", env, policy_kwargs=dict(features_extractor_class=PhotoExtractor))``. The encoder of
    Hu et al. 2018, section 5.1: the state (finished, finished, step, filters used) is repeated as planes behind the
    picture's three, and 4x4 convolutions of stride 2 with leaky ReLU halve the picture down to 4x4. Pictures may be
    linear light, channels last, as the environments give them, or the codes of
    :class:`exposure_gym.envs.PreviewObservation`, which Stable-Baselines3 turns to channels first and divides by 255.

    :param observation_space: of a PhotoRetouch environment in any form.
    :param base_channels: channels after the first convolution, doubled layer by layer (published: 32).
    :param features: length of the output, a multiple of 16 (published: 4096, which is also what ``None`` gives at 64
        pixels).
    :raises ValueError: for another observation space, in one line.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], base_channels: int = 32, features: int | None = None
    ) -> None:
        picture, used, step = _spaces(observation_space)
        planes = 3 + 3 + int(used.shape[0])
        encoder = ConvEncoder(planes, picture.shape[1], base_channels, features)
        super().__init__(observation_space, encoder.features)
        self.channels_last = picture.shape[-1] == 3
        self.max_steps = int(step.n) - 1
        self.encoder = encoder

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """A batch as Stable-Baselines3 has prepared it, ``step`` one-hot, to ``(B, features)``."""
        image = observations["image"]
        if self.channels_last:
            image = image.permute(0, 3, 1, 2)
        step = observations["step"].flatten(1).argmax(dim=1, keepdim=True)
        finished = (step >= self.max_steps).float()
        state = torch.cat([finished, finished, step.float(), observations["filters_used"].flatten(1)], dim=1)
        return self._encode(image, state)

    def _encode(self, image: Tensor, state: Tensor) -> Tensor:
        """What the encoder makes of the picture with the state as planes behind it, for less work.

        A plane is one number everywhere, and convolution is linear: what the first layer makes of it is that number
        times what it makes of ones, the same for every picture. So the planes, four fifths of the input, are never
        made. (Of narrow encoders the first layer is most of the work: passes take a third of the time.)
        """
        first = self.encoder.convolutions[0]
        assert isinstance(first, nn.Conv2d)
        outputs = len(first.weight)
        ones = image.new_ones(1, 1, *image.shape[2:])
        of_ones = conv2d(ones, first.weight[:, 3:].reshape(-1, 1, *first.weight.shape[2:]), stride=2, padding=1)
        tables = of_ones.view(outputs, state.shape[1], -1).permute(1, 2, 0).flatten(1)  # (states, places * outputs)
        hidden = (image - 0.5).contiguous(memory_format=torch.channels_last)
        hidden = conv2d(hidden, first.weight[:, :3], first.bias, stride=2, padding=1)
        height, width = hidden.shape[2:]
        hidden = hidden + ((state - 0.5) @ tables).view(-1, height, width, outputs).permute(0, 3, 1, 2)
        hidden = leaky_relu(hidden, LEAK, inplace=True)
        for convolution in self.encoder.convolutions[1:]:
            hidden = leaky_relu(convolution(hidden), LEAK, inplace=True)
        return hidden.flatten(1)


def _spaces(space: spaces.Space[Any]) -> tuple[spaces.Box, spaces.MultiBinary, spaces.Discrete]:
    """The spaces of the picture, of the filters used and of the step."""
    if not isinstance(space, spaces.Dict) or set(space.spaces) != set(KEYS):
        raise ValueError(f"PhotoExtractor needs observations with the keys {', '.join(KEYS)}, not {space}")
    picture, used, step = (space[key] for key in KEYS)
    assert isinstance(picture, spaces.Box)
    assert isinstance(used, spaces.MultiBinary)
    assert isinstance(step, spaces.Discrete)
    shape = picture.shape
    if len(shape) != 3 or shape not in ((shape[1], shape[1], 3), (3, shape[1], shape[1])):
        raise ValueError(f"PhotoExtractor needs square pictures of three channels, not {shape}")
    return picture, used, step
