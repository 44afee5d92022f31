"""Action forms: how what a player sends stands for a choice of filter and its parameters.

Each form is one object with no state, shared by the single environment, the batched one and the wrappers. It turns
a batch of actions into the tensors that the game takes, and single actions into readable edits and back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from exposure_gym.envs.strengths import PLACES, STRENGTHS
from exposure_gym.filters import MASK_RANGE
from exposure_gym.game import RetouchGame
from exposure_gym.recipe import Edit
from exposure_gym.spaces import action_space


class Choices(NamedTuple):
    """``B`` players' choices, as :meth:`exposure_gym.game.RetouchGame.transition` takes them."""

    filter_index: Tensor
    """``(B,)`` int64."""
    parameters: Tensor
    """``(B, num_parameters)`` float32 in [-1, 1]."""


class ActionForm(ABC):
    """What actions look like.

    :param game: whose choices they stand for.
    :param device: where decoded actions are wanted.
    """

    space: spaces.Space[Any]
    """Of one action."""

    def __init__(self, game: RetouchGame, device: torch.device | str = "cpu") -> None:
        self.game = game
        self.device = torch.device(device)

    @abstractmethod
    def decode(self, actions: Any, count: int) -> Choices:
        """A batch of ``count`` actions, as ``gymnasium.vector.utils.batch_space`` of :attr:`space` arranges them.

        NumPy arrays or tensors; parameters out of range are clipped.

        :raises ValueError: for another shape or dtype, an unknown choice, NaN or infinity.
        """

    @abstractmethod
    def decode_one(self, action: Any) -> Choices:
        """One action, as a batch of one."""

    @abstractmethod
    def encode(self, filter_index: int, parameters: NDArray[np.float32]) -> Any:
        """The action for a choice and ``(num_parameters,)`` values in [-1, 1]."""

    def edit_from_action(self, action: Any) -> Edit | None:
        """The edit that an action stands for; ``None`` if it stops the game."""
        choices = self.decode_one(action)
        if int(choices.filter_index) == len(self.game.filters):
            return None
        return self.game.edits(*choices)[0]

    def action_from_edit(self, edit: Edit | None) -> Any:
        """The action that stands for an edit (``None``: to stop): the inverse of :meth:`edit_from_action`.

        Parameters that do not belong to the edit are 0.

        :raises ValueError: if the game has no such filter, mask or stop, or a parameter is out of reach.
        """
        return self.encode(*self._normalised(edit))

    def unused(self, filters_used: Tensor) -> NDArray[np.bool_]:
        """Which choices use a filter that was not used yet, ``(B, n)`` for ``(B, F)`` flags.

        A stop counts as unused. Where every filter was used, all choices are allowed: a mask must leave something.
        """
        fresh = ~filters_used.bool()
        fresh |= ~fresh.any(dim=1, keepdim=True)
        allowed = torch.cat([fresh, torch.ones_like(fresh[:, :1])], dim=1)[:, self._masked_choices()]
        return allowed.cpu().numpy()

    def _masked_choices(self) -> Tensor:
        """``(n,)``: the choice that each entry of a mask stands for.

        :raises AttributeError: masks say nothing to this form.
        """
        raise AttributeError(f"{type(self).__name__} have no masks: their numbers are not chosen from a list")

    def _normalised(self, edit: Edit | None) -> tuple[int, NDArray[np.float32]]:
        game = self.game
        parameters = np.zeros(game.num_parameters, np.float32)
        if edit is None:
            if not game.stop_action:
                raise ValueError("this game cannot be stopped: make it with stop_action=True")
            return len(game.filters), parameters
        names = [filter_.name for filter_ in game.filters]
        if edit.filter not in names:
            raise ValueError(f"this game has no filter {edit.filter!r}: it has {', '.join(names)}")
        if (edit.mask is not None) != game.masks:
            has, lacks = ("masks", "the edit has none") if game.masks else ("no masks", "the edit has one")
            raise ValueError(f"this game has {has} and {lacks}: make it with masks={not game.masks}")
        index = names.index(edit.filter)
        parameters[game.blocks[index]] = edit.function.action(np.array([edit.parameters]))[0]
        if edit.mask is not None:
            parameters[game.mask_block(index)] = np.array(edit.mask) / MASK_RANGE
        if np.abs(parameters).max() > 1.0 + 1e-5:
            raise ValueError(f"no action reaches as far as {edit.describe()!r}")
        return index, parameters.clip(-1.0, 1.0)


class HybridActions(ActionForm):
    """``Dict(filter=Discrete, parameters=Box)``: the game as it is."""

    def __init__(self, game: RetouchGame, device: torch.device | str = "cpu") -> None:
        super().__init__(game, device)
        self.space: spaces.Dict = action_space(game)

    def decode(self, actions: Any, count: int) -> Choices:
        self._check(actions)
        return Choices(
            _choices("filter", actions["filter"], count, self.game.num_choices, self.device),
            _clipped(_numbers("parameters", actions["parameters"], (count, self.game.num_parameters), self.device)),
        )

    def decode_one(self, action: Any) -> Choices:
        self._check(action)
        return Choices(
            _choices("filter", action["filter"], 1, self.game.num_choices, self.device),
            _clipped(_numbers("parameters", action["parameters"], (self.game.num_parameters,), self.device))[None],
        )

    def encode(self, filter_index: int, parameters: NDArray[np.float32]) -> dict[str, Any]:
        return {"filter": np.int64(filter_index), "parameters": parameters}

    def _masked_choices(self) -> Tensor:
        return torch.arange(self.game.num_choices, device=self.device)

    @staticmethod
    def _check(action: Any) -> None:
        if not isinstance(action, dict) or set(action) != {"filter", "parameters"}:
            raise ValueError("an action is a dict with the keys 'filter' and 'parameters'")


class BoxActions(ActionForm):
    """``Box(-1, 1)``: a score for each choice, then the parameters. The highest score chooses, the first of equals.

    Scores are compared before anything is clipped.
    """

    def __init__(self, game: RetouchGame, device: torch.device | str = "cpu") -> None:
        super().__init__(game, device)
        self.length = game.num_choices + game.num_parameters
        self.space = spaces.Box(-1.0, 1.0, (self.length,), np.float32)

    def decode(self, actions: Any, count: int) -> Choices:
        return self._split(_numbers("an action", actions, (count, self.length), self.device))

    def decode_one(self, action: Any) -> Choices:
        return self._split(_numbers("an action", action, (self.length,), self.device)[None])

    def _split(self, actions: Tensor) -> Choices:
        choices = self.game.num_choices
        return Choices(actions[:, :choices].argmax(dim=1), _clipped(actions[:, choices:]))

    def encode(self, filter_index: int, parameters: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = np.full(self.game.num_choices, -1.0, np.float32)
        scores[filter_index] = 1.0
        return np.concatenate([scores, parameters])


class DiscreteActions(ActionForm):
    """``Discrete(n)``: every filter at the strengths of :data:`exposure_gym.envs.strengths.STRENGTHS`, in their order.

    With masks, every strength at each of :data:`exposure_gym.envs.strengths.PLACES`. To stop, where that is allowed,
    is the last action. ``action_from_edit`` gives the nearest strength (and place) of the edit's filter.
    """

    def __init__(self, game: RetouchGame, device: torch.device | str = "cpu") -> None:
        super().__init__(game, device)
        self.labels: list[str] = []
        """What each action does, in words."""
        rows = []
        for filter_ in game.filters:
            for label, physical in STRENGTHS[filter_.name].items():
                for place, mask in PLACES.items() if game.masks else [("", None)]:
                    self.labels.append(f"{filter_.name} {label}" + (f", {place}" if place else ""))
                    rows.append(self._normalised(Edit(filter_.name, physical, mask)))
        if game.stop_action:
            self.labels.append("stop")
            rows.append(self._normalised(None))
        self._filter_index = torch.tensor([index for index, _ in rows], device=self.device)
        self._parameters = torch.tensor(np.stack([parameters for _, parameters in rows]), device=self.device)
        self.space = spaces.Discrete(len(rows))

    def decode(self, actions: Any, count: int) -> Choices:
        chosen = _choices("an action", actions, count, len(self.labels), self.device)
        return Choices(self._filter_index[chosen], self._parameters[chosen])

    def decode_one(self, action: Any) -> Choices:
        return self.decode(action, 1)

    def _masked_choices(self) -> Tensor:
        return self._filter_index

    def encode(self, filter_index: int, parameters: NDArray[np.float32]) -> Any:
        candidates = torch.nonzero(self._filter_index == filter_index)[:, 0].cpu()
        distance = (self._parameters.cpu()[candidates] - torch.from_numpy(parameters)).square().sum(dim=1)
        return candidates[distance.argmin()].numpy()[()]


class Translated:
    """What has actions of some form: environments and wrappers."""

    form: ActionForm
    """How actions stand for edits."""

    @property
    def action_masks(self) -> Callable[[], NDArray[np.bool_]]:
        """Which choices use no filter twice, for agents that mask; to stop is always allowed.

        ``action_masks()`` gives ``(n,)``, of a batched environment ``(num_envs, n)``: of the discrete form a mask over
        its actions, of the hybrid form one over ``filter``. All of them are allowed once every filter was used. The
        Box form has no such attribute. It raises :class:`gymnasium.error.ResetNeeded` before ``reset``.
        """
        self.form._masked_choices()
        return self._action_masks

    def _action_masks(self) -> NDArray[np.bool_]:
        games: Any = self.unwrapped  # type: ignore[attr-defined]  # of every environment and wrapper
        if games._batch.state is None:
            raise ResetNeeded("call reset() before action_masks()")
        masks = self.form.unused(games._batch.state.filters_used)
        return masks if isinstance(games, VectorEnv) else masks[0]

    def action_from_edit(self, edit: Edit | None) -> Any:
        """The (single) action that stands for an edit, or with ``None`` for a stop; see :class:`ActionForm`."""
        return self.form.action_from_edit(edit)

    def edit_from_action(self, action: Any) -> Edit | None:
        """The edit that a (single) action stands for; ``None`` if it stops the game."""
        return self.form.edit_from_action(action)


FORMS: dict[str, type[ActionForm]] = {"hybrid": HybridActions, "box": BoxActions, "discrete": DiscreteActions}
"""The forms by name."""


def _tensor(name: str, values: Any, kinds: str) -> Tensor:
    """Values as a tensor, in the precision they came in; ``kinds`` as in ``numpy.dtype.kind``."""
    if isinstance(values, Tensor):
        kind = "b" if values.dtype == torch.bool else "f" if values.is_floating_point() else "i"
        if kind in kinds and not values.is_complex():
            return values.detach()
        raise ValueError(f"{name} must be {_KINDS[kinds]}, not {values.dtype}")
    array = np.asarray(values)
    if array.dtype.kind not in kinds:
        raise ValueError(f"{name} must be {_KINDS[kinds]}, not {array.dtype}")
    return torch.from_numpy(np.array(array, np.int64 if array.dtype.kind in "iu" else array.dtype, order="C"))


_KINDS = {"iu": "integers", "iuf": "numbers"}


def _choices(name: str, values: Any, count: int, choices: int, device: torch.device) -> Tensor:
    tensor = _tensor(name, values, "iu").to(device, torch.int64).reshape(-1)
    if len(tensor) != count:
        raise ValueError(f"{name} must be {count} integers, not {len(tensor)}")
    outside = (tensor < 0) | (tensor >= choices)
    if bool(outside.any()):
        raise ValueError(f"{name} must be an integer from 0 to {choices - 1}, not {int(tensor[outside][0])}")
    return tensor


def _numbers(name: str, values: Any, shape: tuple[int, ...], device: torch.device) -> Tensor:
    tensor = _tensor(name, values, "iuf")
    if tensor.shape != shape:
        raise ValueError(f"{name} must be numbers of shape {shape}, not {tuple(tensor.shape)}")
    tensor = tensor.to(device)
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} must be finite: a number is NaN or infinite")
    return tensor


def _clipped(parameters: Tensor) -> Tensor:
    return parameters.clamp(-1.0, 1.0).to(torch.float32)
