"""The critic: a Wasserstein GAN's judge of whether a picture looks like one of the wanted style.

Network, loss and training step of WGAN-GP with a one-sided gradient penalty (paper, section 4.2; Gulrajani et al.
2017), as in the published ``critics.py`` and ``net.py``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from exposure_gym.color import luminance
from exposure_gym.model_file import ModelError, read_model, write_model
from exposure_gym.networks import LEAK, ConvEncoder, leaky_tangent, with_planes


def picture_statistics(image: Tensor) -> Tensor:
    """Mean and variance of luminance (+ 1e-5) and mean saturation, given to the critic as planes.

    Saturation is ``(max - min) / (min(max + min, 2 - max - min) + 0.01)`` on the picture clipped to [0, 1].

    :param image: ``(B, 3, H, W)``.
    :return: ``(B, 3)``.
    """
    light = (luminance(image) + 1e-5).flatten(1)
    mean = light.mean(dim=1)
    variance = (light - mean[:, None]).square().mean(dim=1)
    clipped = image.clamp(0.0, 1.0)
    high, low = clipped.amax(dim=1), clipped.amin(dim=1)
    saturation = (high - low) / (torch.minimum(high + low, 2.0 - high - low) + 1e-2)
    return torch.stack([mean, variance, saturation.mean(dim=(1, 2))], dim=1)


class Critic(nn.Module):
    """Scores pictures: higher is nearer to the wanted style. With ``state_size`` it is the agent's value network.

    :param image_size: side of the square pictures, in pixels.
    :param base_channels: channels of the first convolution.
    :param hidden: width of the fully connected layer.
    :param state_size: length of a state vector that is given beside the picture; 0 for the critic proper.
    """

    def __init__(self, image_size: int = 64, base_channels: int = 32, hidden: int = 128, state_size: int = 0) -> None:
        super().__init__()
        self.config = {
            "image_size": image_size,
            "base_channels": base_channels,
            "hidden": hidden,
            "state_size": state_size,
        }
        self.image_size = image_size
        self.encoder = ConvEncoder(3 + state_size + 3, image_size, base_channels)
        self.hidden = nn.Linear(self.encoder.features, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, image: Tensor, state: Tensor | None = None) -> Tensor:
        """``(B, 3, S, S)`` display values (and ``(B, state_size)``) to ``(B,)`` scores, unbounded."""
        return self.head(self.features(image, state))

    def features(self, image: Tensor, state: Tensor | None = None) -> Tensor:
        """What the convolutions see in pictures, nearly all of the arithmetic: ``(B, encoder.features)``."""
        values = picture_statistics(image)
        if state is not None:
            values = torch.cat([state, values], dim=1)
        features: Tensor = self.encoder(with_planes(image, values))
        return features

    def head(self, features: Tensor, trace: list[Tensor] | None = None) -> Tensor:
        """:meth:`features` to ``(B,)`` scores. :param trace: gets the values of the hidden layer."""
        hidden = nn.functional.leaky_relu(self.hidden(features), LEAK)
        if trace is not None:
            trace.append(hidden)
        score: Tensor = self.score(hidden)
        return score[:, 0].float()

    def slope(self, image: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The score's gradient with respect to the picture, and the score's slope along any direction.

        :param image: ``(B, 3, S, S)``.
        :return: the gradient ``(B, 3, S, S)``, detached; and a function of a direction ``(B, 3, S, S)`` that gives
            the inner product ``(B,)`` of gradient and direction, differentiable in the weights.
        """
        trace: list[Tensor] = []
        point = image.detach().requires_grad_()
        features = self.encoder(with_planes(point, picture_statistics(point)), trace)
        (gradient,) = torch.autograd.grad(self.head(features, trace).sum(), point)

        def along(direction: Tensor) -> Tensor:
            with warnings.catch_warnings():
                # Torch's own: its first jvp loads rules that it compiles with its deprecated torch.jit.script.
                warnings.simplefilter("ignore", DeprecationWarning)
                statistics: Tensor = torch.func.jvp(picture_statistics, (image,), (direction,))[1]
            hidden = self.encoder.tangent(with_planes(direction, statistics), trace[:-1])
            hidden = leaky_tangent(nn.functional.linear(hidden, self.hidden.weight), trace[-1])
            score: Tensor = nn.functional.linear(hidden, self.score.weight)
            return score[:, 0].float()

        return gradient, along


class CriticLoss(NamedTuple):
    """The critic's loss and what it is made of; scalars but the last."""

    loss: Tensor
    """``-emd + gradient_penalty``."""
    emd: Tensor
    """Mean score of target pictures minus that of finished ones: the estimated earth mover's distance."""
    gradient_penalty: Tensor
    gradient_norm: Tensor
    """``(B,)``, of the score with respect to a picture between a finished and a target one; 1 at the optimum."""


def critic_loss(
    critic: Critic, finished: Tensor, target: Tensor, mix: Tensor, penalty_weight: float = 10.0
) -> CriticLoss:
    """WGAN loss with penalty ``10 mean(max(|grad| - 1, 0)^2)``: only slopes above 1 cost (one-sided).

    :param finished: ``(B, 3, S, S)`` pictures at the end of their episodes.
    :param target: ``(B, 3, S, S)`` pictures of the wanted style.
    :param mix: ``(B, 1, 1, 1)`` in [0, 1]: where between target (0) and finished (1) each slope is measured.
    """
    scores = critic(torch.cat([finished, target]))
    emd = scores[len(finished) :].mean() - scores[: len(finished)].mean()
    gradient, along = critic.slope(target + mix * (finished - target))
    norm = (1e-6 + gradient.square().sum(dim=(1, 2, 3))).sqrt()
    excess = (norm - 1.0).clamp(min=0.0)
    penalty = penalty_weight * excess.square().mean()
    # The penalty depends on the weights through the gradient g alone, so its derivative is that of <v, g> with
    # v = d penalty / d g held fixed; and <v, g> is the score's slope along v, a plain forward pass of the linearised
    # network. No backward pass is differentiated: a little less work, and compilers and CUDA graphs can take it.
    direction = (2.0 * penalty_weight / len(norm) * excess / norm)[:, None, None, None] * gradient
    slope = along(direction).sum()
    loss = (penalty - slope).detach() + slope - emd
    return CriticLoss(loss, emd, penalty, norm)


def critic_step(
    critic: Critic,
    optimizer: torch.optim.Optimizer,
    finished: Tensor,
    target: Tensor,
    generator: torch.Generator,
    *,
    penalty_weight: float = 10.0,
    precision: torch.dtype = torch.float32,
) -> CriticLoss:
    """One update of the critic; shapes as in :func:`critic_loss`. Returns the loss before it, detached.

    :param generator: of the mixing weights, on the pictures' device.
    :param precision: ``torch.bfloat16`` runs the networks under autocast; losses and weights stay float32.
    """
    mix = torch.rand(len(finished), 1, 1, 1, generator=generator, device=finished.device)
    with torch.autocast(finished.device.type, dtype=precision, enabled=precision != torch.float32):
        loss = critic_loss(critic, finished, target, mix, penalty_weight)
    optimizer.zero_grad(set_to_none=True)
    loss.loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return CriticLoss(*(term.detach() for term in loss))


def updates_due(iteration: int, updates: int, burst: int, burst_iterations: int, burst_every: int) -> int:
    """How often the critic learns in an iteration: ``updates`` times, but ``burst`` times in the first
    ``burst_iterations`` and every ``burst_every`` (published training loop, ``net.py``).
    """
    return burst if iteration < burst_iterations or iteration % burst_every == 0 else updates


CRITIC_FORMAT = "exposure-gym critic 1"


def save_critic(critic: Critic, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """A critic's weights in half precision."""
    tensors = {name: value.to(dtype) for name, value in critic.state_dict().items()}
    write_model(path, tensors, CRITIC_FORMAT, critic.config)


def load_critic(path: Path) -> Critic:
    """A critic with its weights, in evaluation mode and without gradients.

    :raises ModelError: when the file is missing, damaged or does not fit.
    """
    tensors, config = read_model(path, CRITIC_FORMAT)
    try:
        critic = Critic(**config)
        critic.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (TypeError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: not a critic this version can load ({str(error).splitlines()[0]})") from None
    return critic.eval().requires_grad_(False)
