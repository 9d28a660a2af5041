"""Branches and merges against a model that keeps whole states and a graph of commits, as a textbook would."""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from recollect.service import NewMemory, Settings, create_memory_service
from recollect.service.branching.requests import (
    CherryPick,
    MergeRequest,
    NewBranch,
    NewTag,
    Resolution,
    RollbackRequest,
)
from recollect.service.errors import MergeConflictError
from recollect.service.requests import ListRequest, Revision, SearchRequest
from tests.adapters.qdrant.server_process import Server, drop, url_of

Result = TypeVar("Result")
State = dict[str, tuple[str, str | None]]
"""Content and key of each memory, by its id."""


class Node(NamedTuple):
    """A commit of the model: a whole state, and what it was made from."""

    number: int
    state: State
    parents: tuple["Node", ...]


class Seen(NamedTuple):
    """A state that was there at a position, to be read again later."""

    branch: str
    position: int
    state: State


def ancestors(node: Node) -> dict[int, Node]:
    found: dict[int, Node] = {}
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.number not in found:
            found[one.number] = one
            waiting += one.parents
    return found


def three_way(base: State, ours: State, theirs: State, strategy: str) -> tuple[State, list[str]]:
    """Return the merged state, and the memories in conflict."""
    merged, both, coming = dict(ours), [], {}
    for name in base.keys() | theirs.keys():
        was, mine, other = base.get(name), ours.get(name), theirs.get(name)
        if other in (was, mine):
            continue
        if mine == was:
            coming[name] = other
        else:
            both.append(name)
    leaving = {name for name, value in coming.items() if value is None}
    held = {value[1]: name for name, value in ours.items() if value[1] is not None}
    for name, value in list(coming.items()):
        holder = None if value is None or value[1] is None or name in ours else held.get(value[1])
        if holder is not None and holder != name and holder not in leaving:
            both.append(name)
            del coming[name]
    taken = {**coming, **({name: theirs.get(name) for name in both} if strategy == "theirs" else {})}
    for name, value in taken.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = value
    keys = {value[1]: name for name, value in taken.items() if value is not None and value[1] is not None}
    for name in [name for name, value in merged.items() if value[1] in keys and keys[value[1]] != name]:
        del merged[name]
    return merged, both


class BranchMachine(RuleBasedStateMachine):
    """Compares the service with the model. A backend is added by a subclass with another `scheme` or `storage`."""

    scheme = "file"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="branches-")
        self.runner = asyncio.Runner()
        self.memory = self.run(
            create_memory_service(Settings(storage=self.storage(Path(self.folder.name)), model="hash"))
        )
        self.numbers = self.tags = 0
        self.heads: dict[str, Node] = {"main": self.node({}, ())}
        self.seen: list[Seen] = []
        self.conflicts: dict[str, tuple[str, str, dict[str, tuple[str, str | None] | None]]] = {}

    def storage(self, folder: Path) -> str:
        """Return the URL of a new store, which is to be gone when the folder is."""
        return f"{self.scheme}:{folder / 'store'}"

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    def teardown(self) -> None:
        try:
            self.run(self.memory.close())
        finally:
            self.runner.close()
            self.folder.cleanup()

    def node(self, state: State, parents: tuple[Node, ...]) -> Node:
        self.numbers += 1
        return Node(self.numbers, state, parents)

    def moved(self, branch: str, state: State, position: int, *parents: Node) -> None:
        self.heads[branch] = self.node(state, (self.heads[branch], *parents))
        self.seen.append(Seen(branch, position, state))

    def a_branch(self, data: st.DataObject, label: str = "branch") -> str:
        return data.draw(st.sampled_from(sorted(self.heads)), label=label)

    @rule(data=st.data(), keyed=st.sampled_from((None, None, "k", "l")))
    def remember(self, data: st.DataObject, keyed: str | None) -> None:
        branch = self.a_branch(data)
        state = self.heads[branch].state
        if any(value[1] == keyed for value in state.values() if keyed):
            return
        text = f"memory number {self.numbers}"
        done = self.run(self.memory.remember(NewMemory(content=text, key=keyed, branch=branch)))
        assert (done.status, done.version >= 1) == ("created", True)
        self.moved(branch, {**state, done.id: (text, keyed)}, done.position)

    @precondition(lambda self: any(node.state for node in self.heads.values()))
    @rule(data=st.data(), text=st.sampled_from(("red", "green", "blue")))
    def revise(self, data: st.DataObject, text: str) -> None:
        branch = data.draw(st.sampled_from(sorted(name for name, node in self.heads.items() if node.state)))
        state = self.heads[branch].state
        name = data.draw(st.sampled_from(sorted(state)), label="memory")
        done = self.run(self.memory.revise(name, Revision(content=text, branch=branch)))
        if state[name][0] == text:
            assert done.status == "duplicate"
            return
        self.moved(branch, {**state, name: (text, state[name][1])}, done.position)

    @precondition(lambda self: any(node.state for node in self.heads.values()))
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        branch = data.draw(st.sampled_from(sorted(name for name, node in self.heads.items() if node.state)))
        state = dict(self.heads[branch].state)
        name = data.draw(st.sampled_from(sorted(state)), label="memory")
        done = self.run(self.memory.forget(name, branch=branch))
        del state[name]
        self.moved(branch, state, done.position)

    @precondition(lambda self: len(self.heads) < 5)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        parent = self.a_branch(data, "parent")
        name = f"branch{len(self.heads)}"
        self.run(self.memory.branches.create(NewBranch(name=name, origin=parent)))
        self.heads[name] = self.heads[parent]

    @rule(data=st.data(), strategy=st.sampled_from(("conflict", "conflict", "ours", "theirs")))
    def merge(self, data: st.DataObject, strategy: Any) -> None:
        target, source = self.a_branch(data, "target"), self.a_branch(data, "source")
        if target == source:
            return
        ours, theirs = self.heads[target], self.heads[source]
        shared = ancestors(ours).keys() & ancestors(theirs).keys()
        base = ancestors(ours)[max(shared)].state
        expected, both = three_way(base, ours.state, theirs.state, strategy)
        request = MergeRequest(source=source, strategy=strategy)
        planned = self.run(self.memory.branches.merge(target, request.model_copy(update={"dry_run": True})))
        done = self.run(self.memory.branches.merge(target, request))
        assert (planned.added, planned.revised, planned.forgotten) == (done.added, done.revised, done.forgotten)
        if done.position is None:
            assert expected == ours.state
            return
        assert done.conflicts == len(done.conflict_ids) == (len(both) if strategy == "conflict" else 0)
        for conflict_id in done.conflict_ids:
            conflict = self.run(self.memory.branches.conflicts.get(conflict_id))
            assert conflict.memory_id in both
            if conflict.kind != "key":
                sides = {
                    "base": base.get(conflict.memory_id),
                    "ours": ours.state.get(conflict.memory_id),
                    "theirs": theirs.state.get(conflict.memory_id),
                }
                told = {side: value[0] for side, value in sides.items() if value is not None}
                assert conflict.contents == told
                self.conflicts[conflict_id] = (target, conflict.memory_id, sides)
        self.moved(target, expected, done.position, theirs)

    @precondition(lambda self: self.conflicts)
    @rule(data=st.data(), take=st.sampled_from(("ours", "theirs", "base")))
    def resolve(self, data: st.DataObject, take: Any) -> None:
        conflict_id = data.draw(st.sampled_from(sorted(self.conflicts)), label="conflict")
        target, name, sides = self.conflicts.pop(conflict_id)
        done = self.run(self.memory.branches.conflicts.resolve(conflict_id, Resolution(take=take)))
        assert (done.state, done.resolution) == ("resolved", take)
        if take == "ours":
            return
        state = dict(self.heads[target].state)
        value = sides[take]
        if value is None:
            state.pop(name, None)
        else:
            state = {other: held for other, held in state.items() if value[1] is None or held[1] != value[1]}
            state[name] = value
        if state != self.heads[target].state:
            self.moved(target, state, done.position)

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        then = data.draw(st.sampled_from(self.seen), label="to")
        done = self.run(self.memory.branches.rollback(then.branch, RollbackRequest(to=then.position)))
        assert (done.position is None) == (then.state == self.heads[then.branch].state)
        if done.position is not None:
            self.moved(then.branch, then.state, done.position)

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def fork_the_past(self, data: st.DataObject) -> None:
        then = data.draw(st.sampled_from(self.seen), label="as of")
        name = f"past{self.numbers}-{len(self.seen)}"
        self.run(self.memory.branches.create(NewBranch(name=name, origin=then.branch, at=then.position)))
        assert self.contents(name) == then.state
        self.run(self.memory.branches.delete(name))

    @precondition(lambda self: any(node.state for node in self.heads.values()))
    @rule(data=st.data())
    def cherry_pick(self, data: st.DataObject) -> None:
        source = data.draw(st.sampled_from(sorted(name for name, node in self.heads.items() if node.state)))
        target = self.a_branch(data, "target")
        name = data.draw(st.sampled_from(sorted(self.heads[source].state)), label="memory")
        value = self.heads[source].state[name]
        state = self.heads[target].state
        try:
            done = self.run(self.memory.branches.cherry_pick(target, CherryPick(source=source, memory_id=name)))
        except MergeConflictError:
            assert state.get(name) != value
            return
        if done.status == "duplicate":
            assert state[name] == value
        else:
            self.moved(target, {**state, name: value}, done.position)

    @rule(data=st.data())
    def tag(self, data: st.DataObject) -> None:
        branch = self.a_branch(data)
        self.tags += 1
        tag = self.run(self.memory.branches.tags.create(NewTag(name=f"tag{self.tags}", branch=branch)))
        self.seen.append(Seen(branch, tag.position, self.heads[branch].state))
        self.run(self.memory.branches.rollback(branch, RollbackRequest(to=f"tag{self.tags}", dry_run=True)))

    @rule(data=st.data())
    def compare(self, data: st.DataObject) -> None:
        first, second = self.a_branch(data, "first"), self.a_branch(data, "second")
        old, new = self.heads[first].state, self.heads[second].state

        async def changes() -> dict[str, str]:
            found: dict[str, str] = {}
            async for frame in self.memory.branches.diff(first, second):
                for change in getattr(frame, "changes", ()):
                    assert change.id not in found
                    found[change.id] = change.change
            return found

        expected = dict.fromkeys(new.keys() - old.keys(), "added")
        expected |= dict.fromkeys(old.keys() - new.keys(), "forgotten")
        expected |= {name: "revised" for name in new.keys() & old.keys() if new[name] != old[name]}
        assert self.run(changes()) == expected

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def read_the_past(self, data: st.DataObject) -> None:
        then = data.draw(st.sampled_from(self.seen), label="seen")
        assert self.contents(then.branch, then.position) == then.state

    @invariant()
    def every_branch_holds_what_the_model_holds(self) -> None:
        for branch, node in self.heads.items():
            assert self.contents(branch) == node.state

    def contents(self, branch: str, as_of: int | None = None) -> State:
        """Return what a branch shows, the same by listing and by search."""
        page = self.run(self.memory.list_memories(ListRequest(branch=branch, as_of=as_of, view="full", limit=1000)))
        found = {memory.id: (str(memory.content), memory.key) for memory in page.items}
        answer = self.run(
            self.memory.search(SearchRequest(text="memory number", branch=branch, as_of=as_of, limit=1000))
        )
        assert {hit.id for hit in answer.hits} == found.keys()
        return found


class EdgeMachine(BranchMachine):
    """The same on the embedded engine."""

    scheme = "edge"


FileBranches = pytest.mark.requirement("A7", "A8", "A9", "A10")(BranchMachine.TestCase)
FileBranches.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
EdgeBranches = pytest.mark.requirement("A7", "A8", "A9", "A10")(EdgeMachine.TestCase)
EdgeBranches.settings = settings(FileBranches.settings, max_examples=5, stateful_step_count=25)


@pytest.mark.slow
@pytest.mark.requirement("A5", "A7", "A8", "A9", "A10")
@pytest.mark.timeout(900)
def test_branches_on_a_server_and_the_model_agree_on_whatever_is_done(qdrant_server: Server) -> None:
    class ServerMachine(BranchMachine):
        def storage(self, folder: Path) -> str:
            self.collection = folder.name
            return url_of(qdrant_server, self.collection)

        def teardown(self) -> None:
            super().teardown()
            drop(qdrant_server, self.collection)

    # Every step costs several calls, so few of what the faster backends try, and no minutes of making an example small.
    fewer = settings(FileBranches.settings, max_examples=4, stateful_step_count=20, phases=[Phase.generate])
    run_state_machine_as_test(ServerMachine, settings=fewer)
