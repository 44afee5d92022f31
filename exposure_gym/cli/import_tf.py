"""``exposure-gym import-tf``: a model of the authors' TensorFlow code as one of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from exposure_gym.cli.messages import fail, make_folder


def import_tf(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT_PREFIX",
            help="Path of the checkpoint's files without .index and .data-00000-of-00001.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="MODEL", help="Folder for the model; made if need be.")
    ],
    working_space: Annotated[
        Literal["prophoto", "srgb", "rec2020"],
        typer.Option(
            metavar="SPACE",
            help="Primaries of the light that it was trained on: prophoto, as the authors' model, srgb or rec2020.",
        ),
    ] = "prophoto",
    force: Annotated[bool, typer.Option("--force", metavar="", help="Replace a model that is there.")] = False,
) -> None:
    """Use the authors' published model, or one trained with their code.

    MODEL gets policy.safetensors and critic.safetensors: then retouch --model MODEL uses it. TensorFlow is not needed.
    The size of the networks, and with it that of the pictures they look at, is read off the checkpoint.
    """
    for name in ("policy.safetensors", "critic.safetensors"):
        if (output / name).exists() and not force:
            fail(f"{output / name}: exists already; allow it to be replaced with --force", 2)

    from exposure_gym.agents.exposure.tf_import import import_checkpoint, save_model

    try:
        agent = import_checkpoint(checkpoint, working_space)
    except ValueError as error:
        fail(str(error), 2)
    make_folder(output)
    save_model(agent, output)
    weights = sum(values.numel() for values in agent.policy.parameters())
    size = agent.policy.critic.image_size
    typer.echo(f"{output}: {weights:,} weights, for pictures of {size} pixels; use it with retouch --model {output}")
