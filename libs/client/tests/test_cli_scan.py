"""`vallum scan` as people, pipelines and hooks run it: it is quick to start, and never ends with 0 by accident."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial
from importlib.metadata import version
from pathlib import Path

import jsonschema
import psutil
import pytest
import yaml

from vallum_client.cli.documents import file_dict
from vallum_client.cli.scan import _file, files_in
from vallum_common.errors import Invalid
from vallum_validator.scan import rules_digest, scan_paths
from vallum_validator.wire import file_message

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "services/validator/tests/data/sarif-2.1.0.json").read_text())
VALLUM = (sys.executable, "-c", "from vallum_client.cli.main import main; main()", "scan")
HONEST = pickle.dumps({"weights": [1.0, 2.0]})
HOSTILE = b"\x80\x02cos\nsystem\n(X\x02\0\0\0idtR."
HEAVY = (
    *("typer", "rich", "google.protobuf", "grpc", "numpy", "pandas", "structlog", "asyncio", "pydantic", "sandlock"),
    *("yaml", "logging", "subprocess", "multiprocessing", "traceback", "cryptography.x509", "lz4", "zstandard"),
    *("vallum_validator.sandbox", "vallum_validator.scan.reference", "vallum_validator.scan.sarif"),
)
"""What takes long to import, and what the scan of a pickle has no need of."""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with a clean and a hostile file."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "clean.pkl").write_bytes(HONEST)
    (folder / "hostile.pkl").write_bytes(HOSTILE)
    return folder


def slow(file: Path) -> Path:
    """A file whose scan takes as long as it may."""
    content = b"x" * 1000
    for _ in range(6):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(9):
                archive.writestr(f"{number}.zip", content)
        content = file.read_bytes()
    return file


class TestStart:
    @pytest.mark.parametrize("form", ["table", "json"])
    def test_nothing_that_takes_long_is_imported(self, models, form):
        program = (
            "import sys\nfrom vallum_client.cli.main import run\n"
            "code = run(['scan', sys.argv[1], '--format', sys.argv[2]])\n"
            f"sys.stderr.write(' '.join(name for name in {HEAVY} if name in sys.modules))\nsys.exit(code)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, models / "clean.pkl", form], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")

    def test_help_gives_exit_codes_and_examples(self, vallum):
        typed = vallum("scan", "--help")
        assert (typed.code, typed.error) == (0, "")
        assert "2  a file is UNKNOWN" in typed.out
        assert "vallum scan models/ --format sarif" in typed.out
        assert "scan" in vallum("--help").out


class TestFiles:
    def test_folders_are_searched_and_links_to_folders_are_not_passed_over(self, vallum, models):
        (models / "deep" / "er").mkdir(parents=True)
        (models / "deep" / "er" / "b.pkl").write_bytes(HONEST)
        (models / "deep" / "loop").symlink_to("..")
        (models / "deep" / "dangling").symlink_to("nowhere")
        typed = vallum("scan", models, "--json")
        told = [
            (Path(file["path"]).relative_to(models).as_posix(), file["verdict"]) for file in typed.document["files"]
        ]
        assert told == [
            ("clean.pkl", "CLEAN"),
            ("hostile.pkl", "MALICIOUS"),
            ("deep/dangling", "UNKNOWN"),
            ("deep/loop", "UNKNOWN"),
            ("deep/er/b.pkl", "CLEAN"),
        ]
        assert typed.code == 1

    @pytest.mark.parametrize("words", [["empty"], ["clean.pkl", "empty"], ["missing"], ["clean.pkl", "missing"]])
    def test_nothing_to_scan_is_wrong_use(self, vallum, models, words, monkeypatch):
        """Also beside something: who names a folder believes that it is looked into."""
        monkeypatch.chdir(models)
        (models / "empty" / "empty").mkdir(parents=True)
        typed = vallum("scan", *words)
        assert (typed.code, typed.out) == (3, "")
        assert "nothing to scan" in typed.error

    @pytest.mark.parametrize("words", [["scan", ""], ["scan", "clean.pkl", ""], ["scan", "clean.pkl", "--output="]])
    def test_empty_path_is_wrong_use(self, vallum, models, words, monkeypatch):
        """A variable that nobody has set must not be the folder one happens to be in."""
        monkeypatch.chdir(models)
        typed = vallum(*words)
        assert (typed.code, typed.out) == (3, "")
        assert "is empty" in typed.error

    def test_folder_that_may_not_be_read_is_unknown(self, models):
        """As an ordinary user, because root reads everything."""
        child = os.fork()
        if child == 0:
            os.chdir(models)
            Path("closed").mkdir(mode=0)
            for folder in (models, *models.parents):
                with contextlib.suppress(OSError):
                    if folder.is_relative_to(models.parents[2]):
                        folder.chmod(0o755)
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            found = list(files_in(Path("closed")))
            os._exit(0 if found == [Path("closed")] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        (models / "closed").rmdir()

    def test_link_to_a_folder_that_is_named_is_searched(self, models):
        (models.parent / "link").symlink_to("models")
        assert len(list(files_in(models.parent / "link"))) == 2

    def test_empty_folder_is_refused_by_name(self, tmp_path):
        with pytest.raises(Invalid, match="the folder holds no file"):
            list(files_in(tmp_path))

    def test_file_named_twice_is_told_once(self, vallum, models):
        assert len(vallum("scan", models, models / "clean.pkl", "--json").document["files"]) == 2

    def test_many_files_have_the_order_of_their_names(self, vallum, tmp_path):
        (tmp_path / "many").mkdir()
        for number in range(200):
            (tmp_path / "many" / f"{number:03}.pkl").write_bytes(HONEST)
        typed = vallum("scan", tmp_path / "many", "--json")
        assert typed.code == 0
        assert [Path(file["path"]).stem for file in typed.document["files"]] == [f"{n:03}" for n in range(200)]


class TestReports:
    def test_json_has_the_fields_of_the_contract(self, models):
        """One shape, in `proto/`; a scan without a server only does without importing it."""
        (models / os.fsdecode(b"odd\xff\n.bin")).write_bytes(bytes(range(256)))
        report = scan_paths(sorted(models.iterdir()))
        assert [_file(file) for file in report.files] == [file_dict(file_message(file)) for file in report.files]

    def test_json_says_what_the_verdict_rests_on(self, vallum, models):
        document = vallum("scan", models / "clean.pkl", "--json").document
        assert set(document) == {"files", "rules_digest", "scanner_version", "allowlist"}
        assert document["rules_digest"] == rules_digest()
        assert document["scanner_version"] == version("vallum-validator")
        assert set(document["allowlist"]) == {"version", "digest"}

    def test_sarif_is_valid_and_has_the_exit_code(self, vallum, models):
        (models / os.fsdecode(b"odd\xff\n\x1b[2J.bin")).write_bytes(bytes(range(256)))
        typed = vallum("scan", models, "--format", "sarif")
        assert typed.code == 1
        jsonschema.Draft4Validator(SCHEMA).validate(typed.document)
        (run,) = typed.document["runs"]
        assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]
        assert {artifact["properties"]["verdict"] for artifact in run["artifacts"]} == {"CLEAN", "MALICIOUS", "UNKNOWN"}

    @pytest.mark.parametrize("form", ["table", "json", "sarif"])
    def test_report_may_go_into_a_file(self, vallum, models, form):
        printed = vallum("scan", models, "--format", form)
        typed = vallum("scan", models, "--format", form, "--output", "report")
        assert (typed.code, typed.out, typed.error) == (1, "", "")
        assert Path("report").read_text() == printed.out

    def test_report_that_cannot_be_written_to_its_file_is_no_pass(self, vallum, models):
        typed = vallum("scan", models / "clean.pkl", "--output", "no/such/folder")
        assert typed.code == 4
        assert typed.error == (
            "vallum: the report could not be written to 'no/such/folder': No such file or directory\n"
        )
        assert vallum("scan", models / "hostile.pkl", "--output", "no/such/folder").code == 1

    @pytest.mark.parametrize("form", ["table", "sarif"])
    def test_two_formats_are_wrong_use(self, vallum, models, form):
        typed = vallum("scan", models / "clean.pkl", "--json", "--format", form)
        assert (typed.code, typed.out) == (3, "")
        assert f"--format {form} was given too" in typed.error
        assert vallum("scan", models / "clean.pkl", "--json", "--format", "json").code == 0

    @pytest.mark.parametrize("form", ["table", "json", "sarif"])
    def test_hostile_names_and_values_do_not_steer_the_terminal(self, models, form):
        """Not in a name, a member, a value, nor in an error."""
        odd = os.fsdecode(b"\x1b[2J\xc2\x9b31m\n\r\xff\xe2\x80\xae.zip")
        with zipfile.ZipFile(models / odd, "w") as archive:
            archive.writestr("\x1b]0;\x07\u202e.pkl", b"\x80\x02c\x1b[31m\n\xe2\x80\xae\n(X\x05\0\0\0\x1b[2J\ntR.")
        for words in ([models], ["--\x1b[2J"], [f"missing\x1b[2J{odd}"]):
            done = subprocess.run([*VALLUM, *words, "--format", form], capture_output=True, timeout=60)
            assert done.returncode == (1 if words == [models] else 3)
            for text in (done.stdout.decode(), done.stderr.decode()):
                assert all(character.isprintable() or character == "\n" for character in text)

    def test_output_may_be_ascii(self, models):
        (models / "größe.pkl").write_bytes(HONEST)
        done = subprocess.run(
            [*VALLUM, models / "größe.pkl"],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "gr\\xf6\\xdfe.pkl" in done.stdout


class TestNeverByAccident:
    @pytest.mark.parametrize(("name", "code"), [("clean.pkl", 4), ("hostile.pkl", 1)])
    def test_reader_that_has_gone_gets_no_pass(self, models, name, code):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([*VALLUM, models / name], stdout=writing, stderr=subprocess.PIPE, timeout=60)
        os.close(writing)
        assert (done.returncode, done.stderr) == (code, b"")

    @pytest.mark.parametrize(("name", "code"), [("clean.pkl", 4), ("hostile.pkl", 1)])
    def test_closed_or_full_output_is_no_pass(self, models, name, code):
        for where, said in ((">/dev/full", "No space left on device"), (">&-", "stdout is closed")):
            command = ["sh", "-c", f'"$@" {where}', "sh", *VALLUM, models / name]
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60)
            assert done.returncode == code
            assert "the report could not be written: " in done.stderr
            assert said in done.stderr

    @pytest.mark.parametrize("count", [1, 3])
    def test_interrupt_ends_everything_and_is_no_pass(self, models, count, tmp_path):
        for number in range(count):
            slow(models / f"slow{number}.zip")
        spool = tmp_path / "spool"
        spool.mkdir()
        files = sorted(models.glob("slow*"))
        with subprocess.Popen(
            [*VALLUM, *files],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(spool)},
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        ) as process:
            parent = psutil.Process(process.pid)
            until = time.monotonic() + 60
            while len(children := parent.children(recursive=True)) < (1 if count == 1 else 3):
                assert time.monotonic() < until
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=60)
        assert (process.returncode, out) == (4, b"")
        assert b"Traceback" not in error
        assert psutil.wait_procs(children, timeout=30)[1] == []
        assert list(spool.iterdir()) == []

    def test_scan_whose_process_is_killed_is_unknown(self, models):
        with subprocess.Popen([*VALLUM, slow(models / "slow.zip")], stdout=subprocess.PIPE, text=True) as process:
            parent = psutil.Process(process.pid)
            until = time.monotonic() + 60
            while not (children := parent.children()):
                assert time.monotonic() < until
                time.sleep(0.01)
            children[0].kill()
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "scan.failed" in out


class TestOpinions:
    def test_opinion_of_a_program_that_is_not_there_is_wrong_use(self, vallum, models, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        typed = vallum("scan", models / "clean.pkl", "--second-opinion", "hayward")
        assert (typed.code, typed.out) == (3, "")
        assert "hayward is not installed" in typed.error
        assert vallum("scan", models / "clean.pkl", "--second-opinion", "x").code == 3

    def test_opinion_can_close_the_gate_and_is_not_asked_unbidden(self, vallum, models, monkeypatch, tmp_path):
        program = tmp_path / "picklescan"
        program.write_text("#!/bin/sh\necho \"$2: dangerous import 'a b' FOUND\"\necho Infected files: 1\nexit 1\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        assert vallum("scan", models / "clean.pkl").code == 0
        typed = vallum("scan", models / "clean.pkl", "--second-opinion", "picklescan", "--json")
        assert typed.code == 2
        assert [finding["rule"] for finding in typed.document["files"][0]["findings"]] == ["opinion.picklescan"]
        assert vallum("scan", models / "hostile.pkl", "--second-opinion", "picklescan").code == 1


MODELS = (
    *("a.pkl", "a.pickle", "a.p", "a.pk", "a.dill", "a.joblib", "a.sav", "a.PKL", "a.pkl.gz", "a.pkl.xz", "a.joblib.z"),
    *("a.pt", "a.pth", "a.pt2", "a.pte", "a.ptl", "a.ckpt", "a.bin", "a.mar", "a.nemo", "a.model", "a.msgpack"),
    *("a.onnx", "a.ort", "a.skops", "a.safetensors", "a.gguf", "a.npy", "a.npz", "a.keras", "a.h5", "a.hdf", "a.hdf5"),
    *("a.pb", "a.tflite", "a.lite", "a.ubj", "a.cbm", "a.pmml", "a.parquet", "a.pq", "a.feather", "a.arrow", "a.rds"),
    *("a.zip", "a.7z", "a.rar", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tbz2", "a.txz", "a.zst", "a.lz4"),
    *("config.json", "adapter_config.json", "a.jsonl", "model.yaml", "conf/model.yml", "chat_template.jinja", "a.j2"),
    *(".hidden/a.pkl", ".a.pt", "environment.yml.pkl", "my-environment.yaml"),
)
OTHERS = (
    *("a.py", "a.md", "a.txt", "a.csv", "a.png", "a.toml", "Makefile", "pkl", "a.pkl.md", "pickle/a.rst"),
    *(".github/workflows/ci.yaml", ".pre-commit-config.yaml", ".vscode/settings.json", "environment.yml"),
    *("conda.yaml", "web/package.json", "package-lock.json", "tsconfig.build.json", "docker-compose.test.yml"),
)


@pytest.mark.parametrize("name", [*MODELS, *OTHERS])
def test_hook_is_given_what_belongs_to_models(name):
    """As pre-commit chooses: `files` and `exclude` are searched for in the path."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    given = bool(re.search(hook["files"], name)) and not re.search(hook["exclude"], name)
    assert given == (name in MODELS)


def test_hook_runs_what_it_names(models):
    """As pre-commit does: the entry, its arguments, and the names of the files."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert (hook["id"], hook["language"]) == ("vallum-scan", "system")
    program, *words = [*hook["entry"].split(), *hook.get("args", [])]
    command = [Path(sys.executable).with_name(program), *words]
    assert subprocess.run([*command, models / "clean.pkl"], capture_output=True, timeout=60).returncode == 0
    assert subprocess.run([*command, *models.iterdir()], capture_output=True, timeout=60).returncode == 1
