"""Options made from models, so that the command line and the API cannot disagree.

A field of a pydantic model becomes an option with the field's name and description. Values go back to the model as they
were typed: the model alone judges them.
"""

import inspect
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import typer
from msgspec import Struct
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from recollect.service.cli.exits import usage_error

Shape = Literal["flag", "choice", "many", "json", "integer", "number", "text"]

# What the models say of a field in its type, or not at all because its name says it.
_HELP = {
    "as_of": "A time (RFC 3339) or a commit position: answer with what the store held then.",
    "branch": "The line of versions to look at or to write on.",
    "confidence": "How sure it is, 0 to 1.",
    "content": "The new content.",
    "importance": "How much it matters, 0 to 1.",
    "kind": "episodic, semantic, procedural, working, ghost, or a kind of your own.",
    "metadata": "Your own fields, as a JSON object.",
    "namespaces": "Only this one; may be repeated.",
    "tags": "A tag; may be repeated.",
}


class OptionsOf(Struct, frozen=True, kw_only=True):
    """Options that stand for the fields of a model.

    Attributes:
        model: Where they come from.
        leave_out: Fields that the command asks for in another way.
        under: The field of the request that holds the model; None if it is the request itself.
        flags: Names on the command line that differ from the field's.
        environment: A prefix: each option's help then names its environment variable.
        defaults: What to say of a default that is not a plain value.
    """

    model: type[BaseModel]
    leave_out: frozenset[str] = frozenset()
    under: str | None = None
    flags: Mapping[str, str] = {}
    environment: str | None = None
    defaults: Mapping[str, str] = {}

    def fields(self) -> Iterator[tuple[str, FieldInfo]]:
        """Give the fields that become options."""
        return ((name, field) for name, field in self.model.model_fields.items() if name not in self.leave_out)

    def parameters(self) -> Iterator[inspect.Parameter]:
        """Give the options as parameters that typer reads."""
        for name, field in self.fields():
            annotation, option = self._option(name, field)
            yield inspect.Parameter(
                self._parameter_name(name),
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[annotation, option],
            )

    def collect(self, arguments: dict[str, Any], into: dict[str, Any]) -> None:
        """Move what was given out of the arguments and into the request's fields."""
        given: dict[str, Any] = {}
        for name, field in self.fields():
            value = arguments.pop(self._parameter_name(name), None)
            if value is None:
                continue
            given[name] = parse_json(value, self.flag(name)) if shape_of(field.annotation) == "json" else value
        if self.under is None:
            into.update(given)
        elif given:
            into[self.under] = given

    def flag(self, name: str) -> str:
        """Return a field's option as it is typed; one that is repeated is named in the singular."""
        many = shape_of(self.model.model_fields[name].annotation) == "many"
        own = name.removesuffix("s") if many else name
        return "--" + self.flags.get(name, own).replace("_", "-")

    def _parameter_name(self, name: str) -> str:
        return f"{self.under}__{name}" if self.under else name

    def _option(self, name: str, field: FieldInfo) -> tuple[Any, Any]:
        shape = shape_of(field.annotation)
        flag = self.flag(name)
        annotation, metavar = _TYPED[shape]
        if shape == "choice":
            annotation = Union[inner_type(field.annotation), None]  # noqa: UP007 - the type is known at run time only
        option = typer.Option(
            f"{flag}/--no-{flag.removeprefix('--')}" if shape == "flag" else flag,
            help=self._help(name, field),
            metavar=metavar,
            show_default=False,
        )
        return annotation, option

    def _help(self, name: str, field: FieldInfo) -> str:
        text = (field.description or _HELP.get(name, "")).replace("`", "").replace("[", r"\[")
        if self.environment is not None:
            text += f" (environment: {self.environment}{name.upper()})"
        default = self.default_text(name, field)
        return rf"{text} [dim]\[default: {default}][/dim]" if default else text

    def default_text(self, name: str, field: FieldInfo) -> str | None:
        """Return a field's default in words, or None where there is none to speak of."""
        if name in self.defaults:
            return self.defaults[name]
        if field.is_required() or field.default is None or field.default_factory is not None:
            return None
        return _value_text(field.default)


def shape_of(annotation: Any) -> Shape:
    """Say how a value of a type is given on a command line."""
    inner = inner_type(annotation)
    origin = get_origin(inner)
    if origin is Literal or (inspect.isclass(inner) and issubclass(inner, Enum)):
        return "choice"
    if origin in {list, tuple}:
        element = inner_type(get_args(inner)[0])
        return "json" if element in {float, int} else "many"
    if origin is dict or inner is dict:
        return "json"
    known: dict[Any, Shape] = {bool: "flag", int: "integer", float: "number"}
    return known.get(inner, "text")


def parse_json(text: str, flag: str) -> Any:
    """Read a value that is given as JSON.

    Raises:
        CommandError: It is not JSON; the message names the option.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise usage_error(f"{flag}: this is not JSON ({error}); put quotes around it, as in '{{\"a\": 1}}'") from error


def inner_type(annotation: Any) -> Any:
    """Take away `Annotated` and `| None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in {Union, types.UnionType}:
            members = [member for member in get_args(annotation) if member is not type(None)]
            if len(members) != 1:
                return Any
            annotation = members[0]
        else:
            return annotation


def _value_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    if isinstance(value, SecretStr):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


_TYPED: dict[Shape, tuple[Any, str | None]] = {
    "flag": (bool | None, None),
    "choice": (Any, None),
    "many": (list[str] | None, "<str>"),
    "json": (str | None, "<json>"),
    "integer": (str | None, "<int>"),
    "number": (str | None, "<float>"),
    "text": (str | None, "<str>"),
}
