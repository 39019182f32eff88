"""Hostile models: pickles whose `predict` does what a test wants, loaded in a worker as if the scan had missed them."""

from __future__ import annotations

import pickle
import textwrap
from pathlib import Path

_LOADED = "(lambda space: (exec(compile(%r, 'model', 'exec'), space), space['Model']())[1])({})"


class _Code:
    def __init__(self, code: str) -> None:
        self._code = code

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (_LOADED % self._code,)


def write_model(path: Path, body: str, *, before: str = "", members: str = "") -> Path:
    """Write a pickle that becomes an object with `predict(self, frame)`.

    Args:
        path: of the file.
        body: of `predict`; `frame` has the column `a`, `rows` is its length.
        before: code that runs once, when the file is loaded.
        members: code of the class beside `predict`.
    """
    method = "def predict(self, frame):\n    rows = len(frame)\n" + textwrap.indent(textwrap.dedent(body), "    ")
    inside = textwrap.indent(f"{textwrap.dedent(members)}\n{method}", "    ")
    path.write_bytes(pickle.dumps(_Code(f"{textwrap.dedent(before)}\nclass Model:\n{inside}\n")))
    return path


ATTEMPTS = {
    "read_other_file": "open(target).read()",
    "read_password_file": "open('/etc/passwd').read()",
    "list_root_folder": "os.listdir('/')",
    "write_outside": "open(target + '.written', 'w').write('x')",
    "plant_symlink_in_own_folder": "os.symlink('/etc/passwd', os.path.join(os.path.dirname(target), 'link'))",
    "replace_own_artefact": "open(own, 'ab').write(b'x')",
    "connect_by_tcp": "socket.create_connection(('127.0.0.1', port), timeout=1).close()",
    "listen_on_tcp": "socket.create_server(('127.0.0.1', 0)).close()",
    "send_by_udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', port))",
    "connect_to_abstract_socket": "socket.socket(socket.AF_UNIX).connect(abstract)",
    "signal_the_parent": "os.kill(parent, 0)",
    "trace_the_parent": "system_call(101, 16, parent, 0, 0)",
    "read_memory_of_the_parent": "system_call(310, parent, iovec(), 1, iovec(), 1, 0)",
    "read_environment_of_the_parent": "open(f'/proc/{parent}/environ', 'rb').read()",
    "read_command_line_of_the_parent": "open(f'/proc/{parent}/cmdline', 'rb').read()",
    "open_descriptors_of_the_parent": "os.listdir(f'/proc/{parent}/fd')",
    "find_secret_in_environment": "found('VALLUM_TEST_SECRET' in os.environ)",
    "use_inherited_descriptor": "found(inherited())",
    "fork": "wait(os.fork())",
    "start_a_program": "os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', 'exit 0'], {}), 0)",
    "allow_core_dumps": "found(resource.getrlimit(resource.RLIMIT_CORE)[1] != 0)",
    "enter_new_namespace": "system_call(272, 0x10000000)",
    "set_up_io_uring": "found(system_call(425, 8, ctypes.create_string_buffer(120)) > 0)",
}
"""Escape attempts by name: an expression that raises, or is false in `found`, where it is refused."""

ATTEMPTS_MODEL = """
import ctypes, os, resource, socket
{settings}
libc = ctypes.CDLL(None, use_errno=True)

def found(what):
    if not what:
        raise PermissionError('nothing there')

def system_call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), 'refused')
    return result

def iovec():
    place = ctypes.create_string_buffer(8)
    return ctypes.create_string_buffer(ctypes.addressof(place).to_bytes(8, 'little') + (8).to_bytes(8, 'little'))

def inherited():
    # The two pipes of the conversation stand where 0 and 1 were taken from; anything above is somebody else's.
    def is_file(number):
        try:
            return os.path.basename(os.readlink(f'/proc/self/fd/{{number}}')) == 'inherited.txt'
        except OSError:
            return False
    return any(is_file(number) for number in range(3, 64))

def wait(child):
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

ATTEMPTS = {attempts!r}
"""
"""Code a model runs when it is loaded; `settings` assigns target, own, port, abstract and parent."""

ATTEMPTS_BODY = """
answers = []
for number in frame['a']:
    try:
        eval(ATTEMPTS[int(number)])
        answers.append('reached')
    except BaseException as error:
        answers.append(f'refused: {type(error).__name__}')
return answers
"""
