"""Model files: safetensors with a format name and a JSON description in the header. Nothing is ever unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from exposure_gym.files import replacing


class ModelError(ValueError):
    """A model file that cannot be read, in one line that names it and says why."""


def write_model(path: Path, tensors: dict[str, Tensor], format_name: str, config: dict[str, Any]) -> None:
    """Write a safetensors file beside, then rename; the suffix is added if it is missing."""
    path = path if path.suffix == ".safetensors" else path.with_name(path.name + ".safetensors")
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(plain, {"format": format_name, "config": json.dumps(config)}))


def read_model(path: Path, format_name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and config of a model file.

    :raises ModelError: when it is missing, damaged or something else.
    """
    if not path.exists() and path.suffix != ".safetensors":
        path = path.with_name(path.name + ".safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != format_name:
                found = metadata.get("format", "no format")
                raise ModelError(f"{path}: holds {found}, not {format_name!r}")
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(metadata["config"])  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model file") from None
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: not a readable model file ({error})") from None
