"""`python -m vallum_validator` runs the service."""

from vallum_validator.main import main

raise SystemExit(main())
