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


FILES = {
    "read_other_file": "open(target).read()",
    "read_password_file": "open('/etc/passwd').read()",
    "list_root_folder": "os.listdir('/')",
    "write_outside": "open(target + '.written', 'w').write('x')",
    "write_to_temporary_folder": "leave('/tmp/vallum-test')",
    "plant_symlink_in_own_folder": "os.symlink('/etc/passwd', os.path.join(os.path.dirname(target), 'link'))",
    "plant_symlink_in_temporary_folder": "plant('/tmp/vallum-test-link')",
    "replace_own_artefact": "open(own, 'ab').write(b'x')",
    "rename_own_artefact": "move(own)",
    "link_own_artefact": "os.link(own, own + '.linked')",
    "change_mode_of_own_artefact": "os.chmod(own, 0o600)",
    "change_mode_of_other_file": "os.chmod(target, 0o600)",
    "change_mode_by_descriptor": "os.fchmod(os.open(own, os.O_RDONLY), 0o600)",
    "change_owner_of_other_file": "os.chown(target, os.getuid(), -1)",
    "change_times_of_other_file": "os.utime(target)",
    "make_pipe": "leave('/tmp/vallum-test-pipe', os.mkfifo)",
    "change_root": "os.chroot('/')",
    "watch_a_folder": "system_call(254, system_call(253), b'/tmp', 0x100)",
    "leave_shared_memory": "leave('/dev/shm/vallum-test')",
    "leave_system_v_memory": "system_call(31, system_call(29, 0, 4096, 0o600), 0, 0)",
    "leave_system_v_semaphore": "system_call(66, system_call(64, 0, 1, 0o600), 0, 0)",
    "leave_system_v_queue": "system_call(71, system_call(68, 0, 0o600), 0, 0)",
    "leave_posix_queue": "(system_call(240, b'vallum-test', 0o102, 0o600, 0), system_call(241, b'vallum-test'))",
}
NETWORK = {
    "connect_by_tcp": "socket.create_connection(('127.0.0.1', port), timeout=1).close()",
    "connect_by_tcp_6": "socket.create_connection(('::1', port6), timeout=1).close()",
    "connect_by_multipath_tcp": "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).connect(('127.0.0.1', port))",
    "send_by_tcp_fast_open": "socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', port))",
    "listen_on_tcp": "socket.create_server(('127.0.0.1', 0)).close()",
    "send_by_udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', port))",
    "connect_to_abstract_socket": "socket.socket(socket.AF_UNIX).connect(abstract)",
    "listen_on_abstract_socket": "socket.socket(socket.AF_UNIX).bind(abstract + '-own')",
    "connect_to_socket_in_own_folder": "socket.socket(socket.AF_UNIX).connect(named)",
    "make_pair_of_sockets": "socket.socketpair()",
    "open_netlink_socket": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()",
    "open_raw_socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()",
    "open_packet_socket": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3).close()",
    "open_virtual_machine_socket": "socket.socket(40, socket.SOCK_STREAM).close()",
    "resolve_a_name": "socket.getaddrinfo('name.invalid', 80)",
}
PROCESSES = {
    "signal_the_parent": "os.kill(parent, 0)",
    "signal_group_of_the_parent": "os.killpg(os.getpgid(parent), 0)",
    "signal_thread_of_the_parent": "system_call(234, parent, parent, 0)",
    "open_handle_on_the_parent": "system_call(434, parent, 0)",
    "trace_the_parent": "system_call(101, 16, parent, 0, 0)",
    "read_memory_of_the_parent": "system_call(310, parent, iovec(), 1, iovec(), 1, 0)",
    "write_memory_of_the_parent": "system_call(311, parent, iovec(), 1, iovec(), 1, 0)",
    "open_memory_of_the_parent": "open(f'/proc/{parent}/mem', 'rb').close()",
    "read_map_of_the_parent": "open(f'/proc/{parent}/maps').read()",
    "read_environment_of_the_parent": "open(f'/proc/{parent}/environ', 'rb').read()",
    "read_command_line_of_the_parent": "open(f'/proc/{parent}/cmdline', 'rb').read()",
    "open_descriptors_of_the_parent": "os.listdir(f'/proc/{parent}/fd')",
    "go_through_root_of_the_parent": "os.listdir(f'/proc/{parent}/root')",
    "go_through_folder_of_the_parent": "os.listdir(f'/proc/{parent}/cwd')",
    "read_limits_of_the_parent": "resource.prlimit(parent, resource.RLIMIT_CORE)",
    "set_limits_of_the_parent": "resource.prlimit(parent, 4, resource.getrlimit(4))",
    "slow_the_parent_down": "os.setpriority(os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent))",
    "pin_the_parent": "os.sched_setaffinity(parent, os.sched_getaffinity(parent))",
    "fork": "wait(os.fork())",
    "start_a_program": "os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', 'exit 0'], {}), 0)",
    "become_a_program": "os.execv('/bin/sh', ['sh', '-c', 'exit 0'])",
    "become_a_program_in_memory": "system_call(322, 0, b'', 0, 0, 0x1000)",
}
KERNEL = {
    "find_secret_in_environment": "found('VALLUM_TEST_SECRET' in os.environ)",
    "use_inherited_descriptor": "found(inherited())",
    "allow_core_dumps": "found(resource.getrlimit(resource.RLIMIT_CORE)[1] != 0)",
    "raise_limit_of_descriptors": "resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))",
    "keep_capabilities": "found(int(status('CapEff'), 16))",
    "gain_privileges": "found(status('NoNewPrivs') != '1')",
    "run_without_filter": "found(status('Seccomp') != '2' or status('Seccomp_filters') == '1')",
    "change_user": "os.setuid(os.getuid())",
    "read_session_keyring": "system_call(250, 0, -3, 0)",
    "add_a_key": "system_call(248, b'user', b'vallum-test', b'x', 1, -2)",
    "make_file_in_memory": "os.close(system_call(319, b'x', 0))",
    "enter_new_namespace": "system_call(272, 0x10000000)",
    "enter_network_of_others": "system_call(308, os.open('/proc/self/ns/net', os.O_RDONLY), 0)",
    "mount": "system_call(165, b'none', b'/tmp', b'tmpfs', 0, 0)",
    "open_file_system": "system_call(430, b'tmpfs', 0)",
    "set_up_io_uring": "found(system_call(425, 8, ctypes.create_string_buffer(120)) > 0)",
    "load_program_into_the_kernel": "system_call(321, 0, ctypes.create_string_buffer(128), 128)",
    "count_events_of_the_kernel": "system_call(298, ctypes.create_string_buffer(120), 0, -1, -1, 0)",
    "handle_page_faults": "system_call(323, 0)",
    "read_log_of_the_kernel": "system_call(103, 10, 0, 0)",
    "set_the_clock": "system_call(227, 0, 0)",
}
ATTEMPTS = {**FILES, **NETWORK, **PROCESSES, **KERNEL}
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

def status(name):
    return next(line.split()[1] for line in open('/proc/self/status') if line.startswith(name + ':'))

def leave(path, make=lambda path: open(path, 'x').close()):
    make(path)
    os.unlink(path)

def plant(path):
    leave(path, lambda path: os.symlink('/etc/passwd', path))

def move(path):
    os.rename(path, path + '.moved')
    os.rename(path + '.moved', path)

def wait(child):
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

ATTEMPTS = {attempts!r}
"""
"""Code a model runs when it is loaded; `settings` assigns target, own, port, port6, abstract, named and parent."""

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
