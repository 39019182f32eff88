"""How many honest files the scan does not call CLEAN, by version of the libraries that wrote them.

    python bench/honest.py [--only sklearn-1.4 …] [--keep FOLDER]        (the sets with torch bring gigabytes)

Makes an environment for each set of versions with uv, has it write files (`corpus/by_version.py` of the validator's
tests), scans them here, and prints a table. The rules were tuned on the sets marked "tuned"; the others were only
counted, and the two called "unlisted" are of versions between those that are on the lists.
"""

from __future__ import annotations

import argparse
import collections
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vallum_validator.domain.findings import FileReport, ScanVerdict
from vallum_validator.scan import scan_paths

ROOT = Path(__file__).resolve().parent.parent
MAKER = ROOT / "services" / "validator" / "tests" / "corpus" / "by_version.py"
UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class Versions:
    """One environment.

    Args:
        name: in the table.
        python: version of the interpreter.
        packages: as pip names them.
        tuned: whether the rules were changed after seeing its files.
    """

    name: str
    python: str
    packages: Sequence[str]
    tuned: bool = True


def versions(minor: str, python: str, *packages: str, tuned: bool) -> Versions:
    """An environment around one scikit-learn."""
    return Versions(f"sklearn-{minor.rpartition('.')[0]}", python, [f"scikit-learn=={minor}", "lz4", *packages], tuned)


SETS = (
    versions("0.24.2", "3.9", "numpy==1.21.1", "scipy==1.7.3", "pandas==1.3.5", "joblib==1.0.1", tuned=True),
    versions("1.0.2", "3.9", "numpy==1.22.4", "scipy==1.8.1", "pandas==1.4.4", "joblib==1.1.1", "xgboost==1.6.2",
             "lightgbm==3.3.5", "setuptools<81", tuned=True),
    versions("1.1.3", "3.9", "numpy==1.24.4", "scipy==1.9.3", "pandas==1.5.3", "imbalanced-learn==0.10.1", tuned=False),
    versions("1.2.2", "3.11", "numpy==1.23.5", "scipy==1.10.1", "pandas==1.5.3", "joblib==1.2.0", "xgboost==1.7.6",
             "lightgbm==3.3.5", tuned=True),
    versions("1.3.2", "3.11", "numpy==1.25.2", "scipy==1.11.4", "pandas==2.0.3", "lightgbm==4.1.0", tuned=True),
    versions("1.4.2", "3.11", "numpy==1.26.4", "scipy==1.12.0", "pandas==2.1.4", "joblib==1.4.2", tuned=True),
    versions("1.5.2", "3.11", "numpy==2.0.2", "scipy==1.13.1", "pandas==2.2.3", "joblib==1.4.2", tuned=True),
    versions("1.6.1", "3.11", "numpy==2.1.3", "scipy==1.14.1", "pandas==2.2.3", "imbalanced-learn==0.13.0", tuned=True),
    versions("1.7.2", "3.11", "numpy==2.3.5", "scipy==1.16.3", "pandas==2.3.3", "joblib==1.5.3", tuned=True),
    versions("1.8.0", "3.11", "numpy==2.3.5", "scipy==1.17.0", "pandas==3.0.6", "xgboost-cpu", "lightgbm==4.6.0",
             tuned=True),
    versions("1.9.1", "3.11", "numpy==2.4.6", "scipy==1.17.1", "pandas==3.1.1", "xgboost-cpu", "lightgbm==4.7.0",
             tuned=True),
    Versions("unlisted-1.4", "3.11", ["scikit-learn==1.4.0", "numpy==1.26.2", "scipy==1.11.3", "pandas==2.1.1",
                                      "joblib==1.3.1", "lz4", "lightgbm==4.2.0", "xgboost==2.0.1"], tuned=False),
    Versions("unlisted-1.6", "3.11", ["scikit-learn==1.6.0", "numpy==2.2.3", "scipy==1.15.1", "pandas==2.2.2",
                                      "joblib==1.5.1", "lz4", "lightgbm==4.4.0"], tuned=False),
    Versions("catboost", "3.11", ["scikit-learn==1.7.2", "pandas==2.3.3", "catboost", "category-encoders", "lz4",
                                  "imbalanced-learn==0.14.2"], tuned=False),
    Versions("statsmodels", "3.11", ["scikit-learn==1.7.2", "pandas==2.3.3", "statsmodels==0.14.6", "lz4"],
             tuned=False),
    Versions("torch-1.12", "3.10", ["torch==1.12.1", "numpy==1.23.5", "scikit-learn==1.2.2", "lz4"]),
    Versions("torch-2.7", "3.11", ["torch==2.7.1", "numpy==2.2.6", "scikit-learn==1.7.2", "lz4"]),
)  # fmt: skip


def make(chosen: Versions, folder: Path, *, python: str) -> Path | None:
    """Write the files of one set; `None` where the environment cannot be made."""
    home, files = folder / f"env-{chosen.name}", folder / chosen.name
    files.mkdir(exist_ok=True)
    ours = home / "bin" / "python"
    install = [UV, "pip", "install", "--quiet", "--python", ours]
    steps = [[UV, "venv", "--quiet", "--clear", "--python", python, home], [*install, *chosen.packages]]
    for step in [*steps, [ours, MAKER, files]]:
        if subprocess.run(
            step, check=False, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode:
            return None
    return files


def group_of(report: FileReport) -> str:
    """Which column of the table a file counts in."""
    stem = Path(report.path).name
    return "estimators" if stem.startswith("sklearn-") else stem.partition("-")[0]


def main() -> None:
    """Make, scan, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[chosen.name for chosen in SETS])
    parser.add_argument("--python", nargs="*", default=[], metavar="VERSION=PATH", help="where uv does not find one")
    parser.add_argument("--keep", type=Path, help="a folder for environments and files, else a temporary one")
    options = parser.parse_args()
    pythons = dict(item.split("=", 1) for item in options.python)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        for chosen in SETS:
            if chosen.name in options.only:
                files = make(chosen, folder, python=pythons.get(chosen.python, chosen.python))
                if files is None:
                    print(f"{chosen.name}: its environment cannot be made here")
                    continue
                tell(chosen, scan_paths(sorted(files.iterdir())).files)


def tell(chosen: Versions, reports: Sequence[FileReport]) -> None:
    """One line for the set, one for each cause."""
    refused = [report for report in reports if report.verdict is not ScanVerdict.CLEAN]
    malicious = sum(report.verdict is ScanVerdict.MALICIOUS for report in refused)
    counts = collections.Counter(map(group_of, reports))
    wrong = collections.Counter(map(group_of, refused))
    columns = "  ".join(f"{group} {wrong[group]}/{count}" for group, count in sorted(counts.items()))
    share = 100 * len(refused) / max(1, len(reports))
    kind = "tuned" if chosen.tuned else "held out"
    print(f"{chosen.name} ({kind}): {len(refused)} of {len(reports)} not CLEAN, {share:.2f} %, {malicious} MALICIOUS")
    print(f"    {columns}")
    causes = collections.Counter(report.findings[0].message for report in refused if report.findings)
    for cause, count in causes.most_common(15):
        print(f"    {count:5} {cause[:140]}")


if __name__ == "__main__":
    main()
