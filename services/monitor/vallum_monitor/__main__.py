"""`python -m vallum_monitor` runs the service."""

from vallum_monitor.main import main

raise SystemExit(main())
