"""Numbers that are exact from the shop's hands to Engage's: `Decimal` in Python, a plain number literal in JSON.

A JSON number becomes a Decimal from its digits, never by way of a float; trailing zeros stay (``640.00``). From Python
a Decimal or an int is taken; and a float, which is what `json.loads` makes, as the number that was meant: to the 15
digits that every float carries, so that 0.1 + 0.2 is 0.3. Text is refused. On the wire no number has an exponent,
because a file has to carry it in plain notation too (ref 6.8).
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

MOST_DIGITS = 28
_DIGITS_OF_A_FLOAT = sys.float_info.dig
_NOT_DIGITS = str.maketrans("", "", "-.")
_CENT = Decimal("0.01")
_ROOM = MOST_DIGITS - 2

if TYPE_CHECKING:
    Exact: TypeAlias = Decimal
else:

    class _HoldsDecimals(type):
        __instancecheck__ = Decimal.__instancecheck__  # of C: it is asked for every amount of every receipt

    class Exact(metaclass=_HoldsDecimals):
        """The annotation of a money field. At run time a type of its own, so that msgspec asks `decode_exact`.

        msgspec's own Decimal would also take text ("NaN", " 1_0 ") and all 17 digits of a float.
        """


def decode_exact(_kind: type, value: object) -> Decimal:
    """msgspec's hook for the one annotation that it does not know, `Exact`. Errors as those of `exact`."""
    if type(value) is Decimal and value.same_quantum(_CENT) and value.adjusted() < _ROOM:
        return value  # two decimals, the usual amount: there is nothing to look at
    return exact(value)


def exact(value: object) -> Decimal:
    """`value` as a Decimal of the same worth in plain notation. TypeError or ValueError, with the reason, otherwise."""
    number = value if isinstance(value, Decimal) else _from_number(value)
    if not number.is_finite():
        raise ValueError("is not a finite number")
    text = str(number)
    if "E" in text:
        return _without_exponent(number)
    if len(text) > MOST_DIGITS and len(text.translate(_NOT_DIGITS)) > MOST_DIGITS:
        raise ValueError(f"has more than {MOST_DIGITS} digits")
    return number if type(number) is Decimal else Decimal(number)


def _from_number(value: object) -> Decimal:
    if isinstance(value, float):
        return Decimal(format(value, f".{_DIGITS_OF_A_FLOAT}g"))
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("expected a number: a Decimal in Python, digits without quotes in JSON")
    return Decimal(value)


def _without_exponent(value: Decimal) -> Decimal:
    if not value:
        return Decimal("0.000000") if value.adjusted() < 0 else Decimal(0)  # a database's nought can read 0E-8
    if abs(value.adjusted()) > MOST_DIGITS:
        raise ValueError(f"has more than {MOST_DIGITS} digits")
    plain = Decimal(format(value, "f"))
    if "E" in str(plain):
        raise ValueError("is smaller than 0.000001")
    return plain
