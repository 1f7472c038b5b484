"""What options and arguments accept. A wrong one is wrong usage (exit 2)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from voyado_async.clock import SystemClock, as_datetime, as_instant
from voyado_async.errors import InvalidEntry

if TYPE_CHECKING:
    from voyado_async.kinds.address import Address

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class _Id(click.ParamType[str]):
    """An id of Engage's."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from voyado_async.kinds.address import checked_id  # here: most calls name no id, and it brings the models

        try:
            return checked_id("", value)
        except InvalidEntry as error:
            self.fail(error.reason, param, ctx)


class _Contact(click.ParamType["Address"]):
    """A contact as a person names it."""

    name = "contact"

    def convert(self, value: str | Address, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        from voyado_async.kinds.address import as_typed  # here: see above

        if not isinstance(value, str):
            return value
        try:
            return as_typed(value)
        except InvalidEntry as error:
            self.fail(f"{error.reason}. Or give an e-mail address, or as in memberNumber:1234", param, ctx)


class _ContactId(click.ParamType[str]):
    """A contact that only its id can name."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from voyado_async.kinds.address import as_typed  # here: see above
        from voyado_async.models.receipts import MatchKeyType

        try:
            named = as_typed(value)
        except InvalidEntry as error:
            self.fail(error.reason, param, ctx)
        if named.type is not MatchKeyType.CONTACT_ID:
            self.fail(f"only its id can name the contact here, not its {named.type}", param, ctx)
        return named.value


class _ContactType(click.ParamType[str]):
    """The id of a contact type."""

    name = "type"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from voyado_async.models import check_contact_type  # here: see above

        try:
            check_contact_type(value)
        except InvalidEntry as error:
            self.fail(error.reason, param, ctx)
        return value


class _Moment(click.ParamType[int]):
    """A moment, as an instant of the database. ``0`` is now."""

    name = "time"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        now = as_datetime(SystemClock().now())
        try:
            ago = _span("0s" if value == "0" else value)  # another bare number could be days or seconds
            if ago is not None:
                return as_instant(now - ago)
            # Without an offset it is the local time of this machine.
            return as_instant(datetime.fromisoformat(value).astimezone())
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a time of ISO 8601 nor an age like 90s, 15m, 2h or 7d", param, ctx)


class _Duration(click.ParamType[float]):
    """A duration in seconds; a bare number is seconds, as in the settings."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        span = _span(f"{value}s" if value[-1:].isdigit() else value)
        if span is None:
            self.fail(f"{value!r} is not a duration like 90s, 15m, 2h or 7d", param, ctx)
        return span.total_seconds()


def _span(text: str) -> timedelta | None:
    """``15m`` as a time span; None where it is none, or longer than there is time."""
    found = _AGO.fullmatch(text)
    try:
        return timedelta(**{_UNITS[found[2]]: float(found[1])}) if found else None
    except OverflowError:
        return None


ID = _Id()
CONTACT = _Contact()
CONTACT_ID = _ContactId()
CONTACT_TYPE = _ContactType()
MOMENT = _Moment()
DURATION = _Duration()
