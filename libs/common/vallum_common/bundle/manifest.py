"""The manifest `vallum.yaml`: what a submitter writes about a model, checked before anything else looks at it."""

from __future__ import annotations

import datetime as dt
import math
import re
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from vallum_common.errors import Invalid
from vallum_common.written import mistake

MANIFEST_NAME: Final = "vallum.yaml"
MAX_MANIFEST_BYTES: Final = 256 * 1024
"""A manifest is written by a person; more is an attack or a mistake."""

_SHA256: Final = r"^[0-9a-f]{64}$"
_UNWRITABLE: Final = re.compile("[\x00\ud800-\udfff]")
"""What YAML can escape, but no file name, database or message can hold."""
_MAX_NAME_BYTES: Final = 255
"""Of one step of a path, in the usual file systems."""


class Task(StrEnum):
    """What the model predicts."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


class Tier(StrEnum):
    """How much harm a wrong answer does; policy sets its thresholds by it."""

    MINIMAL = "minimal"
    LIMITED = "limited"
    HIGH = "high"


class FeatureType(StrEnum):
    """How a feature is encoded and which changes of it are possible in the world."""

    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CATEGORICAL = "categorical"


def _relative_path(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\\" in value or not path.parts or len(value) > 255:
        raise ValueError(f"{value!r} must be a relative path inside the bundle, without '..' and '\\'")
    if any(len(part.encode()) > _MAX_NAME_BYTES for part in path.parts):
        raise ValueError(f"{value!r} holds a name of more than {_MAX_NAME_BYTES} bytes")
    return str(path)


RelativePath = Annotated[str, AfterValidator(_relative_path)]
Scalar = str | bool | int | float


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, protected_namespaces=())


class Model(_Part):
    """The section `model`: identity, purpose and the artefact."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$")]
    artifact: RelativePath
    task: Annotated[Task, Field(strict=False)] = Task.CLASSIFICATION
    tier: Annotated[Tier, Field(strict=False)] = Tier.HIGH
    owner: Annotated[str, Field(min_length=1, max_length=200)]
    intended_use: Annotated[str, Field(max_length=4000)] = ""


class Feature(_Part):
    """One input of the model: its type and the values it can take in the world.

    Args:
        type: integer, number, boolean or categorical.
        min: smallest possible value of an integer or number, inclusive; `None` where unknown.
        max: largest possible value, inclusive.
        values: the categories, in the order of their index; only for categorical.
        mutable: whether the person described could change it (age and sex: no; working hours: yes).
    """

    type: Annotated[FeatureType, Field(strict=False)]
    min: float | int | None = None
    max: float | int | None = None
    values: tuple[Scalar, ...] = Field(default=(), strict=False)
    mutable: bool = True

    @model_validator(mode="after")
    def _values_belong_to_categories(self) -> Feature:
        if self.type is FeatureType.CATEGORICAL:
            if not self.values:
                raise ValueError("a categorical feature needs `values: [..]`, its categories in order")
            if len(set(map(str, self.values))) != len(self.values):
                raise ValueError(f"`values` must be distinct, got {list(self.values)!r}")
        elif self.values:
            raise ValueError(f"`values` are for a categorical feature, this one is {self.type.value}")
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if any(not math.isfinite(bound) for bound in bounds):
            raise ValueError("`min` and `max` must be finite")
        if len(bounds) == 2 and bounds[0] > bounds[1]:
            raise ValueError(f"`min` must not be above `max`, got {self.min!r} and {self.max!r}")
        return self


class DataFile(_Part):
    """A table in the bundle: parquet, csv or npz, recognised by its ending."""

    file: RelativePath


class Evaluation(DataFile):
    """Rows with their true answer, not used in training.

    Args:
        label: column that holds the true answer.
        positive: the answer that benefits or burdens the person, for fairness of two-class models.
    """

    label: Annotated[str, Field(min_length=1)]
    positive: Scalar | None = None


class Data(_Part):
    """The section `data`: what the checks measure with. A missing part makes the checks that need it INCONCLUSIVE."""

    evaluation: Evaluation | None = None
    members: DataFile | None = None
    population: DataFile | None = None
    sensitive: tuple[str, ...] = Field(default=(), strict=False)
    features: dict[str, Feature] = Field(default_factory=dict)


class DatasetReference(_Part):
    """A data set the model was made from: a name and, where known, the digest of its bytes."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    sha256: Annotated[str, Field(pattern=_SHA256)] | None = None


class Lineage(_Part):
    """Where the model comes from: code, parent model and data sets."""

    code: str = ""
    parent: Annotated[str, Field(pattern=r"^([a-z0-9-]{1,63}@[0-9A-Za-z.+_-]{1,64})?$")] = ""
    datasets: tuple[DatasetReference, ...] = Field(default=(), strict=False)


class Vendor(_Part):
    """The third party a model was bought from."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    contract_expires: dt.date | None = None


class Manifest(_Part):
    """The whole of `vallum.yaml`."""

    model: Model
    data: Data = Field(default_factory=Data)
    card: RelativePath | None = None
    lineage: Lineage = Field(default_factory=Lineage)
    vendor: Vendor | None = None
    signature: RelativePath | None = None

    @model_validator(mode="after")
    def _files_can_lie_together(self) -> Manifest:
        data = self.data
        tables = (table.file for table in (data.evaluation, data.members, data.population) if table)
        paths = {path for path in (self.model.artifact, *tables, self.card, self.signature) if path}
        if MANIFEST_NAME in paths:
            # Whoever lays the bundle out would judge the bytes of one by those of the other.
            raise ValueError(f"{MANIFEST_NAME!r} is the manifest itself, it cannot be one of the files it names")
        for path in sorted(paths):
            around = {str(parent) for parent in PurePosixPath(path).parents} & {MANIFEST_NAME, *paths}
            if around:
                raise ValueError(f"{path!r} lies inside {around.pop()!r}, which is a file and no folder")
        return self

    @property
    def name(self) -> str:
        """The model and version as people write it: `adult-income@1.2.0`."""
        return f"{self.model.id}@{self.model.version}"


class _ManifestLoader(yaml.SafeLoader):
    """YAML as manifests need it: `yes` and `no` are words (YAML 1.2), a repeated key or an alias is a mistake."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise Invalid(f"manifest line {self.line + 1}: aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and _UNWRITABLE.search(value):
            line = node.start_mark.line + 1
            raise Invalid(f"manifest line {line}: {value[:80]!r} holds a zero character or half a character; remove it")
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise Invalid(f"manifest line {key_node.start_mark.line + 1}: a key must be a word, got {key!r}")
            if key in seen:
                raise Invalid(f"manifest line {key_node.start_mark.line + 1}: key {key!r} is written twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


_ManifestLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_ManifestLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def parse_manifest(content: bytes) -> Manifest:
    """Read a manifest and check it.

    Args:
        content: the bytes of `vallum.yaml`, UTF-8.

    Raises:
        Invalid: one line that names the place, the value and, for an unknown key, the nearest known one.
    """
    if len(content) > MAX_MANIFEST_BYTES:
        raise Invalid(f"the manifest has {len(content)} bytes; at most {MAX_MANIFEST_BYTES} are read")
    try:
        # The loader is a SafeLoader, only stricter.
        document = yaml.load(content.decode("utf-8"), Loader=_ManifestLoader)  # noqa: S506
    except UnicodeDecodeError as error:
        raise Invalid(f"the manifest is not UTF-8 text (byte {error.start})") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Invalid(f"the manifest is not YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(document, dict):
        raise Invalid(f"the manifest must be a mapping with the section `model`, got {type(document).__name__}")
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        told = mistake(error, Manifest)
        raise Invalid(f"manifest: {told}") from error
