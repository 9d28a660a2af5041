"""For how long superseded versions and their provenance are kept, as the settings say it.

A policy is written as `NAMESPACE=for-ever`, `NAMESPACE=age:30d` or `NAMESPACE=count:20`; the namespace `*` stands for
all that have no policy of their own. Ages are in seconds, minutes, hours, days or weeks: `s`, `m`, `h`, `d`, `w`.
"""

import re
from collections.abc import Iterable

from msgspec import Struct

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_POLICY = re.compile(
    r"(?P<namespace>\*|[^\W_][^=]{0,127})=(?:for-ever|age:(?P<age>\d{1,9})(?P<unit>[smhdw])|count:(?P<count>\d{1,9}))"
)


class Policy(Struct, frozen=True):
    """What is kept of the versions that were superseded.

    Attributes:
        age_ms: Those superseded for less than this; None keeps them whatever their age.
        versions_max: The newest so many versions of a memory, the current one included; None keeps all.
    """

    age_ms: int | None = None
    versions_max: int | None = None

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is ever dropped."""
        return self.age_ms is None and self.versions_max is None


class Policies(Struct, frozen=True):
    """The policy of each namespace that has its own, and that of the others."""

    of_namespace: dict[str, Policy]
    others: Policy = Policy()

    @property
    def drop_something(self) -> bool:
        """Whether any of them drops anything."""
        return any(not policy.keeps_all for policy in (self.others, *self.of_namespace.values()))

    def of(self, namespace: str) -> Policy:
        """Return the policy of a namespace."""
        return self.of_namespace.get(namespace, self.others)


def parse_policies(texts: Iterable[str]) -> Policies:
    """Read policies as the settings say them.

    Raises:
        ValueError: One is not written as a policy is, or a namespace has two.
    """
    found: dict[str, Policy] = {}
    for text in texts:
        parts = _POLICY.fullmatch(text)
        if parts is None or "0" in {parts["age"], parts["count"]}:
            raise ValueError(
                f"{text!r} is no policy; write NAMESPACE=for-ever, NAMESPACE=age:30d (s, m, h, d or w) or "
                "NAMESPACE=count:20, with * for all other namespaces"
            )
        if parts["namespace"] in found:
            raise ValueError(f"the namespace {parts['namespace']!r} has two policies; give it one")
        age = None if parts["age"] is None else 1000 * int(parts["age"]) * _UNITS_S[parts["unit"]]
        found[parts["namespace"]] = Policy(age, None if parts["count"] is None else int(parts["count"]))
    others = found.pop("*", Policy())
    return Policies(found, others)
