"""`python -m vallum_local FOLDER --kafka … --database …` prepares a deployment; see `prepare`."""

from vallum_local.prepare import main

raise SystemExit(main())
