"""The commands that talk to a platform, mounted beside those that run one."""

from typing import Any

import typer
from typer.core import TyperGroup

from services.cli import dead_letters, keys, loops, models, rollouts
from services.cli.api import CommandError
from services.cli.deciding import decide, feedback, show_decision
from services.cli.demo import demo
from services.cli.doctor import doctor
from services.cli.evaluations import evaluate, evaluations
from services.cli.experiences import experiences, export, import_experiences
from services.cli.output import note
from services.cli.statistics import statistics
from services.cli.training import runs, train


class CommandGroup(TyperGroup):
    """Tells what goes wrong in one message on stderr, and exits with its code."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command. The types are those of Typer's own copy of click, which has no public name."""
        try:
            return super().invoke(ctx)
        except CommandError as error:
            note(f"rewardloop: {error}")
            raise typer.Exit(error.exit_code) from error


def mount(cli: typer.Typer) -> None:
    """Adds every command of this package."""
    cli.command()(demo)
    cli.add_typer(loops.app, name="loops")
    cli.command()(decide)
    cli.command("decision")(show_decision)
    cli.command()(feedback)
    cli.command()(statistics)
    cli.command()(train)
    cli.command("training-runs")(runs)
    cli.add_typer(models.app, name="models")
    cli.command()(experiences)
    cli.command("import")(import_experiences)
    cli.command()(export)
    cli.command()(evaluate)
    cli.command()(evaluations)
    cli.add_typer(rollouts.app, name="rollout")
    cli.add_typer(keys.app, name="keys")
    cli.add_typer(dead_letters.app, name="dead-letters")
    cli.command()(doctor)
