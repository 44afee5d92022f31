"""Machine code that Numba kept on disk, loaded without Numba's compiler, which takes longer than all the rest."""

from __future__ import annotations

from typing import Any

from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys


class MachineCode(FunctionCache):
    """A function's cache as Numba has it, except that it prepares for running only.

    Numba's own first loads all that it knows of Python and NumPy, SciPy's linear algebra with it. None of it is needed
    to run what is compiled already, and the compiler loads it anyway when there is something to compile.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function for these types of arguments, or None."""
        rtsys.initialize(target_context)  # memory for arrays
        return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]
