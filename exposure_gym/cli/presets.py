"""Presets: hyperparameters of a training and how it reads photographs, as a TOML file. Those that ship are in
``exposure_gym/presets``.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from exposure_gym.data.folders import PhotoOptions
from exposure_gym.photo import Reading

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

NAMES = ("paper", "short", "cpu", "quick", "own-jpeg", "sintel")
_NOT_HYPERPARAMETERS = {"self", "policy", "env", "seed", "device", "verbose", "tensorboard_log", "_init_setup_model"}
_NETWORKS = {"base_channels": 32, "features": 4096, "hidden": 128, "dropout_keep": 0.5, "exploration": 0.05}


class PresetError(ValueError):
    """A preset that cannot be used, in one line that names it."""


@dataclass(frozen=True)
class Preset:
    """Length of a training, how its photographs are read, and keywords of the agent."""

    iterations: int
    photos: PhotoOptions
    agent: dict[str, Any]


def load_preset(name: str) -> Preset:
    """A preset that ships, by name, or one from a file.

    :raises PresetError: there is none, or it has a key or a value that the agent does not take.
    """
    try:
        source = files("exposure_gym") / "presets" / f"{name}.toml" if name in NAMES else Path(name)
        data = tomllib.loads(source.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise PresetError(f"preset {name}: no such preset or file; choose {', '.join(NAMES)} or a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise PresetError(f"preset {name}: not TOML ({error})") from None
    _check(name, "", data, {"iterations": 1, "photos": {}, "agent": {}})
    _check(name, "photos.", data.get("photos", {}), asdict(PhotoOptions()))
    preset = Preset(data.get("iterations", 20_000), PhotoOptions(**data.get("photos", {})), data.get("agent", {}))
    if preset.iterations < 1:
        raise PresetError(f"preset {name}: iterations must be at least 1, not {preset.iterations}")
    if preset.photos.inputs not in get_args(Reading):
        known = ", ".join(get_args(Reading))
        raise PresetError(f"preset {name}: photos.inputs must be one of {known}, not {preset.photos.inputs!r}")
    if min(preset.photos.input_crops, preset.photos.target_crops) < 0:
        raise PresetError(f"preset {name}: photos.input_crops and photos.target_crops must be at least 0")
    _check(name, "agent.", preset.agent, _agent_defaults())
    _check(name, "agent.policy_kwargs.", preset.agent.get("policy_kwargs", {}), _NETWORKS)
    return preset


def _agent_defaults() -> dict[str, Any]:
    """Keywords of the agent that a preset may set, with the values that show their types."""
    from exposure_gym.agents.exposure import ExposureAgent

    parameters = inspect.signature(ExposureAgent.__init__).parameters
    defaults = {name: p.default for name, p in parameters.items() if name not in _NOT_HYPERPARAMETERS}
    return defaults | {"policy_kwargs": {}}


def _check(name: str, place: str, values: dict[str, Any], known: dict[str, Any]) -> None:
    """Every key is known and has a value like the one it is known with."""
    for key, value in values.items():
        if key not in known:
            raise PresetError(f"preset {name}: unknown key {place}{key}; known: {', '.join(known)}")
        if not _is_like(value, known[key]):
            raise PresetError(f"preset {name}: {place}{key} must be like {_toml(known[key])}, not {value!r}")


def _is_like(value: Any, example: Any) -> bool:
    if isinstance(example, tuple):
        return isinstance(value, list) and len(value) == len(example) and all(map(_is_like, value, example))
    if isinstance(example, float):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is type(example)


def _toml(example: Any) -> str:
    if isinstance(example, dict):
        return "a table"
    return str(list(example)) if isinstance(example, tuple) else repr(example).replace("'", '"')
