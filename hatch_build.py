"""Build hook: links the three source folders under one import name for editable installs."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DevelopmentLinks(BuildHookInterface):  # type: ignore[misc]  # the build library is only there when building
    """Makes `build/dev/recollect/{adapters,embeddings,service}`, which editable installs put on the path."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - the interface's signature
        """Create the links anew for an editable build; do nothing for a wheel."""
        if version != "editable":
            return
        package = Path(self.root, "build", "dev", "recollect")
        package.mkdir(parents=True, exist_ok=True)
        for folder in ("adapters", "embeddings", "service"):
            link = package / folder
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..", "..", "..", folder), target_is_directory=True)
