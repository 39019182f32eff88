"""Started in place of a service: writes its environment into its folder and answers health checks."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2_grpc


async def main() -> None:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    server.add_insecure_port(os.environ["VALLUM_GRPC_ADDRESS"])
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    facts = {"pid": os.getpid(), "environment": dict(os.environ)}
    Path(os.environ["VALLUM_DATA_DIR"], "facts.json").write_text(json.dumps(facts))
    asyncio.run(main())
