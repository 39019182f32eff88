"""RPCs in: parse, call, answer."""

from __future__ import annotations

from typing import Any

from vallum.risk.v1 import risk_service_pb2, risk_service_pb2_grpc
from vallum_common.rpc.paging import Page, next_token, read_page
from vallum_risk import wire
from vallum_risk.service import RiskRegister


class RiskServicer(risk_service_pb2_grpc.RiskServiceServicer):
    """`vallum.risk.v1.RiskService`.

    Args:
        register: the use cases.
    """

    def __init__(self, register: RiskRegister) -> None:
        self._register = register

    async def GetRiskProfile(
        self, request: risk_service_pb2.GetRiskProfileRequest, context: Any
    ) -> risk_service_pb2.GetRiskProfileResponse:
        """The newest profile of one version."""
        profile = await self._register.profile(request.model, request.version)
        return risk_service_pb2.GetRiskProfileResponse(profile=wire.profile_message(profile))

    async def ListRiskRegister(
        self, request: risk_service_pb2.ListRiskRegisterRequest, context: Any
    ) -> risk_service_pb2.ListRiskRegisterResponse:
        """The newest profiles of all versions, worst first."""
        page: Page = read_page(request.page_size, request.page_token)
        profiles = await self._register.register(limit=page.size, offset=page.offset)
        return risk_service_pb2.ListRiskRegisterResponse(
            profiles=map(wire.profile_message, profiles), next_page_token=next_token(page, len(profiles))
        )
