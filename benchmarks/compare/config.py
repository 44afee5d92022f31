"""What is compared: algorithms, seeds and environments, read from one TOML file; and the cells that makes."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

FOLDER = Path(__file__).resolve().parent
PRESETS = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


class ConfigError(ValueError):
    """A config that cannot be used, in one line that names it."""


@dataclass(frozen=True)
class Cell:
    """One run: an algorithm, a seed and an environment. What it says is all that its result depends on."""

    environment: str
    """Its name, and"""
    options: dict[str, Any]
    """what it is: see :class:`compare.arena.Arena`."""
    algorithm: str
    seed: int
    steps: int
    """Of the environment: edits."""
    evaluate_every: int
    """Steps."""
    encoder: dict[str, Any] = field(default_factory=dict)
    """Of all networks: ``base_channels`` and ``features``."""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    """Of this algorithm, instead of the tuned ones."""

    @property
    def name(self) -> str:
        """For people and files."""
        return f"{self.environment}-{self.algorithm}-{self.seed}"

    def settings(self) -> dict[str, Any]:
        """As JSON holds them, with the hashes of the shipped weights that take part: with others it is another run."""
        from exposure_gym.rewards import CRITIC, WEIGHTS

        weights = {"critic": _digest(CRITIC)}  # it measures every agent, whatever the reward is
        if self.algorithm == "shipped":
            weights["agent"] = _digest(WEIGHTS / "policy.safetensors")
        return asdict(self) | {"weights": weights}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Comparison:
    """Everything that is compared with each other."""

    name: str
    steps: int
    evaluate_every: int
    seeds: list[int]
    algorithms: list[str]
    environments: dict[str, dict[str, Any]]
    encoder: dict[str, Any] = field(default_factory=dict)
    hyperparameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    about: str = ""
    """A sentence for the report."""

    def cells(self) -> list[Cell]:
        """All runs, every algorithm with one seed before any with the next; of one without chance only the first."""
        from compare.algorithms import ALGORITHMS

        return [
            Cell(
                environment,
                options,
                algorithm,
                seed,
                self.steps,
                self.evaluate_every,
                self.encoder,
                self.hyperparameters.get(algorithm, {}),
            )
            for seed in self.seeds
            for environment, options in self.environments.items()
            for algorithm in self.algorithms
            if ALGORITHMS[algorithm].by_chance or seed == self.seeds[0]
        ]


def read_comparison(source: str) -> Comparison:
    """A preset by name, or any other file.

    :raises ConfigError: there is none, or it has a key or an algorithm that is unknown, or lacks one.
    """
    from compare.algorithms import ALGORITHMS

    path = FOLDER / f"{source}.toml" if source in PRESETS else Path(source)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{source}: no such preset or file; choose {', '.join(PRESETS)} or a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not TOML ({error})") from None
    data = {"name": path.stem} | data
    known = {each.name for each in fields(Comparison)}
    needed = {"steps", "evaluate_every", "seeds", "algorithms", "environments"}
    if unknown := sorted(set(data) - known):
        raise ConfigError(f"{source}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")
    if missing := sorted(needed - set(data)):
        raise ConfigError(f"{source}: the key {missing[0]!r} is missing")
    comparison = Comparison(**data)
    if strange := [name for name in (*comparison.algorithms, *comparison.hyperparameters) if name not in ALGORITHMS]:
        raise ConfigError(f"{source}: unknown algorithm {strange[0]!r}; known: {', '.join(ALGORITHMS)}")
    if comparison.steps < 1 or comparison.evaluate_every < 1:
        raise ConfigError(f"{source}: steps and evaluate_every must be at least 1")
    if not (comparison.seeds and comparison.algorithms and comparison.environments):
        raise ConfigError(f"{source}: at least one seed, one algorithm and one environment are needed")
    return comparison
