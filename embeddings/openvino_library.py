"""The OpenVINO library, imported so that it reports to nobody, and what this processor can do with it.

OpenVINO's conversion tools report their use to an analytics service through the package `openvino-telemetry`, and take
a missing consent file for consent. They ask for that package when `openvino` is imported and run without it when it
cannot be found, so it is hidden for the length of that import. Nothing in this product calls those tools either: the
graph is read by the PyTorch frontend, which knows no telemetry.
"""

import sys
from functools import cache
from pathlib import Path
from threading import Lock
from types import ModuleType

from recollect.embeddings.errors import ExportError

_TELEMETRY = "openvino_telemetry"
_FLAGS_OF_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_FLAGS_OF_INT8 = frozenset({"avx512_vnni"})
_FLAGS_OF_TILES = frozenset({"amx_tile", "amx_bf16"})
_import_lock = Lock()


def import_openvino() -> ModuleType:
    """Import `openvino` with its telemetry out of reach.

    Raises:
        ExportError: It is not installed, or does not run on this machine.
    """
    with _import_lock:
        hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == _TELEMETRY}
        # None is how the import system is told that a module does not exist.
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            import openvino  # noqa: PLC0415 - hidden telemetry first, and only where a model is really loaded
        except ImportError as error:
            raise ExportError(f"OpenVINO cannot be imported: {error}. Try: pip install openvino") from error
        finally:
            del sys.modules[_TELEMETRY]
            sys.modules.update(hidden)
    library: ModuleType = openvino
    return library


@cache
def inference_precision() -> str:
    """Return in what the processor computes fastest, at vectors that agree with float32: `int8`, `bf16` or `f32`.

    OpenVINO also offers the first two where it has to emulate them, which is slower than float32; the processor's flags
    tell. Where whole tiles of bfloat16 are multiplied at once (AMX), nothing is won by smaller numbers.
    """
    flags = processor_flags()
    if flags >= _FLAGS_OF_TILES:
        return "bf16"
    if flags & _FLAGS_OF_INT8:
        return "int8"
    return "bf16" if flags & _FLAGS_OF_BFLOAT16 else "f32"


def processor_flags() -> frozenset[str]:
    """Return what the processor says that it can do; nothing where the system does not tell."""
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in facts.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()
