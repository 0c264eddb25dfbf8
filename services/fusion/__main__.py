"""The fusion service as a process of its own."""

from services.fusion.server import run
from services.fusion.settings import FusionServiceSettings
from shared.model_server import run_process
from shared.settings import told

if __name__ == "__main__":
    settings = told(FusionServiceSettings)
    run_process("fusion", settings, lambda stop, metrics: run(settings, stop, metrics))
