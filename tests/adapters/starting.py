"""Programs that tests run beside themselves."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Program = subprocess.Popen[str]
Start = Callable[..., Program]


@contextmanager
def starting(*command: str, cwd: Path | None = None) -> Iterator[Start]:
    """Give what starts a command with further arguments, its input and output piped; all are killed at the end."""
    programs: list[Program] = []

    def start(*arguments: str) -> Program:
        program = subprocess.Popen(
            [*command, *arguments], cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        programs.append(program)
        return program

    yield start
    for program in programs:
        program.kill()
        program.communicate()
