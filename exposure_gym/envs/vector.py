"""Many games at once: the batched forms of the environments, which ``gymnasium.make_vec`` gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from exposure_gym.envs.actions import ActionForm, BoxActions, Choices, DiscreteActions, HybridActions
from exposure_gym.envs.batch import GameBatch, Photo, Played, Rows, check_options
from exposure_gym.envs.photo_retouch import PhotoRetouchEnv, check_render_mode
from exposure_gym.spaces import observation_space

Infos = dict[str, Any]
Mask = NDArray[np.bool_]


class PhotoRetouchVectorEnv(Played, VectorEnv[dict[str, Any], Any, Any]):
    """``num_envs`` games of :class:`PhotoRetouchEnv` as one batch on one device, instead of one process each.

    With equal seeds its games are those of ``num_envs`` single environments, within 1e-5 (a convolution's order of
    sums depends on the size of the batch). Actions and observations are arranged as Gymnasium's vector environments
    arrange them, and infos too: each ``key`` with a mask ``_key`` of the games that have it.

    ``reset`` takes ``seed``, an integer (game i gets ``seed + i``) or a list; and as options ``reset_mask``, which
    games to reset, and ``photo``, a photograph for all of them or a list of ``num_envs``, where ``None`` draws one.

    :param num_envs: games.
    :param device: where they are played.
    :param tensors: give observations, rewards and ends as tensors on that device, the pictures as views: nothing is
        copied. Do not write to them. Actions may be tensors or arrays in any case.
    :param autoreset_mode: what happens after an episode's end. ``NEXT_STEP``: the next step, whose action is ignored,
        resets that game. ``SAME_STEP``: it is reset at once, and ``infos["final_obs"]`` and ``infos["final_info"]``
        hold the end. ``DISABLED``: the player resets, with the option ``reset_mask``.
    :param max_episode_steps: truncate episodes after so many edits.
    :param text: tell in the infos what the single environment tells in words: ``photo`` after a reset, ``edit``, and
        at the end ``recipe``. It takes more time than the edits, and Gymnasium's conversions of arrays
        (``NumpyToTorch``) cannot take it.
    :param render_mode: ``"rgb_array"`` or ``"ansi"``: ``render`` gives a tuple of the single environments' renderings.
    :param options: those of :class:`PhotoRetouchEnv`.
    """

    metadata: dict[str, Any] = PhotoRetouchEnv.metadata | {"autoreset_mode": AutoresetMode.NEXT_STEP}
    form_class: ClassVar[type[ActionForm]] = HybridActions

    def __init__(
        self,
        num_envs: int = 1,
        *,
        device: torch.device | str = "cpu",
        tensors: bool = False,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        text: bool = False,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        check_render_mode(render_mode, self.metadata)
        if max_episode_steps is not None and max_episode_steps < 1 and max_episode_steps != -1:
            raise ValueError(f"max_episode_steps {max_episode_steps} must be at least 1, or -1 for no limit")
        self._batch = GameBatch(
            num_envs,
            **options,
            device=device,
            keep_edits=text or render_mode is not None,
            keep_frames=render_mode == "rgb_array",
        )
        self.num_envs = num_envs
        self.tensors = tensors
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = self.metadata | {"autoreset_mode": self.autoreset_mode}
        self.max_episode_steps = None if max_episode_steps == -1 else max_episode_steps
        self.text = text
        self.render_mode = render_mode
        self.form = self.form_class(self.game, device)
        self.single_observation_space = observation_space(self.game, self.image_size)
        self.single_action_space = self.form.space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._over = np.ones(num_envs, np.bool_)
        self._edits_made = np.zeros(num_envs, np.int64)

    @property
    def device(self) -> torch.device:
        """Where the games are played."""
        return self._batch.device

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The games' generators."""
        return tuple(self._batch.generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The games' seeds."""
        return tuple(self._batch.seeds)

    # -- the interface ---------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], Infos]:
        """Start all games, or those of ``options["reset_mask"]``.

        :raises ValueError: for unknown options, or ones that do not fit, and for what is no photograph;
            :class:`exposure_gym.photo.PhotoError` for a file that cannot be read. The games are left as they were.
        """
        options = check_options(options, ["photo", "reset_mask"])
        mask = self._reset_mask(options.get("reset_mask"))
        photos = options.get("photo")
        if not isinstance(photos, (list, tuple)):
            photos = [photos] * self.num_envs
        seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, (int, np.integer)) else seed
        for name, values in (("photo", photos), ("seed", seeds)):
            if values is not None and len(values) != self.num_envs:
                raise ValueError(f"a list for {name!r} needs {self.num_envs} entries, not {len(values)}")
        rows = np.flatnonzero(mask)
        given = [self._batch.given(photos[row]) for row in rows]
        for row in rows.tolist():
            if seeds is not None and (row_seed := seeds[row]) is not None:
                self._batch.seed(row, row_seed)
        infos: Infos = {}
        self._restart(rows, infos, given)
        return self._batch.observe(self.tensors), infos

    def step(self, actions: Any) -> tuple[dict[str, Any], Any, Any, Any, Infos]:
        """Make one edit in every game.

        :raises gymnasium.error.ResetNeeded: before ``reset``, and with ``DISABLED`` after an episode's end.
        :raises ValueError: for actions that are not in the action space (but parameters out of range are clipped);
            the games are left as they were.
        """
        if self._batch.state is None:
            raise ResetNeeded("call reset() before step()")
        if self._over.any() and self.autoreset_mode is AutoresetMode.DISABLED:
            over = np.flatnonzero(self._over).tolist()
            raise ResetNeeded(f"the episodes of games {over} are over: reset them with the option 'reset_mask'")
        choices = self.form.decode(actions, self.num_envs)
        acting = ~self._over
        infos: Infos = {}
        if not acting.all():
            self._restart(np.flatnonzero(~acting), infos)
        terms, terminated = self._advance(acting, choices)
        truncated = np.zeros_like(terminated)
        if self.max_episode_steps is not None:
            truncated = acting & (self._edits_made >= self.max_episode_steps)
        over = terminated | truncated
        rewards = sum(terms.values(), start=self._array(torch.zeros(self.num_envs, device=self.device)))
        if self.autoreset_mode is AutoresetMode.SAME_STEP and over.any():
            infos |= self._step_infos(acting & ~over, terms, terminated, choices)
            infos |= {"final_obs": self._final_observations(over), "_final_obs": over}
            infos |= {"final_info": self._step_infos(over, terms, terminated, choices), "_final_info": over}
            self._restart(np.flatnonzero(over), infos)
        else:
            infos |= self._step_infos(acting, terms, terminated, choices)
            self._over = over.copy()
        ends: tuple[Any, ...] = (terminated, truncated)
        if self.tensors:
            ends = tuple(torch.from_numpy(end).to(self.device) for end in ends)
        return self._batch.observe(self.tensors), rewards, *ends, infos

    def render(self) -> tuple[Any, ...] | None:
        """Each game so far, as the single environment renders it."""
        if self.render_mode is None:
            return None
        if self._batch.state is None:
            raise ResetNeeded("call reset() before render()")
        return tuple(self._batch.render(row, self.render_mode) for row in range(self.num_envs))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _reset_mask(self, mask: Any) -> Mask:
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"reset_mask must be a boolean array of shape ({self.num_envs},)")
        if not mask.any():
            raise ValueError("reset_mask must name at least one game")
        if self._batch.state is None and not mask.all():
            raise ValueError("reset_mask must name every game the first time")
        return mask

    def _restart(self, rows: Rows, infos: Infos, given: Sequence[Photo | None] | None = None) -> None:
        names = self._batch.restart(rows, given)
        if self.text:
            infos["photo"], infos["_photo"] = (
                np.full(self.num_envs, None, dtype=object),
                np.zeros(self.num_envs, np.bool_),
            )
            infos["photo"][rows], infos["_photo"][rows] = names, True
        self._over[rows] = False
        self._edits_made[rows] = 0

    def _advance(self, acting: Mask, choices: Choices) -> tuple[dict[str, Any], Mask]:
        """Edit in the acting games: the terms of their rewards, 0 for the others, and which terminated."""
        rows = np.flatnonzero(acting)
        self._edits_made += acting
        ended = np.zeros(self.num_envs, np.bool_)
        if not len(rows):
            return {}, ended
        if len(rows) == self.num_envs:
            terms, terminated = self._batch.advance(rows, choices)
        else:
            picked = torch.from_numpy(rows).to(self.device)
            terms, terminated = self._batch.advance(rows, Choices(*(part[picked] for part in choices)))
            terms = {name: term.new_zeros(self.num_envs).index_copy(0, picked, term) for name, term in terms.items()}
        ended[rows] = terminated.cpu().numpy()
        return {name: self._array(term) for name, term in terms.items()}, ended

    def _step_infos(self, mask: Mask, terms: dict[str, Any], terminated: Mask, choices: Choices) -> Infos:
        """What the infos tell of an edit, for some of the games; as Gymnasium's ``VectorEnv._add_info`` arranges it."""
        if not mask.any():
            return {}
        where = torch.from_numpy(mask).to(self.device) if self.tensors else mask
        rewards: Infos = {}
        for name, term in terms.items():
            rewards |= {name: term * where, f"_{name}": mask}
        infos: Infos = {"rewards": rewards, "_rewards": mask}
        if self.text:
            index = choices.filter_index.tolist()
            infos["edit"], infos["_edit"] = np.full(self.num_envs, None, dtype=object), mask
            for row in np.flatnonzero(mask).tolist():
                stopped = index[row] == len(self.game.filters)
                infos["edit"][row] = "stop" if stopped else self._batch.edits[row][-1].describe()
            if (ended := mask & terminated).any():
                infos["recipe"], infos["_recipe"] = np.full(self.num_envs, None, dtype=object), ended
                for row in np.flatnonzero(ended).tolist():
                    infos["recipe"][row] = self._batch.recipe(row).to_json()
        return infos

    def _final_observations(self, over: Mask) -> NDArray[Any]:
        seen = self._batch.observe(self.tensors)
        final = np.full(self.num_envs, None, dtype=object)
        for row, values in enumerate(zip(*seen.values(), strict=True)):  # a tensor gives its rows faster all at once
            if over[row]:
                final[row] = dict(zip(seen, values, strict=True))
        return final

    def _array(self, values: Tensor) -> Any:
        """Rewards as the player wants them; in double precision, as Gymnasium's own, if as an array."""
        return values if self.tensors else values.cpu().numpy().astype(np.float64)


class PhotoRetouchBoxVectorEnv(PhotoRetouchVectorEnv):
    """``num_envs`` games of :class:`exposure_gym.envs.PhotoRetouchBoxEnv` as one batch; see there."""

    form_class = BoxActions


class PhotoRetouchDiscreteVectorEnv(PhotoRetouchVectorEnv):
    """``num_envs`` games of :class:`exposure_gym.envs.PhotoRetouchDiscreteEnv` as one batch; see there."""

    form_class = DiscreteActions
