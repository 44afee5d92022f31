"""An iteration of ExposureAgent: one update of policy and value, and five of the critic, at full size."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
import torch
from harness import OtherLoad, Row, Timing, arguments, measure_in_turns, save
from stable_baselines3.common.logger import Logger
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from exposure_gym.agents.exposure import ExposureAgent
from exposure_gym.critic import Critic, critic_loss
from exposure_gym.data import Photos, PhotoSet
from exposure_gym.envs.photo_retouch import PhotoRetouchEnv

PUBLISHED: Row = {
    "name": "published code, 2 quiet cores, float32 (a constant, measured elsewhere)",
    "median_ms": 1285.0,
    "precision": "float32",
    "threads": 2,
    "device": "cpu",
    "source": "the authors' 2018 code on TensorFlow 2.15, same batch, networks and number of critic updates",
}
METHOD = (
    "Synthetic photographs; batch 64 of 64x64 pixels, the published networks. An iteration is an actor step (policy "
    "and value) and five critic steps, with everything training does in them: drawing photographs, the replay pool, "
    "optimisers, logging. All variants take turns in one process, each on its number of threads; GPU work is waited "
    "for. GFLOP: matrix products and convolutions of one iteration, two operations a multiply-add, as PyTorch's "
    "FlopCounterMode counts them. conv GFLOP/s: the critic's convolutions alone, forward, same batch, precision and "
    "threads, same turns. of limit: the GFLOP of an iteration at that rate, over its median. Training: 20,000 "
    "iterations of the published schedule, whose first ten and every 500th have 100 critic updates. Gradient penalty: "
    "the critic's loss and its gradient in the weights, once with the slope along a direction, which is how this "
    "project computes the penalty, and once by differentiating a backward pass, as usual; x other: the time of the "
    "usual way over ours."
)
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CRITIC_UPDATES = 5
ITERATIONS = 20_000
BURSTS = 10 + (ITERATIONS // 500 - 1)
"""Iterations of a whole training with ``BURST_UPDATES`` critic updates."""
BURST_UPDATES = 100


class NoReward:
    """For an agent that trains against a critic of its own, or games that are played for their speed."""

    name = "none"

    def potential(self, image: Tensor) -> Tensor:
        return image.new_zeros(len(image))


def make_agent(device: str, smoke: bool) -> ExposureAgent:
    """An agent ready to train: its pool holds games at every stage. ``smoke`` makes everything tiny."""
    rng = np.random.default_rng(0)
    size, batch = (16, 8) if smoke else (64, 64)
    crops = rng.random((2, 4 * batch, 3, size * 5 // 4, size * 5 // 4), np.float32)
    names = [str(i) for i in range(4 * batch)]
    photos = Photos(PhotoSet(0.3 * crops[0] ** 2, "linear", names), PhotoSet(crops[1], "display", names))
    agent = ExposureAgent(
        env=PhotoRetouchEnv(photos, NoReward(), image_size=size),
        batch_size=batch,
        pool_size=2 * batch,
        warmup_rollouts=20,
        policy_kwargs={"base_channels": 4, "features": 128, "hidden": 16} if smoke else None,
        seed=0,
        device=device,
    )
    agent.set_logger(Logger(None, []))
    agent._fill_pool()
    return agent


def count_gflop(*functions: Callable[[], object]) -> float:
    """Billions of operations in matrix products and convolutions, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        for function in functions:
            function()
    return float(counter.get_total_flops()) / 1e9


def iteration_functions(agent: ExposureAgent, precision: str) -> dict[str, Callable[[], object]]:
    """The two parts of ``agent.train()``."""

    def actor() -> None:
        agent.precision = precision
        agent._actor_step(0.1)

    def critic() -> None:
        agent.precision = precision
        for _ in range(CRITIC_UPDATES):
            agent._critic_step()

    return {"actor": actor, "critic": critic}


def double_backward_loss(critic: Critic, finished: Tensor, target: Tensor, mix: Tensor, weight: float) -> Tensor:
    """The same loss as ``critic_loss``, its penalty by the usual way: a backward pass that is itself differentiated."""
    scores = critic(torch.cat([finished, target]))
    emd = scores[len(finished) :].mean() - scores[: len(finished)].mean()
    between = (target + mix * (finished - target)).requires_grad_()
    seen = between.view_as(between)  # the counter of operations cannot watch a module whose input is a leaf
    (gradient,) = torch.autograd.grad(critic(seen).sum(), between, create_graph=True)
    norm = (1e-6 + gradient.square().sum(dim=(1, 2, 3))).sqrt()
    loss: Tensor = weight * (norm - 1.0).clamp(min=0.0).square().mean() - emd
    return loss


def penalty_functions(agent: ExposureAgent, precision: str) -> dict[str, Callable[[], tuple[Tensor, ...]]]:
    """The critic's loss and its gradient in the weights, with the penalty either way."""
    critic, count, size = agent.policy.critic, agent.batch_size, agent.policy.critic.image_size
    noise = torch.Generator(agent.device).manual_seed(0)
    finished, target = torch.rand(2, count, 3, size, size, generator=noise, device=agent.device)
    mix = torch.rand(count, 1, 1, 1, generator=noise, device=agent.device)

    def gradients(loss: Callable[[], Tensor]) -> tuple[Tensor, ...]:
        low = PRECISIONS[precision]
        with torch.autocast(agent.device.type, dtype=low, enabled=low != torch.float32):
            value = loss()
        # The last bias alone may be unused: it changes no slope.
        return torch.autograd.grad(value, list(critic.parameters()), allow_unused=True, materialize_grads=True)

    return {
        "slope": lambda: gradients(lambda: critic_loss(critic, finished, target, mix, 10.0).loss),
        "double backward": lambda: gradients(lambda: double_backward_loss(critic, finished, target, mix, 10.0)),
    }


def convolutions(critic: Critic, batch: int, precision: str, device: torch.device) -> Callable[[], None]:
    """The critic's convolutions alone, forward, each on an input of its own."""
    size, pairs = critic.image_size, []
    for layer in critic.encoder.convolutions:
        weight = layer.get_parameter("weight").detach().to(device, PRECISIONS[precision])
        image = torch.ones(batch, weight.shape[1], size, size).to(weight)
        pairs.append([tensor.contiguous(memory_format=torch.channels_last) for tensor in (image, weight)])
        size //= 2

    def forward() -> None:
        for image, weight in pairs:
            torch.nn.functional.conv2d(image, weight, stride=2, padding=1)

    return forward


def on_device(device: str, thread_counts: list[int], smoke: bool, warmup: int, runs: int, deadline: float) -> list[Row]:
    """All rows of one device, measured in turns."""
    agent = make_agent(device, smoke)
    functions: dict[tuple[str, int, str], Callable[[], object]] = {}
    gflop: dict[str, float] = {}

    for precision in PRECISIONS:
        parts = {**iteration_functions(agent, precision), **penalty_functions(agent, precision)}
        parts["convolutions"] = convolutions(agent.policy.critic, agent.batch_size, precision, agent.device)
        if not gflop:
            gflop = {part: count_gflop(function) for part, function in parts.items()}
        for threads in thread_counts:
            for part, function in parts.items():
                functions[precision, threads, part] = _with_threads(function, threads)

    timings = measure_in_turns(functions, warmup=warmup, runs=runs, device=device, deadline=deadline)
    rows: list[Row] = []
    for precision in PRECISIONS:
        for threads in thread_counts:
            times = {part: timings[precision, threads, part] for part in gflop}
            where = f"{threads} thread{'s' * (threads > 1)}" if device == "cpu" else device
            about: Row = {"precision": precision, "threads": threads, "device": device}
            rows += [row | about for row in _rows(f"{precision}, {where}", times, gflop)]
    return sorted(rows, key=lambda row: "gradient penalty" in row["name"])


def _with_threads(function: Callable[[], object], threads: int) -> Callable[[], object]:
    def run() -> object:
        torch.set_num_threads(threads)
        return function()

    return run


def _rows(where: str, times: dict[str, Timing], gflop: dict[str, float]) -> list[Row]:
    """One variant: the iteration, then the two ways of the gradient penalty."""
    actor, critic = times["actor"], times["critic"]
    iteration = Timing(tuple(map(sum, zip(actor.times, critic.times, strict=True))))
    work = gflop["actor"] + gflop["critic"]
    rate = gflop["convolutions"] / times["convolutions"].median
    extra = BURSTS * (BURST_UPDATES / CRITIC_UPDATES - 1) * critic.median
    slope, double = times["slope"], times["double backward"]
    return [
        {
            "name": f"iteration, {where}",
            **iteration.row(),
            **actor.row("actor_"),
            **critic.row("critic_"),
            "iterations_per_second": 1 / iteration.median,
            "training_minutes": (ITERATIONS * iteration.median + extra) / 60,
            "gflop": work,
            "gflop_per_second": work / iteration.median,
            "convolution_gflop_per_second": rate,
            "of_limit": work / rate / iteration.median,
        },
        {
            "name": f"gradient penalty as a slope, {where}",
            **slope.row(),
            "gflop": gflop["slope"],
            "times_other": double.median / slope.median,
        },
        {
            "name": f"gradient penalty by double backward, {where}",
            **double.row(),
            "gflop": gflop["double backward"],
        },
    ]


def main() -> None:
    options = arguments("Milliseconds of a training iteration of ExposureAgent.", warmup=2, runs=10)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    thread_counts = [1] if options.smoke or cores < 2 else [1, 2]
    load = OtherLoad()
    rows = on_device("cpu", thread_counts, options.smoke, options.warmup, options.runs, options.deadline)
    if torch.cuda.is_available():
        rows += on_device("cuda", [1], options.smoke, options.warmup + 3, 3 * options.runs, math.inf)  # seconds
    if not options.smoke:
        for row in rows:
            if row["name"].startswith("iteration"):
                row["times_published"] = PUBLISHED["median_ms"] / row["median_ms"]
    save(
        "training_iteration",
        [PUBLISHED, *rows],
        columns={
            "what": "name",
            "median ms": "median_ms",
            "min": "min_ms",
            "max": "max_ms",
            "actor": "actor_median_ms",
            "critic": "critic_median_ms",
            "x published": "times_published",
            "x other": "times_other",
            "GFLOP": "gflop",
            "conv GFLOP/s": "convolution_gflop_per_second",
            "of limit": "of_limit",
            "it/s": "iterations_per_second",
            "training min": "training_minutes",
        },
        method=METHOD,
        settings={
            "smoke": options.smoke,
            "warmup": options.warmup,
            "runs": options.runs,
            "batch": 8 if options.smoke else 64,
            "critic_updates": CRITIC_UPDATES,
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "default"),
        },
        load=load,
        out=options.out,
    )


if __name__ == "__main__":
    main()
