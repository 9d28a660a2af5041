"""Arrays that grow at their end, for columns that follow a table."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CAPACITY_MIN = 1_024


class Growable:
    """A one-dimensional array with room to grow.

    A view stays valid and keeps its length when the array grows or moves.
    """

    def __init__(self, dtype: str) -> None:
        self._array: NDArray[Any] = np.empty(CAPACITY_MIN, dtype=dtype)
        self.length = 0

    @property
    def view(self) -> NDArray[Any]:
        """The values so far, without a copy."""
        return self._array[: self.length]

    def extend(self, values: Any) -> None:
        """Add values at the end."""
        end = self.length + len(values)
        if end > len(self._array):
            # A quarter more at a time: copying stays linear, and little memory lies idle.
            grown = np.empty(max(end, len(self._array) * 5 // 4 + CAPACITY_MIN), dtype=self._array.dtype)
            grown[: self.length] = self._array[: self.length]
            self._array = grown
        self._array[self.length : end] = values
        self.length = end
