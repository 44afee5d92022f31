"""The compiled loops of the game, where no gradient is wanted: many small pictures, one edit each, and new ones.

What filters do to pixels is in :mod:`exposure_gym.kernels`, and what they are is in :mod:`exposure_gym.filters`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exposure_gym._fused_kernels import compiled
from exposure_gym.color import LUMINANCE_WEIGHTS
from exposure_gym.filters import ALL_FILTERS, MASK_NAMES, MASK_RANGE, Gamma, WhiteBalance
from exposure_gym.kernels import (
    CONSTANTS,
    GAMMA,
    MASK_CONSTANTS,
    NOTHING,
    RUN,
    SCRATCH,
    WHITE_BALANCE,
    Floats,
    _copy,
    prepare,
    run_program,
)

Integers = NDArray[np.int64]
Played = tuple[Floats, Floats, Integers, Floats, Floats, NDArray[np.bool_]]

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


def _reached(action: float) -> NDArray[np.float64]:
    """Every filter's parameters, in the order of their codes, when all its actions are this: ``(filters, k)``."""
    reached = np.zeros((len(ALL_FILTERS), CONSTANTS))
    for row, filter_ in zip(reached, ALL_FILTERS.values(), strict=True):
        row[: filter_.num_parameters] = filter_.physical(np.full((1, filter_.num_actions), action))[0]
    return reached


# Of all filters but two, parameters lie on straight lines between those of the actions -1 and 1.
_MIDDLE, _HALF_RANGE = (_reached(1.0) + _reached(-1.0)) / 2.0, (_reached(1.0) - _reached(-1.0)) / 2.0
_NUM_ACTIONS = np.array([filter_.num_actions for filter_ in ALL_FILTERS.values()])
_LOG_GAMMA = math.log(Gamma.high)
_GAIN_RANGE = WhiteBalance.log_range
_RED, _GREEN, _BLUE = LUMINANCE_WEIGHTS


@compiled
def physical(code: int, action: Floats, parameters: NDArray[np.float64]) -> None:
    """Write a filter's parameters: ``Filter.physical`` of one action.

    :param action: ``(num_actions,)`` or more; :param parameters: ``(k,)`` or more.
    """
    if code == GAMMA:
        parameters[0] = math.exp(action[0] * _LOG_GAMMA)
    elif code == WHITE_BALANCE:
        green, blue = math.exp(_GAIN_RANGE * action[0]), math.exp(_GAIN_RANGE * action[1])
        norm = _RED + _GREEN * green + _BLUE * blue + 1e-5
        parameters[0], parameters[1], parameters[2] = 1.0 / norm, green / norm, blue / norm
    else:
        for i in range(_NUM_ACTIONS[code]):
            parameters[i] = _MIDDLE[code, i] + _HALF_RANGE[code, i] * action[i]


@compiled
def play_batch(
    images: Floats,
    used: Floats,
    steps: Integers,
    chosen: Integers,
    actions: Floats,
    codes: Integers,
    blocks: Integers,
    mask_blocks: Integers,
    stop_action: bool,
    max_steps: int,
    limit: float,
    overexposure_weight: float,
    reuse_weight: float,
) -> Played:
    """One edit in each game: what ``RetouchGame.transition`` does. All arrays are contiguous; none is changed.

    :param images: ``(B, 3, H, W)``; :param used: ``(B, F)``; :param steps: ``(B,)``: the state.
    :param chosen: ``(B,)`` filters; ``F`` changes nothing, and stops if ``stop_action``.
    :param actions: ``(B, num_parameters)``.
    :param codes: ``(F,)`` of the game's filters; :param blocks: ``(F,)``, where their actions begin.
    :param mask_blocks: ``(F,)``, where their masks' actions begin; empty: there are no masks.
    :param limit: of the edited pictures; at infinity nothing is clipped.
    :return: the new pictures, filters used and steps; the penalties for overexposure and for reuse; the ends.
    :raises IndexError: there is no such filter.
    """
    count, _, height, width = images.shape
    size, filters, masked = height * width, len(codes), len(mask_blocks) > 0
    edited, now_used, now_steps = np.empty_like(images), used.copy(), steps + 1
    overexposure, reuse = np.zeros(count, np.float32), np.zeros(count, np.float32)
    before, after = images.reshape(count, 3, size), edited.reshape(count, 3, size)
    scratch = np.empty((SCRATCH, RUN), np.float32)
    program, table = np.zeros((1, 2), np.int64), np.zeros((1, CONSTANTS + MASK_CONSTANTS), np.float32)
    parameters, mask = np.zeros(CONSTANTS), np.zeros(len(MASK_NAMES))
    most = np.float32(limit)
    least = _ZERO if limit < np.inf else np.float32(-np.inf)
    for k in range(count):
        index = chosen[k]
        if index < 0 or index > filters:
            raise IndexError("there is no filter of this number")
        program[0, 0], program[0, 1] = NOTHING, 0
        if index < filters:
            program[0, 0], program[0, 1] = codes[index], masked
            physical(codes[index], actions[k, blocks[index] :], parameters)
            if masked:
                for i in range(len(mask)):
                    mask[i] = MASK_RANGE * actions[k, mask_blocks[index] + i]
            prepare(codes[index], parameters, mask, table[0])
            reuse[k] = np.float32(reuse_weight) * used[k, index]
            now_used[k, index] = _ONE
        total = 0.0
        for start in range(0, size, RUN):
            stop = min(start + RUN, size)
            r, g, b = after[k, 0, start:stop], after[k, 1, start:stop], after[k, 2, start:stop]
            _copy(before[k, 0, start:stop], r)
            _copy(before[k, 1, start:stop], g)
            _copy(before[k, 2, start:stop], b)
            run_program(program, table, r, g, b, scratch, start, height, width)
            total += _clip(r, least, most) + _clip(g, least, most) + _clip(b, least, most)
        if stop_action and index == filters:
            now_steps[k] = max_steps
        else:
            overexposure[k] = np.float32(overexposure_weight) * np.float32(total / (3 * size))
    return edited, now_used, now_steps, overexposure, reuse, now_steps >= max_steps


@compiled
def _clip(plane: Floats, least: np.float32, limit: np.float32) -> Any:
    """Keep a plane within bounds; the sum of ``max(x - 1, 0)^2``."""
    total = _ZERO
    for i in range(len(plane)):
        x = min(max(plane[i], least), limit)
        plane[i] = x
        over = max(x - _ONE, _ZERO)
        total += over * over
    return total


@compiled
def cut_batch(
    crops: Floats,
    indices: Integers,
    tops: Integers,
    lefts: Integers,
    flips: NDArray[np.bool_],
    limit: float,
    rows: Integers,
    out: Floats,
) -> None:
    """Cut crops, mirror those that are to be, and keep them within [0, limit]; at infinity nothing is clipped.

    :param crops: ``(N, 3, S, S)``.
    :param indices: ``(count,)``, which of them; :param tops: :param lefts: :param flips: how, each ``(count,)``.
    :param rows: ``(count,)``, where they go in ``out``, ``(B, 3, size, size)`` contiguous.
    """
    size = out.shape[3]
    most = np.float32(limit)
    least = _ZERO if limit < np.inf else np.float32(-np.inf)
    for k in range(len(indices)):
        left = lefts[k]
        for channel in range(3):
            for y in range(size):
                source = crops[indices[k], channel, tops[k] + y, left : left + size]
                target = out[rows[k], channel, y]
                if flips[k]:
                    for x in range(size - 1, -1, -1):  # counted down it runs on vectors
                        target[size - 1 - x] = min(max(source[x], least), most)
                else:
                    for x in range(size):
                        target[x] = min(max(source[x], least), most)
