"""RLlib's PPO plays the hybrid game. In an environment of its own (.ci/run): it pins Gymnasium 1.2.2."""

from __future__ import annotations

import math

import pytest
from snippets import run, snippet

pytest.importorskip("ray.rllib", reason="ray[rllib] is not installed: it pins Gymnasium 1.2.2")

import ray


@pytest.mark.filterwarnings("default")  # RLlib's own
def test_two_iterations(capsys: pytest.CaptureFixture[str]) -> None:
    ray.init(num_cpus=1, include_dashboard=False, configure_logging=False)
    try:
        block = snippet("RLlib", train_batch_size="64", minibatch_size="32", num_epochs="2")
        names = run(block.replace("range(100)", "range(2)"))
    finally:
        ray.shutdown()
    result = names["result"]
    assert result["training_iteration"] == 2
    assert set(names["algorithm"].get_module().action_space.spaces) == {"filter", "parameters"}
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] >= 128
    assert math.isfinite(result["learners"]["default_policy"]["total_loss"])
    returns = [float(line) for line in capsys.readouterr().out.splitlines()[-2:]]
    assert all(map(math.isfinite, returns))
