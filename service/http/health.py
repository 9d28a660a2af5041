"""Routes that say how the service is."""

from fastapi import APIRouter
from starlette.responses import Response

from recollect.service.answers import Alive, Ready, ServiceStatus
from recollect.service.http import examples
from recollect.service.http.answering import Service, answer, answers

router = APIRouter(tags=["health"], default_response_class=Response)


@router.get(
    "/healthz",
    summary="Liveness",
    responses=answers(200, Alive, "The process answers.", examples.ALIVE),
)
async def healthz() -> Response:
    """Say that the process answers; nothing else is looked at."""
    return answer(Alive())


@router.get(
    "/readyz",
    summary="Readiness",
    responses=answers(200, Ready, "The store answers and the model gives vectors.", examples.READY),
)
async def readyz(service: Service) -> Response:
    """Say whether requests can be served; a problem says why not."""
    await service.ready()
    return answer(Ready())


@router.get(
    "/v1/status",
    summary="Status",
    responses=answers(200, ServiceStatus, "Store, model, buffer, and the times of all operations.", examples.STATUS),
)
async def status(service: Service) -> Response:
    """Say how the service is, in numbers; `notes` says why, where it is degraded."""
    return answer(await service.status())
