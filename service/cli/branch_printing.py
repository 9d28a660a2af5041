"""How branches, differences, merges, conflicts and tags are printed: tables for people, JSON for programs."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

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
from recollect.service.cli.printing import Output, clock, one_line, printable

_MARKS = {"added": ("+", "green"), "revised": ("~", "cyan"), "forgotten": ("-", "magenta")}


class BranchOutput:
    """Prints what the commands of branches answer."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def branches(self, branches: Sequence[Branch]) -> None:
        """Print some branches; for programs, one JSON value each."""
        if self._output.as_json:
            for branch in branches:
                self._output.json(branch)
            return
        table = _table("branch", "from", "forked at", "when", "by", "note")
        for branch in branches:
            name = Text(one_line(branch.name), style="bold")
            if branch.protected:
                name.append("  protected", style="yellow")
            table.add_row(
                name,
                Text(one_line(branch.parent or "")),
                str(branch.forked_at or ""),
                clock(branch.created_at) if branch.created_at else "",
                Text(one_line(branch.created_by)),
                Text(one_line(branch.note or "")),
            )
        self._output.people.print(table)

    def branch_page(self, page: BranchPage) -> None:
        """Print a page of branches."""
        if self._output.as_json:
            self._output.json(page)
            return
        self.branches(page.items)
        self._more(page.next_cursor)

    def tags(self, tags: Sequence[Tag]) -> None:
        """Print some tags; for programs, one JSON value each."""
        if self._output.as_json:
            for tag in tags:
                self._output.json(tag)
            return
        table = _table("tag", "branch", "position", "when", "by", "note")
        for tag in tags:
            table.add_row(
                Text(one_line(tag.name), style="bold"),
                Text(one_line(tag.branch)),
                str(tag.position),
                clock(tag.created_at),
                Text(one_line(tag.created_by)),
                Text(one_line(tag.note or "")),
            )
        self._output.people.print(table)

    def tag_page(self, page: TagPage) -> None:
        """Print all tags."""
        if self._output.as_json:
            self._output.json(page)
        else:
            self.tags(page.items)

    def changes(self, frame: ChangesFrame) -> None:
        """Print some changes of a diff."""
        if self._output.as_json:
            self._output.json(frame)
            return
        for change in frame.changes:
            mark, style = _MARKS[change.change]
            said = change.summary_after if change.summary_after is not None else change.summary_before
            line = Text.assemble((f"{mark} ", f"bold {style}"), (one_line(said or ""), style))
            line.append(f"  {change.id}", style="dim")
            if change.key:
                line.append(f"  {one_line(change.key)}", style="dim")
            self._output.people.print(line, soft_wrap=True)
            if change.change == "revised":
                self._output.people.print(Text(f"  was: {one_line(change.summary_before or '')}", style="dim"))
            if change.text_diff:
                self._output.people.print(Text(printable(change.text_diff)), soft_wrap=True)

    def diff_end(self, frame: DiffEndFrame) -> None:
        """Print how many changes there were."""
        if self._output.as_json:
            self._output.json(frame)
        self._output.note(
            f"{frame.added:,} added, {frame.revised:,} revised, {frame.forgotten:,} forgotten "
            f"({frame.elapsed_ms:,.1f} ms)"
        )

    def merged(self, merged: Merged) -> None:
        """Print what a merge did."""
        if self._output.as_json:
            self._output.json(merged)
            return
        way = "would merge" if merged.dry_run else "merged"
        ways = " (fast-forward)" if merged.fast_forward else ""
        counts = _counts(merged) if merged.position or merged.dry_run else "nothing to merge"
        self._line(f"{way} {merged.source} into {merged.target}{ways}: {counts}", merged.position)
        if merged.settled:
            self._output.note(f"both had changed {merged.settled:,}, settled by the strategy {merged.strategy}")
        if merged.conflicts:
            listing = f"recollect conflicts list --target {merged.target}"
            self._output.note(f"conflicts to be settled: {merged.conflicts:,} ({listing})")
        if merged.conflict_branch:
            self._output.note(f"what {merged.source} says of them is on the branch {merged.conflict_branch}")

    def rolled_back(self, done: RolledBack) -> None:
        """Print what a rollback did."""
        if self._output.as_json:
            self._output.json(done)
            return
        way = "would roll back" if done.dry_run else "rolled back"
        self._line(f"{way} {done.branch} to {done.to}: {_counts(done)}", done.position)

    def log(self, page: LogPage) -> None:
        """Print the commits of a branch."""
        if self._output.as_json:
            self._output.json(page)
            return
        table = _table("position", "when", "branch", "actors", "created", "revised", "forgotten")
        for entry in page.items:
            counts = [str(count or "") for count in (entry.created, entry.revised, entry.forgotten)]
            actors = Text(one_line(", ".join(entry.actors)))
            table.add_row(str(entry.position), clock(entry.time), Text(one_line(entry.branch)), actors, *counts)
        self._output.people.print(table)
        if page.next_before:
            self._output.note(f"there are more: --before {page.next_before}")

    def conflict_page(self, page: ConflictPage) -> None:
        """Print a page of conflicts."""
        if self._output.as_json:
            self._output.json(page)
            return
        table = _table("conflict", "kind", "target", "source", "ours", "theirs", "state")
        for conflict in page.items:
            table.add_row(
                conflict.id,
                conflict.kind,
                Text(one_line(conflict.target)),
                Text(one_line(conflict.source)),
                Text(one_line(conflict.summaries.get("ours", "(forgotten)"))),
                Text(one_line(conflict.summaries.get("theirs", "(forgotten)"))),
                conflict.resolution or conflict.state,
            )
        self._output.people.print(table)
        self._more(page.next_cursor)

    def conflict(self, conflict: Conflict) -> None:
        """Print a conflict with what each side says."""
        if self._output.as_json:
            self._output.json(conflict)
            return
        state = f"settled by {conflict.resolution}" if conflict.resolution else "open"
        self._line(
            f"{conflict.id}: memory {conflict.memory_id}, {conflict.source} into {conflict.target}, {state}", None
        )
        contents = conflict.contents or conflict.summaries
        for side in ("base", "ours", "theirs"):
            said = Text(f"{side:>7}  ", style="dim")
            said.append(printable(contents[side]) if side in contents else "(not there)")
            self._output.people.print(said, soft_wrap=True)

    def resolved(self, done: Resolved) -> None:
        """Print how many conflicts were settled."""
        if self._output.as_json:
            self._output.json(done)
        else:
            self._line(f"{len(done.resolved):,} conflicts settled", done.position)

    def _line(self, text: str, position: int | None) -> None:
        line = Text(printable(text), style="bold")
        if position is not None:
            line.append(f"  position {position}", style="dim")
        self._output.people.print(line, soft_wrap=True)

    def _more(self, cursor: str | None) -> None:
        if cursor:
            self._output.note(f"there are more: --cursor {cursor}")


def _counts(done: Any) -> str:
    return f"{done.added:,} added, {done.revised:,} revised, {done.forgotten:,} forgotten"


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, header_style="dim")
