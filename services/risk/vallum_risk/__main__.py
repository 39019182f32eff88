"""`python -m vallum_risk` runs the service."""

from vallum_risk.main import main

raise SystemExit(main())
