"""The commands of branches, conflicts and tags: `recollect branch`, `recollect conflicts`, `recollect tag`."""

from contextlib import aclosing
from typing import Annotated, Literal

import typer

from recollect.service.branching.answers import ChangesFrame, DiffEndFrame
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
from recollect.service.cli.branch_printing import BranchOutput
from recollect.service.cli.command import Given, Session, command, request
from recollect.service.cli.exits import ExitCode, usage_error
from recollect.service.cli.options import OptionsOf
from recollect.service.cli.writing import MemoryIdArgument
from recollect.service.requests import ReadOptions

_NEW_BRANCH = OptionsOf(model=NewBranch, leave_out=frozenset({"name"}), flags={"origin": "from"})
_SIGNED = OptionsOf(model=BranchChange, leave_out=frozenset({"protected"}))
_MERGE = OptionsOf(model=MergeRequest, leave_out=frozenset({"source"}))
_ROLLBACK = OptionsOf(model=RollbackRequest, leave_out=frozenset({"to"}))
_PICK = OptionsOf(model=CherryPick, leave_out=frozenset({"source", "memory_id"}), flags={"version": "version-number"})
_NEW_TAG = OptionsOf(model=NewTag, leave_out=frozenset({"name"}))
_RESOLUTION = OptionsOf(model=Resolution)
_AS_OF = OptionsOf(model=ReadOptions, leave_out=frozenset(ReadOptions.model_fields) - {"as_of"})

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The branch.", show_default=False)]
SourceArgument = Annotated[str, typer.Argument(metavar="SOURCE", help="Whose changes to take.", show_default=False)]
TagArgument = Annotated[str, typer.Argument(metavar="NAME", help="The tag.", show_default=False)]
IntoOption = Annotated[str, typer.Option("--into", help="The branch that takes them.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most.")]
CursorOption = Annotated[
    str | None, typer.Option("--cursor", help="next_cursor of the page before.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    branch = typer.Typer(no_args_is_help=True, help="Fork, compare, merge and roll back lines of versions.")
    command(branch, options=[_NEW_BRANCH])(create)
    command(branch, name="list")(list_branches)
    command(branch, options=[_SIGNED])(delete)
    command(branch, options=[_SIGNED])(protect)
    command(branch, options=[_SIGNED])(unprotect)
    command(branch, options=[_AS_OF])(diff)
    command(branch, options=[_MERGE])(merge)
    command(branch)(log)
    command(branch, options=[_ROLLBACK])(rollback)
    command(branch, name="cherry-pick", options=[_PICK])(cherry_pick)
    app.add_typer(branch, name="branch")
    tag = typer.Typer(no_args_is_help=True, help="Name commits, to come back to them.")
    command(tag, name="create", options=[_NEW_TAG])(create_tag)
    command(tag, name="list")(list_tags)
    command(tag, name="delete", options=[_SIGNED])(delete_tag)
    app.add_typer(tag, name="tag")
    conflicts = typer.Typer(no_args_is_help=True, help="Settle what two branches have changed in different ways.")
    command(conflicts, name="list")(list_conflicts)
    command(conflicts)(show)
    command(conflicts, options=[_RESOLUTION])(resolve)
    app.add_typer(conflicts, name="conflicts")


async def create(session: Session, given: Given, name: NameArgument) -> None:
    """Fork a branch, a tag, or main as of a commit or a time; nothing is copied."""
    async with session.backend() as backend:
        BranchOutput(session.output).branches([await backend.branches.create(request(NewBranch, given, name=name))])


async def list_branches(session: Session, *, limit: LimitOption = 100, cursor: CursorOption = None) -> None:
    """List branches, main first and then the oldest."""
    async with session.backend() as backend:
        BranchOutput(session.output).branch_page(await backend.branches.page(limit, cursor))


async def delete(session: Session, given: Given, name: NameArgument) -> None:
    """Delete a branch; what was written on it stays in the store, to be reached by its versions only."""
    async with session.backend() as backend:
        await backend.branches.delete(name, given.get("actor"), given.get("note"))
    session.output.note(f"the branch {name} is deleted")


async def protect(session: Session, given: Given, name: NameArgument) -> None:
    """Keep a branch from being deleted and rolled back."""
    await _protect(session, given, name, protected=True)


async def unprotect(session: Session, given: Given, name: NameArgument) -> None:
    """Allow a branch to be deleted and rolled back again."""
    await _protect(session, given, name, protected=False)


async def _protect(session: Session, given: Given, name: str, *, protected: bool) -> None:
    change = request(BranchChange, given, protected=protected)
    async with session.backend() as backend:
        BranchOutput(session.output).branches([await backend.branches.change(name, change)])


async def diff(
    session: Session,
    given: Given,
    first: Annotated[str, typer.Argument(metavar="FIRST", help="What is compared with.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="What is compared.", show_default=False)],
    *,
    text: Annotated[bool, typer.Option("--text", help="Show what changed in each text, line by line.")] = False,
) -> None:
    """Say what the second branch holds otherwise than the first, printed as it is found; --json gives frames."""
    output = BranchOutput(session.output)
    as_of = request(ReadOptions, given).as_of
    async with (
        session.backend() as backend,
        aclosing(backend.branches.diff(first, second, text=text, as_of=as_of)) as frames,
    ):
        async for frame in frames:
            if isinstance(frame, ChangesFrame):
                output.changes(frame)
            if isinstance(frame, DiffEndFrame):
                output.diff_end(frame)


async def merge(session: Session, given: Given, source: SourceArgument, *, into: IntoOption = "main") -> None:
    """Take the changes of a branch into another, in one commit; exit code 4 says that conflicts are to be settled."""
    async with session.backend() as backend:
        merged = await backend.branches.merge(into, request(MergeRequest, given, source=source))
    BranchOutput(session.output).merged(merged)
    if merged.conflicts:
        raise typer.Exit(ExitCode.CONFLICT)


async def log(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The branch.")] = "main",
    *,
    limit: LimitOption = 50,
    before: Annotated[
        int | None, typer.Option("--before", help="Only commits before this position.", show_default=False)
    ] = None,
) -> None:
    """List the commits that a branch is made of, newest first."""
    async with session.backend() as backend:
        BranchOutput(session.output).log(await backend.branches.log(name, limit=limit, before=before))


async def rollback(
    session: Session,
    given: Given,
    to: Annotated[str, typer.Argument(metavar="TO", help="A tag, a time or a commit position.", show_default=False)],
    *,
    branch: Annotated[str, typer.Option("--branch", help="The branch to roll back.")] = "main",
) -> None:
    """Give a branch the state that it had, by a new commit; its history stays."""
    async with session.backend() as backend:
        done = await backend.branches.rollback(branch, request(RollbackRequest, given, to=to))
    BranchOutput(session.output).rolled_back(done)


async def cherry_pick(
    session: Session, given: Given, source: SourceArgument, memory_id: MemoryIdArgument, *, into: IntoOption = "main"
) -> None:
    """Take one memory's change over from another branch."""
    pick = request(CherryPick, given, source=source, memory_id=memory_id)
    async with session.backend() as backend:
        session.output.remembered(await backend.branches.cherry_pick(into, pick))


async def create_tag(session: Session, given: Given, name: TagArgument) -> None:
    """Name the state of a branch, of now or of a moment."""
    async with session.backend() as backend:
        BranchOutput(session.output).tags([await backend.branches.tags.create(request(NewTag, given, name=name))])


async def list_tags(session: Session) -> None:
    """List all tags."""
    async with session.backend() as backend:
        BranchOutput(session.output).tag_page(await backend.branches.tags.all())


async def delete_tag(session: Session, given: Given, name: TagArgument) -> None:
    """Delete a tag; the commit that it named stays."""
    async with session.backend() as backend:
        await backend.branches.tags.delete(name, given.get("actor"), given.get("note"))
    session.output.note(f"the tag {name} is deleted")


async def list_conflicts(
    session: Session,
    *,
    target: Annotated[
        str | None, typer.Option("--target", help="Only those of merges into this branch.", show_default=False)
    ] = None,
    state: Annotated[
        Literal["open", "resolved", "all"], typer.Option("--state", help="Those to be settled, settled, or both.")
    ] = "open",
    limit: LimitOption = 50,
    cursor: CursorOption = None,
) -> None:
    """List conflicts, oldest first."""
    wanted = None if state == "all" else state
    async with session.backend() as backend:
        page = await backend.branches.conflicts.page(target=target, state=wanted, limit=limit, cursor=cursor)
    BranchOutput(session.output).conflict_page(page)


async def show(
    session: Session,
    conflict_id: Annotated[str, typer.Argument(metavar="ID", help="The conflict.", show_default=False)],
) -> None:
    """Show a conflict: what the common past, the target and the source say."""
    async with session.backend() as backend:
        BranchOutput(session.output).conflict(await backend.branches.conflicts.get(conflict_id))


async def resolve(
    session: Session,
    given: Given,
    conflict_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The conflict; or --all.", show_default=False)
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Settle all open conflicts by --take.")] = False,
    target: Annotated[
        str | None, typer.Option("--target", help="With --all: of merges into this branch.", show_default=False)
    ] = None,
) -> None:
    """Settle a conflict, or all of them, by taking ours, theirs or base, or by a content of your own."""
    if everything == (conflict_id is not None):
        raise usage_error("name one conflict by its ID, or settle --all")
    async with session.backend() as backend:
        if conflict_id is not None:
            settled = await backend.branches.conflicts.resolve(conflict_id, request(Resolution, given))
            BranchOutput(session.output).conflict(settled)
            return
        done = await backend.branches.conflicts.resolve_all(request(ResolveAll, given, target=target))
        BranchOutput(session.output).resolved(done)
