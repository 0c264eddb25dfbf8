"""What a button does: it asks the gateway for something, and says what came of it."""

from collections.abc import Awaitable

from nicegui import ui

from services.dashboard.calling import GatewayError


async def told(call: Awaitable[object], done: str, undone: str) -> bool:
    """Whether the call succeeded, which is said too; `undone` says what did not happen."""
    try:
        await call
    except GatewayError as error:
        ui.notify(f"{undone} {error}", type="negative")
        return False
    ui.notify(done, type="positive")
    return True
