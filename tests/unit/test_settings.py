"""Settings: defaults, bounds, sources, and what no text may show."""

from __future__ import annotations

import base64
import grp
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.pretty import pretty_repr

from voyado_async.errors import ConfigurationError
from voyado_async.settings import FAMILIES, SECRETS, TENANT_FILES, Settings, environment_names

SAMPLE = Path(__file__).parents[2] / "samples" / "voyado.toml"
URL = "https://example.voyado.com"
HOST_KEY = "SHA256:" + "a" * 43
SFTP: dict[str, Any] = {"sftp_host": "ftp.voyado.com", "sftp_username": "shop", "sftp_host_key": HOST_KEY}


def refusal(**values: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**values)
    return str(caught.value)


def env_refusal(**environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env(environ)
    return str(caught.value)


def file_refusal(path: Path, text: str, **environ: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_file(path, environ)
    return str(caught.value)


# the table of DESIGN 4 ------------------------------------------------------------------------------------------------

TABLE = {
    "VOYADO_CONFIG": None,
    "VOYADO_BASE_URL": None,
    "VOYADO_API_KEY": None,
    "VOYADO_API_KEY_FILE": None,
    "VOYADO_API_KEY_HEADER": "apikey",
    "VOYADO_API_VERSION": "3",
    "VOYADO_USER_AGENT": "voyado-async/<version>",
    "VOYADO_OUTBOX": "outbox.db",
    "VOYADO_TIMEOUT": "65",
    "VOYADO_READ_TIMEOUT": "3",
    "VOYADO_RATE": "40",
    "VOYADO_READ_RATE": "5",
    "VOYADO_CONCURRENCY": "10",
    "VOYADO_RETRY_DELAYS": "10,30,60,300",
    "VOYADO_RETRY_ATTEMPTS": "8",
    "VOYADO_BREAKER_FAILURES": "5",
    "VOYADO_CACHE_TTL": "30",
    "VOYADO_RETENTION_DAYS": "30",
    "VOYADO_KEY_DAYS": "400",
    "VOYADO_CONTACT_KEY": None,
    "VOYADO_CONTACT_TYPE": "Member",
    "VOYADO_CONTACT_ATTRIBUTES": None,
    "VOYADO_SFTP_HOST": None,
    "VOYADO_SFTP_PORT": "22",
    "VOYADO_SFTP_USERNAME": None,
    "VOYADO_SFTP_PASSWORD": None,
    "VOYADO_SFTP_PASSWORD_FILE": None,
    "VOYADO_SFTP_KEY_FILE": None,
    "VOYADO_SFTP_KNOWN_HOSTS": None,
    "VOYADO_SFTP_HOST_KEY": None,
    "VOYADO_SFTP_CONTACTS_DIR": "integration/customerImport",
    "VOYADO_SFTP_TRANSACTIONS_DIR": "integration/transactionImport",
    "VOYADO_SFTP_REDEMPTIONS_DIR": None,
    "VOYADO_SPOOL_DIR": None,
    "VOYADO_FALLBACK_INTERVAL": "300",
    "VOYADO_FALLBACK_MAX_LINES": "20000",
    "VOYADO_FALLBACK_CONTACTS": "sftp",
    "VOYADO_FALLBACK_CONFIRM": "on",
    "VOYADO_FALLBACK_NAMES": None,
    "VOYADO_FALLBACK_XSLT_CONTACTS": None,
    "VOYADO_FALLBACK_XSLT_REDEMPTIONS": None,
    "VOYADO_FALLBACK_XSLT_TRANSACTIONS": None,
    "VOYADO_FALLBACK_XSD_CONTACTS": None,
    "VOYADO_FALLBACK_XSD_REDEMPTIONS": None,
    "VOYADO_FALLBACK_XSD_TRANSACTIONS": None,
    "VOYADO_IMPORT_PERIOD": "3600",
    "VOYADO_SEAL_KEY": None,
    "VOYADO_SEAL_KEY_FILE": None,
    "VOYADO_GROUP": None,
}


def test_the_names_and_defaults_are_those_of_the_contract() -> None:
    assert {line.name: line.default for line in environment_names()} == TABLE


def test_every_name_has_a_description() -> None:
    assert all(line.doc.endswith(".") for line in environment_names())


def test_the_defaults_said_in_the_environment_change_nothing() -> None:
    spoken = {name: default for name, default in TABLE.items() if default is not None and "<" not in default}
    assert Settings.from_env(spoken) == Settings() == Settings.from_env({})


# values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://Example.Voyado.com/", "https://example.voyado.com"),
        ("HTTPS://example.voyado.com:443", "https://example.voyado.com"),
        ("https://example.voyado.com:8443/", "https://example.voyado.com:8443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.1.2.3:80/", "http://127.1.2.3"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("https://127.0.0.1:80", "https://127.0.0.1:80"),
    ],
)
def test_a_base_url_has_one_spelling(given: str, kept: str) -> None:
    settings = Settings(base_url=given)
    assert settings.base_url == kept
    assert msgspec.structs.replace(settings, rate=1) == Settings(base_url=kept, rate=1.0)


@pytest.mark.parametrize(
    "given",
    [
        "http://example.voyado.com",
        "http://127.0.0.1.example.com",
        "http://0.0.0.0",
        "http://10.0.0.1",
        "ftp://example.voyado.com",
        "example.voyado.com",
        "https://",
        "https://:443",
        "https://{client}.voyado.com",
        "https://exa mple.com",
        "https://example.com\n",
        "https://exämple.com",
        "https://example.com/api/v3",
        "https://example.com?",
        "https://example.com/?a=1",
        "https://example.com#x",
        "https://example.com:port",
        "https://example.com:99999",
        "https://[::1",
        "",
        7,
    ],
)
def test_a_base_url_that_is_not_one_is_refused(given: object) -> None:
    assert refusal(base_url=given).startswith("base_url (VOYADO_BASE_URL): ")


@pytest.mark.parametrize("given", ["https://user:hunter2@example.com", "https://user:hunter2", "https://:hunter2@[::1"])
def test_a_password_in_the_base_url_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings(base_url=given)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timeout", 59.9),
        ("timeout", float("nan")),
        ("timeout", float("inf")),
        ("read_timeout", 0),
        ("rate", 0),
        ("rate", -1),
        ("rate", "fast"),
        ("rate", float("inf")),
        ("read_rate", 0),
        ("rate", 1e-9),
        ("concurrency", 0),
        ("concurrency", 10**23),
        ("concurrency", 1.5),
        ("concurrency", True),
        ("retry_attempts", 0),
        ("retry_attempts", 10**23),
        ("breaker_failures", 10**23),
        ("retry_delays", ()),
        ("retry_delays", (10, 0)),
        ("retry_delays", (10, 3601)),  # further away than any legal delay: the store takes it for a clock set back
        ("retry_delays", (float("inf"),)),
        ("breaker_failures", 0),
        ("timeout", 1e308),
        ("read_timeout", 1e308),
        ("cache_ttl", -1),
        ("cache_ttl", 1e308),
        ("retention_days", 0),
        ("retention_days", 1e308),
        ("key_days", 0),
        ("key_days", 1e308),
        ("fallback_interval", 1e308),
        ("import_period", 1e308),
        ("fallback_interval", 0),
        ("fallback_max_lines", 0),
        ("fallback_max_lines", 20_001),
        ("import_period", 0),
        ("api_version", 1),
        ("api_key", ""),
        ("api_key", "two words"),
        ("api_key", "line\nbreak"),
        ("api_key_header", "a header"),
        ("api_key_header", "Content-Type"),
        ("user_agent", "ShopTill"),
        ("user_agent", "Shop/2\r\nX: y"),
        ("outbox", ""),
        ("contact_key", "phone"),
        ("contact_type", "two words"),
        ("contact_attributes", "shoeSize"),
        ("contact_attributes", ["shoeSize", ""]),
        ("sftp_port", 0),
        ("sftp_host", "sftp://ftp.voyado.com"),
        ("sftp_host", "ftp.voyado.com:22"),
        ("sftp_host_key", "MD5:aa:bb"),
        ("sftp_host_key", "SHA256:short"),
        ("sftp_key_file", "/nowhere/key"),
        ("sftp_known_hosts", "/nowhere/known_hosts"),
        ("sftp_contacts_dir", ""),
        ("fallback_contacts", "mail"),
        ("fallback_confirm", "yes"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(field: str, value: object) -> None:
    assert refusal(base_url=URL, **{field: value}).startswith(f"{field} (VOYADO_{field.upper()}): ")


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("retry_delays", [0.05], (0.05,)),
        ("rate", 12, 12.0),
        ("outbox", Path("/srv/outbox.db"), "/srv/outbox.db"),
        ("spool_dir", Path("/srv/spool"), "/srv/spool"),
        ("cache_ttl", 0, 0.0),
        ("fallback_confirm", "off", False),
        ("fallback_confirm", True, True),
        ("fallback_max_lines", 1, 1),
        ("contact_attributes", ["a", "b"], frozenset({"a", "b"})),
        ("contact_attributes", set(), frozenset()),
        ("contact_key", "memberNumber", "memberNumber"),
        ("user_agent", "ShopTill/2.3 (till 7)", "ShopTill/2.3 (till 7)"),
        ("api_key_header", "x-api-key", "x-api-key"),
        ("sftp_password", " two words ", " two words "),
        ("sftp_contacts_dir", "customerImport/", "customerImport"),
        ("sftp_redemptions_dir", "/", "/"),
    ],
)
def test_a_value_is_kept_in_its_normal_form(field: str, value: Any, kept: object) -> None:
    assert getattr(Settings(**{field: value}), field) == kept


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.9.9.9", "http://[::1]", "https://localhost"])
def test_a_short_timeout_is_for_loopback(url: str) -> None:
    assert Settings(base_url=url, timeout=0.05).timeout == 0.05


def test_a_short_timeout_without_a_base_url_is_refused() -> None:
    assert refusal(timeout=1).startswith("timeout")


@pytest.mark.parametrize(
    "text",
    [
        "s3cr3t",
        "11" * 31,
        "11" * 33,
        "1g" * 32,
        base64.b64encode(bytes(31)).decode(),
        base64.b64encode(bytes(range(48))).decode(),
        f"{'11' * 32} s3cr3t",
        f"{'11' * 32},{'22' * 32}",
        " ",
    ],
)
def test_what_is_no_key_of_the_seal_is_refused_and_never_told(text: str) -> None:
    message = refusal(seal_key=text)
    assert message.startswith("seal_key (VOYADO_SEAL_KEY): each key must be 32 bytes in base64 or hex")
    assert [part for part in text.split() if part in message] == []


def test_keys_of_the_seal_come_in_two_forms_newest_first(tmp_path: Path) -> None:
    one, other = bytes(range(32)), bytes(range(32, 64))
    text = f"{base64.b64encode(one).decode()}\n{other.hex().upper()}\n{one.hex()}\n"
    (tmp_path / "keys").write_text(text)
    assert Settings().seal_keys == ()
    assert Settings.from_env({"VOYADO_SEAL_KEY_FILE": str(tmp_path / "keys")}).seal_keys == (one, other)
    assert base64.b64encode(one).decode() not in repr(Settings(seal_key=text))


def test_a_group_is_known_by_name_or_number() -> None:
    own = grp.getgrgid(os.getegid())
    assert Settings().gid is None
    assert Settings(group=own.gr_name).gid == Settings(group=str(own.gr_gid)).gid == own.gr_gid


def test_a_group_that_is_not_there_is_refused() -> None:
    assert refusal(group="no-such-group") == "group (VOYADO_GROUP): there is no group no-such-group on this system"


def test_a_group_without_this_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [1000, 1001])
    assert Settings(group="1001").gid == 1001
    assert refusal(group="1002").startswith("group (VOYADO_GROUP): this process is not in the group 1002")


def test_bulk_requests_need_the_key_attribute_and_the_confirmation() -> None:
    assert refusal(fallback_contacts="bulk").startswith("contact_key")
    assert refusal(fallback_contacts="bulk", contact_key="email", fallback_confirm=False).startswith("fallback_confirm")
    assert Settings(fallback_contacts="bulk", contact_key="email").fallback_contacts == "bulk"


@pytest.mark.parametrize("field", TENANT_FILES)
def test_a_file_of_the_tenants_that_cannot_be_read_is_refused(field: str, tmp_path: Path) -> None:
    assert refusal(**{field: str(tmp_path / "nowhere")}).startswith(f"{field} (VOYADO_{field.upper()})")


@pytest.mark.parametrize(
    ("taken", "named"),
    [("sftp_username", "sftp_username"), ("sftp_password", "sftp_password"), ("sftp_host_key", "sftp_known_hosts")],
)
def test_an_sftp_host_needs_a_user_a_secret_and_a_verified_key(taken: str, named: str) -> None:
    whole = SFTP | {"sftp_password": "pw"}
    assert Settings(**whole).sftp_port == 22
    assert Settings(**(whole | {"sftp_host": "::1"})).sftp_host == "::1"
    message = refusal(**{name: value for name, value in whole.items() if name != taken})
    assert message.startswith(f"{named} (")
    assert "with sftp_host" in message


def test_an_sftp_key_file_is_enough_and_goes_beside_a_password(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a key")
    assert Settings(**SFTP, sftp_key_file=str(key)).sftp_password is None
    assert Settings(**SFTP, sftp_key_file=str(key), sftp_password="pw").sftp_key_file == str(key)


def test_two_ways_to_trust_the_sftp_server_are_refused(tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("")
    assert "sftp_known_hosts" in refusal(**SFTP, sftp_password="pw", sftp_known_hosts=str(known))


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Settings().rate = 1  # type: ignore[misc]  # that it cannot be done is the point


def test_paths_are_absolute_and_stay_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(outbox="data/../shop.db")
    beside = Settings(outbox="/srv/voyado/o.db", spool_dir="files")
    monkeypatch.chdir("/")
    assert settings.outbox_path == tmp_path / "shop.db"
    assert settings.spool_path == tmp_path / "spool"
    assert beside.spool_path == tmp_path / "files"


def test_an_outbox_has_one_name_by_whichever_link_it_is_reached(tmp_path: Path) -> None:
    """Locks and spool lie beside it: two releases that link to one file would drain it twice."""
    release, current = tmp_path / "releases" / "1", tmp_path / "current"
    release.mkdir(parents=True)
    (release / "outbox.db").symlink_to("../../shared/outbox.db")  # which is not there yet
    current.symlink_to(release)
    settings = Settings(outbox=str(current / "outbox.db"))
    assert settings.outbox_path == tmp_path / "shared" / "outbox.db"
    assert settings.spool_path == tmp_path / "shared" / "spool"


def test_what_is_required_is_named_when_it_is_asked_for() -> None:
    settings = Settings(base_url=URL, api_key="k")
    assert (settings.require_base_url(), settings.require_api_key()) == (URL, "k")
    with pytest.raises(ConfigurationError, match=r"^base_url \(VOYADO_BASE_URL\)"):
        Settings().require_base_url()
    with pytest.raises(ConfigurationError, match=r"^api_key \(VOYADO_API_KEY\)"):
        Settings().require_api_key()


def test_the_user_agent_names_the_program_and_its_version() -> None:
    assert re.fullmatch(r"voyado-async/\S+", Settings().user_agent)


# sources --------------------------------------------------------------------------------------------------------------


def test_the_environment_speaks_text() -> None:
    settings = Settings.from_env(
        {
            "VOYADO_BASE_URL": " http://localhost:8080 ",
            "VOYADO_TIMEOUT": "0.05",
            "VOYADO_CONCURRENCY": "3",
            "VOYADO_API_VERSION": "2",
            "VOYADO_RETRY_DELAYS": "0.05, 1,2",
            "VOYADO_CONTACT_ATTRIBUTES": "shoeSize, size.of.hat",
            "VOYADO_FALLBACK_CONFIRM": "off",
            "VOYADO_SFTP_USERNAME": "null",
            "VOYADO_SFTP_HOST": "",
            "HOME": "/root",
        }
    )
    assert settings == Settings(
        base_url="http://localhost:8080",
        timeout=0.05,
        concurrency=3,
        api_version=2,
        retry_delays=(0.05, 1.0, 2.0),
        contact_attributes=frozenset({"shoeSize", "size.of.hat"}),
        fallback_confirm=False,
        sftp_username="null",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("VOYADO_RATE", "fast"),
        ("VOYADO_RATE", "nan"),
        ("VOYADO_CONCURRENCY", "1.5"),
        ("VOYADO_API_VERSION", "v3"),
        ("VOYADO_RETRY_DELAYS", "10,"),
        ("VOYADO_RETRY_DELAYS", "10;30"),
        ("VOYADO_CONTACT_ATTRIBUTES", "a,,b"),
        ("VOYADO_FALLBACK_CONFIRM", "true"),
        ("VOYADO_TIMEOUT", "59"),
        ("VOYADO_API_KEY", "two words"),
        ("VOYADO_SEAL_KEY", "s3cr3t"),
    ],
)
def test_a_wrong_variable_is_named(name: str, text: str) -> None:
    message = env_refusal(**{name: text})
    assert f"({name}): " in message
    assert "two words" not in message
    assert "s3cr3t" not in message


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("VOYADO_RATES", "VOYADO_RATE"),
        ("VOYADO_BASEURL", "VOYADO_BASE_URL"),
        ("VOYADO_APIKEY_FILE", "VOYADO_API_KEY_FILE"),
        ("VOYADO_SFTP_USER", "VOYADO_SFTP_USERNAME"),
        ("VOYADO_api_key", "VOYADO_API_KEY"),
        ("VOYADO_CONFIGURATION", "VOYADO_CONFIG"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_name(name: str, near: str) -> None:
    message = env_refusal(**{name: "hunter2"})
    assert message == f"unknown setting in the environment: {name} (did you mean {near}?)"


def test_all_unknown_variables_are_told_at_once_even_empty_ones() -> None:
    assert env_refusal(VOYADO_QQQQQQ="", VOYADO_RATES="1") == (
        "unknown setting in the environment: VOYADO_QQQQQQ, VOYADO_RATES (did you mean VOYADO_RATE?)"
    )


def test_a_misspelt_name_in_the_file_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "voyado.toml"
    message = file_refusal(path, "retry_attempt = 3\n")
    assert message == f"unknown setting in {path}: retry_attempt (did you mean retry_attempts?)"


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    path = tmp_path / "voyado.toml"
    path.write_text('base_url = "https://file.voyado.com"\nrate = 7\nconcurrency = 2\n')
    expected = Settings(base_url="https://file.voyado.com", rate=9, concurrency=2)
    assert Settings.from_file(path, {"VOYADO_RATE": "9"}) == expected
    assert Settings.from_env({"VOYADO_RATE": "9", "VOYADO_CONFIG": str(path), "VOYADO_CONCURRENCY": ""}) == expected


def test_the_file_that_is_named_in_the_call_is_the_one_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "voyado.toml"
    path.write_text("rate = 7")
    assert Settings.from_file(path, {"VOYADO_CONFIG": "/nowhere.toml"}).rate == 7


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "voyado.toml"
    path.write_text("concurrency = 2")
    monkeypatch.setenv("VOYADO_RATE", "11")
    assert Settings.from_env().rate == 11
    assert (Settings.from_file(path).rate, Settings.from_file(path).concurrency) == (11, 2)


def test_the_file_takes_arrays_and_comma_text(tmp_path: Path) -> None:
    path = tmp_path / "voyado.toml"
    path.write_text('retry_delays = [1, 2.5]\ncontact_attributes = "a, b"\nfallback_confirm = false\n')
    settings = Settings.from_file(path, {})
    assert settings.retry_delays == (1.0, 2.5)
    assert settings.contact_attributes == frozenset({"a", "b"})
    assert settings.fallback_confirm is False
    path.write_text('retry_delays = "1,2.5"\ncontact_attributes = []\nfallback_confirm = "off"\n')
    assert Settings.from_file(path, {}) == Settings(
        retry_delays=(1.0, 2.5), contact_attributes=frozenset(), fallback_confirm=False
    )


@pytest.mark.parametrize("text", ["rate = true", "rate = [40]", 'rate = ""', "rate = nan", "[rate]\nx = 1"])
def test_a_wrong_value_in_the_file_is_named(tmp_path: Path, text: str) -> None:
    assert file_refusal(tmp_path / "v.toml", text).startswith("rate (VOYADO_RATE): ")


@pytest.mark.parametrize("content", [b'api_key = "hunter2', b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_is_named_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "voyado.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_env({"VOYADO_CONFIG": str(path)})
    assert f"{path} is not TOML" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(TABLE.keys() - {"VOYADO_CONFIG"}))
def test_bytes_of_the_environment_that_are_no_text_are_refused_by_name(name: str) -> None:
    environ = {"VOYADO_BASE_URL": URL, name: "5\udcff"}
    assert f"({name})" in env_refusal(**environ)


def test_a_missing_configuration_file_is_named() -> None:
    assert env_refusal(VOYADO_CONFIG="/nowhere/voyado.toml").startswith(
        "VOYADO_CONFIG: /nowhere/voyado.toml cannot be read: No such"
    )


def test_relative_paths_in_the_file_start_at_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "api-key").write_text("k3y\n")
    (folder / "id").write_text("a key")
    (folder / "v.toml").write_text(
        'api_key_file = "api-key"\noutbox = "o.db"\nsftp_key_file = "id"\nspool_dir = "/srv/spool"\n'
    )
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_file("etc/v.toml", {})
    assert settings.api_key == "k3y"
    assert settings.outbox_path == folder / "o.db"
    assert settings.sftp_key_file == str(folder / "id")
    assert settings.spool_path == Path("/srv/spool")


# secrets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kept"), [("pw", "pw"), ("pw\n", "pw"), ("pw\r\n", "pw"), ("pw\n\n", "pw\n"), (" pw ", " pw ")]
)
def test_a_secret_file_loses_one_newline_and_nothing_else(tmp_path: Path, content: str, kept: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content.encode())
    assert Settings.from_env({"VOYADO_SFTP_PASSWORD_FILE": str(path)}).sftp_password == kept


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff"])
def test_a_secret_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    message = env_refusal(**{f"VOYADO_{name.upper()}_FILE": str(path)})
    assert message.startswith(f"{name}_file (VOYADO_{name.upper()}_FILE): {path} ")


def test_a_call_may_name_a_secret_file_too(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("hunter2\n")
    settings = Settings(base_url=URL, api_key_file=str(path))
    assert settings.api_key == Settings(api_key_file=path).api_key == "hunter2"  # type: ignore[arg-type]  # taken too
    assert "hunter2" not in repr(settings)
    assert msgspec.structs.replace(settings, rate=1).api_key == "hunter2"
    assert "given twice" in refusal(base_url=URL, api_key="a", api_key_file=str(path))
    assert refusal(base_url=URL, api_key_file="/nowhere").startswith("api_key_file (VOYADO_API_KEY_FILE): /nowhere ")


def test_a_folder_is_no_secret_file(tmp_path: Path) -> None:
    assert "cannot be read" in env_refusal(VOYADO_API_KEY_FILE=str(tmp_path))
    assert "not a path" in env_refusal(VOYADO_API_KEY_FILE="a\0b")
    assert "the path of a file" in file_refusal(tmp_path / "v.toml", "api_key_file = 7")


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_given_twice_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "secret"
    path.write_text("hunter2")
    message = env_refusal(**{f"VOYADO_{name.upper()}": "hunter2", f"VOYADO_{name.upper()}_FILE": str(path)})
    assert f"VOYADO_{name.upper()}_FILE" in message
    assert "hunter2" not in message
    assert "given twice" in file_refusal(tmp_path / "v.toml", f'{name} = "a"\n{name}_file = "secret"\n')


def test_a_secret_in_the_environment_beats_either_form_in_the_file(tmp_path: Path) -> None:
    toml, secret = tmp_path / "v.toml", tmp_path / "secret"
    secret.write_text("from-file")
    toml.write_text('api_key_file = "not-there"')
    assert Settings.from_file(toml, {"VOYADO_API_KEY": "from-env"}).api_key == "from-env"
    toml.write_text('api_key = "from-toml"')
    assert Settings.from_file(toml, {"VOYADO_API_KEY_FILE": str(secret)}).api_key == "from-file"


def test_no_repr_holds_a_secret() -> None:
    settings = Settings(base_url=URL, api_key="hunter2", **SFTP, sftp_password="hunter3")
    for text in (repr(settings), str(settings), f"{settings!r}", pretty_repr(settings)):
        assert "hunter" not in text
        assert "***" in text
        assert URL in text
    assert "api_key=None" in repr(Settings())


# the sample -----------------------------------------------------------------------------------------------------------


def uncommented() -> str:
    return re.sub(r"^#(?=[a-z_]+ = )", "", SAMPLE.read_text(), flags=re.MULTILINE)


def test_the_sample_loads_as_it_stands() -> None:
    assert Settings.from_file(SAMPLE, {}) == Settings(base_url="https://example.staging.voyado.com")


def test_the_sample_loads_with_every_line_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = ["names.toml", *(f"{family}.xs{kind}" for family in FAMILIES for kind in ("l", "d"))]
    for name in ("api-key", "sftp-password", "sftp-key", "known_hosts", *named):
        (tmp_path / name).write_text("content\n")
    (tmp_path / "seal-key").write_text("11" * 32 + "\n")
    monkeypatch.setattr("voyado_async.settings._gid", lambda group: {"shop": 1000}[group])
    (tmp_path / "voyado.toml").write_text(uncommented())
    settings = Settings.from_file(tmp_path / "voyado.toml", {})
    examples = {"base_url", "api_key", "user_agent", "outbox", "contact_key", "contact_attributes", "spool_dir"}
    examples |= {"seal_key", "group"}
    examples |= set(TENANT_FILES)
    changed = {name for name in Settings.__struct_fields__ if getattr(settings, name) != getattr(Settings(), name)}
    assert changed - {name for name in changed if name.startswith("sftp_")} == examples
    assert settings.sftp_contacts_dir == Settings().sftp_contacts_dir
    assert settings.sftp_transactions_dir == Settings().sftp_transactions_dir


def test_the_sample_names_every_setting_that_can_be_set() -> None:
    words = set(re.findall(r"\w+", uncommented()))
    missing = {name.removesuffix("_file") for name in Settings.__struct_fields__ if not words & {name, f"{name}_file"}}
    assert missing == set()


# import ---------------------------------------------------------------------------------------------------------------


def test_importing_settings_loads_nothing_that_only_few_need() -> None:
    code = (
        "import sys, voyado_async.settings as s; s.Settings(base_url='http://localhost', user_agent='a/1');"
        "print([m for m in ('tomllib', 'difflib', 'importlib.metadata', 'asyncssh') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
