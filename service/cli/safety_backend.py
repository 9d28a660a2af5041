"""What the commands that erase and quarantine work on: a store in this process, or a service over HTTP."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from recollect.service.erasure.answers import Erased, ErasurePlan, ErasuresAnswer
from recollect.service.erasure.requests import ErasureRequest
from recollect.service.quarantine.answers import Quarantine, QuarantinesAnswer, TraceAnswer
from recollect.service.quarantine.requests import NewQuarantine, ReleaseRequest, TraceRequest

if TYPE_CHECKING:
    from recollect.service.memory_service import MemoryService


class SafetyBackend(Protocol):
    """The operations behind the commands; see `Erasing` and `Quarantines` for what each does and raises."""

    async def plan(self, request: ErasureRequest) -> ErasurePlan:
        """Return what an erasure would take."""
        ...

    async def erase(self, request: ErasureRequest) -> Erased:
        """Carry out the plan that the request confirms."""
        ...

    async def erasures(self) -> ErasuresAnswer:
        """Return the receipts of erasures."""
        ...

    async def trace(self, request: TraceRequest) -> TraceAnswer:
        """Return everything that descends from something."""
        ...

    async def quarantine(self, request: NewQuarantine) -> Quarantine:
        """Take it out of recall."""
        ...

    async def quarantines(self) -> QuarantinesAnswer:
        """Return quarantines."""
        ...

    async def release(self, quarantine_id: str, request: ReleaseRequest) -> Quarantine:
        """Bring back what a quarantine took out."""
        ...


class LocalSafety:
    """A `SafetyBackend` over a memory service in this process."""

    def __init__(self, service: "MemoryService") -> None:
        self._service = service

    async def plan(self, request: ErasureRequest) -> ErasurePlan:
        """Return what an erasure would take."""
        return await self._service.erasure.plan(request)

    async def erase(self, request: ErasureRequest) -> Erased:
        """Carry out the plan that the request confirms."""
        return await self._service.erasure.erase(request)

    async def erasures(self) -> ErasuresAnswer:
        """Return the receipts of erasures."""
        return ErasuresAnswer(items=await self._service.erasure.receipts())

    async def trace(self, request: TraceRequest) -> TraceAnswer:
        """Return everything that descends from something."""
        return await self._service.quarantine.trace(request)

    async def quarantine(self, request: NewQuarantine) -> Quarantine:
        """Take it out of recall."""
        return await self._service.quarantine.quarantine(request)

    async def quarantines(self) -> QuarantinesAnswer:
        """Return quarantines."""
        return QuarantinesAnswer(items=await self._service.quarantine.all())

    async def release(self, quarantine_id: str, request: ReleaseRequest) -> Quarantine:
        """Bring back what a quarantine took out."""
        return await self._service.quarantine.release(quarantine_id, request)


class RemoteSafety:
    """A `SafetyBackend` over the HTTP API.

    Args:
        ask: Sends a request and reads its answer as a type, as `RemoteBackend` does.
    """

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    async def plan(self, request: ErasureRequest) -> ErasurePlan:
        """Return what an erasure would take."""
        plan: ErasurePlan = await self._ask(ErasurePlan, "POST", "/v1/erasures", body=_body(request))
        return plan

    async def erase(self, request: ErasureRequest) -> Erased:
        """Carry out the plan that the request confirms."""
        done: Erased = await self._ask(Erased, "POST", "/v1/erasures", body=_body(request))
        return done

    async def erasures(self) -> ErasuresAnswer:
        """Return the receipts of erasures."""
        answer: ErasuresAnswer = await self._ask(ErasuresAnswer, "GET", "/v1/erasures")
        return answer

    async def trace(self, request: TraceRequest) -> TraceAnswer:
        """Return everything that descends from something."""
        answer: TraceAnswer = await self._ask(TraceAnswer, "POST", "/v1/trace", body=_body(request))
        return answer

    async def quarantine(self, request: NewQuarantine) -> Quarantine:
        """Take it out of recall."""
        answer: Quarantine = await self._ask(Quarantine, "POST", "/v1/quarantines", body=_body(request))
        return answer

    async def quarantines(self) -> QuarantinesAnswer:
        """Return quarantines."""
        answer: QuarantinesAnswer = await self._ask(QuarantinesAnswer, "GET", "/v1/quarantines")
        return answer

    async def release(self, quarantine_id: str, request: ReleaseRequest) -> Quarantine:
        """Bring back what a quarantine took out."""
        path = f"/v1/quarantines/{quote(quarantine_id, safe='')}/release"
        answer: Quarantine = await self._ask(Quarantine, "POST", path, body=_body(request))
        return answer


def _body(request: Any) -> bytes:
    return str(request.model_dump_json(exclude_unset=True)).encode()
