"""A hostile model tries to get out: each attempt fails in the sandbox and succeeds without it, so tests can tell."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from vallum_validator.sandbox.isolation import kernel_landlock_abi
from vallum_validator.sandbox.predictor import SandboxPredictor
from vallum_validator.sandbox.process import Worker
from vallum_validator.table import Table

from .models.bundles import manifest_of
from .models.hostile import ATTEMPTS, ATTEMPTS_BODY, ATTEMPTS_MODEL, write_model

pytestmark = pytest.mark.skipif(kernel_landlock_abi() < 6, reason="this kernel has no Landlock ABI 6")

NOT_TRIED_WITHOUT_THE_SANDBOX = {
    # A plain process is started with a clean environment, no descriptors and no core dumps either.
    *("find_secret_in_environment", "use_inherited_descriptor", "allow_core_dumps"),
    # It would stop or change the process that runs the tests, or the worker itself.
    *("trace_the_parent", "become_a_program", "become_a_program_in_memory", "mount", "set_the_clock"),
    # Refused by some kernels, in some containers and to some users also without us.
    *("read_memory_of_the_parent", "write_memory_of_the_parent", "enter_new_namespace", "enter_network_of_others"),
    *("set_up_io_uring", "load_program_into_the_kernel", "count_events_of_the_kernel", "handle_page_faults"),
    *("read_log_of_the_kernel", "open_file_system", "change_root", "keep_capabilities", "gain_privileges"),
    *("run_without_filter", "raise_limit_of_descriptors", "open_raw_socket", "open_packet_socket"),
    *("open_virtual_machine_socket", "read_session_keyring", "add_a_key"),
    *("connect_by_tcp_6", "connect_by_multipath_tcp", "send_by_tcp_fast_open", "resolve_a_name"),
    *("leave_posix_queue", "open_memory_of_the_parent", "link_own_artefact"),
}
OTHER_REFUSALS = {
    # A process more is not forbidden but one too many.
    **dict.fromkeys(("fork", "start_a_program"), "BlockingIOError"),
    # Python words a refusal of these in its own way.
    "raise_limit_of_descriptors": "ValueError",
    "resolve_a_name": "gaierror",
}
TRIED_WITHOUT_THE_SANDBOX = [name for name in ATTEMPTS if name not in NOT_TRIED_WITHOUT_THE_SANDBOX]


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A hostile model with its targets: a file beside it, listening sockets, a secret, an inheritable descriptor."""
    folder = tmp_path_factory.mktemp("arena")
    target = folder / "evaluation.txt"
    target.write_text("the answers")
    abstract = f"\0vallum-test-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket(socket.AF_UNIX) as hidden,
        socket.socket(socket.AF_UNIX) as named,
        (folder / "inherited.txt").open("w") as inherited,
        pytest.MonkeyPatch.context() as patch,
    ):
        hidden.bind(abstract)
        hidden.listen()
        named.bind(str(folder / "socket"))
        named.listen()
        os.set_inheritable(inherited.fileno(), True)
        patch.setenv("VALLUM_TEST_SECRET", "key")
        settings = (
            f"target = {str(target)!r}; own = {str(folder / 'model.pickle')!r}; port = {listening.getsockname()[1]}\n"
            f"port6 = port; abstract = {abstract!r}; named = {str(folder / 'socket')!r}; parent = {os.getpid()}"
        )
        before = ATTEMPTS_MODEL.format(settings=settings, attempts=list(ATTEMPTS.values()))
        write_model(folder / "model.pickle", ATTEMPTS_BODY, before=before)
        yield folder


def outcomes(folder: Path, names: Sequence[str], *, confined: bool) -> dict[str, str]:
    """What became of these attempts, by name."""
    path = folder / "model.pickle"
    numbers = np.array([list(ATTEMPTS).index(name) for name in names], dtype=np.float64)
    kernel = kernel_landlock_abi if confined else lambda: 0
    with Worker("the model", [path], allow_weaker_isolation=not confined, landlock_abi=kernel) as worker:
        predictor = SandboxPredictor(worker, path, "pickle", manifest_of({"a": {"type": "number"}}))
        answer = predictor.predict(Table({"a": numbers}))
    return dict(zip(names, answer.labels.tolist(), strict=True))


@pytest.fixture(scope="module")
def confined(arena: Path) -> dict[str, str]:
    before = sorted(arena.iterdir())
    found = outcomes(arena, list(ATTEMPTS), confined=True)
    assert sorted(arena.iterdir()) == before
    return found


@pytest.fixture(scope="module")
def unconfined(arena: Path, confined: dict[str, str]) -> dict[str, str]:
    # After the confined run: what these attempts leave behind must not mislead that one.
    return outcomes(arena, TRIED_WITHOUT_THE_SANDBOX, confined=False)


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_sandbox_refuses_to(attempt: str, confined: dict[str, str]) -> None:
    assert confined[attempt] == f"refused: {OTHER_REFUSALS.get(attempt, 'PermissionError')}"


@pytest.mark.parametrize("attempt", TRIED_WITHOUT_THE_SANDBOX)
def test_without_the_sandbox_it_is_possible_to(attempt: str, unconfined: dict[str, str]) -> None:
    assert unconfined[attempt] == "reached"
