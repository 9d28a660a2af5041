"""Reading the settings for a command."""

from typing import Any

from pydantic import ValidationError

from recollect.service.cli.exits import usage_error
from recollect.service.settings import Settings


def load_settings(**given: Any) -> Settings:
    """Return the settings, of which what is given on the command line wins.

    Raises:
        ValidationError: A setting is out of bounds, or unknown.
        CommandError: The file of settings is not there, or cannot be read.
    """
    try:
        return Settings(**given)
    except ValidationError:
        raise
    except ValueError as error:  # no such file, no TOML or YAML, a list that is no JSON
        reason = f" ({error.__cause__})" if error.__cause__ else ""
        raise usage_error(f"the settings cannot be read: {error}{reason}") from error
