"""Regressors that retouch in one pass, without a game: what the paper's agent stands beside.

Two of them, each trained without pairs, against the agent's own kind of critic or against the frozen one that judges
version 0 of the environments, and with pairs where there are some:

* ``lut``: a small network mixes three learned 3D tables into one for the picture (Zeng et al. 2020, "Learning
  Image-Adaptive 3D Lookup Tables for High Performance Photo Enhancement in Real-Time"). Nobody can read it as an edit.
* ``cnn``: a network gives all 39 parameters of the agent's eight filters at once, and they are applied one after the
  other in their usual order. It can be read as an edit, always of all eight.

python benchmarks/regressors.py sintel all --train-inputs DIR --train-targets DIR --inputs DIR --targets DIR --runs RUNS

Test photographs and measures are those of paper_table.py, whose rows may stand beside these. A training that is
finished is kept in RUNS, and not done again.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import harness
import numpy as np
import torch
from held_out import INTERSECTIONS, METHOD, PAIRED, TestPhotos
from numpy.typing import NDArray
from paper_table import SETS, TARGETS_DIFFER, printed
from rich.progress import track
from torch import Tensor, nn

from exposure_gym.color import srgb_encode
from exposure_gym.critic import Critic, critic_step, updates_due
from exposure_gym.data import Photos
from exposure_gym.data.folders import PhotoOptions, read_photos
from exposure_gym.filters import default_filters
from exposure_gym.model_file import read_model, write_model
from exposure_gym.networks import LEAK, ConvEncoder, initialise
from exposure_gym.photo import Reading, list_photos
from exposure_gym.rewards import shipped_critic

FORMAT = "exposure-gym regressor 1"
KINDS = ("lut", "cnn")
TRAININGS = ("unpaired", "frozen", "paired")
ROWS = {"unpaired": "unpaired", "frozen": "unpaired, frozen critic", "paired": "paired"}
"""Trainings, as rows call them."""
LABELS = {"lut": "image-adaptive 3D LUT", "cnn": "CNN, all 39 parameters at once"}


@dataclass(frozen=True)
class Settings:
    """Of a training; what is not said here is as the agent's: see docs/reproduction.md."""

    iterations: int = 5000
    batch_size: int = 64
    size: int = 64
    """Side of the pictures, in pixels."""
    channels: int = 32
    """Of the first convolution, of regressor and critic."""
    points: int = 33
    """Of a table, along each side."""
    learning_rate: float = 1e-4
    """Of the regressor; it falls by 10^(-3 t / T), as the critic's."""
    critic_learning_rate: float = 5e-5
    critic_updates: int = 5
    critic_burst: int = 100
    """Updates of the critic in each of the first 10 iterations, and every 500th."""


NARROWER = {
    "batch_size": "pictures of each kind in an update",
    "channels": "of the first convolution",
    "critic_updates": "updates of the critic an iteration",
    "critic_burst": "the same in each of the first 10 iterations",
}
"""Settings that the command lets one choose, for machines that are slow."""

SMOKE = Settings(batch_size=4, size=16, channels=4, points=5, critic_updates=1, critic_burst=2)


# -- the regressors ----------------------------------------------------------------------------------------------------


class LutRegressor(nn.Module):
    """An image-adaptive 3D table: the sum of three learned ones, weighted for the picture by a network.

    :param display: inputs are display values; light is encoded with the sRGB curve first, since a table has as many
        points for the brightest half of light as for all the rest.
    """

    def __init__(self, settings: Settings, display: bool) -> None:
        super().__init__()
        self.display = display
        self.encoder = ConvEncoder(3, settings.size, settings.channels)
        self.weights = nn.Linear(self.encoder.features, 3)
        # As Zeng et al. begin: the first table changes nothing, the others are 0.
        nothing = torch.zeros(2, 3, *[settings.points] * 3)
        self.tables = nn.Parameter(torch.cat([identity_table(settings.points)[None], nothing]))

    def initialise(self, generator: torch.Generator) -> None:
        """Weights from a generator; every picture is left as it is at first."""
        initialise(self, generator)
        with torch.no_grad():
            self.weights.weight.mul_(0.1)
            self.weights.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 3, S, S)`` as the photographs were read, to display values, which may leave [0, 1]."""
        shown = (image if self.display else srgb_encode(image)).clamp(0.0, 1.0)
        return look_up(torch.einsum("bk,kcxyz->bcxyz", self.weights(self.encoder(shown)), self.tables), shown)

    def regularisation(self) -> Tensor:
        """Tables shall be smooth, and rise with red, green and blue: as Zeng et al. have it, with their weights."""
        steps = [self.tables.diff(dim=axis) for axis in (-1, -2, -3)]
        smoothness = torch.stack([step.square().mean() for step in steps]).sum()
        falling = torch.stack([(-step).clamp(min=0.0).mean() for step in steps]).sum()
        return 1e-4 * smoothness + 10.0 * falling


class ParameterRegressor(nn.Module):
    """All parameters of the default filters at once; the filters are applied in their order, each of them always.

    :param display: has no effect: the filters take either.
    """

    def __init__(self, settings: Settings, display: bool) -> None:
        super().__init__()
        self.filters = default_filters()
        self.encoder = ConvEncoder(3, settings.size, settings.channels)
        self.hidden = nn.Linear(self.encoder.features, 128)
        self.features = nn.Linear(128, sum(filter_.num_features for filter_ in self.filters))

    def initialise(self, generator: torch.Generator) -> None:
        """Weights from a generator; every filter does next to nothing at first."""
        initialise(self, generator)
        with torch.no_grad():
            self.features.weight.mul_(0.1)
            biases = torch.split(self.features.bias, [filter_.num_features for filter_ in self.filters])
            for filter_, bias in zip(self.filters, biases, strict=True):
                bias.fill_(-4.0 if filter_.neutral_action == -1.0 else 0.0)

    def actions(self, image: Tensor) -> list[Tensor]:
        """Each filter's block of the action, ``(B, num_actions)`` in [-1, 1]."""
        hidden = nn.functional.leaky_relu(self.hidden(self.encoder(image)), LEAK)
        blocks = torch.split(self.features(hidden), [filter_.num_features for filter_ in self.filters], dim=1)
        return [filter_.action_from_features(block) for filter_, block in zip(self.filters, blocks, strict=True)]

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 3, S, S)`` as the photographs were read, to display values, at least 0."""
        for filter_, action in zip(self.filters, self.actions(image), strict=True):
            image = filter_.apply(image, filter_.physical(action))
        return image

    def regularisation(self) -> Tensor:
        """Nothing: the filters' ranges bound it."""
        return self.features.bias.new_zeros(())


Regressor = LutRegressor | ParameterRegressor
REGRESSORS: dict[str, type[LutRegressor] | type[ParameterRegressor]] = {"lut": LutRegressor, "cnn": ParameterRegressor}


def identity_table(points: int) -> Tensor:
    """``(3, N, N, N)``: values of red, green and blue at each point; the axes are blue, green, red."""
    blue, green, red = torch.meshgrid(*[torch.linspace(0.0, 1.0, points)] * 3, indexing="ij")
    return torch.stack([red, green, blue])


def look_up(tables: Tensor, image: Tensor) -> Tensor:
    """Trilinear interpolation in a table for each picture.

    :param tables: ``(B, 3, N, N, N)``, as :func:`identity_table`; :param image: ``(B, 3, H, W)`` in [0, 1].
    :return: ``(B, 3, H, W)``.
    """
    where = 2.0 * image.permute(0, 2, 3, 1)[:, None] - 1.0  # x is the last axis of the table: red
    found = nn.functional.grid_sample(tables, where, mode="bilinear", padding_mode="border", align_corners=True)
    return found[:, :, 0]


# -- training ----------------------------------------------------------------------------------------------------------


def train(kind: str, training: str, photos: Photos, settings: Settings, seed: int, device: str = "cpu") -> Regressor:
    """Train one regressor.

    Without pairs it maximises what the agent's last reward would be, 0.05 times the critic's score minus the penalty
    for overexposure, against a critic that learns meanwhile as the agent's does, or (``"frozen"``) the critic of
    version 0 as it is. With pairs it minimises the squared difference of display values.

    :param training: one of :data:`TRAININGS`.
    """
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = REGRESSORS[kind](settings, photos.display_inputs)
    model.initialise(generator)
    if training == "frozen":
        critic = copy.deepcopy(shipped_critic()).requires_grad_(False)
    else:
        critic = Critic(settings.size, settings.channels)
        initialise(critic, generator)
    model.to(device)
    critic.to(device)
    mixing = torch.Generator(device).manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate, betas=(0.5, 0.9))
    critic_optimizer = torch.optim.Adam(critic.parameters(), settings.critic_learning_rate, betas=(0.5, 0.9))

    def tensor(pictures: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(pictures)).to(device)

    def score(pictures: Tensor) -> Tensor:
        if pictures.shape[-1] != critic.image_size:
            pictures = nn.functional.interpolate(pictures, [critic.image_size] * 2, mode="area")
        judged: Tensor = critic(pictures)
        return judged

    def sample(which: Any) -> Tensor:
        return tensor(which.sample(settings.batch_size, rng, settings.size))

    label = f"{kind}, {training}, seed {seed}"
    for iteration in track(range(settings.iterations), label, transient=True, disable=not sys.stderr.isatty()):
        decay = 10.0 ** (-3.0 * iteration / settings.iterations)
        optimizer.param_groups[0]["lr"] = settings.learning_rate * decay
        critic_optimizer.param_groups[0]["lr"] = settings.critic_learning_rate * decay
        if training == "paired":
            before, after = map(tensor, photos.sample_pairs(settings.batch_size, rng, settings.size))
            loss = nn.functional.mse_loss(model(before), after)
        else:
            due = updates_due(iteration, settings.critic_updates, settings.critic_burst, 10, 500)
            for _ in range(due if training == "unpaired" else 0):
                with torch.no_grad():
                    finished = model(sample(photos.inputs))
                critic_step(critic, critic_optimizer, finished, sample(photos.targets), mixing)
            finished = model(sample(photos.inputs))
            loss = (finished - 1.0).clamp(min=0.0).square().mean() - 0.05 * score(finished).mean()
        optimizer.zero_grad(set_to_none=True)
        total: Tensor = loss + model.regularisation()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.cpu().eval().requires_grad_(False)


def retouch(model: Regressor, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(N, S, S, 3)`` as read, to display values, not clipped at 1."""
    with torch.no_grad():
        batches = torch.split(torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))), 128)
        results = torch.cat([model(batch) for batch in batches])
    return np.ascontiguousarray(results.numpy().transpose(0, 2, 3, 1))


def trained(kind: str, training: str, seed: int, photos: Photos, options: argparse.Namespace) -> Regressor:
    """A regressor from the folder of trainings; trained now if it is not there."""
    settings: Settings = options.settings
    config: dict[str, Any] = {
        "settings": asdict(settings),
        "reading": photos.reading,
        "crops": [len(photos.inputs), len(photos.targets)],
        "training": training,
        "seed": seed,
    }
    path = options.runs / f"{options.set}-{kind}-{training}-{settings.iterations}-seed-{seed}.safetensors"
    if path.exists():
        tensors, kept = read_model(path, FORMAT)
        if kept != config:
            raise ValueError(f"{path}: was trained otherwise; remove it, or name another --runs")
        model = REGRESSORS[kind](settings, photos.display_inputs)
        model.load_state_dict(tensors)
        return model.eval().requires_grad_(False)
    model = train(kind, training, photos, settings, seed, options.device)
    options.runs.mkdir(parents=True, exist_ok=True)
    write_model(path, model.state_dict(), FORMAT, config)
    return model


# -- the command -------------------------------------------------------------------------------------------------------


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    load = harness.OtherLoad()
    try:
        rows = _rows(options)
    except ValueError as error:  # a folder, or a model that cannot be read
        sys.exit(f"regressors: {error}")
    path: Path = options.out / "regressors.json"
    kept = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    replaced = {(row["set"], row["name"]) for row in rows}
    rows = [row for row in kept if (row["set"], row["name"]) not in replaced] + rows
    rows.sort(key=lambda row: list(SETS).index(row["set"]))
    harness.save(
        "regressors",
        rows,
        columns={"photographs": "set", "": "name"} | {name: name for name in INTERSECTIONS + PAIRED},
        method=f"{METHOD} {TARGETS_DIFFER}",
        settings=asdict(options.settings) | {"smoke": options.smoke, "device": options.device},
        load=load,
        out=options.out,
        table=[printed(row) for row in rows],
    )
    print(f"{path}: {len(rows)} rows")


def _rows(options: argparse.Namespace) -> list[harness.Row]:
    pairs = options.set == "sintel"
    reading: Reading = options.reading or SETS[options.set]
    test = TestPhotos(options.inputs, options.targets, paired=pairs, size=options.settings.size)
    before, after = (list_photos([folder]) for folder in (options.train_inputs, options.train_targets))
    photos = read_photos(before, after, PhotoOptions(inputs=reading, paired=pairs))
    rows = []
    for kind in KINDS:
        for training in options.training:
            if kind not in options.kinds and "all" not in options.kinds:
                continue
            runs = [
                retouch(trained(kind, training, seed, photos, options), test.crops(reading))
                for seed in range(options.seeds)
            ]
            row = {
                "set": options.set,
                "name": f"{LABELS[kind]}, {ROWS[training]}",
                "photos": len(test.paths),
                "targets": len(test.targets) // 5,
                "training_seeds": options.seeds,
                "iterations": options.settings.iterations,
                "settings": asdict(options.settings),
            }
            rows.append(row | {measure: estimate.row() for measure, estimate in test.measure(runs).items()})
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Regressors that retouch in one pass.")
    parser.add_argument("set", choices=SETS, help="which photographs; those of sintel are pairs")
    parser.add_argument("kinds", nargs="+", choices=(*KINDS, "all"), metavar="KIND", help=", ".join((*KINDS, "all")))
    parser.add_argument("--training", nargs="+", choices=TRAININGS, help="(unpaired, and paired where there are pairs)")
    for name, what in (("train-inputs", "to learn from"), ("train-targets", "finished, to learn from")):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"folder of photographs {what}")
    parser.add_argument("--inputs", type=Path, required=True, help="folder of test photographs")
    parser.add_argument("--targets", type=Path, required=True, help="folder of finished ones")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the trainings")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each row (%(default)s)")
    parser.add_argument("--iterations", type=int, default=Settings.iterations, help="of a training (%(default)s)")
    for field, what in NARROWER.items():
        name, default = f"--{field.replace('_', '-')}", getattr(Settings, field)
        parser.add_argument(name, type=int, default=default, help=f"{what} (%(default)s)")
    parser.add_argument("--reading", choices=get_args(Reading), help="of the inputs, instead of the set's own")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (%(default)s)")
    parser.add_argument("--smoke", action="store_true", help="for the tests: tiny sizes, and results that are none")
    parser.add_argument(
        "--out", type=Path, default=harness.RESULTS, help="folder of the JSON file (benchmarks/results)"
    )
    options = parser.parse_args()
    options.training = options.training or (("unpaired", "paired") if options.set == "sintel" else ("unpaired",))
    if "paired" in options.training and options.set != "sintel":
        parser.error("only the photographs of sintel are pairs")
    numbers = {field: getattr(options, field) for field in NARROWER}
    if min(options.seeds, options.iterations, *numbers.values()) < 1:
        parser.error(f"--seeds, --iterations, --{', --'.join(numbers).replace('_', '-')} must be at least 1")
    options.settings = replace(SMOKE if options.smoke else Settings(**numbers), iterations=options.iterations)
    return options


if __name__ == "__main__":
    main()
