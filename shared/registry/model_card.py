"""A model version's card: what a person reads in its folder before rolling it out elsewhere. Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from shared.domain import Evaluation
from shared.registry.manifest import Manifest, Part
from shared.registry.version_files import PARTS

MICROSECONDS: Final = 1_000_000


def model_card(
    manifest: Manifest, manifest_sha256: str, sizes: Mapping[Part, int], evaluations: Sequence[Evaluation] = ()
) -> str:
    """By the manifest and the version's finished evaluations; `sizes` of the parts, in bytes."""
    settings = manifest.settings
    return "\n".join(
        [
            f"# {manifest.loop_id}, version {manifest.version}",
            "",
            "A model version of Rewardloop: encoders, fusion and policy of one decision problem.",
            "`rewardloop models import LOOP FOLDER` registers it with a loop that has its modalities and actions.",
            "",
            *_table("Lineage", _lineage(manifest, manifest_sha256)),
            *_table("Data window", _window(manifest)),
            *_table(
                "What it reads and decides",
                [
                    *((f"modality `{name}`", of.encoder or of.kind) for name, of in settings.modalities.items()),
                    (
                        "actions",
                        _names(manifest.architecture.action_ids) or "any, by features",
                    ),
                    ("reward", _names(settings.reward.metrics)),
                    ("reward's range", f"{settings.reward.range[0]:g} to {settings.reward.range[1]:g}"),
                ],
            ),
            *_table("Metrics and the gate's evaluation", [(name, _shown(of)) for name, of in manifest.metrics.items()]),
            *_table("Off-policy evaluations", _evaluated(evaluations)),
            *_table(
                "Weights",
                [(f"`{name}`", f"{sizes[part]:,} bytes, `{manifest.parts[part]}`") for part, name in PARTS.items()],
            ),
            "## Settings",
            "",
            "```json",
            settings.model_dump_json(indent=2),
            "```",
            "",
        ]
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _lineage(manifest: Manifest, manifest_sha256: str) -> list[tuple[str, str]]:
    origin = manifest.imported_from
    rows = [
        ("parent", "none" if manifest.parent is None else f"version {manifest.parent}"),
        ("made", _moment(manifest.created_at)),
        ("by", f"`{manifest.training_run_id}`"),
        ("code", f"rewardloop-platform {manifest.code_version}"),
        ("settings revision", str(manifest.settings_revision)),
        ("manifest", f"`{manifest_sha256}`"),
    ]
    if origin is not None:
        rows.append(
            ("imported from", f"version {origin.version} of `{origin.loop_id}`, manifest `{origin.manifest_sha256}`")
        )
    return rows


def _window(manifest: Manifest) -> list[tuple[str, str]]:
    window = manifest.data_window
    if window is None:
        return [("experiences", f"up to sequence {manifest.covers_sequence}")]
    return [
        ("experiences", f"{window.experiences:,}, of which the newest {window.held_out:,} judged it"),
        ("sequences", f"{window.first_sequence} to {window.last_sequence}"),
        ("decided", f"{_moment(window.since)} to {_moment(window.until)}"),
    ]


def _evaluated(evaluations: Sequence[Evaluation]) -> Iterable[tuple[str, str]]:
    for one in evaluations:
        result = one.result or {}
        estimates = result.get("estimates")
        told = estimates.items() if isinstance(estimates, dict) else ()
        values = ", ".join(f"{name} {_shown(of.get('value'))}" for name, of in told if isinstance(of, dict))
        yield _moment(one.requested_at), f"{result.get('verdict', '')}: {values}"


def _table(title: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    """Nothing where there are no rows."""
    lines = [f"| {name} | {value} |" for name, value in rows]
    return [f"## {title}", "", "| | |", "|---|---|", *lines, ""] if lines else []


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at / MICROSECONDS, UTC).isoformat(timespec="seconds")


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
