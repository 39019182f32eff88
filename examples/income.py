"""Train `adult-income`, the example that is approved: boosting that sees neither sex nor race and treats them alike.

Three measures, each small enough to be read:

- what the model may not use it does not get: sex, race, marital status, relationship, country, and the census weight;
- each training row weighs as much as its combination of sex, race and income would if income did not depend on the two;
- calling a person of small income rich costs more than the reverse, as much more as it takes for the worst-off group to
  get the favourable answer nearly as often as the best-off. The price is folded into the weights: no threshold outside
  the model can be forgotten.

Few, shallow trees over large leaves leave little to remember of any single person, and little to gain from a small lie.

Source: reweighing from Kamiran and Calders 2012, section 4.1; cost-sensitive weights from Elkan 2001, theorem 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import adult
import numpy as np
import pandas as pd
import skl2onnx
import sklearn
from bundles import card_text, code_reference, write_bundle, write_onnx, write_table
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from vallum_common.errors import Invalid

FEATURES: Final = (
    "age",
    "workclass",
    "education_num",
    "occupation",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
)
MEMBERS: Final = 4_000
"""Training rows in the bundle: enough to measure what the model remembers of them."""
COSTS: Final = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
"""Tried in this order until the groups are treated alike enough."""
LEAF: Final = 100
"""People a leaf stands for at least; no answer rests on a few of them."""
SHARE: Final = 0.5
"""Of the rows each tree sees."""


@dataclass(frozen=True, slots=True)
class Version:
    """What differs between the versions of the model.

    Args:
        number: the version.
        parent: `model@version` it follows; empty for the first.
        trees: boosting rounds.
        depth: splits from root to leaf; one means that features do not interact.
        learning_rate: share of each tree that is added.
        ratio: how often the worst-off group has to get the favourable answer, relative to the best-off, in training.
        change: what is new, one sentence for the card.
    """

    number: str
    parent: str
    trees: int
    depth: int
    learning_rate: float
    ratio: float
    change: str


CARD: Final = """
Tells whether a person probably earns at most 50,000 dollars a year, from seven answers on a form.

## Intended use
Granting a reduced, income-tested tariff without paper work: who is predicted `<=50K` gets it at once, who is
predicted `>50K` is asked for a tax statement. `<=50K` is therefore the answer that helps. Users are clerks of the
utility that offers the tariff; the people concerned are its customers.

## Out-of-scope use
Refusing the tariff without asking for the statement; credit, employment, insurance or benefits of the state; people
outside the United States or under 17; years other than those the training data stand for.

## Provider and contact
Team credit-platform of Vallum's examples, version {number}; questions through the issue tracker of the repository.

## Model design
{trees} boosted trees of depth {depth}, learning rate {learning_rate}, at least {leaf} people in a leaf, each tree
grown on a random half of the rows. Categories are one-hot encoded. The output is a label and two probabilities. The
probabilities carry the weights of training in them: they rank people and are not frequencies.

Sex, race, marital status, relationship and country are not inputs. What remains still correlates with them.

## Training
`make.py` in this folder trains with scikit-learn on {training:,} rows. Each row weighs as much as its combination of
sex, race and income would if income did not depend on sex and race (reweighing, Kamiran and Calders 2012). A row with
`<=50K` weighs {cost:g} times more, because asking somebody who is entitled for papers is the worse error; {cost:g} is
the smallest of the costs tried with which, in training, no group of sex and race (of at least 2 % of the rows) gets
`<=50K` less than {ratio} times as often as another.

## Training data
Adult, Becker and Kohavi 1996, UCI Machine Learning Repository, CC BY 4.0: 48,842 people from the 1994 Current
Population Survey of the United States. {training:,} to train ({members:,} of them in this bundle), {evaluation:,} to
evaluate, {population:,} untouched as population, the rest for tests of the monitor; drawn at random once for all
examples.

## Data preparation
The donors of the data selected people above 16 with working hours and some income. The label is income as told to the
interviewer. Missing work class or occupation became the category `Unknown`; nothing else was changed or removed.
Known bias: 0.30 of the men but 0.11 of the women in these data earn more than 50,000 dollars.

## Inputs
`age` 17 to 90, `workclass` and `occupation` as census words, `education_num` 1 (preschool) to 16 (doctorate),
`capital_gain` and `capital_loss` in dollars a year, `hours_per_week` 1 to 99. Age cannot be changed; the rest can, or
can be told differently.

## How to use
`onnxruntime.InferenceSession("model.onnx").run(None, inputs)` with one array of shape [rows, 1] per input, numbers as
float32, words as text. The first output is the label, the second the probabilities of `<=50K` and `>50K`.

## Software
Trained with scikit-learn {sklearn}, exported with skl2onnx {skl2onnx}; any runtime for ONNX with ai.onnx.ml, no special
hardware.

## Evaluation
On {evaluation:,} people that were not trained on. The features, the depth and the ratio asked for in training were
settled after looking at earlier results on these people, so the figures flatter a little; nothing was fitted to them.

## Performance
Accuracy {accuracy:.3f}; F1 of `<=50K` {f1:.3f}; area under the ROC curve {roc_auc:.3f}. Always answering `<=50K`
would have accuracy {majority:.3f}. Of people who earn more, {caught:.2f} are asked for a statement; of people who do
not, {bothered:.3f} are asked in vain.

## Performance by group
{groups}

By the census itself the worst-off group would get `<=50K` {truth_ratio:.2f} times as often as the best-off one
(groups of at least 2 %); by this model {model_ratio:.2f} times. Turned around, women are answered `>50K`
{reverse:.2f} times as often as men: for a use in which that answer helps, such as credit, this model would not be
fair and must not be used.

## Limitations
Income of 1994 in dollars of 1994. Seven answers do not know savings, rent or household size. Least reliable for
people with capital gains, who are few, and for the groups with few rows above.

## Risks
Asking entitled people for papers, some of whom give up; more often men than women, because more men are predicted
`>50K`. Occupation and working hours stand in for sex to a degree. People may understate their hours to get the
tariff.

## Robustness and security
The answer depends little on small changes, measured by the check `adversarial_robustness`: within 5 % of each number
and one changed category few right answers flip. The file is ONNX, it runs no code of its own. Who asks very often can
copy the model; limit queries.

## Human oversight
A clerk sees the seven answers, may grant the tariff against the prediction, and must do so on a tax statement.
Everybody asked for a statement is told that a model chose and may object.

## Monitoring and updates
While it serves, each input and the share of `<=50K` are compared with the evaluation rows; confirmed drift takes the
version out. It is retrained when the tariff's limit of income or the census changes.

{change}

## Privacy
Rows describe people without name or address, yet could be recognised by acquaintances. Few shallow trees remember
little: the check `data_privacy` measures whether members can be told from others.

## Standards and conformity
Written along Annex IV of Regulation (EU) 2024/1689. No harmonised standard was applied and there is no EU declaration
of conformity: this is an example, not a product.
"""


def make(folder: Path, version: Version) -> None:
    """Train one version and make every file of its bundle.

    Args:
        folder: of the bundle.
        version: what to train.
    """
    parts = adult.parts()
    training, evaluation = parts["training"], parts["evaluation"]
    model, cost = train(training, version)
    exported = skl2onnx.to_onnx(model, initial_types=adult.onnx_inputs(FEATURES), options={"zipmap": False})
    artifact = folder / "model.onnx"
    write_onnx(exported, artifact)
    columns = [*FEATURES, *adult.SENSITIVE, adult.LABEL]
    write_table(evaluation[columns], folder / "evaluation.parquet")
    write_table(training.sample(MEMBERS, random_state=adult.SEED).sort_index()[columns], folder / "members.parquet")
    write_table(parts["population"][columns], folder / "population.parquet")
    answer, score = adult.ask_onnx(artifact, evaluation, names=FEATURES)
    write_bundle(folder, describe(version), card=write_card(version, evaluation, answer=answer, score=score, cost=cost))


def train(rows: pd.DataFrame, version: Version) -> tuple[Pipeline, float]:
    """Return the first model that treats groups alike enough, and what an error against a person cost it.

    Raises:
        Invalid: none of `COSTS` is high enough.
    """
    inputs, income = rows[list(FEATURES)], rows[adult.LABEL]
    fair = reweigh(rows)
    for cost in COSTS:
        weight = fair * np.where(income == adult.FAVOURABLE, cost, 1.0)
        model = build(version).fit(inputs, income, gradientboostingclassifier__sample_weight=weight)
        if adult.impact_ratio(rows, model.predict(inputs) == adult.FAVOURABLE) >= version.ratio:
            return model, cost
    raise Invalid(f"no cost in {COSTS!r} brings the groups to a ratio of {version.ratio!r}; allow higher costs")


def build(version: Version) -> Pipeline:
    """Return the untrained pipeline."""
    words = [name for name in FEATURES if name not in adult.RANGES]
    numbers = [name for name in FEATURES if name in adult.RANGES]
    return make_pipeline(
        make_column_transformer((OneHotEncoder(sparse_output=False), words), ("passthrough", numbers)),
        GradientBoostingClassifier(
            n_estimators=version.trees,
            max_depth=version.depth,
            learning_rate=version.learning_rate,
            min_samples_leaf=LEAF,
            subsample=SHARE,
            random_state=adult.SEED,
        ),
    )


def reweigh(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return the weight of each row that makes income independent of sex and race, shape (rows,).

    Source: Kamiran and Calders 2012, equation in section 4.1: P(group) P(label) / P(group, label).
    """
    group, label = rows[list(adult.SENSITIVE)].agg(" ".join, axis=1), rows[adult.LABEL]
    share = {name: keys.map(keys.value_counts(normalize=True)) for name, keys in (("group", group), ("label", label))}
    both = group + " " + label
    together = both.map(both.value_counts(normalize=True))
    return np.asarray(share["group"] * share["label"] / together, dtype=np.float64)


def describe(version: Version) -> dict[str, Any]:
    """Return the manifest."""
    lineage: dict[str, Any] = {"code": code_reference(Path(__file__)), "datasets": [adult.dataset_reference()]}
    return {
        "model": {
            "id": "adult-income",
            "version": version.number,
            "artifact": "model.onnx",
            "task": "classification",
            "tier": "high",
            "owner": "credit-platform",
            "intended_use": "Grants a reduced, income-tested tariff at once or asks for a tax statement first.",
        },
        "data": {
            "evaluation": {"file": "evaluation.parquet", "label": adult.LABEL, "positive": adult.FAVOURABLE},
            "members": {"file": "members.parquet"},
            "population": {"file": "population.parquet"},
            "sensitive": list(adult.SENSITIVE),
            "features": adult.describe_features(FEATURES),
        },
        "card": "card.md",
        "lineage": lineage if not version.parent else {**lineage, "parent": version.parent},
    }


def write_card(
    version: Version, rows: pd.DataFrame, *, answer: NDArray[Any], score: NDArray[np.float64], cost: float
) -> str:
    """Return the card with everything in it measured on the evaluation rows.

    Args:
        version: what was trained.
        rows: evaluation rows.
        answer: the exported model's labels, shape (rows,).
        score: its probability of the favourable answer, shape (rows,).
        cost: of an error against a person, as chosen in training.
    """
    truth = rows[adult.LABEL]
    metrics = adult.measure(truth, answer, score=score)
    favoured, entitled = answer == adult.FAVOURABLE, (truth == adult.FAVOURABLE).to_numpy()
    asked = {sex: float((~favoured)[(rows["sex"] == sex).to_numpy()].mean()) for sex in ("Female", "Male")}
    facts: Mapping[str, object] = {
        "majority": entitled.mean(),
        "caught": (~favoured)[~entitled].mean(),
        "bothered": (~favoured)[entitled].mean(),
        "groups": adult.group_table(rows, answer),
        "truth_ratio": adult.impact_ratio(rows, entitled),
        "model_ratio": adult.impact_ratio(rows, favoured),
        "reverse": asked["Female"] / asked["Male"],
        "sklearn": sklearn.__version__,
        "skl2onnx": skl2onnx.__version__,
    }
    body = CARD.format(
        **{name: getattr(version, name) for name in ("number", "trees", "depth", "learning_rate", "ratio", "change")},
        **adult.PARTS,
        **metrics,
        **facts,
        members=MEMBERS,
        leaf=LEAF,
        cost=cost,
    )
    credit = {
        "license": "cc-by-4.0",
        "library_name": "onnx",
        "datasets": ["adult"],
        "tags": ["tabular", "gradient-boosting", "fairness", "example"],
    }
    return card_text(title=f"adult-income {version.number}", credit=credit, metrics=metrics, body=body)
