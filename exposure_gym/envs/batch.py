"""Games side by side: the one engine behind the single and the batched environment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.utils import seeding
from numpy.typing import NDArray
from torch import Tensor

from exposure_gym.data import Photos, PhotoSet, builtin_photos
from exposure_gym.data.photo_set import Draw
from exposure_gym.envs.actions import Choices, Translated
from exposure_gym.filters import filters_by_name
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.rewards import RewardModel, make_reward, reward_terms, warn_if_not_v0

Rows = NDArray[np.intp]


class Photo(NamedTuple):
    """A photograph to play on."""

    pixels: NDArray[np.float32]
    """``(3, S, S)`` linear light."""
    name: str


class GameBatch:
    """``count`` games on one device, each with its own random numbers. The options are the environments'.

    :param count: games.
    :param device: where pictures live and rewards are computed; a reward model given as an object must be there.
    :param keep_edits: keep every game's edits as a person reads them.
    :param keep_frames: keep every game's pictures too.
    """

    def __init__(
        self,
        count: int,
        photos: Photos | str | None = None,
        reward: str | RewardModel = "critic",
        image_size: int = 64,
        max_steps: int = 5,
        filters: Sequence[str] | None = None,
        masks: bool = False,
        overexposure_weight: float = 1.0,
        reuse_weight: float = 1.0,
        stop_action: bool = False,
        *,
        device: torch.device | str = "cpu",
        keep_edits: bool = False,
        keep_frames: bool = False,
    ) -> None:
        if count < 1:
            raise ValueError(f"num_envs {count} must be at least 1")
        if image_size < 1:
            raise ValueError(f"image_size {image_size} must be at least 1")
        self.count = count
        self.photos = _photos(photos)
        self.game = RetouchGame(
            None if filters is None else filters_by_name(filters),
            max_steps=max_steps,
            masks=masks,
            stop_action=stop_action,
            overexposure_weight=overexposure_weight,
            reuse_weight=reuse_weight,
        )
        self.image_size = image_size
        self.device = torch.device(device)
        if isinstance(reward, str):
            reward = make_reward(reward, self.photos, image_size, self.device)
        self._set_reward(reward)
        warn_if_not_v0(reward)
        self.keep_edits = keep_edits or keep_frames
        self.keep_frames = keep_frames
        self.seeds: list[int] = []
        self.generators: list[np.random.Generator] = []
        for _ in range(count):
            generator, seed = seeding.np_random()
            self.generators.append(generator)
            self.seeds.append(seed)
        self.state: GameState | None = None
        self.frames: list[list[NDArray[np.float32]]] = [[] for _ in range(count)]
        """Each game's pictures ``(S, S, 3)`` so far, if they are kept."""
        self.edits: list[list[Edit]] = [[] for _ in range(count)]
        """Each game's edits so far, if they are kept."""

    # -- rewards ---------------------------------------------------------------------------------------------------

    @property
    def reward_model(self) -> RewardModel:
        """What judges the pictures."""
        return self._reward

    @reward_model.setter
    def reward_model(self, reward: RewardModel) -> None:
        self._set_reward(reward)
        if self.state is not None:
            self._potential = self._judge(self.state.image, self._target)

    def _set_reward(self, reward: RewardModel) -> None:
        self._uses_target: bool = getattr(reward, "uses_target", False)
        if self._uses_target and not self.photos.paired:
            raise ValueError(
                f"reward {reward.name!r} compares with finished versions and these photos are not paired: "
                "give Photos(..., paired=True), or another reward such as 'critic'"
            )
        self._stationary: bool = getattr(reward, "stationary", True)
        self._reward = reward

    @torch.no_grad()
    def _judge(self, image: Tensor, target: Tensor) -> Tensor:
        return self._reward.potential(image, target) if self._uses_target else self._reward.potential(image)  # type: ignore[call-arg]

    # -- playing ---------------------------------------------------------------------------------------------------

    def seed(self, row: int, seed: int) -> None:
        """Give a game the random numbers of this seed."""
        self.generators[row], self.seeds[row] = seeding.np_random(seed)

    def given(self, photo: Any) -> Photo | None:
        """The central square of a photograph that ``reset(options={"photo": ...})`` gives; ``None`` for ``None``.

        :param photo: a path to a file that :func:`exposure_gym.photo.read_linear` reads, or an ``(H, W, 3)`` float
            array of linear light.
        :raises ValueError: for an array that is no photograph, or if the reward needs a finished version of it;
            :class:`exposure_gym.photo.PhotoError` for a file that cannot be read.
        """
        if photo is None:
            return None
        if self._uses_target:
            raise ValueError(f"reward {self._reward.name!r} needs a finished version, which a given photo has not")
        from exposure_gym.photo import read_linear, to_square

        if isinstance(photo, (str, Path)):
            pixels, name = read_linear(photo).pixels, Path(photo).name
        else:
            pixels, name = np.asarray(photo), "given"
            if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype.kind != "f" or 0 in pixels.shape:
                given = f"{pixels.dtype} {pixels.shape}"
                raise ValueError(f"a photo is an (H, W, 3) float array of linear light, not {given}")
            if not np.isfinite(pixels).all() or pixels.min() < 0:
                raise ValueError("a photo's values must be finite and at least 0")
        square = to_square(pixels.astype(np.float32), self.image_size)
        return Photo(np.ascontiguousarray(square.transpose(2, 0, 1)), name)

    def restart(self, rows: Rows, given: Sequence[Photo | None] | None = None) -> list[str]:
        """Start new games in these rows.

        :param given: a photograph for each row; where there is none, one is drawn with the row's generator.
        :return: the photographs' names.
        """
        shape = (len(rows), 3, self.image_size, self.image_size)
        images = np.empty(shape, np.float32)
        targets = np.empty(shape if self._uses_target else (len(rows), 0), np.float32)
        names = [""] * len(rows)
        limit = self.game.image_limit  # within the observation's bounds, as every later picture is
        photos = [None] * len(rows) if given is None else given
        drawn = np.array([i for i, photo in enumerate(photos) if photo is None], np.int64)
        draw = self.photos.inputs.draw_each([self.generators[row] for row in rows[drawn].tolist()], self.image_size)
        _cut(self.photos.inputs, draw, limit, drawn, images)
        if self._uses_target:
            _cut(self.photos.targets, draw, None, drawn, targets)
        for i, index in zip(drawn.tolist(), draw.indices.tolist(), strict=True):
            names[i] = self.photos.inputs.names[index]
        for i, photo in enumerate(photos):
            if photo is not None:
                images[i], names[i] = photo.pixels.clip(0.0, limit), photo.name
        for i, row in enumerate(rows.tolist()):
            if self.keep_edits:
                self.edits[row] = []
            if self.keep_frames:
                self.frames[row] = [images[i].transpose(1, 2, 0)]
        image, target = torch.from_numpy(images).to(self.device), torch.from_numpy(targets).to(self.device)
        state, potential = self.game.start(image), self._judge(image, target)
        if len(rows) == self.count:
            self.state, self._target, self._potential = state, target, potential
        else:
            self._put(rows, state, potential)
            self._target = _replace(self._target, torch.from_numpy(rows).to(self.device), target)
        return names

    @torch.no_grad()
    def advance(self, rows: Rows, choices: Choices) -> tuple[dict[str, Tensor], Tensor]:
        """One edit in each of these rows.

        :param choices: for each of ``rows``.
        :return: the rewards' named terms and whether the game terminated, ``(len(rows),)`` each.
        """
        assert self.state is not None
        before, potential, target = self.state, self._potential, self._target
        if len(rows) < self.count:
            picked = torch.from_numpy(rows).to(self.device)
            before = GameState(*(part[picked] for part in before))
            potential, target = potential[picked], target[picked]
        step = self.game.transition(before, *choices)
        if not self._stationary:
            potential = self._judge(before.image, target)
        after = self._judge(step.state.image, target)
        terms = reward_terms(self._reward.name, potential, after, step)
        if len(rows) == self.count:
            self.state, self._potential = step.state, after
        else:
            self._put(rows, step.state, after)
        if self.keep_edits:
            self._remember(rows, choices, step.state.image)
        return terms, step.terminated

    def _put(self, rows: Rows, state: GameState, potential: Tensor) -> None:
        """Replace some rows; out of place, because players may hold views of what was there."""
        assert self.state is not None
        index = torch.from_numpy(rows).to(self.device)
        pairs = zip(self.state, state, strict=True)
        self.state = GameState(*(_replace(whole, index, part) for whole, part in pairs))
        self._potential = _replace(self._potential, index, potential)

    def _remember(self, rows: Rows, choices: Choices, image: Tensor) -> None:
        edited = (choices.filter_index < len(self.game.filters)).cpu()  # to stop is no edit
        edits = self.game.edits(choices.filter_index[edited], choices.parameters[edited])
        for row, edit in zip(rows[edited.numpy()], edits, strict=True):
            self.edits[row].append(edit)
        if self.keep_frames:
            frames = image.permute(0, 2, 3, 1)[edited].cpu().numpy()
            for row, frame in zip(rows[edited.numpy()], frames, strict=True):
                self.frames[row].append(frame)

    # -- seeing ----------------------------------------------------------------------------------------------------

    def observe(self, tensors: bool) -> dict[str, Any]:
        """What the players see: ``image`` (N, S, S, 3) float32, ``filters_used`` (N, F) int8, ``step`` (N,) int64.

        :param tensors: as tensors on the device; the picture is a view then, and nothing is copied. Otherwise as
            arrays that are the caller's own.
        """
        assert self.state is not None
        image = self.state.image
        used = self.state.filters_used.to(torch.int8)
        if tensors:
            return {"image": image.permute(0, 2, 3, 1), "filters_used": used, "step": self.state.step}
        return {
            "image": _interleaved(image),
            "filters_used": used.cpu().numpy(),
            "step": self.state.step.clone().cpu().numpy(),
        }

    def recipe(self, row: int) -> Recipe:
        """A game's edits so far."""
        return Recipe(tuple(self.edits[row]))

    def render(self, row: int, mode: str) -> Any:
        """A game so far: a film strip of always the same size (``"rgb_array"``) or the edits in words (``"ansi"``)."""
        edits = self.edits[row]
        if mode == "ansi":
            return "\n".join(f"{number}. {edit.describe()}" for number, edit in enumerate(edits, 1))
        from exposure_gym.viz import SURROUND, caption, film_strip

        strip = film_strip(self.frames[row], [caption(edit) for edit in edits], edits=edits)
        # Video writers and tiles want frames of one size: the strip of all edits with the longest captions.
        canvas = np.empty((STRIP_HEIGHT, _strip_width(self.image_size, self.game.max_steps), 3), np.uint8)
        canvas[:] = SURROUND
        height = min(STRIP_HEIGHT, strip.shape[0])
        canvas[:height, : strip.shape[1]] = strip[:height]
        return canvas


class Played(Translated):
    """What the single and the batched environment tell of their games."""

    _batch: GameBatch

    @property
    def game(self) -> RetouchGame:
        """The rules."""
        return self._batch.game

    @property
    def photos(self) -> Photos:
        """What is played on."""
        return self._batch.photos

    @property
    def image_size(self) -> int:
        """Side of the picture, in pixels."""
        return self._batch.image_size

    @property
    def reward_model(self) -> RewardModel:
        """What judges the pictures. A new one judges the games as they stand."""
        return self._batch.reward_model

    @reward_model.setter
    def reward_model(self, reward: RewardModel) -> None:
        self._batch.reward_model = reward


STRIP_HEIGHT = 464
"""Of rendered film strips, in pixels: room for the longest caption, a masked colour curve's."""


@cache
def _strip_width(image_size: int, max_steps: int) -> int:
    """Width of the film strip of a whole episode, in pixels."""
    from exposure_gym.viz import film_strip

    black = np.zeros((image_size, image_size, 3), np.float32)
    return int(film_strip([black] * (max_steps + 1), [""] * max_steps).shape[1])


def _cut(photos: PhotoSet, draw: Draw, limit: float | None, rows: Rows, out: NDArray[np.float32]) -> None:
    """Write drawn crops into these rows of ``(B, 3, S, S)`` pictures, clipped to [0, limit] if there is one."""
    from exposure_gym._game_kernels import cut_batch  # which takes a second to load: not with the package

    crops, indices = np.asarray(photos.crops), draw.indices
    if crops.dtype != np.float32:  # half precision, of which Numba knows nothing
        crops, indices = crops[indices].astype(np.float32), np.arange(len(indices))
    cut_batch(crops, indices, *draw[1:4], math.inf if limit is None else limit, rows, out)


def _replace(whole: Tensor, index: Tensor, part: Tensor) -> Tensor:
    return whole.index_copy(0, index, part)


def _interleaved(image: Tensor) -> NDArray[np.float32]:
    """Pictures ``(B, 3, S, S)`` as an array of their own, ``(B, S, S, 3)``."""
    if image.device.type != "cpu":
        return image.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    from exposure_gym.kernels import interleave

    count, channels, height, width = image.shape
    pixels = np.empty((count, height, width, channels), np.float32)
    interleave(image.contiguous().numpy(), pixels)
    return pixels


def _photos(photos: Photos | str | None) -> Photos:
    if photos is None or photos == "builtin":
        return builtin_photos()
    if isinstance(photos, str):
        raise ValueError(f"unknown photo set {photos!r}: choose 'builtin' or give an exposure_gym.data.Photos")
    return photos


def check_options(options: dict[str, Any] | None, known: Sequence[str]) -> dict[str, Any]:
    """The options of a reset.

    :raises ValueError: naming one that is unknown.
    """
    options = options or {}
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}: reset takes {' and '.join(map(repr, known))}")
    return options
