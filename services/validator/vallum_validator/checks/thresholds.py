"""The policy file of the checks: every limit and every choice of method that changes a verdict, each with its source.

The file is data (`policies/thresholds.yaml`), versioned and named by digest in every assessment. No limit is a constant
in code, and a limit without a source is refused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from vallum_common.bundle import Tier
from vallum_common.errors import Invalid, NotFound
from vallum_common.written import mistake

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Source = Annotated[str, Field(min_length=10)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limit(_Part):
    """A share in [0, 1] for each tier, and where it comes from; 1.0 for a gap or rate measures without judging."""

    minimal: Share
    limited: Share
    high: Share
    source: Source

    def at(self, tier: Tier) -> float:
        """Return the limit of a tier."""
        return {Tier.MINIMAL: self.minimal, Tier.LIMITED: self.limited, Tier.HIGH: self.high}[tier]


class Setting(_Part):
    """One number and where it comes from."""

    value: Annotated[float, Field(ge=0.0)]
    source: Source


class Robustness(_Part):
    """What `adversarial_robustness` is judged by.

    Args:
        attacked_fraction: largest share of correctly classified rows whose answer a small feasible change may flip.
        radius: how far a number may move, as a share of the feature's span.
        discrete_changes: how many categories, booleans or coarse integers may change beside.
        rows: at most this many rows are attacked.
        queries: at most this many predictions are spent on a row.
        boundary_rows: rows of which the plain distance to another answer is measured, for all-numeric data.
        boundary_queries: predictions spent on each of them and each norm.
        smoothing_sigma: noise of the smoothed model, as a share of each feature's span.
        confidence: of the interval and the verdict.
    """

    attacked_fraction: Limit
    radius: Limit
    discrete_changes: Setting
    rows: Setting
    queries: Setting
    boundary_rows: Setting
    boundary_queries: Setting
    smoothing_sigma: Setting
    confidence: Setting


class PresidioRule(_Part):
    """What Microsoft's Presidio is asked beside our own search for personal data.

    Args:
        entities: what it looks for, in its own names, e.g. `US_ITIN`.
        score: the least that counts; a right check digit is 1.0, a form alone mostly 0.5 or less.
        most_rows: rows of each table that it looks at, evenly spread.
        model: an installed spaCy pipeline, or the path of its folder, for names of people and places; empty for none.
        source: why it is asked, and for these.
    """

    entities: Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")], ...], Field(min_length=1)]
    score: Annotated[float, Field(gt=0.0, le=1.0)]
    most_rows: Annotated[int, Field(ge=1, le=20_000)] = 2000
    model: str = ""
    source: Source


class Privacy(_Part):
    """What `data_privacy` is judged by.

    Args:
        true_positive_rate: largest share of training rows an attacker may recognise at `false_positive_rate`.
        false_positive_rate: how often the attacker may be wrong about a row that was not trained on.
        least_rows: members and population rows needed each.
        most_rows: more members than this are sampled.
        most_population: more rows of the population than this are sampled.
        shift: largest share by which members and population may be told apart without the model (AUC above 1/2).
        personal_data: largest share of rows that may hold what identifies a person directly.
        presidio: who else looks for it; `None` for nobody.
        confidence: of the interval and the verdict.
    """

    true_positive_rate: Limit
    false_positive_rate: Setting
    least_rows: Setting
    most_rows: Setting
    most_population: Setting
    shift: Setting
    personal_data: Limit
    confidence: Setting
    presidio: PresidioRule | None = None


class Fairness(_Part):
    """What `bias_fairness` is judged by.

    Args:
        disparate_impact: smallest allowed ratio of a group's selection rate to the most selected group's.
        equalised_odds_gap: largest allowed difference of true or false positive rates between groups.
        calibration_gap: largest allowed distance, in a group, of the mean promised probability from what came true.
        least_share: a group below this share of the rows is judged pooled with the others of its kind.
        most_groups: a sensitive column with more values is cut into quartiles (numbers), or its rare words pooled.
        confidence: of the interval and the verdict.
    """

    disparate_impact: Limit
    equalised_odds_gap: Limit
    calibration_gap: Limit
    least_share: Setting
    most_groups: Setting
    confidence: Setting


class CardItem(_Part):
    """One thing a model card has to tell.

    Args:
        id: stable name of the item.
        asks: what is to be told, in a few words; shown when it is missing.
        front_matter: keys of the card's front matter of which one that is filled suffices.
        manifest: keys of the bundle's manifest of which one that is filled suffices.
        headings: words of which one in a heading with text below it suffices, lower case.
        source: the metadata key or clause that asks for it.
    """

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    asks: Annotated[str, Field(min_length=3)]
    front_matter: tuple[str, ...] = ()
    manifest: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()
    source: Source

    @model_validator(mode="after")
    def _can_be_found(self) -> CardItem:
        if not (self.front_matter or self.manifest or self.headings):
            raise ValueError("an item needs one of front_matter, manifest, headings to be found by")
        return self


class Transparency(_Part):
    """What `transparency` is judged by.

    Args:
        completeness: smallest share of `items` a card must tell.
        items: what is looked for.
        least_words: words below a heading that count as having told something.
        overclaim: how far a declared metric may lie above the reproduced interval.
        importance_queries: predictions to spend on permutation importance of all features together.
        explained_decisions: how many single decisions are taken apart.
        explanation_queries: predictions to spend on all of them together.
        confidence: of intervals.
    """

    completeness: Limit
    items: Annotated[tuple[CardItem, ...], Field(min_length=1)]
    least_words: Setting
    overclaim: Setting
    importance_queries: Setting
    explained_decisions: Setting
    explanation_queries: Setting
    confidence: Setting

    @model_validator(mode="after")
    def _items_are_distinct(self) -> Transparency:
        names = [item.id for item in self.items]
        if len(set(names)) != len(names):
            raise ValueError("the ids of items must be distinct")
        return self


class IsolationRule(_Part):
    """How a model must be held while it runs.

    Args:
        allow_weaker: whether it may run where the kernel cannot hold it fully; the evidence then names what is missing.
        source: where that comes from.
    """

    allow_weaker: StrictBool
    source: Source


class Thresholds(_Part):
    """The whole policy file of the checks.

    Args:
        version: as written in the file.
        isolation: how a model must be held.
        digest: hex SHA-256 of the file's bytes; not written in the file.
    """

    version: Annotated[str, Field(min_length=1)]
    isolation: IsolationRule
    adversarial_robustness: Robustness
    data_privacy: Privacy
    bias_fairness: Fairness
    transparency: Transparency
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def load_thresholds(path: Path) -> Thresholds:
    """Read a policy file.

    Raises:
        NotFound: there is no such file.
        Invalid: it is not what the classes above describe; one line with the place and the value.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotFound(f"no thresholds at {str(path)!r}: {error.strerror}") from error
    try:
        document: Any = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"{str(path)!r} is not YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(document, dict) or "digest" in document:
        raise Invalid(f"{str(path)!r} must be a mapping with `version` and one section per check, without `digest`")
    try:
        return Thresholds.model_validate({**document, "digest": hashlib.sha256(content).hexdigest()})
    except ValidationError as error:
        raise Invalid(f"{str(path)!r}: {mistake(error, Thresholds)}") from error
