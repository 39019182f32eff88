"""Generates `libs/common/vallum` from the contracts, and checks that it is current, well-styled and compatible.

python proto/generate.py            regenerate
python proto/generate.py --check    fail when the committed code differs, `buf lint` complains, or a published
                                    contract was changed incompatibly (against proto/baseline.binpb)
python proto/generate.py --publish  make today's contracts the baseline of later compatibility checks
"""

from __future__ import annotations

import argparse
import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

PROTO = Path(__file__).resolve().parent
GENERATED = PROTO.parent / "libs" / "common" / "vallum"
BUF = Path(sys.executable).parent / "buf"


def generate(target: Path) -> None:
    """Write the Python modules, type stubs and gRPC modules of every contract below `target`."""
    from grpc_tools import protoc  # a development tool: the services run without it

    include = Path(protoc.__file__).parent / "_proto"
    sources = [str(path.relative_to(PROTO)) for path in sorted(PROTO.rglob("*.proto"))]
    options = [
        f"-I{PROTO}",
        f"-I{include}",
        f"--python_out={target}",
        f"--pyi_out={target}",
        f"--grpc_python_out={target}",
    ]
    if protoc.main(["protoc", *options, *sources]) != 0:
        raise SystemExit("protoc failed; its message is above")
    for stub in target.rglob("*_pb2_grpc.py"):
        if "_service" not in stub.name:
            stub.unlink()  # files without a service generate an empty module
    package = target / "vallum"
    for folder in [path for path in (package, *package.rglob("*")) if path.is_dir() and path.name != "__pycache__"]:
        (folder / "__init__.py").touch()


def drift() -> list[str]:
    """Names of generated files that differ from what the contracts generate now."""
    with tempfile.TemporaryDirectory() as folder:
        fresh_root = Path(folder)
        generate(fresh_root)
        fresh = {path.relative_to(fresh_root / "vallum") for path in (fresh_root / "vallum").rglob("*.py*")}
        kept = {path.relative_to(GENERATED) for path in GENERATED.rglob("*.py*") if path.suffix in {".py", ".pyi"}}
        changed = {
            name
            for name in fresh & kept
            if not filecmp.cmp(fresh_root / "vallum" / name, GENERATED / name, shallow=False)
        }
        return sorted(str(name) for name in (fresh ^ kept) | changed)


def main() -> int:
    """Run as the module docstring says; 0 when all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--publish", action="store_true")
    arguments = parser.parse_args()
    if arguments.check:
        stale = drift()
        for name in stale:
            sys.stderr.write(f"libs/common/vallum/{name} is not what proto/ generates; run `make proto`\n")
        lint = subprocess.run([BUF, "lint"], cwd=PROTO, check=False).returncode
        breaking = subprocess.run([BUF, "breaking", "--against", "baseline.binpb"], cwd=PROTO, check=False).returncode
        return 1 if stale or lint or breaking else 0
    generate(GENERATED.parent)
    if arguments.publish:
        subprocess.run([BUF, "build", "-o", "baseline.binpb"], cwd=PROTO, check=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
