"""The end of a program together with the engine's process that it started."""

from contextlib import suppress

import psutil

from tests.adapters.starting import Program


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
