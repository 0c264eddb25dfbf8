"""What the dashboard is told by its environment, besides what every process is told."""

from pathlib import Path

from pydantic import AnyHttpUrl, Field

from shared.settings import PlatformSettings


class DashboardSettings(PlatformSettings):
    """Settings of the dashboard; times in seconds."""

    dashboard_host: str = Field(default="127.0.0.1", description="Where it listens; every page asks for a key.")
    dashboard_port: int = Field(default=8001, ge=1, le=65535, description="Port that it listens on.")
    gateway_url: AnyHttpUrl = Field(
        default=AnyHttpUrl("http://127.0.0.1:8000"), description="The gateway whose API it reads."
    )
    gateway_timeout: float = Field(default=3.0, gt=0, description="For one answer of the gateway.")
    dashboard_refresh: float = Field(default=2.0, ge=0.1, description="Between two readings of an open page.")

    @property
    def gateway(self) -> str:
        """The gateway's address without a trailing slash."""
        return str(self.gateway_url).rstrip("/")

    @property
    def secret_file(self) -> Path:
        """What signs the session cookies; made at the first start."""
        return self.home / "dashboard.secret"

    @property
    def session_folder(self) -> Path:
        """Where the sessions stand, one file a browser that is signed in."""
        return self.home / "dashboard"
