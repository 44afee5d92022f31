"""Kills a training again and again, as a power cut does: a program that ``test_train_kill.py`` runs.

    python killed_training.py STUDIO RUNS SEED KILLS

It imports everything once and forks a child for each life of the training: a fresh process would take seconds to
import torch, a child takes a fraction of one. The child runs the real command, ``exposure-gym train``. Before it
forks, it computes nothing that would start a thread, since threads do not outlive a fork.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._decomp.decompositions_for_jvp
import torch._dynamo  # torch imports these two when it first needs them, which takes seconds

import exposure_gym.agents.exposure.sheet_figure
import exposure_gym.cli.runs
import exposure_gym.cli.training_display  # noqa: F401
from exposure_gym.agents.exposure.callbacks import list_checkpoints
from exposure_gym.cli import app
from exposure_gym.game import RetouchGame

OPTIONS = ["--checkpoint-every", "2", "--sheet-every", "1000", "--seed", "5", "--threads", "1", "--device", "cpu"]
STAGES = ("half-written", "written", "renamed")


def warm_up() -> None:
    """Load the compiled filters: numba imports much when it is first called."""
    game = RetouchGame()
    game.transition(game.start(torch.zeros(1, 3, 8, 8)), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 39))


def begin(studio: Path, run: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Start a life: a training, or where there is one already, its continuation. Return the child's process id."""
    if (run / "config.json").exists():
        arguments = ["train", "--resume", str(run), "--device", "cpu"]
    else:
        folders = ["--inputs", str(studio / "inputs"), "--targets", str(studio / "targets")]
        arguments = ["train", "-o", str(run), "--preset", str(studio / "tiny.toml"), *folders, *OPTIONS]
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.dup2(2, 1)
        prepare()
        status = app(arguments, standalone_mode=False) or 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def finish(child: int) -> int:
    """Wait for the end of a life; its exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def live(studio: Path, run: Path) -> None:
    """A life to the end."""
    status = finish(begin(studio, run))
    if status != 0:
        raise SystemExit(f"{run}: ended with {status}")


def die_while_saving(stage: str, saves: int) -> None:
    """Let this process kill itself in the middle of writing a checkpoint, after so many whole ones."""
    write, replace = Path.write_bytes, os.replace
    left = [saves]

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write_bytes(path: Path, data: Any) -> int:
        if path.name.startswith(".checkpoint-"):
            left[0] -= 1
            if left[0] < 0 and stage == "half-written":
                write(path, data[: len(data) // 2])
                die()
        return write(path, data)

    def replace_file(source: Path, target: Path) -> None:
        due = left[0] < 0 and target.name.startswith("checkpoint-")
        if due and stage == "written":
            die()
        replace(source, target)
        if due and stage == "renamed":
            die()

    Path.write_bytes = write_bytes  # type: ignore[method-assign, assignment]
    os.replace = replace_file  # type: ignore[assignment]


def main(studio: Path, runs: Path, seed: int, kills: int) -> dict[str, Any]:
    """Train once without and then with kills, every third while it saves; start another when one is finished.

    :return: ``runs``, the finished folders, the first never killed; ``reached``, the newest checkpoint after each
        kill; ``left_over``, how many kills left a half-written file behind.
    """
    warm_up()
    rng = np.random.default_rng(seed)
    finished = [runs / "whole"]
    began = time.monotonic()
    live(studio, finished[0])
    duration = time.monotonic() - began
    run, left_over = runs / "killed-1", 0
    reached: list[int] = []
    while len(reached) < kills:
        saving = len(reached) % 3 == 2
        stage, saves = str(rng.choice(STAGES)), int(rng.integers(1, 4))
        delay = rng.uniform(0.0, 0.4 * duration)
        child = begin(studio, run, (lambda: die_while_saving(stage, saves)) if saving else (lambda: None))  # noqa: B023
        if not saving:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
        status = finish(child)
        if status == -signal.SIGKILL:
            reached.append(max([0, *(int(path.stem[-6:]) for path in list_checkpoints(run))]))
            left_over += any(path.name.startswith(".") for path in run.rglob("*"))
        elif status == 0:
            finished.append(run)
            run = runs / f"killed-{len(finished)}"
        else:
            raise SystemExit(f"{run}: ended with {status}")
    live(studio, run)
    return {"runs": [str(path) for path in [*finished, run]], "reached": reached, "left_over": left_over}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
