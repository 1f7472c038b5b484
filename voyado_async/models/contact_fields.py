"""The names of a contact's fields: which are standard, which nobody may send, and what may be a custom one (ref 4.6).

Engage ignores a name that it does not know without an error (ref 4.4). A misspelt field is therefore lost in silence
unless it is found here.
"""

from __future__ import annotations

from functools import lru_cache

from voyado_async.errors import InvalidEntry
from voyado_async.models.text import is_xml_name, legible

KEY_ATTRIBUTES = ("mobilePhone", "email", "externalId", "socialSecurityNumber")
"""What a tenant's key can be (ref 4.3)."""

PREFERENCES = ("acceptsEmail", "acceptsSms", "acceptsPostal")

_COMPUTED = "is computed by Engage and cannot be sent"
_COMPUTED_PREFIXES = ("retail.keyvalue.", "nps.")
_BY_CALL = "the contact is named by the call, not by a field"
_CREATION = "is an argument of the creation, not a field of the contact"

NOT_SENT = {
    "rfm": _COMPUTED,
    "age": "is computed by Engage from birthDay; send that",
    "id": _BY_CALL,
    "contactId": _BY_CALL,
    "source": _CREATION,
    "storeExternalId": _CREATION,
    "createAsUnapproved": _CREATION,
    "attributes": "custom attributes stand beside the standard fields, not inside `attributes`",
    "meta": "is what Engage tells about a contact and cannot be sent",
} | dict.fromkeys(PREFERENCES, "stands inside `preferences`")
"""Names that are refused wherever a contact is sent, with the reason."""


def is_computed(name: str) -> bool:
    """Whether Engage computes this field, so that it is never sent."""
    return name in ("rfm", "age") or name.casefold().startswith(_COMPUTED_PREFIXES)


@lru_cache(maxsize=1024)  # a tenant has a few dozen, and they come with every contact
def check_custom_name(name: str, standard: frozenset[str], allowed: frozenset[str] | None) -> None:
    """Refuses a name that cannot be a custom attribute: InvalidEntry whose path is the name.

    A name that is a standard one but for case and underscores is taken for a slip. `allowed` are the tenant's custom
    names; None allows any.
    """
    path = legible(name)
    if name in NOT_SENT:
        raise InvalidEntry(path, NOT_SENT[name])
    if is_computed(name):
        raise InvalidEntry(path, _COMPUTED)
    if not is_xml_name(name):
        raise InvalidEntry(path, "cannot be the name of an XML element, which the fallback file needs")
    if allowed is not None and name in allowed:
        return
    meant = {_folded(known): known for known in (*standard, *NOT_SENT)}.get(_folded(name))
    if meant is not None:
        raise InvalidEntry(path, f"unknown field; meant `{meant}`?")
    if allowed is not None:
        raise InvalidEntry(path, "unknown field: neither a standard one nor an allowed custom attribute")


def _folded(name: str) -> str:
    return name.replace("_", "").casefold()
