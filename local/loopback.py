"""Confine a server that always binds the wildcard address to loopback.

    python -m local.loopback COMMAND [ARGUMENT ...]

A seccomp filter notifies this process of every bind(2) of the command; other system calls are not affected. For a
wildcard address (0.0.0.0, ::) this process binds a duplicate of the socket to loopback instead; all other binds proceed
unchanged. This needs no privileges, but Linux 5.6 or newer on x86-64 (seccomp_unotify(2), pidfd_getfd(2)).
"""

import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from recmesh.errors import SettingsError

_AUDIT_ARCH_X86_64 = 0xC000003E
_SYS_BIND = 49
_SYS_SECCOMP = 317
_SYS_PIDFD_GETFD = 438

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
_SECCOMP_RET_ALLOW = 0x7FFF0000
_SECCOMP_RET_USER_NOTIF = 0x7FC00000
_SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1

_BPF_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_BPF_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_BPF_RETURN = 0x06  # BPF_RET | BPF_K
_DATA_NR, _DATA_ARCH = 0, 4  # offsets in struct seccomp_data

_NOTIF = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif: id, pid, flags, then seccomp_data: nr, arch, ip, args
_RESPONSE = struct.Struct("=QqiI")  # struct seccomp_notif_resp: id, val, error, flags
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_NO_FILTER_STATUS = 125  # exit status of a child that could not install the filter


def _ioctl_number(direction: int, number: int, size: int) -> int:
    return (direction << 30) | (size << 16) | (ord("!") << 8) | number


_NOTIF_RECV = _ioctl_number(3, 0, _NOTIF.size)
_NOTIF_SEND = _ioctl_number(3, 1, _RESPONSE.size)
_NOTIF_ID_VALID = _ioctl_number(1, 2, 8)

_libc = ctypes.CDLL(None, use_errno=True)


class _Instruction(ctypes.Structure):
    """struct sock_filter."""

    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def _install_filter() -> int:
    """Install the filter in this process and its future children. Returns the descriptor of the listener."""
    instructions = (_Instruction * 6)(
        _Instruction(_BPF_LOAD_WORD, 0, 0, _DATA_ARCH),
        _Instruction(_BPF_JUMP_EQUAL, 0, 2, _AUDIT_ARCH_X86_64),
        _Instruction(_BPF_LOAD_WORD, 0, 0, _DATA_NR),
        _Instruction(_BPF_JUMP_EQUAL, 1, 0, _SYS_BIND),
        _Instruction(_BPF_RETURN, 0, 0, _SECCOMP_RET_ALLOW),
        _Instruction(_BPF_RETURN, 0, 0, _SECCOMP_RET_USER_NOTIF),
    )
    program = _Program(len(instructions), instructions)
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    flags = _SECCOMP_FILTER_FLAG_NEW_LISTENER
    return _checked(
        _libc.syscall(_SYS_SECCOMP, _SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(program)),
        "seccomp(SECCOMP_SET_MODE_FILTER)",
    )


def _become(command: Sequence[str], environment: Mapping[str, str], channel: socket.socket, parent: int) -> NoReturn:
    """Run in the child: die with the parent, install the filter, pass on the listener, execute the command."""
    try:
        _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:
            os._exit(_NO_FILTER_STATUS)
        listener = _install_filter()
        socket.send_fds(channel, [b"L"], [listener])
        os.close(listener)
        os.execvpe(command[0], list(command), dict(environment))  # the caller chose the command
    except OSError as error:
        channel.sendall(str(error).encode())
    os._exit(_NO_FILTER_STATUS)


def _start(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, int]:
    """Fork the command under the filter. Returns its pid and the descriptor of the listener."""
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _become(command, environment, theirs, parent)
    theirs.close()
    with ours:
        message, descriptors, _, _ = socket.recv_fds(ours, 1024, 1)
        failure = message.decode() if not descriptors else ours.recv(1024).decode()
    if failure:
        os.waitpid(pid, 0)
        raise SettingsError(f"cannot run {command[0]} on loopback: {failure}")
    return pid, descriptors[0]


def _wildcard(address: bytes) -> int | None:
    """The port of a wildcard AF_INET or AF_INET6 sockaddr; None for all other addresses."""
    if len(address) < 8:
        return None
    family = struct.unpack_from("=H", address)[0]
    port: int = struct.unpack_from("!H", address, 2)[0]
    if family == socket.AF_INET and address[4:8] == bytes(4):
        return port
    if family == socket.AF_INET6 and address[8:24] in (bytes(16), bytes(10) + b"\xff\xff" + bytes(4)):
        return port
    return None


def _loopback_address(sock: socket.socket) -> str:
    if sock.family == socket.AF_INET:
        return "127.0.0.1"
    dual_stack = not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return "::ffff:127.0.0.1" if dual_stack else "::1"


def _thread_group(thread: int) -> int:
    status = Path(f"/proc/{thread}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("Tgid:")).split()[1])


def _duplicate(process: int, descriptor: int) -> socket.socket:
    """Duplicate a socket of another process into this process."""
    handle = os.pidfd_open(process)
    try:
        ours = _checked(_libc.syscall(_SYS_PIDFD_GETFD, handle, descriptor, 0), "pidfd_getfd")
    finally:
        os.close(handle)
    return socket.socket(fileno=ours)


def _bind_to_loopback(sock: socket.socket, port: int) -> int:
    """Bind. Returns 0 or an errno. A call that a signal interrupted is repeated, and finds the socket already bound."""
    host = _loopback_address(sock)
    try:
        sock.bind((host, port))
    except OSError as error:
        if error.errno == errno.EINVAL and sock.getsockname()[0] == host:
            return 0
        return error.errno or errno.EADDRINUSE
    return 0


def _answer(listener: int) -> None:
    """Receive and answer a notification of a bind."""
    request = bytearray(_NOTIF.size)
    try:
        fcntl.ioctl(listener, _NOTIF_RECV, request)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):  # the caller has died or was interrupted
            return
        raise
    fields = _NOTIF.unpack(request)
    identity, thread, (descriptor, pointer, length) = fields[0], fields[1], fields[6:9]
    failure, flags = 0, _SECCOMP_USER_NOTIF_FLAG_CONTINUE
    try:
        with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
            memory.seek(pointer)
            address = memory.read(min(length, 128))
        port = _wildcard(address)
        if port is not None:
            with _duplicate(_thread_group(thread), descriptor) as sock:
                fcntl.ioctl(listener, _NOTIF_ID_VALID, struct.pack("=Q", identity))
                failure, flags = _bind_to_loopback(sock, port), 0
    except OSError as error:
        failure, flags = error.errno or errno.EACCES, 0
    try:
        fcntl.ioctl(listener, _NOTIF_SEND, _RESPONSE.pack(identity, 0, -failure, flags))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def _serve_binds(listener: int, child: int) -> None:
    """Answer binds until the child exits."""
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(listener, select.POLLIN)
    while True:
        events = dict(poll.poll())
        if events.get(listener, 0) & select.POLLIN:
            _answer(listener)
        elif listener in events:
            poll.unregister(listener)
        if handle in events:
            os.close(handle)
            return


def supported() -> bool:
    """Whether this machine can confine a command to loopback, found out by running one."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    probe = "import socket; s = socket.socket(); s.bind(('', 0)); raise SystemExit(s.getsockname()[0] != '127.0.0.1')"
    try:
        return run([sys.executable, "-S", "-c", probe], os.environ) == 0
    except (SettingsError, OSError):
        return False


def run(command: Sequence[str], environment: Mapping[str, str], started: Callable[[], None] = lambda: None) -> int:
    """Run a command until it exits, with its wildcard binds moved to loopback.

    Termination signals are passed on, and the command is killed when this process dies.

    Args:
        command: The command and its arguments.
        environment: Its variables.
        started: Called in a thread after the start.

    Returns:
        The exit status, or 128 + the number of the signal that ended the command.

    Raises:
        SettingsError: The kernel or the policy of a container does not allow the filter.
    """
    child, listener = _start(command, environment)

    def forward(number: int, _frame: FrameType | None) -> None:
        os.kill(child, number)

    previous = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        threading.Thread(target=started, daemon=True).start()
        _serve_binds(listener, child)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(listener)
        for number, handler in previous.items():
            signal.signal(number, handler)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def main(arguments: Sequence[str]) -> int:
    """Run the command line. Returns the exit status of the command."""
    if not arguments:
        print("usage: python -m local.loopback COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 2
    try:
        return run(arguments, os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
