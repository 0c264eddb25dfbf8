"""Kafka, PostgreSQL and Redis as processes of this machine, for development and tests: no Docker, no init system."""
