"""`python -m vallum_compliance` runs the service."""

from vallum_compliance.main import main

raise SystemExit(main())
