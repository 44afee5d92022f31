"""Hybrid actions: which parameters belong to which choice, and how an action lies in a row of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

Block = slice | ArrayLike
"""Places in the flattened Box: a slice or indices."""


class HybridSpace:
    """An action space ``Dict(Discrete(n), Box)`` of any key names, whose choices have parameters of their own.

    Every choice has a *head*: as many numbers as its block has places. The heads of all choices lie side by side in
    ``num_outputs`` columns, so choices may share places of the Box and still be learned apart.

    :param space: with exactly one ``Discrete`` and one bounded ``Box`` of any shape.
    :param blocks: for each choice its places in the flattened Box; none at all for a choice without parameters. By
        default every choice has the whole Box.
    :raises ValueError: for another space, or blocks that do not fit, in one line.
    """

    def __init__(self, space: spaces.Space[Any], blocks: Sequence[Block] | None = None) -> None:
        kinds = {type(part): key for key, part in space.items()} if isinstance(space, spaces.Dict) else {}
        if set(kinds) != {spaces.Discrete, spaces.Box} or len(space) != 2:  # type: ignore[arg-type]
            raise ValueError(
                f"hybrid actions need a space Dict(Discrete, Box), one of each under any name, not {space}: "
                "wrap the environment, or take an algorithm for this space"
            )
        assert isinstance(space, spaces.Dict)
        self.space = space
        self.choice_key: str = kinds[spaces.Discrete]
        self.parameters_key: str = kinds[spaces.Box]
        discrete, box = space[self.choice_key], space[self.parameters_key]
        assert isinstance(discrete, spaces.Discrete)
        assert isinstance(box, spaces.Box)
        if not box.is_bounded():
            raise ValueError(f"the parameters need finite bounds, not {box}: wrap the environment to give them")
        self.num_choices = int(discrete.n)
        self.first = int(discrete.start)
        self.shape = box.shape
        self.low, self.high = (bound.ravel().astype(np.float32) for bound in (box.low, box.high))
        self.num_parameters = len(self.low)
        self.blocks = self._places([slice(None)] * self.num_choices if blocks is None else blocks)
        """For each choice the indices of its parameters in the flattened Box."""
        self.num_outputs = sum(map(len, self.blocks))
        if not self.num_outputs:
            raise ValueError("parameter_blocks leave no choice any parameter: take an algorithm for Discrete actions")

    def _places(self, blocks: Sequence[Block]) -> list[list[int]]:
        if len(blocks) != self.num_choices:
            raise ValueError(f"parameter_blocks has {len(blocks)} blocks, and there are {self.num_choices} choices")
        everywhere = np.arange(self.num_parameters)
        found: list[list[int]] = []
        for number, block in enumerate(blocks):
            chosen = block if isinstance(block, slice) else np.asarray(block, dtype=np.int64).ravel()
            try:
                places = everywhere[chosen].tolist()
            except IndexError:
                raise ValueError(
                    f"parameter_blocks[{number}] is {block!r}, and the Box has {self.num_parameters} numbers"
                ) from None
            if len(set(places)) != len(places):
                raise ValueError(f"parameter_blocks[{number}] names a place twice: {places}")
            found.append(places)
        return found

    def heads(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each choice its columns among the ``num_outputs``, and the places in the Box that they are for.

        :return: two arrays ``(num_choices, longest block)``; shorter blocks are filled up with -1.
        """
        columns = np.full((self.num_choices, max(map(len, self.blocks))), -1, np.int64)
        places = columns.copy()
        end = 0
        for choice, block in enumerate(self.blocks):
            columns[choice, : len(block)] = np.arange(end, end + len(block))
            places[choice, : len(block)] = block
            end += len(block)
        return columns, places

    def actions(self, choice: NDArray[Any], parameters: NDArray[Any]) -> list[dict[str, Any]]:
        """``B`` actions as an environment takes each: parameters are clipped to the Box.

        :param choice: ``(B,)`` from 0; :param parameters: ``(B, num_parameters)``.
        """
        batch = self.batch(choice, parameters)
        both = zip(batch[self.choice_key], batch[self.parameters_key], strict=True)
        return [{self.choice_key: one, self.parameters_key: numbers} for one, numbers in both]

    def batch(self, choice: NDArray[Any], parameters: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The same as one dict of arrays, as Gymnasium batches the space."""
        clipped = np.clip(parameters.astype(np.float32), self.low, self.high)
        return {
            self.choice_key: choice.astype(np.int64) + self.first,
            self.parameters_key: clipped.reshape(len(choice), *self.shape),
        }

    def for_env(self, env: VecEnv, choice: NDArray[Any], parameters: NDArray[Any]) -> Any:
        """The same as ``env.step`` takes it: Stable-Baselines3's own vectors an action each, batched games a batch."""
        one_by_one = isinstance(env.unwrapped, (DummyVecEnv, SubprocVecEnv))
        return (self.actions if one_by_one else self.batch)(choice, parameters)


def game_blocks(env: VecEnv) -> list[list[int]] | None:
    """The blocks of an environment whose ``game`` knows them, as PhotoRetouch has: block i belongs to filter i.

    A local mask's numbers belong to its filter; to stop takes none. ``None`` for any other environment.
    """
    if not env.has_attr("game"):
        return None
    game = env.get_attr("game", [0])[0]
    blocks = getattr(game, "blocks", None)
    if not blocks or not all(isinstance(block, slice) for block in blocks):
        return None
    places = [list(range(block.start, block.stop)) for block in blocks]
    if getattr(game, "masks", False):
        for number, own in enumerate(places):
            mask = game.mask_block(number)
            own.extend(range(mask.start, mask.stop))
    return places + [[] for _ in range(game.num_choices - len(places))]
