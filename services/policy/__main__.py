"""The policy service as a process of its own."""

from services.policy.server import run
from services.policy.settings import PolicySettings
from shared.model_server import run_process
from shared.settings import told

if __name__ == "__main__":
    settings = told(PolicySettings)
    run_process("policy", settings, lambda stop, metrics: run(settings, stop, metrics))
