"""Fixtures for every package; a real Kafka and PostgreSQL come from the plugin `vallum_local.testing`."""

from __future__ import annotations

import asyncio
import os

import pytest

# A scan forks. No service forks with gRPC running; one process for all tests does, and gRPC's fork handlers abort it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


@pytest.fixture(scope="session")
def platform_kafka(kafka: str) -> str:
    """Bootstrap address of a real Kafka on which every topic of the contracts exists, as `vallum up` makes them."""
    from vallum_local.kafka import create_topics
    from vallum_local.topics import platform_topics

    asyncio.run(create_topics(kafka, platform_topics()))
    return kafka
