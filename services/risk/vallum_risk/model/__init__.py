"""The risk model: parameters as versioned data, and the arithmetic that turns evidence into scores."""

from vallum_risk.model.parameters import RiskModel, load_risk_model
from vallum_risk.model.scoring import score_evidence

__all__ = ["RiskModel", "load_risk_model", "score_evidence"]
