"""What the global options said, and the settings that follow from them."""

from __future__ import annotations

import os
from pathlib import Path

import click

from voyado_async.settings import CONFIG, Settings


class Invocation:
    """What the global options said; `ctx.obj` of every command."""

    def __init__(self, config: str | None = None, outbox: str | None = None) -> None:
        self.json = False
        """Whether the command was asked for JSON."""
        self._config = config
        self._outbox = outbox

    def settings(self) -> Settings:
        """The settings, with the global options before the environment and that before the file.

        Raises ConfigurationError.
        """
        environ = dict(os.environ)
        if self._outbox is not None:
            environ["VOYADO_OUTBOX"] = self._outbox
        if self._config is not None:
            environ.pop(CONFIG, None)
            return Settings.from_file(self._config, environ)
        return Settings.from_env(environ)

    @property
    def source(self) -> Path | None:
        """The TOML file that the settings come from, if one is named."""
        named = self._config or os.environ.get(CONFIG)
        return Path(named).absolute() if named else None


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)
"""Hand a command its `Invocation` as the first argument."""
