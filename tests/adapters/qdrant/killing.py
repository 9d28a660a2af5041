"""Programs of the tests, and their end together with the engine's process that they started."""

import subprocess
from collections.abc import Callable
from contextlib import suppress

import psutil

Program = subprocess.Popen[str]
Start = Callable[..., Program]


def kill_with_engine(program: Program, *, engine_first: bool = False) -> None:
    """Kill a program and the engine that it started."""
    engines = psutil.Process(program.pid).children()
    if engine_first:
        _kill(engines)
    program.kill()
    _kill(engines)
    program.wait()
    psutil.wait_procs(engines)


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        # The engine ends by itself when nobody is connected any more.
        with suppress(psutil.NoSuchProcess):
            process.kill()
