"""Where the platform is and by which key: from the environment, or from the state folder."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import typer
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.cli.api import Api, CommandError

TIMEOUT_SECONDS: Final = 60.0


class ConnectionSettings(BaseSettings):
    """What commands are told by the environment (prefix REWARDLOOP_)."""

    model_config = SettingsConfigDict(env_prefix="REWARDLOOP_", frozen=True, extra="ignore")

    url: str | None = Field(default=None, description="Of the gateway; default: 127.0.0.1 at `port`.")
    port: int = Field(default=8000, ge=1, le=65535)
    key: SecretStr | None = Field(default=None, description="Default: the manage key in <home>/bootstrap.key.")
    home: Path = Field(default=Path("var"), description="State folder of a platform on this machine.")

    @property
    def gateway_url(self) -> str:
        return self.url or f"http://127.0.0.1:{self.port}"

    @property
    def key_file(self) -> Path:
        return self.home / "bootstrap.key"

    def read_key(self) -> str:
        """The key to call with.

        Raises:
            CommandError: there is none.
        """
        if self.key is not None:
            return self.key.get_secret_value().strip()
        try:
            return self.key_file.read_text("utf-8").strip()
        except OSError as error:
            raise CommandError(
                f"no key: set REWARDLOOP_KEY, or REWARDLOOP_HOME to a state folder with a bootstrap.key that you may "
                f"read ({self.key_file}: {error.strerror})"
            ) from error


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with; a test brings its own."""

    api: Api
    sleep: Callable[[float], None] = time.sleep


def session_of(context: typer.Context) -> Session:
    """The session that the command was started with, else one by the environment, closed with the command."""
    if isinstance(context.obj, Session):
        return context.obj
    settings = ConnectionSettings()
    headers = {"Authorization": f"Bearer {settings.read_key()}"}
    try:
        http = httpx.Client(base_url=settings.gateway_url, headers=headers, timeout=TIMEOUT_SECONDS)
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        raise CommandError(f"REWARDLOOP_URL or REWARDLOOP_KEY cannot be used: {error}") from error
    context.call_on_close(http.close)
    return Session(Api(http))
