"""The commands for when something must go: erase, erasures, trace, quarantine, quarantines, release."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from recollect.service.cli.command import Given, Session, command, request
from recollect.service.cli.options import OptionsOf
from recollect.service.cli.printing import Output, clock, memories, one_line, versions
from recollect.service.erasure.answers import Erased, ErasurePlan
from recollect.service.erasure.requests import ErasureRequest
from recollect.service.quarantine.answers import Quarantine
from recollect.service.quarantine.requests import NewQuarantine, ReleaseRequest, TraceRequest

_ERASURE = OptionsOf(model=ErasureRequest)
_TRACE = OptionsOf(model=TraceRequest)
_QUARANTINE = OptionsOf(model=NewQuarantine)
_RELEASE = OptionsOf(model=ReleaseRequest)

YesOption = Annotated[
    bool, typer.Option("--yes", help="Carry out the plan as it is now, without --confirm.", show_default=False)
]
QuarantineArgument = Annotated[str, typer.Argument(metavar="ID", help="The quarantine.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, options=[_ERASURE])(erase)
    command(app)(erasures)
    command(app, options=[_TRACE])(trace)
    command(app, options=[_QUARANTINE])(quarantine)
    command(app)(quarantines)
    command(app, options=[_RELEASE])(release)


async def erase(session: Session, given: Given, *, yes: YesOption = False) -> None:
    """Show what an erasure would take; with --confirm DIGEST of that plan, erase it everywhere, for good."""
    asked = request(ErasureRequest, given)
    async with session.backend() as backend:
        if asked.confirm is None:
            plan = await backend.safety.plan(asked)
            if not yes:
                _plan(session.output, plan)
                return
            asked = request(ErasureRequest, given, confirm=plan.digest)
        done = await backend.safety.erase(asked)
    _erased(session.output, done)


async def erasures(session: Session) -> None:
    """List the receipts of erasures, newest first."""
    async with session.backend() as backend:
        answer = await backend.safety.erasures()
    if session.output.as_json:
        session.output.json(answer)
        return
    table = Table("when", "by", "versions", "memories", "receipt", box=None, header_style="dim")
    for item in answer.items:
        table.add_row(
            clock(item.time), Text(one_line(item.requested_by)), f"{item.versions:,}", f"{item.memories:,}", item.id
        )
    session.output.people.print(table)


async def trace(session: Session, given: Given) -> None:
    """List everything that descends from a source, an actor or memories, on all branches."""
    async with session.backend() as backend:
        answer = await backend.safety.trace(request(TraceRequest, given))
    if session.output.as_json:
        session.output.json(answer)
    else:
        session.output.people.print(_versions(answer.items))
        session.output.note(f"{versions(len(answer.items))} of {memories(answer.memories)}")


async def quarantine(session: Session, given: Given) -> None:
    """Take everything that descends from a source, an actor or memories out of recall, until it is released."""
    async with session.backend() as backend:
        _one(session.output, await backend.safety.quarantine(request(NewQuarantine, given)))


async def quarantines(session: Session) -> None:
    """List quarantines, newest first."""
    async with session.backend() as backend:
        answer = await backend.safety.quarantines()
    if session.output.as_json:
        session.output.json(answer)
        return
    for item in answer.items:
        _one(session.output, item)


async def release(session: Session, given: Given, quarantine_id: QuarantineArgument) -> None:
    """Bring back exactly what a quarantine took out of recall."""
    async with session.backend() as backend:
        _one(session.output, await backend.safety.release(quarantine_id, request(ReleaseRequest, given)))


# --- Printing -----------------------------------------------------------------------------------------


def _plan(output: Output, plan: ErasurePlan) -> None:
    if output.as_json:
        output.json(plan)
        return
    output.people.print(_versions(plan.items))
    words = (
        f"{versions(plan.versions)} of {memories(plan.memories)} would be erased; made of them: "
        f"{versions(plan.derived)} (policy: {plan.policy}); records that name them: {plan.records:,}"
    )
    output.people.print(Text(words, style="bold"), soft_wrap=True)
    output.people.print(Text(f"nothing is erased yet: --confirm {plan.digest}"), soft_wrap=True)


def _erased(output: Output, done: Erased) -> None:
    if output.as_json:
        output.json(done)
        return
    receipt = done.receipt
    line = f"erased  {versions(receipt.versions)} of {memories(receipt.memories)}  receipt {receipt.id}"
    output.people.print(Text(line, style="bold"), soft_wrap=True)
    if done.note:
        output.note(done.note)


def _versions(items: list[Any]) -> Table:
    table = Table("memory", "version", "namespace", "why", "summary", box=None, header_style="dim")
    for item in items:
        named = f"{item.version} on {one_line(item.branch)}"
        table.add_row(item.id, Text(named), Text(one_line(item.namespace)), item.reason, Text(one_line(item.summary)))
    return table


def _one(output: Output, held: Quarantine) -> None:
    if output.as_json:
        output.json(held)
        return
    reason = f"  {one_line(held.reason)}" if held.reason else ""
    line = (
        f"{held.state}  {held.id}  {memories(len(held.memories))}  by {one_line(held.by)}, {clock(held.time)}{reason}"
    )
    output.people.print(Text(line), soft_wrap=True)
    if held.left_out:
        output.note(f"left as they are, because they were written anew, or erased: {', '.join(held.left_out)}")
