"""The suite that proves a backend, and the model that it is compared with.

Subclass `ConformanceSuite` and `StorageMachine`; both take five lines. This package needs the extra
`recollect[testing]`.
"""

import pytest

# Before the import, or a failing assertion of the suite prints no values.
pytest.register_assert_rewrite(
    *(
        f"recollect.adapters.testing.{module}"
        for module in (
            "base",
            "branches",
            "commits",
            "lifecycle",
            "limits",
            "drawing",
            "machine",
            "reads",
            "search",
            "side_by_side",
            "streams",
            "suite",
        )
    )
)

from recollect.adapters.testing.base import AdapterFactory  # noqa: E402 - see above
from recollect.adapters.testing.machine import StorageMachine  # noqa: E402 - see above
from recollect.adapters.testing.model import ModelAdapter, ModelStorage  # noqa: E402 - see above
from recollect.adapters.testing.suite import ConformanceSuite  # noqa: E402 - see above

__all__ = ["AdapterFactory", "ConformanceSuite", "ModelAdapter", "ModelStorage", "StorageMachine"]
