"""The encoding service as a process of its own."""

from services.encoding.server import run
from services.encoding.settings import EncodingSettings
from shared.model_server import run_process
from shared.settings import told

if __name__ == "__main__":
    settings = told(EncodingSettings)
    run_process("encoding", settings, lambda stop, metrics: run(settings, stop, metrics))
