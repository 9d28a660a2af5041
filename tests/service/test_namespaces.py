"""Every namespace that the system writes to is known to what walks whole stores."""

import re
from pathlib import Path

import recollect.service
from recollect.service.namespaces import SYSTEM_NAMESPACES

SERVICE = Path(recollect.service.__file__).parent


def test_all_namespaces_of_the_system_are_listed() -> None:
    written = {
        name
        for path in SERVICE.rglob("*.py")
        for name in re.findall(r'^[A-Z_]*NAMESPACE[A-Z_]*(?:: \w+)? = "(_\w+)"', path.read_text(), re.MULTILINE)
    }

    assert "_branches" in written
    assert written <= set(SYSTEM_NAMESPACES)
