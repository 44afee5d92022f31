"""The folder of a training: its settings, its photographs, its agent."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from exposure_gym.agents.exposure import ExposureAgent
from exposure_gym.agents.exposure.callbacks import list_checkpoints
from exposure_gym.cli.messages import complain
from exposure_gym.data import Photos, PhotoSet, builtin_photos
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.evaluation import HeldOutPhotos
from exposure_gym.files import replacing
from exposure_gym.model_file import ModelError
from exposure_gym.photo import list_photos

if TYPE_CHECKING:
    from gymnasium import Env

CONFIG = "config.json"


class RunError(ValueError):
    """A folder that is no training, or whose photographs have changed; one line."""


@dataclass(frozen=True)
class Settings:
    """All that decides how a training goes; paths are absolute, and ``None`` stands for the built-in photos."""

    inputs: str | None
    targets: str | None
    test_inputs: str | None
    test_targets: str | None
    preset: str
    iterations: int
    checkpoint_every: int
    evaluate_every: int
    seed: int
    threads: int
    tensorboard: bool
    agent: dict[str, Any]
    """Keywords of :class:`ExposureAgent`."""


@dataclass(frozen=True)
class TrainingPhotos:
    """What a training learns from and is measured on."""

    photos: Photos
    held_out: HeldOutPhotos | None
    fingerprint: int
    """Checksum of the crops: equal photographs, equal training."""


class ZeroReward:
    """A reward model for learning: the agent takes its reward from its own critic, which learns beside it."""

    name = "none"

    def potential(self, image: torch.Tensor) -> torch.Tensor:
        """No picture is better than another: ``(B,)`` zeros."""
        return image.new_zeros(len(image))


def read_photos(settings: Settings) -> TrainingPhotos:
    """The photographs of a training; those that cannot be read are complained of and left out.

    :raises ValueError: a folder has none at all.
    """
    if settings.inputs is None or settings.targets is None:
        photos = builtin_photos()
        held_out: HeldOutPhotos | None = HeldOutPhotos.from_photos(builtin_photos(split="test"))
    else:
        photos = Photos(
            PhotoSet.from_folder(settings.inputs, "linear", on_error=_complain),
            PhotoSet.from_folder(settings.targets, "display", on_error=_complain),
        )
        held_out = None
    if settings.test_inputs is not None and settings.test_targets is not None:
        inputs, targets = list_photos([settings.test_inputs]), list_photos([settings.test_targets])
        held_out = HeldOutPhotos.from_files(inputs, targets)
    fingerprint = 0
    for set_ in (photos.inputs, photos.targets):
        fingerprint = zlib.crc32(np.ascontiguousarray(set_.crops).data, fingerprint)
    return TrainingPhotos(photos, held_out, fingerprint)


def _complain(path: Path, error: ValueError) -> None:
    complain(f"left out: {error}")


def write_config(run: Path, settings: Settings, fingerprint: int) -> None:
    """Keep the settings in the folder of the training."""
    with replacing(run / CONFIG) as temporary:
        temporary.write_text(json.dumps(asdict(settings) | {"photos": fingerprint}, indent=2) + "\n")


def read_config(run: Path) -> tuple[Settings, int]:
    """The settings of a training and the fingerprint of its photographs.

    :raises RunError: the folder is none of a training.
    """
    try:
        data = json.loads((run / CONFIG).read_text())
        fingerprint = int(data.pop("photos"))
        return Settings(**data), fingerprint
    except FileNotFoundError:
        raise RunError(f"{run}: no training here (no {CONFIG}); start one with train -o {run}") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunError(f"{run / CONFIG}: not the settings of a training ({error})") from None


def new_agent(settings: Settings, photos: Photos, run: Path, device: str) -> ExposureAgent:
    """An agent that has learned nothing."""
    return ExposureAgent(
        env=_environment(photos),
        seed=settings.seed,
        device=device,
        tensorboard_log=_tensorboard(settings, run),
        **settings.agent,
    )


def resumed_agent(settings: Settings, photos: Photos, run: Path, device: str) -> ExposureAgent:
    """The agent of the newest checkpoint that can be read, or a new one where there is none."""
    for path in list_checkpoints(run):
        try:
            return ExposureAgent.load(
                path, env=_environment(photos), device=device, tensorboard_log=_tensorboard(settings, run)
            )
        except ModelError as error:
            complain(f"{error}; an earlier checkpoint is used")
    return new_agent(settings, photos, run, device)


def _environment(photos: Photos) -> Env[Any, Any]:
    return PhotoRetouchEnv(photos, reward=ZeroReward())


def _tensorboard(settings: Settings, run: Path) -> str | None:
    return str(run / "tensorboard") if settings.tensorboard else None
