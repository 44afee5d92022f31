"""Can a frozen critic be hacked? Plays against it, and looks whether the pictures get better where the reward does.

Agents learn by the rules of version 0 with the critic as their only judge: PPO with the hybrid action
(ppo_single_file.py), PPO with the menu of ready-made edits and SAC with all numbers (Stable-Baselines3). While they do,
what they make of held-out photographs is measured: the reward, and what the critic cannot argue about, the histogram
intersection with finished photographs and the colour difference (CIEDE2000) to the finished version of the same
picture. Beside them random players, and an attack that follows the critic's own gradient through the filters.

    python benchmarks/reward_hacking.py                               # the shipped critic, built-in photographs
    python benchmarks/reward_hacking.py --critic my.safetensors --label after \
        --beside benchmarks/results/reward_hacking_before.json --figure reward_hacking.png

A seed gives one result.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import harness
import ppo_single_file
import torch
from critic_battery import HeldOut, add_photo_options, policy_player, read_photos
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from exposure_gym.critic import load_critic
from exposure_gym.data import Photos
from exposure_gym.envs import SB3VecEnv
from exposure_gym.evaluation import Player
from exposure_gym.files import replacing
from exposure_gym.game import GameState
from exposure_gym.rewards import CriticReward, shipped_critic

Row = harness.Row
METHOD = (
    "Agents learn on the training photographs with the frozen critic's reward, by the rules of version 0: ppo with the "
    "hybrid action, menu (PPO of Stable-Baselines3) with ready-made edits, sac with all numbers. Rows are what "
    "their deterministic policies make of held-out photographs after so many steps. reward: of an episode, penalties "
    "included; critic: what the critic gives of it; histogram_intersection: mean of three, per cent, with held-out "
    "finished photographs; ciede2000: mean colour difference to the finished version, playing from a dark version of "
    "each finished photograph (or from the pair's input); contrast, saturation, blue_minus_red: means of the results, "
    "settings.targets: of finished photographs. The gradient attack plans an episode of differing filters in random "
    "order for each picture, by Adam on the parameters."
)


PLAYERS = ("random", "attack", "ppo", "menu", "sac")


class SmallEncoder(BaseFeaturesExtractor):
    """A convolutional encoder that one CPU thread can train: about 1 million products for a picture.

    :param features: length of the output.
    """

    def __init__(self, observation_space: Any, features: int = 128) -> None:
        super().__init__(observation_space, features)
        layers: list[nn.Module] = [nn.AvgPool2d(2)]
        for inputs, outputs in ((3, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
        self.picture = nn.Sequential(*layers, nn.Flatten())
        state = observation_space["filters_used"].shape[0] + int(observation_space["step"].n)
        self.joined = nn.Sequential(nn.Linear(32 * 4 * 4 + state, features), nn.ReLU())

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        parts = [self.picture(observations["image"]), observations["filters_used"], observations["step"].flatten(1)]
        joined: Tensor = self.joined(torch.cat(parts, dim=1))
        return joined


def make_agent(name: str, photos: Photos, reward: CriticReward, seed: int, quick: bool) -> BaseAlgorithm:
    """PPO of the menu of ready-made edits (``"menu"``) or SAC of all numbers (``"sac"``), on the batched game."""
    count = 8 if quick else {"menu": 64, "sac": 8}[name]
    form = {"menu": "discrete", "sac": "box"}[name]
    env = SB3VecEnv(count, form, preview=True, photos=photos, reward=reward)
    options: dict[str, Any] = {"seed": seed, "device": "cpu", "gamma": 1.0}
    policy: dict[str, Any] = {"features_extractor_class": SmallEncoder}
    if name == "menu":
        return PPO(
            "MultiInputPolicy", env, learning_rate=5e-4, n_steps=20, batch_size=40 if quick else 256, n_epochs=6,
            ent_coef=0.005, policy_kwargs=policy, **options,
        )  # fmt: skip
    policy["share_features_extractor"] = True
    return SAC(
        "MultiInputPolicy", env, learning_rate=1e-3, buffer_size=20_000, batch_size=32 if quick else 64,
        learning_starts=64 if quick else 640, gradient_steps=1 if quick else 4, ent_coef="auto_0.01",
        policy_kwargs=policy, **options,
    )  # fmt: skip


def agent_player(agent: BaseAlgorithm) -> Player:
    """An agent of :func:`make_agent` as a player of the bare game."""
    env = agent.get_env()
    assert env is not None
    bare: SB3VecEnv = env.unwrapped  # type: ignore[assignment]
    envs, form = bare.envs, bare.base.form

    def player(state: GameState) -> tuple[Tensor, Tensor]:
        observation = envs.observations(
            {
                "image": state.image.permute(0, 2, 3, 1).numpy(),
                "filters_used": state.filters_used.numpy().astype("int8"),
                "step": state.step.numpy(),
            }
        )
        actions, _ = agent.predict(observation, deterministic=True)
        index, parameters = form.decode(actions, len(state.step))
        return index, parameters

    return player


class Measure(BaseCallback):
    """Measure the agent every so many steps, at the first and at the last."""

    def __init__(self, name: str, held_out: HeldOut, reward: CriticReward, every: int) -> None:
        super().__init__()
        self.name, self.held_out, self.reward, self.every = name, held_out, reward, every
        self.rows: list[Row] = []

    def measure(self) -> None:
        values = self.held_out.measure(self.reward, lambda _: agent_player(self.model))
        self.rows.append({"name": self.name, "steps": self.num_timesteps, **values})
        print(f"{self.name}, {self.num_timesteps} steps: reward {values['reward']:.3f}", file=sys.stderr, flush=True)

    def _on_training_start(self) -> None:
        self.measure()

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.rows[-1]["steps"] + self.every:
            self.measure()
        return True

    def _on_training_end(self) -> None:
        if self.rows[-1]["steps"] < self.num_timesteps:
            self.measure()


def ppo_rows(photos: Photos, held_out: HeldOut, reward: CriticReward, steps: int, seed: int, quick: bool) -> list[Row]:
    """PPO with the hybrid action, measured nine times."""
    rows: list[Row] = []

    def log(steps: int, measured: dict[str, float]) -> None:
        if values := {key[9:]: value for key, value in measured.items() if key.startswith("held_out/")}:
            rows.append({"name": "ppo", "steps": steps, **values})
            print(f"ppo, {steps} steps: reward {values['reward']:.3f}", file=sys.stderr, flush=True)

    settings = ppo_single_file.Settings(
        total_steps=steps, seed=seed, num_envs=8 if quick else 64, num_steps=20 if quick else 10
    )
    settings = dataclasses.replace(settings, evaluate_every=max(1, settings.updates // 8))
    ppo_single_file.train(
        settings, log, photos, reward, lambda agent: held_out.measure(reward, lambda _: policy_player(agent))
    )
    return rows


def play_all(photos: Photos, held_out: HeldOut, reward: CriticReward, steps: dict[str, int], options: Any) -> list[Row]:
    """The players' rows: of random ones, of the gradient attack, of agents while they learn."""
    rows: list[Row] = []
    if "random" in options.players:
        rows.append({"name": "random", **held_out.random(reward)})
    if "attack" in options.players:
        rows.append({"name": "gradient attack", **held_out.attack(reward, 3 if options.quick else 60)})
    for seed in options.seeds:
        for name, total in steps.items():
            if name == "ppo":
                learned = ppo_rows(photos, held_out, reward, total, seed, options.quick)
            else:
                measure = Measure(name, held_out, reward, total // (2 if options.quick else 8))
                make_agent(name, photos, reward, seed, options.quick).learn(total, callback=measure)
                learned = measure.rows
            rows += [row | {"seed": seed} for row in learned]
    return rows


# -- drawing -----------------------------------------------------------------------------------------------------------

LABELS = {"ppo": "PPO, hybrid", "menu": "PPO, menu", "sac": "SAC"}
MEASURES = {
    "critic": "critic's reward",
    "histogram_intersection": "histogram intersection (%)",
    "ciede2000": "colour difference (CIEDE2000)",
}
COLOURS = {"ppo": "#4a6fa5", "menu": "#3f8f5f", "sac": "#b0413e", "gradient attack": "#222222", "random": "#999999"}


def draw(reports: list[dict[str, Any]]) -> Any:
    """A column for each critic; a row for each measure, with one scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, grid = plt.subplots(
        len(MEASURES), len(reports), figsize=(5 * len(reports), 7.5), sharex=True, sharey="row", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for column, report in enumerate(reports):
        for axes, (measure, title) in zip(grid[:, column], MEASURES.items(), strict=True):
            for name, colour in COLOURS.items():
                rows = [row for row in report["rows"] if row["name"] == name]
                if not rows:
                    continue
                if "steps" in rows[0]:
                    for seed in sorted({row["seed"] for row in rows}):
                        x, y = zip(
                            *((row["steps"] / 1000, row[measure]) for row in rows if row["seed"] == seed), strict=True
                        )
                        label = LABELS[name] if seed == rows[0]["seed"] else None
                        axes.plot(x, y, color=colour, linewidth=1.8, label=label)
                else:
                    axes.axhline(rows[0][measure], color=colour, linewidth=1.1, linestyle="--", label=name)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(alpha=0.25)
            if column == 0:
                axes.set_ylabel(title)
        grid[0, column].set_title(f"{report['settings']['label']}")
        grid[-1, column].set_xlabel("steps of the environment (thousands)")
    grid[0, 0].legend(frameon=False, ncols=2)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description="Play against a frozen critic, and look at the pictures.")
    parser.add_argument("--critic", type=Path, help="file of a critic (the shipped one)")
    parser.add_argument("--label", default="shipped", help="its name in results and figure (%(default)s)")
    add_photo_options(parser)
    parser.add_argument("--ppo-steps", type=int, default=32_000, help="of the environment (%(default)s)")
    parser.add_argument("--menu-steps", type=int, default=25_600, help="of the environment (%(default)s)")
    parser.add_argument("--sac-steps", type=int, default=8_192, help="of the environment (%(default)s)")
    parser.add_argument("--players", nargs="+", choices=PLAYERS, default=PLAYERS, help="who plays (all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one result of agents each")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all?")
    parser.add_argument("--out", type=Path, default=harness.RESULTS, help="folder of the JSON file")
    parser.add_argument("--figure", type=Path, help="draw the result")
    parser.add_argument("--beside", type=Path, action="append", default=[], help="earlier result to draw beside it")
    options = parser.parse_args()
    torch.set_num_threads(1)

    load = harness.OtherLoad()
    critic = shipped_critic() if options.critic is None else load_critic(options.critic)
    reward = CriticReward(critic, name="frozen critic")
    photos, test = read_photos(options, scenes=4 if options.quick else 256)
    held_out = HeldOut(test)
    steps = {"ppo": options.ppo_steps, "menu": options.menu_steps, "sac": options.sac_steps}
    if options.quick:
        steps = {"ppo": 320, "menu": 320, "sac": 160}
    steps = {name: total for name, total in steps.items() if name in options.players}
    _, contrast, saturation = held_out.target_statistics.mean(axis=0).tolist()
    rows = play_all(photos, held_out, reward, steps, options)
    path = harness.save(
        f"reward_hacking_{options.label}",
        rows,
        columns={
            "player": "name", "steps": "steps", "reward": "reward", "critic": "critic",
            "histograms, %": "histogram_intersection", "CIEDE2000": "ciede2000", "contrast": "contrast",
            "saturation": "saturation", "blue - red": "blue_minus_red",
        },
        method=METHOD,
        settings={
            "label": options.label, "seeds": options.seeds, "smoke": options.quick, "paired": test.paired,
            "photos": "built-in" if options.inputs is None else "folders",
            "training_inputs": len(photos.inputs), "held_out_inputs": len(test.inputs),
            "held_out_targets": len(test.targets), "targets": {"contrast": contrast, "saturation": saturation},
            **{f"{name}_steps": total for name, total in steps.items()},
        },
        load=load,
        out=options.out,
    )  # fmt: skip
    if options.figure is not None:
        reports = [json.loads(file.read_text(encoding="utf-8")) for file in (*options.beside, path)]
        options.figure.parent.mkdir(parents=True, exist_ok=True)
        with replacing(options.figure) as temporary:
            draw(reports).savefig(temporary, dpi=130)


if __name__ == "__main__":
    main()
