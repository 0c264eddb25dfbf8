"""Pages of the documentation that are made from the code: references of settings and of the API, a list of ADRs."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from deploy.site.settings_fields import Field, fields
from services.__main__ import EmbeddedSettings
from services.dashboard.settings import DashboardSettings
from services.encoding.settings import EncodingSettings
from services.feedback.settings import FeedbackSettings
from services.fusion.settings import FusionServiceSettings
from services.gateway.app import documented
from services.gateway.settings import GatewaySettings
from services.policy.settings import PolicySettings
from services.trainer.settings import TrainerSettings
from shared.loop_settings import LoopSettings
from shared.settings import PlatformSettings

PREFIX: Final = "REWARDLOOP_"
PROCESSES: Final[Mapping[str, type[PlatformSettings]]] = {
    "`rewardloop up`": EmbeddedSettings,
    "Gateway": GatewaySettings,
    "Encoding": EncodingSettings,
    "Fusion": FusionServiceSettings,
    "Policy": PolicySettings,
    "Feedback": FeedbackSettings,
    "Trainer": TrainerSettings,
    "Dashboard": DashboardSettings,
}


def generated_pages(documents: Path) -> dict[str, str]:
    """By their paths in the documentation, the files that nobody writes by hand."""
    return {
        "reference/loop-settings.md": loop_settings_page(),
        "reference/process-settings.md": process_settings_page(),
        "reference/openapi.json": json.dumps(documented().openapi()),
        "adr/index.md": decisions_page(documents / "adr"),
    }


def loop_settings_page() -> str:
    """Every field of `PUT /v1/loops/{loop_id}`."""
    head = (
        "# Settings of a loop\n\nWhat `PUT /v1/loops/{loop_id}` takes; `*` stands for any name or place. "
        "[The tests that show what each does](../settings.md) are listed apart.\n\n"
    )
    return head + _table("field", fields(LoopSettings))


def process_settings_page() -> str:
    """Every environment variable, first what all processes read."""
    shared = {field.path for field in fields(PlatformSettings)}
    parts = ["# Settings of processes\n\nEnvironment variables; secrets have no default.\n", "## Every process\n"]
    parts.append(_table("variable", _variables(PlatformSettings)))
    for name, model in PROCESSES.items():
        own = [field for field in _variables(model) if field.path.removeprefix(PREFIX).lower() not in shared]
        if own:
            parts += [f"## {name}\n", _table("variable", own)]
    return "\n".join(parts)


def decisions_page(folder: Path) -> str:
    """The architecture decision records by their numbers."""
    lines = ["# Why things are as they are\n\nDecisions that a reader would ask about, half a page each.\n"]
    for path in sorted(folder.glob("[0-9]*.md")):
        number, _, title = path.read_text().partition("\n")[0].removeprefix("# ").partition(". ")
        lines.append(f"{number}. [{title}]({path.name})")
    return "\n".join(lines) + "\n"


def _variables(model: type[BaseModel]) -> Iterator[Field]:
    for field in fields(model):
        yield Field(f"{PREFIX}{field.path.upper()}", field.default, field.allowed, field.meaning)


def _table(first: str, rows: Iterator[Field] | list[Field]) -> str:
    lines = [f"| {first} | default | may be | what it does |", "|---|---|---|---|"]
    for row in rows:
        cells = (f"`{row.path}`", f"`{row.default}`", row.allowed, row.meaning)
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines) + "\n"
