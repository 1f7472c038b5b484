"""Settings: one frozen struct, from keywords, from the environment (VOYADO_*) or from a TOML file.

The environment beats the file. An unknown or misspelt name, a value out of bounds, a missing key file and a group that
this process is not in are refused with a ConfigurationError that names it, before anything starts.
No error text and no repr holds a secret.
"""

from __future__ import annotations

import base64
import functools
import grp
import math
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from voyado_async.errors import ConfigurationError
from voyado_async.version import VERSION

PREFIX = "VOYADO_"
CONFIG = "VOYADO_CONFIG"

SECRETS = ("api_key", "sftp_password", "seal_key")
"""Never shown; each may also be read from the file that `<name>_file` gives, when the settings are made."""

FAMILIES = ("contacts", "redemptions", "transactions")

TENANT_FILES = (
    "fallback_names",
    *(f"fallback_xslt_{family}" for family in FAMILIES),
    *(f"fallback_xsd_{family}" for family in FAMILIES),
)
"""What a tenant's files have otherwise. Here it is only seen that they can be read."""

LOCAL_PATHS = ("outbox", "spool_dir", "sftp_key_file", "sftp_known_hosts", *TENANT_FILES)
"""Made absolute when the settings are made: a later change of the working folder changes nothing."""

SFTP_FOLDERS = tuple(f"sftp_{family}_dir" for family in FAMILIES)

SEAL_KEY_SIZE = 32
"""Bytes of a key for AES-256."""

LISTS = ("retry_delays", "contact_attributes")

OWN_HEADERS = frozenset({"accept", "content-length", "content-type", "host", "user-agent"})
"""Headers that every request carries with another meaning (ref 1.2): the key cannot travel in one of them."""

FORMS: dict[str, tuple[str, str]] = {
    "api_key": (r"[!-~]+", "visible ASCII characters without blanks"),
    "api_key_header": (r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "the name of a header"),
    "user_agent": (r"[!-.0-~]+/[!-.0-~]+( [ -~]+)?", "of the form System/Version"),
    "contact_type": (r"\S+", "one word"),
    "sftp_host": (r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", "a host's name or address alone"),
    "sftp_host_key": (r"SHA256:[A-Za-z0-9+/]{43}", "of the form SHA256:<43 characters>, as ssh-keygen -l prints it"),
}
"""Texts that must have a certain form, and how to say so."""


MOST_DAYS = 36_500
LONGEST = MOST_DAYS * 86_400
"""Days and seconds at most. A hundred years are as good as for ever, and every clock and database can count them."""

MOST = 1_000_000
"""How often at most."""

SLOWEST = 0.001
"""Requests a second at least: one in a quarter of an hour. To stop sending, stop the drainer."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set, checked. Durations are seconds and may be fractions; a path may be a `Path`.

    Each field is `VOYADO_<NAME>` in the environment and its own name in TOML; its description tells the reason of its
    default or the source ("ref" is Engage's fact reference). Raises ConfigurationError.
    """

    base_url: Annotated[
        str | None, Meta(description="Where Engage is, https://{client}.voyado.com (ref 1.1); http only on loopback.")
    ] = None
    api_key: Annotated[str | None, Meta(description="The key of the API; one per integration (ref 1.3).")] = None
    api_key_file: Annotated[str | None, Meta(description="A file that holds VOYADO_API_KEY, in its place.")] = None
    api_key_header: Annotated[
        str, Meta(description="The key's header: every working client says apikey, one page x-api-key (ref 1.2).")
    ] = "apikey"
    api_version: Annotated[Literal[2, 3], Meta(description="3 is current, 2 the older one (ref 1.1, 1.8).")] = 3
    user_agent: Annotated[
        str, Meta(description="Sent with every call; mandatory, of the form System/Version (ref 1.2).")
    ] = f"voyado-async/{VERSION}"
    outbox: Annotated[str, Meta(description="The database file; told absolute, links followed.")] = "outbox.db"
    timeout: Annotated[
        float,
        Meta(
            gt=0,
            le=LONGEST,
            description="Seconds for one request, from the moment a connection is held: never below 60 (ref 2.2), or a "
            "promotion is redeemed while we believe it is not; some seconds more for the way. Less only on loopback.",
        ),
    ] = 65.0
    read_timeout: Annotated[
        float,
        Meta(
            gt=0, le=LONGEST, description="Seconds for a read: a customer stands at the till; a read changes nothing."
        ),
    ] = 3.0
    rate: Annotated[
        float,
        Meta(
            ge=SLOWEST,
            le=MOST,
            description="Requests a second of the drainer: with the reads below Engage's 50 per key (ref 1.4).",
        ),
    ] = 40.0
    read_rate: Annotated[
        float,
        Meta(
            ge=SLOWEST,
            le=MOST,
            description="Requests a second of one process's own reads: several fit beside the drainer.",
        ),
    ] = 5.0
    concurrency: Annotated[
        int, Meta(ge=1, le=1000, description="Requests under way at once: 40 a second at a quarter of a second each.")
    ] = 10
    retry_delays: Annotated[
        tuple[Annotated[float, Meta(gt=0, le=3600)], ...],
        Meta(
            min_length=1,
            description="Seconds between attempts, the last one repeated: Engage's ladder (ref 2.1); at least 10 after "
            "an unknown outcome.",
        ),
    ] = (10.0, 30.0, 60.0, 300.0)
    retry_attempts: Annotated[
        int, Meta(ge=1, le=MOST, description="Attempts until an entry leaves by file: some 20 minutes of ladder.")
    ] = 8
    breaker_failures: Annotated[
        int,
        Meta(ge=1, le=MOST, description="Transient failures in a row, from at least 2 lanes, that stop the sending."),
    ] = 5
    cache_ttl: Annotated[
        float,
        Meta(ge=0, le=LONGEST, description="Seconds for which a read is served from memory (ref 4.2: cache); 0: none."),
    ] = 30.0
    retention_days: Annotated[
        float, Meta(gt=0, le=MOST_DAYS, description="Days until finished entries are purged: they hold personal data.")
    ] = 30.0
    key_days: Annotated[
        float,
        Meta(
            gt=0,
            le=MOST_DAYS,
            description="Days for which a key is known, past the purge: a yearly reconciliation stays safe.",
        ),
    ] = 400.0
    contact_key: Annotated[
        Literal["email", "mobilePhone", "externalId", "socialSecurityNumber", "memberNumber"] | None,
        Meta(description="The attribute unique in this Engage (ref 4.3); without it a creation cannot be looked up."),
    ] = None
    contact_type: Annotated[str, Meta(description="The type of a contact where none is said (ref 4.3).")] = "Member"
    contact_attributes: Annotated[
        frozenset[str] | None,
        Meta(description="The allowed custom names: Engage ignores unknown ones in silence (ref 4.4); none: any."),
    ] = None
    sftp_host: Annotated[
        str | None, Meta(description="Engage's file server, ftp.voyado.com (ref 6.1); none: no upload.")
    ] = None
    sftp_port: Annotated[int, Meta(ge=1, le=65535, description="Its port (ref 6.1).")] = 22
    sftp_username: Annotated[
        str | None, Meta(description="The account: it decides between staging and production (ref 6.1).")
    ] = None
    sftp_password: Annotated[str | None, Meta(description="Its password, where it has one (ref 6.1).")] = None
    sftp_password_file: Annotated[
        str | None, Meta(description="A file that holds VOYADO_SFTP_PASSWORD, in its place.")
    ] = None
    sftp_key_file: Annotated[str | None, Meta(description="Its private key, where it logs in by key.")] = None
    sftp_known_hosts: Annotated[
        str | None, Meta(description="A known_hosts file with the server's key. This or sftp_host_key, with a host.")
    ] = None
    sftp_host_key: Annotated[
        str | None, Meta(description="The fingerprint of the server's key, SHA256:... This or sftp_known_hosts.")
    ] = None
    sftp_contacts_dir: Annotated[
        str, Meta(description="The folder of contact files: inferred from the export's name, so ask (ref 6.2, 9).")
    ] = "integration/customerImport"
    sftp_transactions_dir: Annotated[str, Meta(description="The folder of receipt files (ref 6.2).")] = (
        "integration/transactionImport"
    )
    sftp_redemptions_dir: Annotated[
        str | None,
        Meta(description="The folder of redemption files, a convention that needs agreement (ref 6.7); none: spooled."),
    ] = None
    spool_dir: Annotated[str | None, Meta(description="Where files wait; none: spool beside the outbox.")] = None
    fallback_interval: Annotated[
        float,
        Meta(
            gt=0,
            le=LONGEST,
            description="Seconds for which exhausted entries are gathered; the import is hourly, ref 6.1.",
        ),
    ] = 300.0
    fallback_max_lines: Annotated[
        int, Meta(ge=1, le=20_000, description="Lines of a file at most; a receipt counts its items (ref 6.1).")
    ] = 20_000
    fallback_contacts: Annotated[
        Literal["sftp", "bulk"],
        Meta(description="How contact writes come back: by file, or the bulk API (ref 4.9), which needs contact_key."),
    ] = "sftp"
    fallback_confirm: Annotated[
        bool, Meta(description="Ask Engage for what left by file: a file can be skipped in silence (ref 6.1, 6.4).")
    ] = True
    fallback_names: Annotated[
        str | None, Meta(description="A TOML file with the tenant's own names of elements that are inferred (ref 6).")
    ] = None
    fallback_xslt_contacts: Annotated[
        str | None, Meta(description="An XSLT over finished contact files; it needs the whole file in memory (ref 6).")
    ] = None
    fallback_xslt_redemptions: Annotated[str | None, Meta(description="The same for redemption files.")] = None
    fallback_xslt_transactions: Annotated[str | None, Meta(description="The same for receipt files.")] = None
    fallback_xsd_contacts: Annotated[
        str | None,
        Meta(
            description="The vendor's XSD, which contact files must pass before they leave (ref 6.5). What only your "
            "XSLT or XSD refuses is not rejected: it waits for the API, and `status` says so."
        ),
    ] = None
    fallback_xsd_redemptions: Annotated[str | None, Meta(description="The same for redemption files.")] = None
    fallback_xsd_transactions: Annotated[str | None, Meta(description="The same for receipt files.")] = None
    import_period: Annotated[
        float,
        Meta(
            gt=0,
            le=LONGEST,
            description="Seconds between Engage's imports; a file that stays two is told, a batch has one.",
        ),
    ] = 3600.0
    seal_key: Annotated[
        str | None,
        Meta(description="Seals contents at rest: 32 bytes in base64 or hex, then older keys; none: not sealed."),
    ] = None
    seal_key_file: Annotated[str | None, Meta(description="A file that holds VOYADO_SEAL_KEY, in its place.")] = None
    group: Annotated[
        str | None, Meta(description="The unix group (name or number) that shares the outbox; none: its owner alone.")
    ] = None

    def __post_init__(self) -> None:
        self._read_secrets()
        for name, kind in _types().items():
            msgspec.structs.force_setattr(self, name, _checked(name, kind, getattr(self, name)))
        if self.api_key_header.lower() in OWN_HEADERS:
            raise _wrong("api_key_header", "this header has another meaning in every request")
        if self.timeout < 60 and not (self.base_url and _is_loopback(urlsplit(self.base_url).hostname or "")):
            reason = "at least 60 seconds, unless base_url (VOYADO_BASE_URL) is on loopback: Engage may still redeem"
            raise _wrong("timeout", reason)
        if self.fallback_contacts == "bulk":
            if self.contact_key is None:
                raise _wrong("contact_key", "required with fallback_contacts = bulk: it names each contact (ref 4.9)")
            if not self.fallback_confirm:
                raise _wrong("fallback_confirm", "on with fallback_contacts = bulk: nothing else tells what arrived")
        self._check_sftp()
        _ = self.seal_keys, self.gid  # refused now, if at all

    def _read_secrets(self) -> None:
        """What a file holds takes its place; the file's name is not kept, so that a copy does not give both."""
        for secret in SECRETS:
            path = getattr(self, f"{secret}_file")
            if path is None:
                continue
            if getattr(self, secret) is not None:
                raise _wrong(secret, f"given twice, as itself and as {secret}_file ({PREFIX}{secret.upper()}_FILE)")
            msgspec.structs.force_setattr(self, secret, _secret(f"{secret}_file", path))
            msgspec.structs.force_setattr(self, f"{secret}_file", None)

    def _check_sftp(self) -> None:
        if self.sftp_known_hosts and self.sftp_host_key:
            raise _wrong("sftp_host_key", "give this or sftp_known_hosts, not both: which one to trust?")
        for name in ("sftp_key_file", "sftp_known_hosts", *TENANT_FILES):
            path = getattr(self, name)
            if path is not None:
                _read(name, path)
        if self.sftp_host is None:
            return
        if self.sftp_username is None:
            raise _wrong("sftp_username", "required with sftp_host")
        if self.sftp_password is None and self.sftp_key_file is None:
            raise _wrong("sftp_password", "this or sftp_key_file is required with sftp_host")
        if self.sftp_known_hosts is None and self.sftp_host_key is None:
            raise _wrong("sftp_known_hosts", "this or sftp_host_key is required with sftp_host: it is always verified")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """From VOYADO_* and the TOML file that VOYADO_CONFIG names. An empty variable counts as not given."""
        environ = os.environ if environ is None else environ
        path = environ.get(CONFIG)
        return (
            cls._from_both(path, environ, f"{CONFIG}: {path}") if path else cls(**_values(_from_environment(environ)))
        )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Self:
        """From a TOML file and VOYADO_*, which beats it. Its relative paths start at its folder, not at the process's.

        VOYADO_CONFIG is not looked at: the file is named already.
        """
        return cls._from_both(path, os.environ if environ is None else environ, str(path))

    @classmethod
    def _from_both(cls, path: str | os.PathLike[str], environ: Mapping[str, str], told: str) -> Self:
        """`told` is how an error names the file."""
        spoken = _from_environment(environ)
        beaten = {_owner(name) for name in spoken}
        written = {name: value for name, value in _from_toml(Path(path), told).items() if _owner(name) not in beaten}
        return cls(**_values(written | spoken))

    def require_base_url(self) -> str:
        """The base URL. Raises ConfigurationError where none is set."""
        if self.base_url is None:
            raise _wrong("base_url", "required, and not set")
        return self.base_url

    def require_api_key(self) -> str:
        """The key of the API. Raises ConfigurationError where none is set."""
        if self.api_key is None:
            raise _wrong("api_key", "required, and not set; a file may hold it: VOYADO_API_KEY_FILE")
        return self.api_key

    @property
    def outbox_path(self) -> Path:
        """The database file, absolute."""
        return Path(self.outbox)

    @property
    def spool_path(self) -> Path:
        """The spool folder, absolute."""
        return self.outbox_path.parent / "spool" if self.spool_dir is None else Path(self.spool_dir)

    @property
    def seal_keys(self) -> tuple[bytes, ...]:
        """The keys of the seal, newest first. Raises ConfigurationError."""
        if self.seal_key is None:
            return ()
        return tuple(dict.fromkeys(_seal_key(text) for text in self.seal_key.split() or [""]))

    @property
    def gid(self) -> int | None:
        """The number of the group. Raises ConfigurationError where there is none, or this process is not in it."""
        return None if self.group is None else _gid(self.group)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(name, "***" if name in SECRETS and value is not None else value) for name, value in shown]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class EnvironmentName(NamedTuple):
    """One line of the table of the environment."""

    name: str
    default: str | None
    """As the environment would say it; None where there is none."""
    doc: str


def environment_names() -> list[EnvironmentName]:
    """Every name that the environment may hold: the README's table, and what `check` prints."""
    table = [EnvironmentName(CONFIG, None, "A TOML file with the same names in lower case, without VOYADO_.")]
    for field in msgspec.structs.fields(Settings):
        name = PREFIX + field.name.upper()
        default = "voyado-async/<version>" if field.name == "user_agent" else _spoken(field.default)
        table.append(EnvironmentName(name, default, field.type.__metadata__[0].description))
    return table


def _spoken(default: Any) -> str | None:
    match default:
        case None | str():
            return default
        case bool():
            return "on" if default else "off"
        case tuple():
            return ",".join(f"{item:g}" for item in default)
        case _:
            return f"{default:.10g}"


def _wrong(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{name} ({PREFIX}{name.upper()}): {reason}")


@functools.cache
def _types() -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(Settings)}


# one value ------------------------------------------------------------------------------------------------------------


def _checked(name: str, kind: Any, value: Any) -> Any:
    """The value in its normal form: type, bounds, form."""
    if name == "fallback_confirm" and isinstance(value, str):
        if value not in ("on", "off"):
            raise _wrong(name, "on or off")
        value = value == "on"
    if name in LOCAL_PATHS and isinstance(value, os.PathLike):
        value = os.fspath(value)
    try:
        value = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _wrong(name, str(error)) from None
    items = value if isinstance(value, tuple | frozenset) else (value,)
    if any(isinstance(item, float) and not math.isfinite(item) for item in items):
        raise _wrong(name, "a finite number, please")
    texts = [item for item in items if isinstance(item, str)]
    if any(re.search("[\ud800-\udfff]", text) for text in texts):
        raise _wrong(name, "is not UTF-8")
    if not all(texts) or (name not in SECRETS and not all(text.isprintable() and text.strip() for text in texts)):
        raise _wrong(name, "empty, or with characters that cannot be printed")
    if not isinstance(value, str):
        return value
    if name in FORMS and not re.fullmatch(FORMS[name][0], value):
        raise _wrong(name, f"must be {FORMS[name][1]}")
    if name == "outbox":
        # Locks, log and spool lie beside it: whoever comes by a link (of a release, say) finds those of all others.
        return os.path.realpath(value)
    if name in LOCAL_PATHS:
        return os.path.abspath(value)
    if name in SFTP_FOLDERS:
        return value.rstrip("/") or "/"
    return _base_url(value) if name == "base_url" else value


def _base_url(text: str) -> str:
    """One Engage has one spelling, since the outbox is bound to it: no slash at the end, no default port, lower case.

    The address is in no error text: a user may have put a password into it.
    """
    try:
        url = urlsplit(text)
        host, port = (url.hostname or "").lower(), url.port
    except ValueError:
        raise _wrong("base_url", "not an address: https://HOST or https://HOST:PORT") from None
    if url.scheme not in ("https", "http") or not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", host):
        raise _wrong("base_url", "not an address: https://HOST or https://HOST:PORT")
    if "@" in url.netloc:
        raise _wrong("base_url", "without user and password, please: the key goes into api_key")
    if url.path not in ("", "/") or "?" in text or "#" in text:
        raise _wrong("base_url", "the host alone, without a path or a query: /api/v3 is added by the program")
    if url.scheme == "http" and not _is_loopback(host):
        raise _wrong("base_url", "https, unless the host is on loopback")
    shown = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{shown}" + ("" if port in (None, 443 if url.scheme == "https" else 80) else f":{port}")


def _seal_key(text: str) -> bytes:
    """32 bytes as `openssl rand` prints them. No error tells anything of the text."""
    key = b""
    with suppress(ValueError):
        key = bytes.fromhex(text) if len(text) == 2 * SEAL_KEY_SIZE else base64.b64decode(text, validate=True)
    if len(key) != SEAL_KEY_SIZE:
        raise _wrong(
            "seal_key",
            "each key must be 32 bytes in base64 or hex, as `openssl rand -base64 32` prints them; several, the newest "
            "first, stand apart by blanks or on lines of their own",
        )
    return key


def _gid(group: str) -> int:
    try:
        gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise _wrong("group", f"there is no group {group} on this system") from None
    if os.geteuid() != 0 and gid not in (os.getegid(), *os.getgroups()):
        raise _wrong("group", f"this process is not in the group {group}: it could not give its files to it")
    return gid


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


# sources --------------------------------------------------------------------------------------------------------------


def _owner(name: str) -> str:
    """The setting that a name speaks for: `api_key_file` speaks for `api_key`."""
    return next((secret for secret in SECRETS if name == f"{secret}_file"), name)


def _refuse_unknown(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """All unknown names at once, each with the nearest right one."""
    unknown = sorted(set(names) - set(known))
    if unknown:
        import difflib  # here: only the unlucky need it

        spelt = {name.lower(): name for name in sorted(known)}
        near = {name: difflib.get_close_matches(name.lower(), spelt, n=1) for name in unknown}
        told = [name + "".join(f" (did you mean {spelt[right]}?)" for right in near[name]) for name in unknown]
        raise ConfigurationError(f"unknown setting in {where}: {', '.join(told)}")


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    names = {PREFIX + name.upper(): name for name in Settings.__struct_fields__}
    _refuse_unknown((key for key in environ if key.startswith(PREFIX)), [*names, CONFIG], "the environment")
    return {name: environ[key] for key, name in names.items() if environ.get(key)}


def _from_toml(path: Path, told: str) -> dict[str, Any]:
    import tomllib  # here: a shop may never need it

    try:
        with path.open("rb") as file:
            written = tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"{told} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{told} is not TOML: {error}") from None
    _refuse_unknown(written, Settings.__struct_fields__, told)
    for name, value in written.items():
        if isinstance(value, str) and value and (name in LOCAL_PATHS or _owner(name) != name):
            written[name] = os.path.join(path.absolute().parent, value)
    return written


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Settings, from what the sources say."""
    return {name: _parsed(name, value) for name, value in given.items()}


def _parsed(name: str, value: Any) -> Any:
    """Text as its type says; anything else (TOML) as it stands."""
    if not isinstance(value, str) or _owner(name) in SECRETS:
        return value
    text: Any = value.strip()
    if name in LISTS:
        text = [part.strip() for part in text.split(",")]
    elif name == "fallback_confirm":
        return text
    try:
        return msgspec.convert(text, _types()[name], strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(name, str(error)) from None
    except UnicodeEncodeError:  # the environment may hold any bytes
        raise _wrong(name, "is not UTF-8") from None


def _secret(name: str, path: Any) -> str:
    path = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(path, str) or not path:
        raise _wrong(name, "the path of a file, please")
    try:
        text = _read(name, path).decode()
    except UnicodeDecodeError:
        raise _wrong(name, f"{path} is not UTF-8") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise _wrong(name, f"{path} is empty")
    return text


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _wrong(name, f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise _wrong(name, "not a path") from None
