"""Gymnasium's RecordVideo writes a film that plays. Runs where moviepy is: in RL Zoo's environment."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from snippets import run, snippet

pytest.importorskip("moviepy", reason="moviepy is not installed: it wants an older Pillow")


def test_the_film_shows_every_edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = run(snippet("Videos"))["env"]
    (video,) = (tmp_path / "videos").glob("*.mp4")
    film = cv2.VideoCapture(str(video))
    assert film.get(cv2.CAP_PROP_FPS) == 2
    frames = []
    while True:
        decoded, frame = film.read()
        if not decoded:
            break
        frames.append(frame[:, :, ::-1].astype(int))
    assert len(frames) == 1 + 5
    last = env.unwrapped.render()
    assert frames[-1].shape == last.shape
    assert np.abs(frames[-1] - last).mean() < 3.0  # of 255: the compression's
    assert np.abs(frames[0] - last).mean() > 5.0
