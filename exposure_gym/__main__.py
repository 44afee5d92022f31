"""``python -m exposure_gym``: the ``exposure-gym`` command."""

from __future__ import annotations

import sys

from exposure_gym.cli import main

sys.exit(main())
