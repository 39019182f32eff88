"""Where compliance keeps evidence, decisions and the audit log: a PostgreSQL database of its own."""

from vallum_compliance.store.audit import SqlAuditStore, SqlAuditUnit
from vallum_compliance.store.decisions import SqlDecisionStore, SqlDecisionUnit

__all__ = ["SqlAuditStore", "SqlAuditUnit", "SqlDecisionStore", "SqlDecisionUnit"]
