"""Keeping off the terminal what a library in C writes there and has no switch for."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.Lock()


@contextmanager
def silenced(lines: re.Pattern[bytes]) -> Iterator[None]:
    """Drop these lines from what the process writes to standard error within.

    One thread at a time gets in, so keep it short. What others write to standard error meanwhile is held back and then
    passed on.
    """
    with _one_at_a_time, tempfile.TemporaryFile() as held:
        try:
            terminal = os.dup(2)
        except OSError:  # there is no standard error
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            others = lines.sub(b"", held.read())
            if others:
                os.write(2, others)
