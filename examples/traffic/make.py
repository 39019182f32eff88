"""Make the traffic of `adult-income`: real people nobody trained or evaluated on, as they come and as they might come.

`normal.parquet` is drawn evenly. `drifted.parquet` is drawn from the same people with unequal chances: older people,
longer hours and the self-employed come far more often, as when a bank starts to serve another clientele. Each row of it
is a person of the census with the true answers of that person; no value is invented, only the mixture has shifted.

Source: sampling with probability proportional to an exponential tilt; Efraimidis and Spirakis 2006 for drawing without
replacement by weight.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FOLDER: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

import adult  # noqa: E402 - the folder of the examples is known only now
from bundles import sha256, write_table  # noqa: E402
from income import FEATURES  # noqa: E402

ROWS: Final = 2_000
SEED: Final = 20261123
TILT: Final = {"age": 0.9, "hours_per_week": 0.6}
"""Natural logarithm by which one standard deviation more multiplies the chance of being drawn."""
SELF_EMPLOYED: Final = 1.2
"""The same for being self-employed."""


def shifted_chances(people: pd.DataFrame) -> NDArray[np.float64]:
    """Return the chance of each person to be the next one drawn, shape (people,); they add up to one."""
    numbers = people[list(TILT)]
    tilt = ((numbers - numbers.mean()) / numbers.std() * pd.Series(TILT)).sum(axis=1)
    tilt += SELF_EMPLOYED * people["workclass"].str.startswith("Self-emp")
    weight = np.exp(tilt.to_numpy(np.float64))
    return np.asarray(weight / weight.sum(), dtype=np.float64)


def main() -> None:
    """Make both files."""
    people = adult.parts()["traffic"]
    rng = np.random.default_rng(SEED)
    drawn = {
        "normal": rng.choice(len(people), ROWS, replace=False),
        "drifted": rng.choice(len(people), ROWS, replace=False, p=shifted_chances(people)),
    }
    for name, rows in drawn.items():
        path = FOLDER / f"{name}.parquet"
        write_table(people.iloc[rows][list(FEATURES)], path)
        print(f"traffic/{path.name}: {len(rows)} rows sha256:{sha256(path)}")


if __name__ == "__main__":
    main()
