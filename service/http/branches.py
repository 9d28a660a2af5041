"""Routes of branches, merges, conflicts and tags."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from recollect.service.answers import ErrorFrame, HeartbeatFrame, Remembered
from recollect.service.branching.answers import (
    Branch,
    BranchPage,
    ChangesFrame,
    Conflict,
    ConflictPage,
    DiffEndFrame,
    LogPage,
    Merged,
    Resolved,
    RolledBack,
    Tag,
    TagPage,
)
from recollect.service.branching.requests import (
    BranchChange,
    CherryPick,
    MergeRequest,
    NewBranch,
    NewTag,
    Resolution,
    ResolveAll,
    RollbackRequest,
)
from recollect.service.http import branch_examples as examples
from recollect.service.http.answering import BODY_PROBLEMS, Service, answer, answers, problem_answers, reference
from recollect.service.http.bodies import read_json, takes
from recollect.service.http.examples import REMEMBERED
from recollect.service.http.streams import NDJSON, SSE, FrameStream, wants_events
from recollect.service.requests import AsOf, MemoryId
from recollect.service.requests import Request as ServiceRequest

router = APIRouter(prefix="/v1", tags=["branches"], default_response_class=Response)

PathName = Annotated[str, Path(min_length=1, max_length=256, description="Its name.", examples=["draft"])]
PathConflictId = Annotated[MemoryId, Path(description="The conflict's id.", examples=[examples.CONFLICT_ID])]

_FRAMES = {
    "oneOf": [reference(frame) for frame in (ChangesFrame, HeartbeatFrame, DiffEndFrame, ErrorFrame)],
    "description": "One frame; a line each in NDJSON, the `data` of an event in SSE.",
}
_WRITE_PROBLEMS = (*BODY_PROBLEMS, 404, 409, 507)


class PageQuery(ServiceRequest):
    """A page of a list."""

    limit: int = Field(default=100, ge=1, le=1000)
    """How many at most."""
    cursor: str | None = Field(default=None, max_length=1024)
    """`next_cursor` of the page before."""


class ConflictQuery(PageQuery):
    """Which conflicts to list."""

    target: str | None = Field(default=None, min_length=1, max_length=256)
    """Only those of merges into this branch."""
    state: Literal["open", "resolved", "all"] = "open"
    """Those to be settled, those that are, or both."""


class LogQuery(ServiceRequest):
    """Which commits to list."""

    limit: int = Field(default=50, ge=1, le=1000)
    """How many at most."""
    before: int | None = Field(default=None, ge=1)
    """`next_before` of the page before."""


class DiffQuery(ServiceRequest):
    """How to compare."""

    text: bool = False
    """Adds a unified diff of the contents."""
    as_of: AsOf | None = None
    """A time (RFC 3339; write `+` as `%2B`) or a commit position as of which to read both branches."""


class SignedQuery(ServiceRequest):
    """Who deletes something, and why."""

    actor: str | None = Field(default=None, min_length=1, max_length=256)
    """Who does it."""
    note: str | None = Field(default=None, max_length=4096)
    """Why, in words."""


@router.post(
    "/branches",
    status_code=201,
    summary="Fork a branch",
    responses=answers(201, Branch, "The new branch.", examples.BRANCH, _WRITE_PROBLEMS),
    openapi_extra=takes(NewBranch, "What to fork, and what to call it.", examples.NEW_BRANCH),
)
async def create_branch(request: Request, service: Service) -> Response:
    """Fork a branch, a tag, or `main` as of a commit or a time. Nothing is copied, whatever it holds."""
    branch = await service.branches.create(await read_json(request, NewBranch))
    return answer(branch, 201, location=f"/v1/branches/{branch.name}")


@router.get(
    "/branches",
    summary="List branches",
    responses=answers(200, BranchPage, "A page of branches.", examples.BRANCH_PAGE, (422,)),
)
async def list_branches(query: Annotated[PageQuery, Query()], service: Service) -> Response:
    """List branches, `main` first and then the oldest."""
    return answer(await service.branches.page(query.limit, query.cursor))


@router.get(
    "/branches/{name}",
    summary="Get a branch",
    responses=answers(200, Branch, "The branch.", examples.BRANCH, (404, 422)),
)
async def get_branch(name: PathName, service: Service) -> Response:
    """Say of a branch what it was forked from, by whom and when."""
    return answer(await service.branches.get(name))


@router.patch(
    "/branches/{name}",
    summary="Protect a branch",
    responses=answers(200, Branch, "The branch as it is now.", examples.BRANCH, _WRITE_PROBLEMS),
    openapi_extra=takes(BranchChange, "What changes.", {"protected": True}),
)
async def change_branch(name: PathName, request: Request, service: Service) -> Response:
    """Keep a branch from being deleted and rolled back, or allow it again."""
    return answer(await service.branches.change(name, await read_json(request, BranchChange)))


@router.delete(
    "/branches/{name}",
    status_code=204,
    summary="Delete a branch",
    responses={204: {"description": "It is gone."}, **problem_answers((404, 409, 422, 507))},
)
async def delete_branch(name: PathName, query: Annotated[SignedQuery, Query()], service: Service) -> Response:
    """Delete a branch. What was written on it stays in the store, but can be reached by its versions only."""
    await service.branches.delete(name, query.actor, query.note)
    return Response(status_code=204)


@router.get(
    "/branches/{name}/log",
    summary="Log of a branch",
    responses=answers(200, LogPage, "Commits, newest first.", examples.LOG_PAGE, (404, 422)),
)
async def log(name: PathName, query: Annotated[LogQuery, Query()], service: Service) -> Response:
    """List the commits that a branch is made of: when, by whom, and how many memories each changed."""
    return answer(await service.branches.log(name, limit=query.limit, before=query.before))


@router.get(
    "/branches/{name}/diff/{other}",
    summary="Compare branches, streamed",
    responses={
        200: {
            "description": (
                "Frames: `changes` in batches; `heartbeat` while nothing else is said; one `end` with totals, or "
                "`error`. A stream without `end` or `error` was cut. As NDJSON, or as server-sent events where "
                "`Accept` asks for `text/event-stream`."
            ),
            "content": {
                NDJSON: {"schema": _FRAMES, "example": examples.DIFF_NDJSON},
                SSE: {"schema": _FRAMES, "example": examples.DIFF_SSE},
            },
        },
        **problem_answers((404, 422)),
    },
)
async def diff(
    request: Request, name: PathName, other: PathName, query: Annotated[DiffQuery, Query()], service: Service
) -> Response:
    """Say what the second branch holds otherwise than the first: memories added, revised, and forgotten."""
    return FrameStream(
        service.branches.diff(name, other, text=query.text, as_of=query.as_of),
        heartbeat_s=request.app.state.settings.heartbeat_s,
        events=wants_events(request.headers.get("accept")),
    )


@router.post(
    "/branches/{name}/merge",
    summary="Merge into a branch",
    responses=answers(200, Merged, "What the merge did, or would do.", examples.MERGED, _WRITE_PROBLEMS),
    openapi_extra=takes(MergeRequest, "What to merge, and how.", examples.MERGE),
)
async def merge(name: PathName, request: Request, service: Service) -> Response:
    """Take the changes of another branch, compared with the common past of both, in one commit."""
    return answer(await service.branches.merge(name, await read_json(request, MergeRequest)))


@router.post(
    "/branches/{name}/rollback",
    summary="Roll a branch back",
    responses=answers(200, RolledBack, "What the rollback did.", examples.ROLLED_BACK, _WRITE_PROBLEMS),
    openapi_extra=takes(RollbackRequest, "Where to.", {"to": "v1", "actor": "ana"}),
)
async def rollback(name: PathName, request: Request, service: Service) -> Response:
    """Give a branch the state it had at a tag, a time or a commit, by one new commit; its history stays."""
    return answer(await service.branches.rollback(name, await read_json(request, RollbackRequest)))


@router.post(
    "/branches/{name}/cherry-pick",
    summary="Take over one change",
    responses=answers(200, Remembered, "What became of the memory.", REMEMBERED, _WRITE_PROBLEMS),
    openapi_extra=takes(CherryPick, "Which change.", examples.CHERRY_PICK),
)
async def cherry_pick(name: PathName, request: Request, service: Service) -> Response:
    """Take one memory's change over from another branch."""
    done = await service.branches.cherry_pick(name, await read_json(request, CherryPick))
    return answer(done, version=done.version)


@router.get(
    "/conflicts",
    summary="List conflicts",
    responses=answers(200, ConflictPage, "A page of conflicts.", examples.CONFLICT_PAGE, (422,)),
)
async def list_conflicts(query: Annotated[ConflictQuery, Query()], service: Service) -> Response:
    """List the conflicts that merges have left to be settled, oldest first."""
    state = None if query.state == "all" else query.state
    return answer(
        await service.branches.conflicts.page(target=query.target, state=state, limit=query.limit, cursor=query.cursor)
    )


@router.post(
    "/conflicts/resolve",
    summary="Resolve all conflicts",
    responses=answers(200, Resolved, "What was settled.", examples.RESOLVED, _WRITE_PROBLEMS),
    openapi_extra=takes(ResolveAll, "Which side to take.", {"take": "theirs", "target": "main"}),
)
async def resolve_conflicts(request: Request, service: Service) -> Response:
    """Settle all open conflicts by the same side, each in a commit of its own."""
    return answer(await service.branches.conflicts.resolve_all(await read_json(request, ResolveAll)))


@router.get(
    "/conflicts/{conflict_id}",
    summary="Get a conflict",
    responses=answers(200, Conflict, "The conflict, with its contents.", examples.CONFLICT, (404, 422)),
)
async def get_conflict(conflict_id: PathConflictId, service: Service) -> Response:
    """Show a conflict: what the common past, the target and the source say."""
    return answer(await service.branches.conflicts.get(conflict_id))


@router.post(
    "/conflicts/{conflict_id}/resolve",
    summary="Resolve a conflict",
    responses=answers(200, Conflict, "The conflict, settled.", examples.CONFLICT_RESOLVED, (*_WRITE_PROBLEMS, 429)),
    openapi_extra=takes(Resolution, "Which side to take, or a content of your own.", {"take": "theirs"}),
)
async def resolve_conflict(conflict_id: PathConflictId, request: Request, service: Service) -> Response:
    """Settle a conflict, in one commit with what it makes of the memory."""
    return answer(await service.branches.conflicts.resolve(conflict_id, await read_json(request, Resolution)))


@router.post(
    "/tags",
    status_code=201,
    summary="Tag a commit",
    responses=answers(201, Tag, "The new tag.", examples.TAG, _WRITE_PROBLEMS),
    openapi_extra=takes(NewTag, "What to name, and how.", examples.NEW_TAG),
)
async def create_tag(request: Request, service: Service) -> Response:
    """Name the state of a branch, of now or of a moment, so that one can come back to it."""
    tag = await service.branches.tags.create(await read_json(request, NewTag))
    return answer(tag, 201, location=f"/v1/tags/{tag.name}")


@router.get("/tags", summary="List tags", responses=answers(200, TagPage, "All tags, oldest first.", examples.TAG_PAGE))
async def list_tags(service: Service) -> Response:
    """List all tags."""
    return answer(await service.branches.tags.all())


@router.get("/tags/{name}", summary="Get a tag", responses=answers(200, Tag, "The tag.", examples.TAG, (404, 422)))
async def get_tag(name: PathName, service: Service) -> Response:
    """Say which commit a tag names."""
    return answer(await service.branches.tags.get(name))


@router.delete(
    "/tags/{name}",
    status_code=204,
    summary="Delete a tag",
    responses={204: {"description": "It is gone."}, **problem_answers((404, 409, 422, 507))},
)
async def delete_tag(name: PathName, query: Annotated[SignedQuery, Query()], service: Service) -> Response:
    """Delete a tag; the commit that it named stays."""
    await service.branches.tags.delete(name, query.actor, query.note)
    return Response(status_code=204)
