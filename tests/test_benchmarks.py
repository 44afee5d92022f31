"""Every benchmark runs, and says what it measured in valid JSON; what it compares is alike."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import env_throughput
import harness
from training_iteration import count_gflop, double_backward_loss

from exposure_gym.critic import Critic, critic_loss
from exposure_gym.networks import initialise
from exposure_gym.rewards import shipped_critic

BENCHMARKS = Path(harness.__file__).parent
SCRIPTS = {
    "env_throughput": {
        "PhotoRetouch, critic: gym.make_vec, tensors=True, N = 2",
        "PhotoRetouch, no critic: SB3VecEnv, N = 1",
        "PhotoRetouch, no critic: AsyncVectorEnv, N = 2",
        "the critic alone, N = 2",
        "the critic alone: matrix products allow, N = 1",
        "CartPole-v1: SyncVectorEnv, N = 2",
    },
    "full_resolution": {
        "whole process: TIFF to TIFF",
        "whole process: TIFF to TIFF, nothing compiled",
        "whole process: TIFF to TIFF by ImageMagick, three edits",
        "whole process: TIFF to TIFF by darktable, three edits",
        "engine, codes: sRGB",
        "engine, floats, into fresh memory: Recipe.apply_photo",
    },
    "training_iteration": {"iteration, float32, 1 thread", "iteration, bfloat16, 1 thread"},
}


def test_every_script_is_tested_and_in_the_readme() -> None:
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")} - {
        "harness",
        "held_out",
        "critic_versions",
        "frozen_agent",
    }
    assert scripts == {
        *SCRIPTS,
        "learning_curve",
        "paper_table",
        "ablations",
        "twelve_photos",
        "ppo_single_file",
        "xmp_accuracy",
        "critic_battery",
        "reward_hacking",
        "compare_agents",
        "train_critic",
        "regressors",
    }
    readme = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert [name for name in scripts if f"`python benchmarks/{name}.py`" not in readme] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_runs(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(BENCHMARKS / f"{name}.py"), "--smoke", "--out", str(tmp_path)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.json"]
    text = (tmp_path / f"{name}.json").read_text(encoding="utf-8")
    report = json.loads(text)
    assert report["settings"]["smoke"] is True
    assert {"cpu", "cores", "memory_gb", "system"} <= set(report["machine"])
    assert {"python", "torch", "numpy", "exposure-gym", "commit"} <= set(report["versions"])
    assert str(Path.home()) not in text
    assert str(tmp_path) not in text
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) >= SCRIPTS[name]
    for row_name, row in rows.items():
        assert f"| {row_name.partition(', N = ')[0]}" in process.stdout  # which may be a column
        if "source" in row or "skipped" in row:  # somebody else's figure, or one for which a library is missing
            continue
        assert 0 < row["min_ms"] <= row["median_ms"] <= row["max_ms"]
        assert len(row["times_ms"]) == 1


def test_kept_results_are_of_full_runs() -> None:
    """What is published beside the scripts was not made by a smoke test."""
    for path in (BENCHMARKS / "results").glob("*.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        assert report["benchmark"] == path.stem
        assert report["settings"]["smoke"] is False
        if path.stem == "xmp_accuracy":  # colour differences
            assert all(row["mean"] <= row["p95"] <= row["max"] for row in report["rows"])
            continue
        if path.stem in ("paper_table", "ablations", "ablations_frozen", "regressors"):  # which measure no time
            assert all({"value", "interval"} <= set(row["mean"]) for row in report["rows"] if "source" not in row)
            continue
        if path.stem == "critic_battery" or path.stem.startswith("reward_hacking_"):  # rewards and histograms
            assert all(math.isfinite(row.get("reward", row.get("rank_histograms"))) for row in report["rows"])
            continue
        assert any("source" in row for row in report["rows"]) or path.stem == "env_throughput"  # it brings its rivals
        assert all(len(row["times_ms"]) >= 5 for row in report["rows"] if not {"source", "skipped"} & set(row))


def test_both_gradient_penalties_have_the_same_gradient() -> None:
    noise = torch.Generator().manual_seed(0)
    critic = Critic(16, base_channels=4, hidden=16)
    initialise(critic, noise)
    critic.requires_grad_()
    with torch.no_grad():
        critic.score.weight *= 30  # slopes above 1, or there is no penalty
    finished, target = torch.rand(2, 8, 3, 16, 16, generator=noise)
    mix = torch.rand(8, 1, 1, 1, generator=noise)
    ours = critic_loss(critic, finished, target, mix, 10.0)
    assert ours.gradient_penalty > 1
    usual = double_backward_loss(critic, finished, target, mix, 10.0)
    torch.testing.assert_close(ours.loss, usual)
    weights = [parameter for parameter in critic.parameters() if parameter is not critic.score.bias]
    for one, other in zip(torch.autograd.grad(ours.loss, weights), torch.autograd.grad(usual, weights), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * float(other.abs().max()))


def throughput(seconds_a_call: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Rows by name of players with 4 games that sleep so long."""
    makers: env_throughput.Makers = {
        (name, "cpu"): lambda wait=wait: env_throughput.Player(lambda _: time.sleep(wait), [None], 4)  # type: ignore[misc]
        for name, wait in seconds_a_call.items()
    }
    options = argparse.Namespace(smoke=True, warmup=0, runs=3, deadline=math.inf)
    return {row["name"]: row for row in env_throughput.measure_group(4, makers, options, "cpu")}


def test_throughput_counts_steps_and_compares_within_rounds() -> None:
    ours, dummy = "PhotoRetouch, critic: ours", "PhotoRetouch, critic: SB3 DummyVecEnv"
    rows = throughput({ours: 0.004, dummy: 0.02, env_throughput.CRITIC: 0.002})
    row = rows[f"{ours}, N = 4"]
    assert row["steps"] == 4 * env_throughput.EDITS
    assert row["steps_per_second"] == pytest.approx(1e3 * row["steps"] / row["median_ms"])
    low, high = row["steps_per_second_quartiles"]
    assert low <= row["steps_per_second"] <= high <= 4 / 0.004  # no sleep is shorter than it was asked to be
    rounds = zip(row["times_ms"], rows[f"{dummy}, N = 4"]["times_ms"], strict=True)
    assert row["times_dummy"] == pytest.approx(np.median([slow / quick for quick, slow in rounds]))
    assert {"times_dummy", "of_critic_alone"} & set(rows[f"{dummy}, N = 4"]) == {"of_critic_alone"}
    assert {"times_dummy", "of_critic_alone"} & set(rows[f"{env_throughput.CRITIC}, N = 4"]) == set()
    (line, *_) = env_throughput.pivot(list(rows.values()), 4)
    assert line == {
        "name": ours,
        "N = 4": row["steps_per_second"],
        "times_dummy": row["times_dummy"],
        "of_critic_alone": row["of_critic_alone"],
    }


def test_matrix_products_have_the_critics_operations() -> None:
    critic = shipped_critic()
    products = count_gflop(env_throughput.matrix_products(critic, 3, "cpu"))
    # By hand: pixels x 16 x channels in x channels out of each layer, then 4096 x 128; a multiply-add is two.
    layers = (1024 * 16 * 6 * 32 + 256 * 16 * 32 * 64 + 64 * 16 * 64 * 128 + 16 * 16 * 128 * 256) + 4096 * 128
    assert products == pytest.approx(3 * 2e-9 * layers)
    assert env_throughput.critic_gflop(critic) == pytest.approx(2e-9 * layers, rel=0.1)  # which may save some


def test_turns_are_taken_and_warmup_is_not_counted() -> None:
    calls: list[str] = []
    functions = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    timings = harness.measure_in_turns(functions, warmup=1, runs=3)
    assert calls == list("ab" * 4)
    assert {name: len(timing.times) for name, timing in timings.items()} == {"a": 3, "b": 3}


def test_rounds_stop_at_the_deadline_but_one_counts() -> None:
    assert list(harness.rounds(2, 3)) == [False, False, True, True, True]
    assert list(harness.rounds(2, 3, deadline=time.monotonic())) == [False, False, True]


def test_timing_row() -> None:
    row = harness.Timing((0.004, 0.001, 0.002, 0.003, 0.9)).row("part_")
    assert row["part_median_ms"] == pytest.approx(3)
    assert row["part_quartiles_ms"] == pytest.approx([2, 4])
    assert (row["part_min_ms"], row["part_max_ms"]) == pytest.approx((1, 900))
    assert row["part_times_ms"] == pytest.approx([4, 1, 2, 3, 900])


def test_child_is_measured_alone() -> None:
    """The memory of the process that measures is not counted, that of the child is."""
    ballast = np.ones(300_000_000, np.uint8)
    small = harness.run_child([sys.executable, "-S", "-c", "print('done')"])
    assert small.output == "done\n"
    assert small.peak_bytes < 60e6 < ballast.nbytes
    large = harness.run_child([sys.executable, "-S", "-c", "import time; b'x' * 100_000_000; time.sleep(0.2)"])
    assert 100e6 < large.peak_bytes < 200e6
    assert large.wall > 0.2


def test_failed_child_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="status 3"):
        harness.run_child([sys.executable, "-S", "-c", "raise SystemExit(3)"])


def save(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    return harness.save(
        "some", rows, columns={"what": "name", "ms": "ms"}, method="by hand", settings={}, load=harness.OtherLoad(),
        out=tmp_path,
    )  # fmt: skip


def test_save_prints_a_table_and_keeps_the_old_file_on_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path, [{"name": "a", "ms": 1234.5678}, {"name": "b"}])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "| what |    ms |" in lines
    assert "| a    | 1,235 |" in lines
    before = path.read_bytes()
    assert json.loads(before)["rows"] == [{"name": "a", "ms": 1234.6}, {"name": "b"}]
    with pytest.raises(ValueError, match="Out of range"):
        save(tmp_path, [{"name": "a", "ms": float("nan")}])
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


def test_learning_curve_draws_a_run(tmp_path: Path) -> None:
    values = {"luminance": 0.2, "contrast": 0.3, "saturation": 0.4, "mean": 0.3}
    rows = [{"iteration": i, "seconds": i, "emd": 5.0, "reward": 0.1, "held_out": values} for i in (1, 20, 40)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-W", "error", str(BENCHMARKS / "learning_curve.py"), str(tmp_path)]
    drawn = subprocess.run([*command, "-o", str(tmp_path / "curve.png")], capture_output=True, text=True)
    assert drawn.returncode == 0, drawn.stderr
    assert "from 30.0 % to 30.0 % in 40 iterations" in drawn.stdout
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    refused = subprocess.run([*command[:-1], str(tmp_path / "nothing")], capture_output=True, text=True)
    assert refused.returncode == 1
    assert "no held-out measurements" in refused.stderr
