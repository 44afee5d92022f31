"""PhotoExtractor: the paper's convolutions as a features extractor for any Stable-Baselines3 algorithm."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from exposure_gym.networks import ConvEncoder, with_planes

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
        features: Tensor = self.encoder(with_planes(image, state))
        return features


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
