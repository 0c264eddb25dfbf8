"""`rewardloop doctor`: what is wrong with an installation, and how to mend it."""

import time
from dataclasses import asdict

import typer

from services.cli.api import CommandError
from services.cli.output import AsJson, note, print_json, show_rows


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Looks at Python, the state folder, addresses and the running platform; fails where something is wrong."""
    # The other commands need no database.
    from services.cli.checks import CHECKS, Installation

    installation = context.obj if isinstance(context.obj, Installation) else Installation(clock=time.time)
    findings = [finding for check in CHECKS for finding in check(installation)]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        show_rows(map(asdict, findings), {"what": "what", "state": "state", "seen": "seen"}, False)
        for finding in findings:
            if finding.advice:
                note(f"{finding.what}: {finding.advice}")
    wrong = [finding.what for finding in findings if finding.state == "wrong"]
    if wrong:
        raise CommandError(f"{len(wrong)} things are wrong: {', '.join(wrong)}")
