"""Cut the published implementation's numbers down to extracts small enough for the repository.

    python tests/data/make_golden.py --reference DIR

DIR holds ``golden_filters.npz``, ``golden_misc.npz`` and ``golden_forward_small.npz``: arrays
computed with the authors' 2018 code. The extracts keep the names of the arrays and write files of
the same name beside this script. What is cut, and how an array can be shorter than in the source:

- filters: `FILTER_SAMPLES` of 16 images, whole ones, because the stored gradients are those of a
  sum over the whole image; of the masked samples the one whose mask varies most; the edge cases in
  full.
- misc: `CROPS` of 32 crops, `PENALTY_SAMPLES` of 32 penalties, `HISTOGRAM_IMAGES` of the 61 images
  in each of the two histogram sets (their statistics, histograms and intersections in full).
- forward_small: all weights, inputs, losses and gradients; the weights after the first optimiser
  round only; an image that the graph put out (``output``) at every `OUTPUT_STRIDE`-th row and
  column; of the roll-out the states, filters, probabilities and such thinned images.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]

FILTER_SAMPLES = [1, 2, 15]  # dark noise; noise above 1; a smooth picture
CROPS = [0, 1, 2, 3, 6, 7, 11, 25]  # every exposure of the source, overexposed ones among them
PENALTY_SAMPLES = [0, 3, 7, 8, 13, 15, 19, 24]
HISTOGRAM_IMAGES = 8
OUTPUT_STRIDE = 4

_FORWARD_KEPT = re.compile(
    r"in/.*|cfg/.*|weights/.*"
    r"|train[01]/(pdf|selected_filter_id|output|new_states|penalty\w*|surrogate|fake_logit|fake_input_logit"
    r"|real_logit|old_value|new_value_masked|reward|q_value|advantage|\w_loss|emd|c_average|gp_gradient_norm"
    r"|filter_params/\d|grad/.*)"
    r"|rollout/\d/.*|optim/lr|optim/0/(weights/.*|losses\w*|c_avg_smoothed)"
)


def filters(source: Arrays) -> Arrays:
    """The extract of ``golden_filters.npz``."""
    kept: Arrays = {}
    for name, array in source.items():
        if name.startswith(("edge/", "meta/")):
            kept[name] = array
        elif name.startswith("masked/"):
            mask = source[name.rsplit("/", 1)[0] + "/mask"]
            sample = int(np.argmax(mask.reshape(len(mask), -1).std(axis=1)))
            kept[name] = array[sample : sample + 1]
        else:
            kept[name] = array[FILTER_SAMPLES]
    return kept


def misc(source: Arrays) -> Arrays:
    """The extract of ``golden_misc.npz``."""
    kept: Arrays = {}
    for name, array in source.items():
        if name in ("crops", "critic_stats", "hist_stats"):
            kept[name] = array[CROPS]
        elif name.startswith("penalty/"):
            kept[name] = array[PENALTY_SAMPLES]
        elif name in ("hist/setA_u8", "hist/setB_u8"):
            kept[name] = array[:HISTOGRAM_IMAGES]
        else:
            kept[name] = array
    return kept


def forward_small(source: Arrays) -> Arrays:
    """The extract of ``golden_forward_small.npz``."""
    kept: Arrays = {}
    for name, array in source.items():
        if not _FORWARD_KEPT.fullmatch(name):
            continue
        if name.endswith("/output"):
            array = array[:, ::OUTPUT_STRIDE, ::OUTPUT_STRIDE]
        kept[name] = array
    return kept


EXTRACTS: dict[str, Callable[[Arrays], Arrays]] = {
    "golden_filters.npz": filters,
    "golden_misc.npz": misc,
    "golden_forward_small.npz": forward_small,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reference", type=Path, required=True, help="folder with the full golden_*.npz files")
    reference: Path = parser.parse_args().reference
    for file_name, extract in EXTRACTS.items():
        with np.load(reference / file_name) as source:
            kept = extract({name: source[name] for name in source.files})
        target = Path(__file__).parent / file_name
        np.savez_compressed(target, **kept)  # type: ignore[arg-type]
        print(f"{file_name}: {len(kept)} arrays, {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
