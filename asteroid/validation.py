"""Settings as frozen dataclasses that pydantic validates; what is wrong with them is one error on one line."""

from collections.abc import Callable
from dataclasses import field
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _each_once(values: tuple) -> tuple:
    if not values or len(set(values)) < len(values):
        raise ValueError(f"{values} given; expected one or more values, each once")
    return values


Value = TypeVar("Value")
EachOnce = Annotated[tuple[Value, ...], AfterValidator(_each_once)]


@dataclass_transform(frozen_default=True, field_specifiers=(field, Field))
def validated(cls: type) -> type:
    """Class decorator: a frozen dataclass with validated fields, of which mappings from a file are made too.

    NumPy's numbers become Python's, and whole numbers become floats where the type says so, so that equal settings are
    written alike. A mapping in the place of a nested one is validated with the same care.

    Raises:
        ValueError: of the class that it makes: lists every field that is unknown or has a value of another kind.
    """
    known = list(cls.__annotations__)

    def refuse_unknown(values: Any) -> Any:
        given = values.kwargs or {} if isinstance(values, ArgsKwargs) else values
        if isinstance(given, dict) and (unknown := [name for name in given if name not in known]):
            raise ValueError(f"unknown settings {', '.join(map(str, unknown))}; known: {', '.join(known)}")
        return values

    cls._refuse_unknown = model_validator(mode="before")(staticmethod(refuse_unknown))
    made = dataclass(frozen=True, config=ConfigDict(extra="forbid", arbitrary_types_allowed=True))(cls)
    made.__init__ = _with_readable_errors(made.__init__, made.__name__, known)
    return made


def _with_readable_errors(init: Callable, name: str, known: list[str]) -> Callable:
    @wraps(init)
    def with_readable_errors(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except ValidationError as error:
            errors = error.errors()
            # What is wrong with an item makes its list too short as well.
            of_items = {one["loc"][:-1] for one in errors}
            errors = [one for one in errors if one["type"] != "too_short" or one["loc"] not in of_items]
            raise ValueError(f"{name}: {'; '.join(_in_words(one, known) for one in errors)}") from None

    return with_readable_errors


def _in_words(error: dict[str, Any], known: list[str]) -> str:
    if error["type"] == "unexpected_positional_argument":
        return f"more than {len(known)} settings were given; known: {', '.join(known)}"
    first, *others = error["loc"] or [""]
    first = known[first] if isinstance(first, int) else first  # an argument without its name
    place, message = ".".join(map(str, (first, *others))), error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{place}: {message}" if place else message
    if error["type"] in ("missing", "missing_argument"):
        return f"{place} is missing"
    return f"{place} is {error['input']!r}; {message[0].lower()}{message[1:]}"
