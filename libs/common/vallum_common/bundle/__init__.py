"""A bundle: what is submitted. Its manifest (`vallum.yaml`) and the files the manifest names.

The client reads a bundle to upload it, the registry judges the manifest again because a client may be anybody, and the
validator reads it a third time to know how the model is called: three services that must not differ on what is allowed.
This package never opens an artefact or a data file.
"""

from vallum_common.bundle.manifest import (
    MANIFEST_NAME,
    DataFile,
    Evaluation,
    Feature,
    FeatureType,
    Manifest,
    Task,
    Tier,
    parse_manifest,
)
from vallum_common.bundle.source import Bundle, BundleFile, Role, open_bundle
from vallum_common.bundle.spelling import canonical_text

__all__ = [
    "MANIFEST_NAME",
    "Bundle",
    "BundleFile",
    "DataFile",
    "Evaluation",
    "Feature",
    "FeatureType",
    "Manifest",
    "Role",
    "Task",
    "Tier",
    "canonical_text",
    "open_bundle",
    "parse_manifest",
]
