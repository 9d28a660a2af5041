"""The web application: routes, middleware and errors put together."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, Response

from recollect.service.errors import problem_of, problem_of_mistakes
from recollect.service.http import branches, health, memories, provenance, relations, safety, search, transfer
from recollect.service.http.middleware import (
    BodyBound,
    HeadAsGet,
    HostGuard,
    RequestBound,
    RequestContext,
    request_id_of,
)
from recollect.service.http.openapi import describe
from recollect.service.http.problems import (
    AnotherError,
    HttpError,
    MethodNotAllowedError,
    RouteNotFoundError,
    problem_response,
)
from recollect.service.http.reference import CONTENT_SECURITY_POLICY, render
from recollect.service.memory_service import MemoryService, create_memory_service
from recollect.service.settings import Settings

logger = structlog.get_logger("recollect")

_ROUTERS = (
    # What is asked most stands first: a request is compared with one route after the other.
    search.router,
    memories.router,
    provenance.router,
    relations.router,
    branches.router,
    safety.router,
    transfer.router,
    health.router,
)


def create_app(settings: Settings | None = None, *, service: MemoryService | None = None) -> FastAPI:
    """Return the web application.

    Args:
        settings: What to do how; those of the service, or from the environment, if not given.
        service: The service to speak for. It stays its owner's to close. If not given, the application makes one
            when it starts and closes it when it stops.
    """
    chosen = settings or (service.settings if service is not None else Settings())
    app = FastAPI(
        title="Recollect",
        lifespan=_lifespan(chosen, service),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=_middleware(chosen),
        # Spans and metrics of the framework would carry what users say; the service measures itself.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.settings = chosen
    if service is not None:
        app.state.service = service
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_route("/docs", _docs, include_in_schema=False)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign] # FastAPI's own way to extend the document
    return app


def _lifespan(
    settings: Settings, service: MemoryService | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if service is not None:
            yield
            return
        app.state.service = await create_memory_service(settings)
        try:
            yield
        finally:
            await app.state.service.close()

    return lifespan


def _middleware(settings: Settings) -> list[Middleware]:
    return [
        Middleware(RequestContext),
        Middleware(HostGuard, bound_host=settings.host, allowed_hosts=settings.allowed_hosts),
        Middleware(HeadAsGet),
        Middleware(RequestBound, requests_max=settings.requests_max),
        Middleware(
            BodyBound,
            body_bytes_max=settings.body_bytes_max,
            bodies_bytes_max=settings.bodies_bytes_max,
            streamed_paths=(transfer.IMPORT_PATH,),
        ),
    ]


async def _invalid(request: Request, error: Exception) -> Response:
    """Tell the mistakes in a path, a query or a header."""
    mistakes = error.errors() if isinstance(error, RequestValidationError) else []
    return problem_response(problem_of_mistakes(mistakes, request_id_of(request.scope)))


async def _refused(request: Request, error: Exception) -> Response:
    """Tell what the web framework refuses: unknown paths and methods, mostly."""
    if not isinstance(error, HTTPException):  # the framework gives this handler nothing else
        raise error
    refusal: HttpError
    if error.status_code == HTTPStatus.NOT_FOUND:
        refusal = RouteNotFoundError("there is no such path; /docs lists those there are")
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(allowed_methods(request.scope["path"]))
        if request.method == "OPTIONS":
            return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Allow": allowed})
        refusal = MethodNotAllowedError(f"this path takes {allowed}", headers={"Allow": allowed})
    else:
        refusal = AnotherError(error.status_code, error.detail, headers=error.headers)
    return problem_response(problem_of(refusal, request_id_of(request.scope)), refusal.headers)


def allowed_methods(path: str) -> list[str]:
    """Return the methods that a path takes, sorted."""
    methods = {"OPTIONS"}
    routes = [route for router in _ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    # A path that stands for itself goes before one with a parameter, as "batch" before an id.
    named = [route for route in routes if route.path == path]
    for route in named or [route for route in routes if route.path_regex.match(path)]:
        methods |= route.methods or set()
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)


async def _docs(request: Request) -> Response:
    page = render(describe(request.app))
    return HTMLResponse(page, headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})
