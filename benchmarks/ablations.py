"""What each part of the method is worth: short trainings that leave one thing out, and how they fare on test photos.

Each row trains an agent of its own and is measured as the agent of paper_table.py is. A row that is finished is not
trained again, one that was interrupted goes on from its last checkpoint. Rows of the kept results stay beside new ones
of the same settings.

python benchmarks/ablations.py --inputs DIR --targets DIR --test-inputs DIR --test-targets DIR --runs RUNS --rows all
python benchmarks/ablations.py --frozen --preset benchmarks/ablations.toml --iterations 400 --seeds 3 --inputs ...
python benchmarks/ablations.py --preset benchmarks/narrow.toml --iterations 600 --seeds 3 --rows published bfloat16 ...

With --frozen no critic learns beside the agent: that of version 0 judges, larger pictures averaged down. A training
takes a minute of one core instead of an hour, and its row tells what a part of game or agent is worth apart from how a
pair of networks circles.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness
import torch
from frozen_agent import frozen_agent
from held_out import INTERSECTIONS, METHOD, TestPhotos
from paper_table import printed

from exposure_gym.agents import ExposureAgent
from exposure_gym.agents.exposure.callbacks import Checkpoints, LearningCurve, list_checkpoints
from exposure_gym.agents.exposure.storage import save_policy
from exposure_gym.cli.presets import PresetError, load_preset
from exposure_gym.cli.runs import ZeroReward
from exposure_gym.data.folders import read_photos
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.evaluation import retouch_pictures
from exposure_gym.files import replacing
from exposure_gym.filters import default_filters
from exposure_gym.photo import list_photos
from exposure_gym.rewards import CriticReward

FILTERS = [filter_.name for filter_ in default_filters()]
AUGMENTATION = 1.25
"""Stored crops are so much larger than what is cut from them: 80 pixels for 64, as published."""


@dataclass(frozen=True)
class Variant:
    """One row: what differs from the published game and agent."""

    name: str
    game: dict[str, Any] = field(default_factory=dict)
    """Keywords of :class:`PhotoRetouchEnv`."""
    policy: dict[str, Any] = field(default_factory=dict)
    """Keywords of :class:`ExposurePolicy`."""
    agent: dict[str, Any] = field(default_factory=dict)
    """Keywords of :class:`ExposureAgent`."""

    @property
    def size(self) -> int:
        """Of the pictures it sees, in pixels."""
        return int(self.game.get("image_size", 64))


VARIANTS = [
    Variant("published"),
    *(Variant(f"{n} edit{'s' * (n > 1)}", {"max_steps": n}) for n in (1, 2, 3, 4, 6, 7)),  # published: 5
    *(Variant(f"without {name}", {"filters": [other for other in FILTERS if other != name]}) for name in FILTERS),
    Variant("no reuse penalty", {"reuse_weight": 0.0}),
    Variant("no dropout", policy={"dropout_keep": 1.0}),
    Variant("128 pixels", {"image_size": 128}),
    Variant("bfloat16", agent={"precision": "bfloat16"}),
]


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    load = harness.OtherLoad()
    rows = []
    for variant in VARIANTS:
        if "all" in options.rows or variant.name in options.rows:
            for seed in range(options.seeds):
                _train(variant, seed, options)
    for variant in VARIANTS:  # those of earlier commands in this folder too
        done = [folder for seed in range(options.seeds) if _is_done(folder := _folder(variant, seed, options))]
        if done:
            rows.append(_measure(variant, done, options))
    settings = {
        "smoke": options.smoke,
        "iterations": options.iterations,
        "preset": Path(options.preset).stem,
        "frozen": options.frozen,
    }
    name = "ablations_frozen" if options.frozen else "ablations"
    rows = _with_kept(rows, settings, options.out / f"{name}.json")
    judge = ", against the frozen critic of version 0" if options.frozen else ""
    harness.save(
        name,
        rows,
        columns={"agent": "name", "training seeds": "training_seeds"} | {name: name for name in INTERSECTIONS},
        method=f"Each row is trained for {options.iterations} iterations with one thing changed{judge}. {METHOD}",
        settings=settings,
        load=load,
        out=options.out,
        table=[printed(row) | {"training_seeds": row["training_seeds"]} for row in rows],
    )


def _with_kept(rows: list[harness.Row], settings: dict[str, Any], path: Path) -> list[harness.Row]:
    """These rows, and others that trainings of the same settings left in the file, perhaps on another machine."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"settings": None, "rows": []}
    made = {row["name"]: row for row in kept["rows"] if kept["settings"] == settings}
    made |= {row["name"]: row for row in rows}
    return [made[variant.name] for variant in VARIANTS if variant.name in made]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Short trainings that leave one thing out each.")
    for name in ("inputs", "targets", "test-inputs", "test-targets"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the trainings; one goes on in it")
    names = [variant.name for variant in VARIANTS]
    parser.add_argument("--rows", nargs="*", default=[], choices=[*names, "all"], metavar="ROW", help=", ".join(names))
    parser.add_argument("--iterations", type=int, default=500, help="of each training (%(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each row (%(default)s)")
    parser.add_argument("--preset", default="short", help="settings of the agent: a name or a file (%(default)s)")
    parser.add_argument("--frozen", action="store_true", help="learn against the frozen critic of version 0")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (%(default)s)")
    parser.add_argument("--checkpoint-every", type=int, default=100, help="iterations (%(default)s)")
    parser.add_argument("--smoke", action="store_true", help="for the tests: mark the results as none to keep")
    parser.add_argument(
        "--out", type=Path, default=harness.RESULTS, help="folder of the JSON file (benchmarks/results)"
    )
    return parser.parse_args()


def _folder(variant: Variant, seed: int, options: argparse.Namespace) -> Path:
    judge = "-frozen" if options.frozen else ""
    folder: Path = options.runs / f"{variant.name.replace(' ', '-')}{judge}-{options.iterations}-seed-{seed}"
    return folder


def _is_done(folder: Path) -> bool:
    return (folder / "policy.safetensors").exists()


def _train(variant: Variant, seed: int, options: argparse.Namespace) -> None:
    """Train one agent to the end, from its last checkpoint if there is one, unless that was done."""
    folder = _folder(variant, seed, options)
    if _is_done(folder):
        return
    try:
        preset = load_preset(options.preset)
        folders = (list_photos([options.inputs]), list_photos([options.targets]))
        photos = read_photos(*folders, preset.photos, size=round(AUGMENTATION * variant.size))
    except (PresetError, ValueError) as error:
        sys.exit(f"ablations: {error}")
    env = PhotoRetouchEnv(photos, reward=ZeroReward(), **variant.game)
    keywords = preset.agent
    keywords |= {"policy_kwargs": keywords.get("policy_kwargs", {}) | variant.policy}
    keywords |= variant.agent | {"env": env, "seed": seed, "device": options.device}
    folder.mkdir(parents=True, exist_ok=True)
    saved = [] if options.frozen else list_checkpoints(folder)  # which soon begins anew
    if saved:
        agent = ExposureAgent.load(saved[0], env=env, device=options.device)
    else:
        agent = frozen_agent(CriticReward(), keywords) if options.frozen else ExposureAgent(**keywords)
    print(f"{variant.name}, seed {seed}: from iteration {agent.num_timesteps // agent.batch_size}", file=sys.stderr)
    checkpoints = Checkpoints(folder, options.checkpoint_every, keep=1)
    left = options.iterations * agent.batch_size - agent.num_timesteps
    if left > 0:
        callbacks = [LearningCurve(folder / "log.jsonl"), checkpoints]
        agent.learn(left, callback=callbacks, log_interval=1, reset_num_timesteps=not saved)  # type: ignore[arg-type]
    if checkpoints.broken:
        sys.exit(f"ablations: {variant.name}: {checkpoints.broken[0]} is no number any more")
    save_policy(agent, folder / "policy.safetensors")


def _measure(variant: Variant, folders: list[Path], options: argparse.Namespace) -> harness.Row:
    """The row of a variant, measured once and kept beside its trainings."""
    kept = folders[-1] / f"measured-{len(folders)}.json"
    if kept.exists():
        row: harness.Row = json.loads(kept.read_text(encoding="utf-8"))
        return row
    test = TestPhotos(options.test_inputs, options.test_targets, size=variant.size)
    runs = []
    for folder in folders:
        agent = ExposureAgent.load(folder, device="cpu")
        runs.append(retouch_pictures(agent, test.crops(agent.reading, agent.working_space), seed=0))
    row = {"name": variant.name, "training_seeds": len(folders), "photos": len(test.paths)}
    row |= {name: estimate.row() for name, estimate in test.measure(runs).items()}
    with replacing(kept) as temporary:
        temporary.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    return row


if __name__ == "__main__":
    main()
