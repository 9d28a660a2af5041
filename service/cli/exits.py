"""How a command ends: its exit code, and the error that carries what to tell."""

from enum import IntEnum
from typing import Final

from recollect.service.answers import Problem


class ExitCode(IntEnum):
    """What a caller can tell from the number alone."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    DAMAGED = 5
    UNAVAILABLE = 6
    FULL = 7
    STOPPED = 130


MEANINGS: Final = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed, or an import left records out",
    ExitCode.USAGE: "wrong options, or a request that cannot be carried out",
    ExitCode.NOT_FOUND: "no such memory, key or branch",
    ExitCode.CONFLICT: "the memory is at another version than expected",
    ExitCode.DAMAGED: "the store is damaged; fsck says where",
    ExitCode.UNAVAILABLE: "store, model or service cannot be reached or is busy; the same call may succeed later",
    ExitCode.FULL: "no space left",
    ExitCode.STOPPED: "stopped by Ctrl-C; what was acknowledged is stored",
}
EPILOG: Final = "\n".join(["Exit codes:", *(f"{code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())])

_BY_CODE: Final = {
    "store_damaged": ExitCode.DAMAGED,
    # Another model's store stays another model's store, however often it is tried.
    "profile_mismatch": ExitCode.FAILED,
}
_BY_STATUS: Final = {
    400: ExitCode.USAGE,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    412: ExitCode.CONFLICT,
    413: ExitCode.USAGE,
    415: ExitCode.USAGE,
    422: ExitCode.USAGE,
    429: ExitCode.UNAVAILABLE,
    502: ExitCode.UNAVAILABLE,
    503: ExitCode.UNAVAILABLE,
    504: ExitCode.UNAVAILABLE,
    507: ExitCode.FULL,
}


class CommandError(Exception):
    """A command cannot go on; `problem` is what to tell its caller."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def usage_error(detail: str) -> CommandError:
    """Return the error for words of the caller that cannot be understood."""
    return CommandError(Problem(title="The command is not valid", status=422, code="invalid_request", detail=detail))


def exit_code_of(problem: Problem) -> ExitCode:
    """Return the exit code that stands for a problem."""
    return _BY_CODE.get(problem.code) or _BY_STATUS.get(problem.status, ExitCode.FAILED)
