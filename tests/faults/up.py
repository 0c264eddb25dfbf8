"""`rewardloop up`, altered and without the dashboard: python -m tests.faults.up gateway=stepped-clock …"""

import sys
from dataclasses import replace

import services.__main__ as platform
from services.supervisor import Program


def altered(programs: list[Program], alterations: dict[str, str]) -> list[Program]:
    """The programs, those that are named by way of tests.faults.altered."""
    return [
        replace(program, arguments=_by_way_of(list(program.arguments), alterations[program.name]))
        if program.name in alterations
        else program
        for program in programs
        if program.name != "dashboard"
    ]


def _by_way_of(arguments: list[str], alteration: str) -> list[str]:
    python, module, *rest = arguments
    assert module == "-m"
    return [python, "-m", "tests.faults.altered", alteration, *rest]


if __name__ == "__main__":
    wanted = dict(argument.split("=") for argument in sys.argv[1:])
    unaltered = platform.programs
    platform.programs = lambda settings: altered(unaltered(settings), wanted)
    sys.argv = ["rewardloop", "up"]
    platform.main()
