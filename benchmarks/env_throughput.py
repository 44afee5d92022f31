"""Steps a second of the environments, batched and one by one, beside CartPole, Atari and what the critic allows."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from harness import OtherLoad, Row, arguments, measure_in_turns, save
from training_iteration import NoReward, convolutions, count_gflop

import exposure_gym  # noqa: F401  (registers the environments)
from exposure_gym.critic import Critic
from exposure_gym.data import builtin_photos
from exposure_gym.rewards import CriticReward, make_reward, shipped_critic

METHOD = (
    "A step is one edit in one game (one action in one game of CartPole or Pong); its time holds everything that a "
    "player waits for: the edit, the reward, the observation, and the resets. PhotoRetouchBox-v0 as it is made by "
    "default, built-in photographs, 64x64 pixels; 'bfloat16' rounds the critic's convolutions; 'no critic' plays "
    "the same game with a reward that is 0. Actions "
    "are random, drawn beforehand: all filters alike probable. The forms of one environment and number of games take "
    "turns in one process, each at least 5 vector steps (one episode) a turn; a game that ends begins again in the "
    "same step. Steps a second: the median over the turns. x DummyVecEnv and of the critic alone: medians of the "
    "ratios within each round. AsyncVectorEnv has one process a game, on one thread each, and therefore no more than "
    "16 games. The critic alone: the frozen critic's scores of N pictures, which every step with the critic needs; "
    "what convolutions and matrix products allow: the critic's layers at batch N with nothing between them, as "
    "convolutions, and as matrix products of the same sizes; their FLOP a second over the critic's FLOP a picture, "
    "as PyTorch's FlopCounterMode counts them, two a multiply-add. CartPole-v1 and ALE/Pong-v5 as Gymnasium makes "
    "them, a reset taking a step of its own: 'vector' is their own batched form (Pong's is compiled, threaded, and "
    "gives 84x84 grey pictures), the others step single environments (Pong's give 210x160 colours). OMP_NUM_THREADS "
    "sets PyTorch's threads. GPU work is waited for."
)
COUNTS = (1, 16, 64, 256)
PROCESSES = 16
"""The largest number of games that are given a process each."""
TURN = 0.2
"""Seconds that a turn should take, so that the clock and a moment's interruption do not matter."""
EDITS = 5
"""Of an episode: a turn has whole episodes, so that every turn has its share of resets."""
SAME_STEP = AutoresetMode.SAME_STEP
OWN = "gym.make_vec"


class Player(NamedTuple):
    """Something that makes steps, and how to be rid of it."""

    call: Callable[[Any], object]
    actions: Sequence[Any]
    """Played one after the other, again and again."""
    steps: float
    """That a call makes."""
    close: Callable[[], object] = lambda: None

    def play(self, calls: int) -> None:
        for call in range(calls):
            self.call(self.actions[call % len(self.actions)])


Makers = dict[tuple[str, str], Callable[[], Player]]
"""Players yet to be made, by form and device."""


# -- environments --------------------------------------------------------------------------------------------------


def make_single(id: str, options: dict[str, Any], threads: int | None = None) -> gym.Env[Any, Any]:
    """One environment; ``threads`` for a process that it has to itself."""
    if threads is not None:
        torch.set_num_threads(threads)
    return gym.make(id, **options)


def gymnasium_player(envs: gym.vector.VectorEnv[Any, Any, Any], convert: Callable[[Any], Any] = lambda a: a) -> Player:
    """A vector environment, reset, with actions of its space."""
    envs.reset(seed=0)
    envs.action_space.seed(0)
    actions = [convert(envs.action_space.sample()) for _ in range(4 * EDITS)]
    return Player(envs.step, actions, envs.num_envs, envs.close)


def sb3_player(envs: Any) -> Player:
    """A ``VecEnv`` of Stable-Baselines3, likewise."""
    envs.seed(0)
    envs.reset()
    envs.action_space.seed(0)
    actions = [np.stack([envs.action_space.sample() for _ in range(envs.num_envs)]) for _ in range(4 * EDITS)]
    return Player(envs.step, actions, envs.num_envs, envs.close)


def one_by_one(id: str, count: int, options: dict[str, Any], mode: AutoresetMode) -> dict[str, Callable[[], Player]]:
    """What other libraries make of single environments."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    make = functools.partial(make_single, id, options)
    players = {
        "SyncVectorEnv": lambda: gymnasium_player(SyncVectorEnv([make] * count, autoreset_mode=mode)),
        "SB3 DummyVecEnv": lambda: sb3_player(DummyVecEnv([make] * count)),
    }
    if count <= PROCESSES:
        alone = functools.partial(make_single, id, options, threads=1)
        # A process that was forked after PyTorch's threads began would wait for them for ever.
        players["AsyncVectorEnv"] = lambda: gymnasium_player(
            AsyncVectorEnv([alone] * count, context="forkserver", autoreset_mode=mode)
        )
    return players


def retouch_players(count: int, with_critic: bool, device: str) -> dict[str, Callable[[], Player]]:
    """Every form of PhotoRetouchBox-v0; on a GPU only those that can be there."""
    from exposure_gym.envs import SB3VecEnv

    id = "PhotoRetouchBox-v0"
    options: dict[str, Any] = {} if with_critic else {"reward": NoReward()}

    def batched(tensors: bool, **more: Any) -> Player:
        envs = gym.make_vec(id, count, autoreset_mode=SAME_STEP, device=device, tensors=tensors, **options, **more)
        return gymnasium_player(envs, functools.partial(torch.as_tensor, device=device) if tensors else np.asarray)

    players = {
        OWN: lambda: batched(tensors=False),
        f"{OWN}, tensors=True": lambda: batched(tensors=True),
        "SB3VecEnv": lambda: sb3_player(SB3VecEnv(count, device=device, **options)),
    }
    if with_critic:
        rounded = critic_reward(device, torch.bfloat16)
        players[f"{OWN}, bfloat16"] = lambda: batched(tensors=False, reward=rounded)
    if device == "cpu":
        players |= one_by_one(id, count, options, SAME_STEP)
    prefix = "PhotoRetouch, critic" if with_critic else "PhotoRetouch, no critic"
    return {f"{prefix}: {form}": make for form, make in players.items()}


def other_players(id: str, count: int) -> dict[str, Callable[[], Player]]:
    """Every form of an environment of others."""
    own = {
        f"{OWN} (vector)": lambda: gymnasium_player(gym.make_vec(id, count, vectorization_mode="vector_entry_point"))
    }
    players = own | one_by_one(id, count, {}, AutoresetMode.NEXT_STEP)
    return {f"{id.rpartition(':')[2]}: {form}": make for form, make in players.items()}


# -- the critic ----------------------------------------------------------------------------------------------------

CRITIC = "the critic alone"


def critic_players(count: int, device: str) -> dict[str, Callable[[], Player]]:
    """The critic's scores of ``count`` pictures, and its arithmetic alone in units of one picture's."""
    reward, rounded = (critic_reward(device, precision) for precision in (torch.float32, torch.bfloat16))
    critic = reward.critic
    pictures = torch.rand(count, 3, critic.image_size, critic.image_size, generator=torch.Generator().manual_seed(0))
    pictures = pictures.to(device)
    work = critic_gflop(critic)

    def player(function: Callable[[], object], counts: float) -> Player:
        return Player(lambda _: function(), [None], counts)

    def arithmetic(function: Callable[[], object]) -> Callable[[], Player]:
        return lambda: player(function, count_gflop(function) / work)

    return {
        CRITIC: lambda: player(lambda: reward.potential(pictures), count),
        f"{CRITIC}, bfloat16": lambda: player(lambda: rounded.potential(pictures), count),
        f"{CRITIC}: convolutions allow": arithmetic(convolutions(critic, count, "float32", torch.device(device))),
        f"{CRITIC}: matrix products allow": arithmetic(matrix_products(critic, count, device)),
    }


def critic_reward(device: str, precision: torch.dtype) -> CriticReward:
    """The environments' default reward, on a device and in a precision."""
    reward = make_reward("critic", builtin_photos(), device=device)
    assert isinstance(reward, CriticReward)
    return CriticReward(reward.critic, precision=precision)


def critic_gflop(critic: Critic) -> float:
    """Of the score of one picture."""
    picture = torch.zeros(1, 3, critic.image_size, critic.image_size, device=critic.score.weight.device)
    return count_gflop(lambda: critic(picture))


def matrix_products(critic: Critic, count: int, device: str) -> Callable[[], None]:
    """One matrix product for each layer, of the size of its convolution: pixels x (inputs of each) x channels."""
    pairs = []
    pixels = critic.image_size**2
    for layer in critic.encoder.convolutions:
        pixels //= 4
        weight = layer.get_parameter("weight").detach().flatten(1).T.contiguous()
        pairs.append((torch.ones(count * pixels, len(weight), device=device), weight))
    pairs.append((torch.ones(count, critic.encoder.features, device=device), critic.hidden.weight.detach().T))

    def forward() -> None:
        for inputs, weight in pairs:
            torch.mm(inputs, weight)

    return forward


# -- measuring -----------------------------------------------------------------------------------------------------


def measure_group(count: int, makers: Makers, options: argparse.Namespace, device: str) -> list[Row]:
    """A row for each player of ``count`` games, measured in turns. :param device: to wait for."""
    with contextlib.ExitStack() as stack:
        turns: dict[tuple[str, str], Callable[[], object]] = {}
        steps = {}
        for key, make in makers.items():
            player = make()
            stack.callback(player.close)
            calls = EDITS if options.smoke else calls_in_a_turn(player)
            turns[key] = functools.partial(player.play, calls)
            steps[key] = calls * player.steps
        timings = measure_in_turns(
            turns, warmup=options.warmup, runs=options.runs, device=device, deadline=options.deadline
        )
    rates = {key: np.array([steps[key] / seconds for seconds in timing.times]) for key, timing in timings.items()}
    dummy = next(key for key in rates if key[0].endswith("DummyVecEnv"))
    rows = []
    for key, timing in timings.items():
        form, where = key
        ratios = {}  # round by round
        if "PhotoRetouch" in form and key != dummy:
            ratios["times_dummy"] = float(np.median(rates[key] / rates[dummy]))
        if form != CRITIC and (CRITIC, where) in rates:
            ratios["of_critic_alone"] = float(np.median(rates[key] / rates[CRITIC, where]))
        rows.append(
            {
                "name": f"{form}{'' if where == 'cpu' else f', {where}'}, N = {count}",
                "n": count,
                "device": where,
                "steps": steps[key],
                **timing.row(),
                "steps_per_second": float(np.median(rates[key])),
                "steps_per_second_quartiles": np.quantile(rates[key], (0.25, 0.75)).tolist(),
                **ratios,
            }
        )
    return rows


def calls_in_a_turn(player: Player) -> int:
    """So many that a turn lasts about :data:`TURN`; a multiple of :data:`EDITS`. The first calls warm up."""
    player.play(EDITS)
    start = time.perf_counter()
    player.play(EDITS)
    return EDITS * max(1, round(TURN / (time.perf_counter() - start)))


def pivot(rows: Sequence[Row], shown: int) -> list[Row]:
    """For the eye: a line for each form, a column for each number of games, ratios at ``shown`` games."""
    lines: dict[str, Row] = {}
    for row in rows:
        name = row["name"].partition(", N = ")[0]
        line = lines.setdefault(name, {"name": name})
        if "n" in row:
            line[f"N = {row['n']}"] = row["steps_per_second"]
            if row["n"] == shown:
                line |= {key: row[key] for key in ("times_dummy", "of_critic_alone") if key in row}
    return list(lines.values())


def main() -> None:
    options = arguments("Steps a second of the environments.", warmup=1, runs=9)
    counts = (1, 2) if options.smoke else COUNTS
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    load = OtherLoad()
    rows: list[Row] = []
    for with_critic in (True, False):
        for count in counts:
            makers: Makers = {}
            for device in devices:
                players = retouch_players(count, with_critic, device)
                if with_critic:
                    players |= critic_players(count, device)
                makers |= {(form, device): make for form, make in players.items()}
            rows += measure_group(count, makers, options, devices[-1])
    for id in ("CartPole-v1", "ale_py:ALE/Pong-v5"):
        if id.startswith("ale_py") and find_spec("ale_py") is None:
            rows.append({"name": "ALE/Pong-v5: not measured, pip install ale-py", "skipped": "ale-py is not installed"})
            continue
        for count in counts:
            makers = {(form, "cpu"): make for form, make in other_players(id, count).items()}
            rows += measure_group(count, makers, options, "cpu")
    shown = counts[-2] if options.smoke else 64
    save(
        "env_throughput",
        rows,
        table=pivot(rows, shown),
        columns={
            "steps a second": "name",
            **{f"N = {count}": f"N = {count}" for count in counts},
            f"x DummyVecEnv (N = {shown})": "times_dummy",
            f"of the critic alone (N = {shown})": "of_critic_alone",
        },
        method=METHOD,
        settings={
            "smoke": options.smoke,
            "warmup": options.warmup,
            "runs": options.runs,
            "games": counts,
            "torch_threads": torch.get_num_threads(),
            "critic_mflop": 1e3 * critic_gflop(shipped_critic()),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "default"),
        },
        load=load,
        out=options.out,
    )


if __name__ == "__main__":
    main()
