"""The folder of a training: its settings, its photographs, its agent."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from exposure_gym.agents.exposure import ExposureAgent
from exposure_gym.agents.exposure.callbacks import list_checkpoints
from exposure_gym.cli.messages import complain, progress_bar
from exposure_gym.data import Photos, builtin_photos
from exposure_gym.data.crop_cache import cache_folder, crc32
from exposure_gym.data.fivek import FiveKError, load_fivek
from exposure_gym.data.folders import PhotoOptions, split_by_file
from exposure_gym.data.folders import read_photos as read_folders
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
    reading: dict[str, Any] = field(default_factory=dict)
    """Keywords of :class:`PhotoOptions`."""
    fivek: str | None = None
    """A FiveK pack, instead of folders."""
    expert: str = "C"
    test_fraction: float = 0.0
    cache: str | None = None
    """Folder for decoded crops; ``None`` stands for the user's."""
    sheet_every: int = 400


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
    if settings.fivek is not None:
        photos, held_out = load_fivek(settings.fivek, expert=settings.expert), _fivek_held_out(settings)
    elif settings.inputs is None or settings.targets is None:
        photos = builtin_photos()
        held_out = HeldOutPhotos.from_photos(builtin_photos(split="test"))
    else:
        photos, held_out = _from_folders(settings, settings.inputs, settings.targets)
    if settings.test_inputs is not None and settings.test_targets is not None:
        held_out = _held_out(_files(settings.test_inputs), _files(settings.test_targets), photos)
    fingerprint = 0
    for set_ in (photos.inputs, photos.targets):
        fingerprint = crc32(set_.crops, fingerprint)
    return TrainingPhotos(photos, held_out, fingerprint)


def _from_folders(settings: Settings, inputs: str, targets: str) -> tuple[Photos, HeldOutPhotos | None]:
    learn, measure = (_files(inputs), _files(targets)), None
    if settings.test_fraction > 0.0:
        learn, measure = split_by_file(*learn, settings.test_fraction)
    with progress_bar() as bar:
        task = bar.add_task("")
        photos = read_folders(
            *learn,
            PhotoOptions(**settings.reading),
            cache=cache_folder() if settings.cache is None else Path(settings.cache),
            on_error=_complain,
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    return photos, None if measure is None else _held_out(*measure, photos)


def _files(folder: str) -> list[Path]:
    found = list_photos([folder])
    if not found:
        raise RunError(f"{folder}: no readable photograph; give a folder of TIFF, JPEG, PNG or RAW files")
    return found


def _held_out(inputs: list[Path], targets: list[Path], photos: Photos) -> HeldOutPhotos:
    """Photographs to measure on, read like those to learn from."""
    return HeldOutPhotos.from_files(
        inputs, targets, reading=photos.reading, space=photos.inputs.space, on_error=_complain
    )


def _fivek_held_out(settings: Settings) -> HeldOutPhotos | None:
    """The photographs of the pack that people rated, or else all of its test fold, if it has one."""
    assert settings.fivek is not None
    for split in ("rated", "test"):
        try:
            return HeldOutPhotos.from_photos(load_fivek(settings.fivek, split, settings.expert))
        except FiveKError:  # a pack of a part of the dataset
            continue
    return None


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
