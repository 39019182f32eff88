"""Models, versions, artefacts, lineage and deployments."""
