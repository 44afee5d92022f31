"""The comparison of agents spread over a Ray cluster of one machine. In the environment that has Ray (.ci/run)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="ray is not installed")
sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import ray
from compare.cells import run_cell
from compare.config import Cell
from compare.execution import read_result, result_path, run_on_ray

WORLD = {"reward": "reference", "image_size": 16, "scenes": 8, "held_out": 4}


@pytest.mark.filterwarnings("default")  # Ray's own
def test_runs_come_back_from_the_cluster(tmp_path: Path) -> None:
    cells = [Cell("pairs", WORLD, "random", seed, 32, 16) for seed in (0, 1)]
    cells.append(Cell("pairs", WORLD, "exposure_frozen", 0, 32, 16))  # which this reward breaks
    ray.init(num_cpus=1, include_dashboard=False, configure_logging=False)
    try:
        ended = {(cell.algorithm, cell.seed): error for cell, error in run_on_ray(cells, tmp_path, None)}
    finally:
        ray.shutdown()
    assert ended["random", 0] is None
    assert ended["random", 1] is None
    assert "the reward 'critic'" in str(ended["exposure_frozen", 0])
    for cell in cells[:2]:
        result = read_result(result_path(cell, tmp_path))
        assert result is not None
        assert result["curve"][0]["reward"] == pytest.approx(run_cell(cell)["curve"][0]["reward"], rel=1e-4)
