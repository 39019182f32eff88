"""Writes honest files with the versions of the libraries that are installed where it runs, and needs nothing of ours.

    python by_version.py FOLDER

`bench/honest.py` runs it in environments of its own; the names of the files say what is in them.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import functools
import importlib
import inspect
import io
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np

ROWS, COLUMNS = 40, 6
PROTOCOLS = range(6)
COMPRESSIONS = (("zlib", 3), ("gzip", 3), ("bz2", 3), ("lzma", 3), ("xz", 3), ("lz4", 3))
TEXTS = [f"word{i} other{i % 3} common text" for i in range(ROWS)]
FAST = {"max_iter": 5, "n_estimators": 5, "n_jobs": None, "n_components": 2, "cv": 2, "n_init": 1}


def tables() -> tuple[np.ndarray, list[np.ndarray]]:
    """A table of positive numbers, and answers for classification, regression, and several outputs."""
    random = np.random.RandomState(0)
    table = np.abs(random.normal(size=(ROWS, COLUMNS)))
    kind = (table[:, 0] > np.median(table[:, 0])).astype(int)
    return table, [kind, table[:, 1] * 3 + table[:, 2], np.column_stack([kind, 1 - kind])]


def required_parts() -> dict[str, Callable[[], Any]]:
    """What estimators need that have parameters without a default."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    return {
        "estimator": LogisticRegression,
        "base_estimator": LogisticRegression,
        "estimators": lambda: [("a", LogisticRegression()), ("b", LogisticRegression(C=2))],
        "steps": lambda: [("s", StandardScaler()), ("l", LogisticRegression())],
        "transformers": lambda: [("a", StandardScaler(), [0, 1])],
        "transformer_list": lambda: [("a", StandardScaler())],
        "param_grid": lambda: {"C": [1, 2]},
        "param_distributions": lambda: {"C": [1, 2]},
        "dictionary": lambda: np.eye(COLUMNS),
    }


def fitted(kind: type) -> Any:
    """An estimator fitted to the first table it takes, or `None`."""
    parameters = inspect.signature(kind).parameters
    parts = required_parts()
    required = {name: parts[name]() for name, p in parameters.items() if p.default is p.empty and name in parts}
    fast = {name: value for name, value in FAST.items() if name in parameters and name not in required}
    table, answers = tables()
    texts = [(TEXTS, None), ([{"a": i % 3, "b": "x"} for i in range(ROWS)], None)]
    for options in ({**required, **fast}, required):
        for data, answer in [(table, answer) for answer in answers] + texts + [(answers[1], answers[0])]:
            with contextlib.suppress(Exception):  # it wants another kind of table
                return kind(**options).fit(data, answer)
    return None


def estimators() -> Iterator[tuple[str, Any]]:
    """Every estimator of scikit-learn that can be fitted to a small table."""
    from sklearn.utils import all_estimators

    for name, kind in all_estimators():
        model = fitted(kind)
        if model is not None:
            yield f"sklearn-{name}", model


def compositions() -> Iterator[tuple[str, Any]]:
    """What people build of estimators."""
    from scipy import stats
    from sklearn import (
        compose,
        ensemble,
        feature_selection,
        linear_model,
        metrics,
        model_selection,
        pipeline,
        preprocessing,
        svm,
        tree,
    )

    table, (kind, number, _) = tables()
    steps = [
        ("log", preprocessing.FunctionTransformer(np.log1p)),
        ("scale", preprocessing.StandardScaler()),
        ("select", feature_selection.SelectKBest(feature_selection.f_classif, k=3)),
        ("model", linear_model.LogisticRegression()),
    ]
    yield "pipeline", pipeline.Pipeline(steps).fit(table, kind)
    yield (
        "search",
        model_selection.RandomizedSearchCV(
            svm.SVC(),
            {"C": stats.uniform(0.1, 3), "gamma": stats.expon(scale=0.1)},
            n_iter=2,
            cv=2,
            random_state=0,
            scoring=metrics.make_scorer(metrics.accuracy_score),
        ).fit(table, kind),
    )
    yield (
        "grid",
        model_selection.GridSearchCV(
            tree.DecisionTreeClassifier(), {"max_depth": [1, 2]}, cv=model_selection.StratifiedKFold(2), scoring="f1"
        ).fit(table, kind),
    )
    yield (
        "target",
        compose.TransformedTargetRegressor(
            linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1, check_inverse=False
        ).fit(table, number),
    )
    yield "boosting", ensemble.GradientBoostingClassifier(n_estimators=3, init="zero").fit(table, kind)
    yield "histogram", ensemble.HistGradientBoostingRegressor(max_iter=5, loss="poisson").fit(table, number)
    yield "huber", ensemble.GradientBoostingRegressor(n_estimators=3, loss="huber").fit(table, number)
    for loss in ("log_loss", "modified_huber", "perceptron", "squared_hinge"):
        with contextlib.suppress(ValueError):
            yield (
                f"sgd-{loss}",
                linear_model.SGDClassifier(loss=loss, random_state=np.random.RandomState(1)).fit(table, kind),
            )


def boosters() -> Iterator[tuple[str, Any]]:
    """Models of the other libraries that are installed."""
    table, (kind, number, _) = tables()
    wanted = {
        "xgboost": ("XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier"),
        "lightgbm": ("LGBMClassifier", "LGBMRegressor"),
        "catboost": ("CatBoostClassifier", "CatBoostRegressor"),
        "imblearn.ensemble": ("BalancedRandomForestClassifier", "EasyEnsembleClassifier", "RUSBoostClassifier"),
        "imblearn.over_sampling": ("SMOTE", "RandomOverSampler", "ADASYN"),
        "category_encoders": ("TargetEncoder", "OneHotEncoder", "BinaryEncoder", "CatBoostEncoder"),
    }
    for module, names in wanted.items():
        with contextlib.suppress(ImportError):
            library = importlib.import_module(module)
            for name in names:
                options = {"verbose": 0, "allow_writing_files": False} if module == "catboost" else {}
                for answer in (kind, number):
                    with contextlib.suppress(Exception):
                        yield f"{module}-{name}", getattr(library, name)(**options).fit(table, answer)
                        break
    with contextlib.suppress(ImportError):
        import lightgbm

        yield "lightgbm-booster", lightgbm.train({"verbose": -1}, lightgbm.Dataset(table, number), 3)
    with contextlib.suppress(ImportError):
        import xgboost

        yield "xgboost-booster", xgboost.train({}, xgboost.DMatrix(table, number), 3)


def statsmodels_values() -> Iterator[tuple[str, Any]]:
    """Fitted models of statsmodels with their results."""
    import statsmodels.api as sm

    table, (kind, number, _) = tables()
    yield "ols", sm.OLS(number, sm.add_constant(table)).fit()
    yield "glm", sm.GLM(kind, table[:, :2], family=sm.families.Binomial()).fit()
    yield "arima", sm.tsa.ARIMA(number, order=(1, 0, 0)).fit()


def numpy_values() -> Iterator[tuple[str, Any]]:
    """Arrays of every type, scalars, and generators of random numbers."""
    for code in "?bBhHiIlLqQefdgFDG":
        yield f"array-{ord(code)}", np.zeros((3, 2), code)
    yield "scalars", [kind(1) for kind in (np.float64, np.float32, np.int64, np.uint8, np.complex128, np.bool_)]
    yield "text", np.array(["a", "bc"])
    yield "bytes", np.array([b"a", b"bc"])
    yield "object", np.array([{"a": 1}, None, "x", (1, 2)], dtype=object)
    yield "structured", np.zeros(3, dtype=[("a", "i4"), ("b", "U3"), ("c", "f8", (2,))])
    yield "dates", np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[D]")
    yield "spans", np.array([1, 2], dtype="timedelta64[s]")
    yield "masked", np.ma.masked_array([1, 2, 3], mask=[0, 1, 0])
    yield "records", np.rec.array([(1, "a"), (2, "b")], dtype=[("x", "i4"), ("y", "U1")])
    yield "matrix", np.matrix([[1, 2]])
    yield "fortran", np.asfortranarray(np.arange(6.0).reshape(2, 3))
    yield "empty", np.zeros((0, 3))
    yield "dtypes", [np.dtype("f8"), np.dtype([("a", "i4")]), np.dtype("M8[ns]"), np.dtype(">i2")]
    yield "random-state", np.random.RandomState(1)
    for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"):
        with contextlib.suppress(AttributeError):
            yield f"generator-{name}", np.random.Generator(getattr(np.random, name)(1))
    yield "seeds", np.random.SeedSequence(1)
    yield "polynomial", np.polynomial.Polynomial([1, 2, 3])
    yield "poly1d", np.poly1d([1, 2])
    yield "functions", [np.mean, np.log1p, np.median, np.linalg.norm, np.add, np.exp]


def pandas_values() -> Iterator[tuple[str, Any]]:
    """Frames, series and indexes of every kind."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            "number": [1.5, None],
            "text": ["x", "y"],
            "kind": pd.Categorical(["u", "v"], ordered=True),
            "when": pd.to_datetime(["2020-01-01", "2021-01-01"]),
            "zone": pd.to_datetime(["2020-01-01", "2021-01-01"]).tz_localize("UTC"),
            "flag": [True, False],
            "span": pd.to_timedelta([1, 2], unit="s"),
            "whole": pd.array([1, None], dtype="Int64"),
            "maybe": pd.array([True, None], dtype="boolean"),
            "string": pd.array(["a", None], dtype="string"),
        }
    )
    yield "frame", frame
    yield "empty-frame", pd.DataFrame()
    for column in frame:
        yield f"series-{column}", frame[column]
    yield "indexed", frame.set_index(["number", "text"])
    yield "ranges", [pd.RangeIndex(3), pd.Index([1, 2]), pd.Index(["a"]), pd.Index([1.5])]
    yield "multi", pd.MultiIndex.from_product([["a", "b"], [1, 2]])
    yield "date-index", pd.date_range("2020-01-01", periods=3, freq="D")
    yield "period-index", pd.period_range("2020-01", periods=3, freq="M")
    yield "interval-index", pd.interval_range(0, 3)
    yield "categories", pd.CategoricalIndex(["a", "b"])
    yield "span-index", pd.timedelta_range("1s", periods=3)
    yield "cut", pd.cut([1, 2, 3, 4], 2)
    yield "sparse", pd.arrays.SparseArray([0, 0, 1])
    yield (
        "scalars",
        [pd.Timestamp("2020-01-01"), pd.Timedelta("1s"), pd.Period("2020-01"), pd.NaT, pd.Interval(0, 1), pd.NA],
    )
    yield "stamp-zone", pd.Timestamp("2020-01-01", tz="Europe/Berlin")
    yield "offsets", [pd.offsets.Day(), pd.offsets.MonthEnd(2), pd.offsets.BDay(), pd.DateOffset(months=1)]
    yield "grouped", frame.groupby("text").size()
    yield "dtypes", list(frame.dtypes)


def scipy_values() -> Iterator[tuple[str, Any]]:
    """Sparse matrices, distributions, interpolators and trees."""
    from scipy import interpolate, optimize, sparse, spatial, stats

    for form in ("csr", "csc", "coo", "lil", "dok", "dia", "bsr"):
        yield f"sparse-{form}", sparse.random(5, 4, 0.5, format=form, random_state=0)
    with contextlib.suppress(AttributeError):
        yield "sparse-array", sparse.csr_array(np.eye(3))
    for name in ("norm", "expon", "gamma", "beta", "uniform", "randint", "poisson", "loguniform", "t", "lognorm"):
        shapes = {"gamma": (1,), "beta": (1, 2), "randint": (0, 5), "poisson": (2,), "loguniform": (1, 10), "t": (3,)}
        law = getattr(stats, name)
        yield f"law-{name}", law
        yield f"frozen-{name}", law(*shapes.get(name, (1,) if name == "lognorm" else ()))
    grid = np.arange(6.0)
    yield "interp1d", interpolate.interp1d(grid, grid**2)
    yield "interp1d-cubic", interpolate.interp1d(grid, grid**2, kind="cubic", fill_value="extrapolate")
    yield "spline", interpolate.UnivariateSpline(grid, grid**2)
    yield "bspline", interpolate.make_interp_spline(grid, grid**2)
    yield "cubic", interpolate.CubicSpline(grid, grid**2)
    yield "pchip", interpolate.PchipInterpolator(grid, grid**2)
    yield "regular", interpolate.RegularGridInterpolator((grid, grid), np.outer(grid, grid))
    yield "rbf", interpolate.RBFInterpolator(np.random.RandomState(0).rand(9, 2), np.arange(9.0))
    yield "tree", spatial.cKDTree(np.random.RandomState(0).rand(9, 2))
    yield "kdtree", spatial.KDTree(np.random.RandomState(0).rand(9, 2))
    yield "minimum", optimize.minimize(np.linalg.norm, [1.0, 2.0], method="Nelder-Mead")
    yield "density", stats.gaussian_kde(np.random.RandomState(0).rand(20))
    yield "test", stats.ttest_ind(grid, grid + 1)


def plain_values() -> Iterator[tuple[str, Any]]:
    """What the standard library holds data in."""
    yield "plain", {"a": [1, 2.5, "x", None, True, b"y", (1, 2), {3}, frozenset([4]), 10**30, 1j, bytearray(b"z")]}
    yield "ordered", collections.OrderedDict(a=1)
    yield "counter", collections.Counter("abc")
    yield "default", collections.defaultdict(list, {"a": [1]})
    yield "nested-default", collections.defaultdict(dict, {"a": {"b": collections.deque([1, 2], 5)}})
    yield (
        "times",
        [datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(0))), datetime.date(2020, 1, 1)],
    )
    yield "partial", functools.partial(np.mean, axis=0)
    yield "none-type", [type(None), int, slice(1, 2), range(3), Ellipsis]
    yield "path", Path("a/b")


def torch_values() -> Iterator[tuple[str, Any]]:
    """Modules and state dicts."""
    import torch

    model = torch.nn.Sequential(
        torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.BatchNorm1d(3), torch.nn.Dropout(), torch.nn.Linear(3, 1)
    )
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.zeros(2, 4)).sum().backward()
    optimizer.step()
    yield "state", model.state_dict()
    yield "module", model
    yield "checkpoint", {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    yield "lstm", torch.nn.LSTM(3, 2, 2)
    yield "attention", torch.nn.TransformerEncoderLayer(4, 2, 8)
    yield "convolution", torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.GELU(), torch.nn.MaxPool2d(2))
    for name in ("float16", "bfloat16", "float64", "int8", "bool", "complex64"):
        yield f"tensor-{name}", torch.zeros(3, dtype=getattr(torch, name))
    yield "sizes", [torch.Size([1, 2]), torch.device("cpu"), torch.float32]
    yield "parameter", torch.nn.Parameter(torch.ones(2))
    yield "sparse", torch.eye(3).to_sparse()


def write(folder: Path, name: str, value: Any) -> None:
    """Write a value in every form that keeps it."""
    for protocol in PROTOCOLS:
        with contextlib.suppress(Exception):  # protocol 0 and 1 cannot keep every value
            (folder / f"{name}.p{protocol}.pkl").write_bytes(pickle.dumps(value, protocol))
    for compression in (0, *COMPRESSIONS):
        suffix = compression[0] if isinstance(compression, tuple) else "raw"
        buffer = io.BytesIO()
        with contextlib.suppress(Exception):
            joblib.dump(value, buffer, compress=compression)
            (folder / f"{name}.{suffix}.joblib").write_bytes(buffer.getvalue())


def main(folder: Path) -> None:
    """Write all files."""
    warnings.simplefilter("ignore")
    groups = {
        "": (estimators, boosters),
        "composed-": (compositions,),
        "numpy-": (numpy_values,),
        "pandas-": (pandas_values,),
        "scipy-": (scipy_values,),
        "plain-": (plain_values,),
        "statsmodels-": (statsmodels_values,),
    }
    for prefix, makers in groups.items():
        for make in makers:
            with contextlib.suppress(ImportError):
                for name, value in make():
                    write(folder, prefix + name, value)
    with contextlib.suppress(ImportError):
        import torch

        for name, value in torch_values():
            torch.save(value, folder / f"torch-{name}.pt")
            torch.save(value, folder / f"torch-{name}-legacy.pt", _use_new_zipfile_serialization=False)
            write(folder, f"torchpickle-{name}", value)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
