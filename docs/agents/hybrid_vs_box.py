"""Agents for hybrid actions beside PPO on the same actions written flat, at equal steps.

    python docs/agents/hybrid_vs_box.py toy --steps 40000 --seeds 3 --agents HybridPPO "PPO, flat Box"
    python docs/agents/hybrid_vs_box.py photos --steps 5120 --seeds 3

``toy`` is the game of ``tests/hybrid_toy.py``, whose best play is known; ``photos`` the photo game with the frozen
critic. What is printed is the mean return of 256 episodes played without exploration from a seed that no training had,
for each seed and as a mean; one table in Markdown. Networks and PPO's hyperparameters are the same for both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from exposure_gym.agents import PDQN, HybridPPO, PhotoExtractor
from exposure_gym.envs import SB3VecEnv

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from hybrid_toy import BLOCKS, WalkerVecEnv, best_actions, mean_return

GAMES, UNSEEN = 256, 12_345

ENCODER: dict[str, Any] = {
    "features_extractor_class": PhotoExtractor,
    "features_extractor_kwargs": {"base_channels": 8, "features": 512},
}

Trained = Callable[[int, int], float]
"""Steps and a seed to the return of the agent that they give."""


def toy(algorithm: Any, flat: bool, count: int, **options: Any) -> Trained:
    """Learn and play the toy."""

    def trained(steps: int, seed: int) -> float:
        own = {} if flat else {"parameter_blocks": BLOCKS}
        env = WalkerVecEnv(count, flat)
        model = algorithm("MlpPolicy", env, seed=seed, device="cpu", **own, **options).learn(steps)
        return mean_return(lambda seen: model.predict(seen, deterministic=True)[0], GAMES, UNSEEN, flat)

    return trained


def photos(algorithm: Any, form: str, **options: Any) -> Trained:
    """Learn and play the photo game."""

    def trained(steps: int, seed: int) -> float:
        kwargs = ENCODER | options.get("policy_kwargs", {})
        env = SB3VecEnv(16, form)
        model = algorithm("MultiInputPolicy", env, seed=seed, device="cpu", **options | {"policy_kwargs": kwargs})
        model.learn(steps)
        return photo_return(form, lambda seen: model.predict(seen, deterministic=True)[0])

    return trained


def photo_return(form: str, act: Callable[[Any], Any]) -> float:
    """Mean return of episodes that all have the same length."""
    env: VecEnv = SB3VecEnv(GAMES, form)
    env.seed(UNSEEN)
    seen: Any = env.reset()
    total, over = np.zeros(GAMES), False
    while not over:
        actions = act(seen)
        if form == "hybrid":  # one by one from the agents, a batch for the batched environment
            actions = {key: np.stack([action[key] for action in actions]) for key in actions[0]}
        seen, rewards, done, _ = env.step(actions)
        total += rewards
        over = bool(done.all())
    return float(total.mean())


def contenders(game: str) -> dict[str, Trained]:
    """The agents by name."""
    if game == "toy":
        ppo: dict[str, Any] = {"n_steps": 32, "batch_size": 256, "learning_rate": 3e-3}
        return {
            "HybridPPO": toy(HybridPPO, False, 32, **ppo),
            "PPO, flat Box": toy(PPO, True, 32, **ppo),
            "PDQN": toy(PDQN, False, 8),
            "PDQN, multi-pass": toy(PDQN, False, 8, multi_pass=True),
        }
    # An episode is five edits: no discount. Actions lie in [-1, 1]: a deviation of 0.6 to begin with.
    ppo = {"n_steps": 20, "batch_size": 160, "n_epochs": 6, "gamma": 1.0, "learning_rate": 5e-4}
    ppo["policy_kwargs"] = {"log_std_init": -0.5}
    pdqn: dict[str, Any] = {"gamma": 1.0, "batch_size": 64, "gradient_steps": 2, "buffer_size": 8_000}
    return {
        "HybridPPO": photos(HybridPPO, "hybrid", **ppo),
        "PPO, flat Box": photos(PPO, "box", **ppo),
        "PDQN": photos(PDQN, "hybrid", **pdqn),
        "PDQN, multi-pass": photos(PDQN, "hybrid", multi_pass=True, **pdqn),
    }


def main() -> None:
    """Train, play, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("game", choices=("toy", "photos"))
    parser.add_argument("--steps", type=int, default=5_120, help="of each training (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each agent (%(default)s)")
    parser.add_argument("--agents", nargs="*", metavar="NAME", help="only these")
    options = parser.parse_args()
    agents = contenders(options.game)
    unknown = set(options.agents or ()) - set(agents)
    if unknown:
        parser.error(f"unknown agent {sorted(unknown)[0]!r}: choose from {', '.join(agents)}")
    print("| agent | steps | " + " | ".join(f"seed {seed}" for seed in range(options.seeds)) + " | mean |")
    print("|---" * (options.seeds + 3) + "|")
    for name in options.agents or agents:
        returns = [agents[name](options.steps, seed) for seed in range(options.seeds)]
        cells = " | ".join(f"{value:.3f}" for value in [*returns, sum(returns) / len(returns)])
        print(f"| {name} | {options.steps:,} | {cells} |", flush=True)
    if options.game == "toy":
        print(f"| best play | | {mean_return(best_actions, GAMES, UNSEEN):.3f} on these games |")


if __name__ == "__main__":
    main()
