"""Answers of Engage as structs: tolerant where writing is strict.

Unknown fields are ignored and unknown words of an enumeration kept (ref 1.7). Only an answer that has not the shape
at all raises EngageError, whose text holds no value of the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from types import NoneType
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import msgspec

from voyado_async.errors import EngageError

T = TypeVar("T")

if TYPE_CHECKING:
    ReadMoment: TypeAlias = datetime | None
    ReadNumber: TypeAlias = Decimal | None
    ReadDay: TypeAlias = date | None
    ReadText: TypeAlias = str | None
else:

    class _Readable(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, (date, Decimal, str, NoneType))

    class ReadMoment(metaclass=_Readable):
        """The annotation of a time in an answer: aware, or None when it is absent, unreadable or without its offset."""

    class ReadNumber(metaclass=_Readable):
        """The annotation of a number in an answer, in quotes or not: exact, or None when it is absent or unreadable."""

    class ReadDay(metaclass=_Readable):
        """The annotation of a day in an answer; a time behind it is cut off. None when it is absent or unreadable."""

    class ReadText(metaclass=_Readable):
        """The annotation of a text or a number that names something; None when it is absent or anything else."""


class Money(msgspec.Struct, frozen=True):
    """An amount in a currency."""

    currency: str
    amount: Decimal


class Reader(Generic[T]):
    """Reads the answers of one call, `what` being the call's name in errors."""

    def __init__(self, what: str, kind: Any) -> None:
        self._what = what
        self._decoder = msgspec.json.Decoder(kind, float_hook=Decimal, dec_hook=_tolerant)

    def read(self, text: bytes) -> T:
        """The answer as a struct. Raises EngageError if it is not JSON or has another shape."""
        try:
            answer: T = self._decoder.decode(text)
        except msgspec.ValidationError as error:
            where = str(error).rpartition(" - at `$")[2].strip(".`") if " - at `$" in str(error) else "its top"
            raise EngageError(f"{self._what}: the answer has another shape than expected, at {where}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise EngageError(f"{self._what}: the answer is not JSON") from None
        return answer


def read_number(value: object) -> Decimal | None:
    """A number of an answer, in quotes or not; None if it is no finite number."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def read_moment(value: object) -> datetime | None:
    """A time of an answer; None if it is no date-time or has no offset, which would make it a guess."""
    try:
        moment = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return None
    return None if moment.tzinfo is None else moment


def read_day(value: object) -> date | None:
    """A day of an answer, with a time behind it or not; None if it is none."""
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None


def read_text(value: object) -> str | None:
    """A text of an answer, or a number as text; None if it is neither."""
    return str(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None


def read_money(value: object) -> Money | None:
    """``{"currency", "amount"}`` of an answer; None if it is not that."""
    match value:
        case {"currency": str(currency), "amount": amount} if (number := read_number(amount)) is not None:
            return Money(currency, number)
    return None


_READ: dict[object, Callable[[object], date | Decimal | str | None]] = {
    ReadMoment: read_moment,
    ReadNumber: read_number,
    ReadDay: read_day,
    ReadText: read_text,
}


def _tolerant(kind: type, value: object) -> date | Decimal | str | None:
    """msgspec's hook for the annotations of this module."""
    return _READ[kind](value)
