"""Makes, signs and verifies the allow-lists.

python -m vallum_validator.scan.allowlist generate WHEELS [--only PACKAGE …] [--into FOLDER]
python -m vallum_validator.scan.allowlist index --version DATE [--into FOLDER]
python -m vallum_validator.scan.allowlist key FILE                           a new release key
python -m vallum_validator.scan.allowlist sign --key FILE [--into FOLDER]
python -m vallum_validator.scan.allowlist verify [FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections import defaultdict
from collections.abc import Container
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from vallum_common.errors import Invalid
from vallum_validator.scan.allowlist import Allowlist
from vallum_validator.scan.allowlist.listing import as_text, merge, version_key
from vallum_validator.scan.allowlist.release import CURATED, INDEX, RELEASE_KEYS, SHIPPED, SIGNATURE, Release, sign
from vallum_validator.scan.allowlist.wheels import Graded, distribution_of, grade_wheel, wheel_digest
from vallum_validator.scan.pickled.values import Grade

GENERATOR: Final = 3
"""Raised when the generator grades anything differently."""
_PACKAGES: Final = {
    "numpy": "numpy",
    "joblib": "joblib",
    "scipy": "scipy",
    "pandas": "pandas",
    "scikit-learn": "sklearn",
    "torch": "torch",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "imbalanced-learn": "imblearn",
    "category-encoders": "category_encoders",
    "statsmodels": "statsmodels",
    "skops": "skops",
}
"""The distributions with the package they are imported as, each after those whose classes it inherits from."""


def main() -> int:
    """Do what the command line asks. Returns: 0, or 1 where lists do not verify."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("generate", "index", "sign"):
        commands.add_parser(name).add_argument("--into", type=Path, default=SHIPPED)
    commands.choices["generate"].add_argument("wheels", type=Path)
    commands.choices["generate"].add_argument("--only", nargs="*", default=list(_PACKAGES.values()), metavar="PACKAGE")
    commands.choices["index"].add_argument("--version", required=True)
    commands.choices["sign"].add_argument("--key", type=Path, required=True)
    commands.add_parser("key").add_argument("file", type=Path)
    commands.add_parser("verify").add_argument("folder", type=Path, nargs="?", default=SHIPPED)
    options = parser.parse_args()
    if options.command == "generate":
        generate(options.wheels, options.into, only=options.only)
    elif options.command == "index":
        write_index(options.into, options.version)
    elif options.command == "key":
        sys.stdout.write(make_key(options.file) + "\n")
    elif options.command == "sign":
        key = bytes.fromhex(options.key.read_text(encoding="ascii").strip())
        signature = sign((options.into / INDEX).read_bytes(), key)
        (options.into / SIGNATURE).write_text(signature + "\n", encoding="ascii")
    else:
        return _verify(options.folder)
    return 0


def generate(wheels: Path, folder: Path, *, only: Container[str]) -> None:
    """Write the list of each distribution of which the folder has wheels, and what wheels it was made from.

    Args:
        wheels: a folder with every version that shall be on the lists.
        folder: where the lists are.
        only: root packages; the lists of others stay as they are.
    """
    _index(folder, version="", wheels={})
    by_distribution: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    for wheel in sorted(wheels.glob("*.whl")):
        distribution, version = distribution_of(wheel)
        by_distribution[distribution][version] = wheel
    made: dict[str, Any] = {}
    for distribution, package in _PACKAGES.items():
        found = by_distribution.get(distribution, {})
        if not found or package not in only:
            continue
        with ProcessPoolExecutor() as pool:
            results = pool.map(_grade, [(wheel, package, folder) for wheel in found.values()])
            graded = dict(zip(found, results, strict=True))
        (folder / f"{package}.json").write_text(as_text(merge(distribution, package, graded)), encoding="utf-8")
        ordered = sorted(found, key=version_key)
        made[package] = {"wheels": {version: wheel_digest(found[version]) for version in ordered}}
        _index(folder, version="", wheels=made)


def _grade(task: tuple[Path, str, Path]) -> Graded:
    """Grade a wheel; a class of a list made before may be inherited from."""
    wheel, package, folder = task
    known = Allowlist(Release(folder))
    return grade_wheel(wheel, package, lambda module, name: known.grade(module, name) >= Grade.CLASS)


def write_index(folder: Path, version: str) -> None:
    """Write the index anew, after a list was changed, under a version: the date."""
    _index(folder, version=version, wheels={})


def _index(folder: Path, *, version: str, wheels: dict[str, Any]) -> None:
    known: dict[str, Any] = (
        json.loads((folder / INDEX).read_bytes()) if (folder / INDEX).exists() else {"files": {}, "version": ""}
    )
    files: dict[str, Any] = {}
    hooks: set[str] = set()
    for path in sorted(folder.glob("*.json")):
        if path.name == INDEX:
            continue
        content = path.read_bytes()
        before = {key: value for key, value in known["files"].get(path.name, {}).items() if key == "wheels"}
        files[path.name] = {**before, **wheels.get(path.stem, {}), "sha256": hashlib.sha256(content).hexdigest()}
        if path.name != CURATED:
            # A class may inherit from another package: what hides a method of one hides it in all.
            hooks |= set(json.loads(content)["hooks"].split())
    document = {
        "version": version or known["version"],
        "generator": GENERATOR,
        "hooks": " ".join(sorted(hooks)),
        "files": files,
    }
    (folder / INDEX).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def make_key(file: Path) -> str:
    """Write a new private key where only its owner can read it. Returns: the public half, to be pinned."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
        stream.write(key.private_bytes_raw().hex() + "\n")
    return key.public_key().public_bytes_raw().hex()


def _verify(folder: Path) -> int:
    try:
        found = Release(folder, keys=RELEASE_KEYS)
        found.curated()
        for package in found.packages():
            found.listing(package)
    except Invalid as error:
        sys.stderr.write(error.message + "\n")
        return 1
    count = len(found.packages())
    sys.stdout.write(f"allow-lists of {found.version}, SHA-256 {found.digest}: {count} packages, signed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
