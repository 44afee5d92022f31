"""The retouching game: look at the picture, choose a filter and its parameters, look again; five times.

:class:`RetouchGame` holds the rules and no state: it is a pure, batched, differentiable transition. The Gymnasium
environments are its no-gradient door; the paper's agent differentiates through it. Paper, sections 3 and 4.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from exposure_gym.filters import ALL_FILTERS, Filter, apply_masked, default_filters, filters_by_name, mask_physical
from exposure_gym.recipe import Edit

NUM_MASK_ACTIONS = 6


class GameState(NamedTuple):
    """``B`` games side by side."""

    image: Tensor
    """``(B, 3, H, W)``: starts as linear light, ends as display values; between 0 and the game's image limit."""
    filters_used: Tensor
    """``(B, F)``, 1 where a filter was used, else 0; float32."""
    step: Tensor
    """``(B,)`` edits made so far, or ``max_steps`` after a stop; int64."""


class Transition(NamedTuple):
    """What one edit led to."""

    state: GameState
    penalties: dict[str, Tensor]
    """Named costs of the edit, ``(B,)`` each, weighted, at least 0: ``overexposure`` and ``reuse``."""
    terminated: Tensor
    """``(B,)`` bool: the edits are used up, or the player stopped."""


class RetouchGame:
    """Rules of the game.

    :param filters: what may be chosen, in the order of the choice index. Default: the paper's eight.
    :param max_steps: edits in an episode (published ``test_steps``).
    :param masks: let every filter act through a local mask; adds six actions a filter at the end of the vector.
    :param stop_action: one more choice, after the filters, that ends the game, changes nothing and costs nothing.
    :param overexposure_weight: of the penalty ``mean(max(x' - 1, 0)^2)``.
    :param reuse_weight: of the penalty for a filter that was used before (published ``filter_usage_penalty``).
    :param image_limit: pictures are clipped to [0, image_limit] after an edit, 16 being four stops over white, so
        that observations and penalties are bounded; ``None`` never clips (the published setting).
    """

    def __init__(
        self,
        filters: list[Filter] | None = None,
        *,
        max_steps: int = 5,
        masks: bool = False,
        stop_action: bool = False,
        overexposure_weight: float = 1.0,
        reuse_weight: float = 1.0,
        image_limit: float | None = 16.0,
    ) -> None:
        self.filters = default_filters() if filters is None else filters
        if not self.filters:
            raise ValueError("a game needs at least one filter")
        if max_steps < 1:
            raise ValueError(f"max_steps {max_steps} must be at least 1")
        self.max_steps = max_steps
        self.masks = masks
        self.stop_action = stop_action
        self.overexposure_weight = overexposure_weight
        self.reuse_weight = reuse_weight
        self.image_limit = image_limit
        self.blocks: list[slice] = []
        """Where each filter's actions lie in the action vector."""
        end = 0
        for filter_ in self.filters:
            self.blocks.append(slice(end, end + filter_.num_actions))
            end += filter_.num_actions
        self.num_parameters = end + (NUM_MASK_ACTIONS * len(self.filters) if masks else 0)
        """Length of the action vector: 39 for the default filters, 87 with masks."""
        self._compilable = all(type(filter_) is type(ALL_FILTERS.get(filter_.name)) for filter_ in self.filters)
        codes = {name: code for code, name in enumerate(ALL_FILTERS)}
        self._layout = (
            np.array([codes.get(filter_.name, -1) for filter_ in self.filters]),
            np.array([block.start for block in self.blocks]),
            np.array([self.mask_block(i).start for i in range(len(self.filters))] if masks else [], np.int64),
        )
        """For the compiled transition: the filters' codes, and where their actions and their masks' begin."""
        self.num_choices = len(self.filters) + stop_action
        """What can be chosen: the filters, and last to stop, if that is allowed."""

    def config(self) -> dict[str, Any]:
        """The rules as JSON can hold them; :meth:`from_config` is the inverse."""
        return {
            "filters": [filter_.name for filter_ in self.filters],
            "max_steps": self.max_steps,
            "masks": self.masks,
            "stop_action": self.stop_action,
            "overexposure_weight": self.overexposure_weight,
            "reuse_weight": self.reuse_weight,
            "image_limit": self.image_limit,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RetouchGame:
        """A game with these rules; a :class:`ValueError` or :class:`TypeError` says what does not fit."""
        return cls(filters_by_name(config["filters"]), **{k: v for k, v in config.items() if k != "filters"})

    def mask_block(self, filter_index: int) -> slice:
        """Where a filter's six mask actions lie, when the game has masks."""
        start = self.blocks[-1].stop + NUM_MASK_ACTIONS * filter_index
        return slice(start, start + NUM_MASK_ACTIONS)

    def start(self, image: Tensor) -> GameState:
        """A new game on each picture: ``(B, 3, H, W)`` linear light."""
        count = image.shape[0]
        return GameState(
            image,
            image.new_zeros(count, len(self.filters)),
            torch.zeros(count, dtype=torch.int64, device=image.device),
        )

    def finished(self, state: GameState) -> Tensor:
        """``(B,)`` bool: games whose edits are used up."""
        return state.step >= self.max_steps

    def state_vector(self, state: GameState) -> Tensor:
        """The state as the published networks see it: finished, finished, step, filters used. ``(B, 3 + F)``."""
        finished = self.finished(state).to(state.filters_used.dtype)[:, None]
        return torch.cat([finished, finished, state.step[:, None].to(finished.dtype), state.filters_used], dim=1)

    def transition(self, state: GameState, filter_index: Tensor, parameters: Tensor) -> Transition:
        """One edit for each game. Pure; differentiable with respect to the picture and the parameters.

        :param state: games that are not finished.
        :param filter_index: ``(B,)`` int64, the filter chosen; ``len(filters)`` stops, where that is allowed.
        :param parameters: ``(B, num_parameters)`` normalised actions in [-1, 1]; only the chosen filter's block acts.
        """
        if self._needs_no_gradient(state.image, parameters):
            return self._transition_compiled(state, filter_index, parameters)
        image, overexposure = self._edit(state.image, filter_index, parameters)
        # To stop chooses no filter.
        chosen = filter_index[:, None] == torch.arange(len(self.filters), device=filter_index.device)
        chosen = chosen.to(state.filters_used.dtype)
        penalties = {
            "overexposure": self.overexposure_weight * overexposure,
            "reuse": self.reuse_weight * (state.filters_used * chosen).sum(dim=1),
        }
        step = state.step + 1
        if self.stop_action:
            stopped = filter_index == len(self.filters)
            penalties["overexposure"] = penalties["overexposure"].masked_fill(stopped, 0.0)
            step = step.masked_fill(stopped, self.max_steps)
        after = GameState(image, torch.maximum(state.filters_used, chosen), step)
        return Transition(after, penalties, self.finished(after))

    def _edit(self, image: Tensor, filter_index: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The edited picture within its bounds, and the mean ``(B,)`` of ``max(x' - 1, 0)^2`` over it."""
        image = self.apply_chosen(image, filter_index, parameters)
        if self.image_limit is not None:
            image = image.clamp(0.0, self.image_limit)
        return image, (image - 1.0).clamp(min=0.0).square().mean(dim=(1, 2, 3))

    def _needs_no_gradient(self, image: Tensor, parameters: Tensor) -> bool:
        """Whether the compiled filters will do, which know float32 on the CPU and no gradients."""
        gradient = torch.is_grad_enabled() and (image.requires_grad or parameters.requires_grad)
        plain = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in (image, parameters))
        return self._compilable and plain and not gradient

    def _transition_compiled(self, state: GameState, filter_index: Tensor, parameters: Tensor) -> Transition:
        """As :meth:`transition`, to 1e-5, in one pass over the pixels."""
        from exposure_gym._game_kernels import play_batch  # which takes a second to load

        image, used, step, chosen, actions = (
            tensor.detach().contiguous().numpy() for tensor in (*state, filter_index, parameters)
        )
        played = play_batch(
            *(image, used, step, chosen, actions),
            *self._layout,
            self.stop_action,
            self.max_steps,
            math.inf if self.image_limit is None else self.image_limit,
            float(self.overexposure_weight),
            float(self.reuse_weight),
        )
        edited, *counts, overexposure, reuse, terminated = (torch.from_numpy(array) for array in played)
        penalties = {"overexposure": overexposure, "reuse": reuse}
        return Transition(GameState(edited, *counts), penalties, terminated)

    def apply_chosen(self, image: Tensor, filter_index: Tensor, parameters: Tensor) -> Tensor:
        """Each image through its own filter; images that chose the same one go through it together.

        Eight filters over the whole batch with seven results thrown away, as the published code does it, costs about
        eight times as much. Shapes as in :meth:`transition`.
        """
        order = torch.argsort(filter_index, stable=True)
        counts = torch.bincount(filter_index, minlength=self.num_choices).tolist()
        parts = []
        for i, rows in enumerate(torch.split(order, counts)):
            if i == len(self.filters):
                parts.append(image[rows])  # stopped
            elif len(rows):
                parts.append(self._apply(i, image[rows], parameters[rows]))
        return torch.cat(parts)[torch.argsort(order)]

    def _apply(self, index: int, image: Tensor, parameters: Tensor) -> Tensor:
        filter_ = self.filters[index]
        physical = filter_.physical(parameters[:, self.blocks[index]])
        if self.masks:
            mask = mask_physical(parameters[:, self.mask_block(index)])
            result: Tensor = apply_masked(filter_, image, physical, mask)
        else:
            result = filter_.apply(image, physical)
        return result

    def edits(self, filter_index: Tensor, parameters: Tensor) -> list[Edit]:
        """The same choices as a person would read them; shapes as in :meth:`transition`.

        In single precision where the action that stands for such an edit is the same one, to the bit; else in double.
        """
        edits = []
        for index, action in zip(filter_index.tolist(), parameters.detach().cpu().double(), strict=True):
            filter_ = self.filters[index]
            block = action[None, self.blocks[index]]
            short = filter_.physical(block.float()).double()
            same = bool((filter_.action(short).to(parameters.dtype) == block.to(parameters.dtype)).all())
            physical = (short if same else filter_.physical(block))[0].tolist()
            mask = mask_physical(action[self.mask_block(index)]).tolist() if self.masks else None
            edits.append(Edit(filter_.name, tuple(physical), None if mask is None else tuple(mask)))
        return edits
