"""`python -m vallum_registry`."""

from vallum_registry.main import main

raise SystemExit(main())
