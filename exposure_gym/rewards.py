"""The rewards an environment can be given: how much nearer an edit brought the picture to what is wanted.

A reward model has a potential; an edit earns its increase, minus the game's penalties, each under its own name.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from functools import cache
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from exposure_gym.color import srgb_to_lab
from exposure_gym.critic import Critic, CriticLoss, critic_step, load_critic, updates_due
from exposure_gym.data import Photos, PhotoSet
from exposure_gym.files import replacing
from exposure_gym.game import Transition
from exposure_gym.networks import initialise

WEIGHTS = Path(__file__).parent / "weights" / "exposure"
"""Folder of the shipped agent: its policy, and the critic it was trained against."""


class RewardModel(Protocol):
    """What an environment asks of a reward.

    Two more attributes are optional. ``uses_target = True``: ``potential`` takes the finished versions of the pictures,
    ``(B, 3, S, S)``, as a second argument, and the photos must be paired. ``stationary = False``: the potential of a
    picture changes, so that both of an edit are computed when it is made.
    """

    name: str
    """Of its term in ``info["rewards"]``."""

    def potential(self, image: Tensor) -> Tensor:
        """How good pictures are: ``(B, 3, S, S)`` display values to ``(B,)``; an edit earns the difference."""


class CriticReward:
    """The paper's reward: ``0.05 (D(x') - D(x))`` from a frozen critic (published ``critic_logit_multiplier``).

    :param critic: judges pictures; the shipped one by default.
    :param weight: of a unit of its score.
    :param name: of the term. Under its own name, ``"critic"``, environments warn of a critic that is not the one v0
        is defined with.
    :param precision: of the convolutions, ``torch.bfloat16`` for speed: batches are scored 1.7 times as fast on a CPU
        with AVX-512 BF16, and rewards differ by some thousandths from those of ``torch.float32``.
    """

    def __init__(
        self,
        critic: Critic | None = None,
        weight: float = 0.05,
        name: str = "critic",
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.critic = shipped_critic() if critic is None else critic
        self.weight = weight
        self.name = name
        if precision not in (torch.float32, torch.bfloat16):
            raise ValueError(f"precision {precision} must be torch.float32 or torch.bfloat16")
        self.precision = precision

    @torch.no_grad()
    def potential(self, image: Tensor) -> Tensor:
        """Weighted score, ``(B, 3, S, S)`` to ``(B,)``; pictures of another size than the critic's are resized."""
        size = self.critic.image_size
        if image.shape[-1] != size:
            image = torch.nn.functional.interpolate(image, (size, size), mode="area")
        if self.precision is torch.float32:
            features = self.critic.features(image)
        else:
            with torch.autocast(image.device.type, self.precision):
                features = self.critic.features(image).float()
        return self.weight * self.critic.head(features)


class AdversarialReward(CriticReward):
    """The paper's setting: a critic that learns while the policy does, so that the reward is not stationary.

    :meth:`update` trains it as one iteration of the published loop does (``gan.py``, ``config_example.py``).

    :param targets: photographs of the wanted style, display values.
    :param critic: to begin with (a copy of it); by default a fresh one.
    :param image_size: of a fresh critic.
    :param weight: of a unit of its score.
    :param iterations: over which the learning rate falls to a thousandth; later ones keep that.
    :param learning_rate: of Adam, at the start.
    :param adam_betas: of Adam.
    :param batch_size: pictures of each kind in an update.
    :param critic_updates: updates an iteration,
    :param critic_burst: or this many, in the first ``burst_iterations`` and every ``burst_every``.
    :param burst_iterations: see there.
    :param burst_every: see there.
    :param seed: of the critic's weights and of what it is shown.
    :param device: of a fresh critic.
    """

    stationary: ClassVar[bool] = False

    def __init__(
        self,
        targets: PhotoSet,
        critic: Critic | None = None,
        *,
        image_size: int = 64,
        weight: float = 0.05,
        iterations: int = 20_000,
        learning_rate: float = 5e-5,
        adam_betas: tuple[float, float] = (0.5, 0.9),
        batch_size: int = 64,
        critic_updates: int = 5,
        critic_burst: int = 100,
        burst_iterations: int = 10,
        burst_every: int = 500,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if critic is None:
            with torch.random.fork_rng(devices=[]):  # torch's layers draw their first weights globally
                critic = Critic(image_size)
            initialise(critic, torch.Generator().manual_seed(seed))
            critic.to(device)
        else:
            critic = copy.deepcopy(critic)
        super().__init__(critic.requires_grad_(True), weight, "adversarial")
        self.targets = targets
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.critic_updates = critic_updates
        self.critic_burst = critic_burst
        self.burst_iterations = burst_iterations
        self.burst_every = burst_every
        self.iteration = 0
        """Calls of :meth:`update` so far."""
        self.device = next(critic.parameters()).device
        self.optimizer = torch.optim.Adam(critic.parameters(), lr=learning_rate, betas=adam_betas)
        self.rng = np.random.default_rng(seed)

    def update(self, finished_images: Tensor) -> CriticLoss:
        """Train the critic for one iteration: 5 updates, or 100 in a burst. To be called every ``batch_size`` edits.

        :param finished_images: ``(B, 3, S, S)`` pictures at the end of their episodes; each update sees ``batch_size``
            of them in random order, repeated where there are fewer.
        :return: the loss before the last update.
        :raises ValueError: for no pictures.
        """
        if not len(finished_images):
            raise ValueError("the critic needs at least one finished picture to learn from")
        size = self.critic.image_size
        finished = finished_images.to(self.device)
        if finished.shape[-1] != size:
            finished = torch.nn.functional.interpolate(finished, (size, size), mode="area")
        decay = 1e-3 ** min(self.iteration / self.iterations, 1.0)
        self.optimizer.param_groups[0]["lr"] = self.learning_rate * decay
        due = updates_due(
            self.iteration, self.critic_updates, self.critic_burst, self.burst_iterations, self.burst_every
        )
        for _ in range(due):
            order = np.resize(self.rng.permutation(len(finished)), self.batch_size)
            target = torch.from_numpy(self.targets.sample(self.batch_size, self.rng, size)).to(self.device)
            generator = torch.Generator(self.device).manual_seed(int(self.rng.integers(2**63)))
            shown = finished[torch.from_numpy(order).to(self.device)]
            loss = critic_step(self.critic, self.optimizer, shown, target, generator)
        self.iteration += 1
        return loss


class ReferenceReward:
    """The decrease of the colour difference to the finished version of the photo; for paired photos.

    The colour difference of two pictures is the mean over their pixels of the Euclidean distance in CIELAB
    (CIE 1976 delta E; 100 from black to white).

    :param weight: of a unit of it.
    """

    name = "reference"
    uses_target: ClassVar[bool] = True

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def potential(self, image: Tensor, target: Tensor) -> Tensor:
        """Minus the weighted colour difference: two ``(B, 3, S, S)`` of display values to ``(B,)``, at most 0."""
        difference: Tensor = srgb_to_lab(image.clamp(0.0, 1.0)) - srgb_to_lab(target.clamp(0.0, 1.0))
        return -self.weight * (difference.square().sum(dim=1) + 1e-12).sqrt().mean(dim=(1, 2))


def make_reward(name: str, photos: Photos, image_size: int = 64, device: torch.device | str = "cpu") -> RewardModel:
    """The reward model of this name: ``"critic"``, ``"adversarial"`` or ``"reference"``.

    :param photos: that the game is played with; :param image_size: of its pictures; :param device: to compute on.
    :raises ValueError: naming the known ones.
    """
    if name == "critic":
        critic = shipped_critic()
        return CriticReward(critic if torch.device(device).type == "cpu" else copy.deepcopy(critic).to(device))
    if name == "adversarial":
        return AdversarialReward(photos.targets, image_size=image_size, device=device)
    if name == "reference":
        return ReferenceReward()  # type: ignore[return-value]  # its potential takes the target too
    raise ValueError(f"unknown reward {name!r}: choose 'critic', 'adversarial' or 'reference', or give a RewardModel")


def reward_terms(name: str, before: Tensor, after: Tensor, step: Transition) -> dict[str, Tensor]:
    """The named terms of an edit's reward, ``(B,)`` each; their sum is the reward.

    :param name: of the reward model; :param before: its potential before and :param after: after the edit.
    """
    return {name: after - before} | {penalty: -cost for penalty, cost in step.penalties.items()}


# -- the critic of v0 --------------------------------------------------------------------------------------------------

CRITIC = WEIGHTS.parent / "v0" / "critic.safetensors"
"""The critic that version 0 of the environments is defined with: a file of its own, which stays when agents change."""
CRITIC_HASH = CRITIC.with_name("critic.sha256")
"""Its SHA-256, as ``sha256sum`` writes and checks it."""


@cache
def shipped_critic() -> Critic:
    """The critic that version 0 of the environments is defined with, frozen, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        return load_critic(CRITIC)


def record_critic(folder: Path = CRITIC.parent) -> str:
    """Declare the critic in a folder to be the one of v0: write its hash beside it. Done at a release.

    :return: the hash.
    """
    digest = hashlib.sha256((folder / CRITIC.name).read_bytes()).hexdigest()
    with replacing(folder / CRITIC_HASH.name) as temporary:
        temporary.write_text(f"{digest}  {CRITIC.name}\n")
    return digest


def warn_if_not_v0(reward: RewardModel) -> None:
    """Warn if a reward that goes by the name ``"critic"`` is not given by the critic that v0 is defined with."""
    if not isinstance(reward, CriticReward) or reward.name != "critic":
        return
    recorded = CRITIC_HASH.read_text().split()[0]
    if _digest(CRITIC) != recorded:
        cause = f"{CRITIC.name} is not the file whose hash is recorded in {CRITIC_HASH.name}"
    elif not _same_weights(reward.critic, shipped_critic()):
        cause = "it has other weights than the shipped critic"
    else:
        return
    warnings.warn(
        f"this is not the critic that v0 is defined with ({cause}): rewards cannot be compared with other results; "
        "if that is meant, give reward=CriticReward(critic, name='another name')",
        UserWarning,
        stacklevel=4,
    )


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _same_weights(critic: Critic, other: Critic) -> bool:
    if critic is other:
        return True
    mine, theirs = critic.state_dict(), other.state_dict()
    return critic.config == other.config and all(torch.equal(mine[key].cpu(), theirs[key]) for key in theirs)
