# SPDX-License-Identifier: Apache-2.0
"""A system that has what Windows has, as far as `lightning_interp` can tell. Python runs this file at its start.

Put this folder on PYTHONPATH, so that processes of processes have it, too. Only modules of the package see the lesser
system: the standard library and torch were built for this one and need it. Each process that runs this adds its command line
to the file named by LESSER_SYSTEM_LOG.
"""

import builtins
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PACKAGE = "lightning_interp"
NO_MODULES = "crypt curses fcntl grp posix pty pwd readline resource spwd syslog termios tty"
NO_NAMES: Mapping[str, str] = {
    "os": """
        O_ASYNC O_CLOEXEC O_DIRECT O_DIRECTORY O_DSYNC O_NDELAY O_NOATIME O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH
        O_SYNC O_TMPFILE PRIO_PGRP PRIO_PROCESS PRIO_USER WCONTINUED WEXITED WEXITSTATUS WIFCONTINUED WIFEXITED
        WIFSIGNALED WIFSTOPPED WNOHANG WNOWAIT WSTOPPED WSTOPSIG WTERMSIG WUNTRACED chown chroot confstr ctermid
        eventfd fchdir fchmod fchown fdatasync fork forkpty fpathconf fstatvfs getegid geteuid getgid getgroups
        getloadavg getpgid getpgrp getpriority getresgid getresuid getsid getuid initgroups killpg lchown lockf
        login_tty major makedev memfd_create minor mkfifo mknod nice openpty pathconf pidfd_open pipe2 posix_fadvise
        posix_fallocate posix_spawn posix_spawnp pread preadv pwrite pwritev readv register_at_fork
        sched_get_priority_max sched_getaffinity sched_getparam sched_getscheduler sched_setaffinity
        sched_setscheduler sched_yield sendfile setegid seteuid setgid setgroups setpgid setpriority setregid
        setresgid setresuid setreuid setsid setuid splice statvfs sync sysconf sysconf_names tcgetpgrp tcsetpgrp
        ttyname uname unshare wait wait3 wait4 waitid writev
    """,
    "signal": """
        ITIMER_PROF ITIMER_REAL ITIMER_VIRTUAL ItimerError SIG_BLOCK SIG_SETMASK SIG_UNBLOCK Sigmasks alarm
        getitimer pause pidfd_send_signal pthread_kill pthread_sigmask setitimer siginterrupt sigpending
        sigtimedwait sigwait sigwaitinfo
    """,
    "select": "POLLERR POLLHUP POLLIN POLLNVAL POLLOUT POLLPRI devpoll epoll kqueue poll",
    "socket": "AF_NETLINK AF_UNIX CMSG_LEN SO_REUSEPORT recv_fds send_fds",
    "time": "clock_getres clock_gettime clock_settime pthread_getcpuclockid tzset",
    "subprocess": "",
    "ctypes": "",
}
SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"}
"""Those of Windows."""


class Lesser(types.ModuleType):
    """A module as the lesser system has it."""

    def __init__(self, module: types.ModuleType, instead: Mapping[str, Any]) -> None:
        super().__init__(module.__name__)
        self._module, self._instead, self._without = module, instead, NO_NAMES[module.__name__].split()

    def __getattr__(self, name: str) -> Any:
        if name in self._instead:
            return self._instead[name]
        signals = self.__name__ == "signal" and name.startswith("SIG") and name not in (*SIGNALS, "SIG_DFL", "SIG_IGN")
        if name in self._without or signals:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on this system")
        return getattr(self._module, name)


def changes(module: types.ModuleType) -> dict[str, Any]:
    """What a module has in another way there."""
    makers = {"os": of_os, "signal": of_signal, "subprocess": of_subprocess, "ctypes": of_ctypes, "socket": of_socket}
    return makers[module.__name__](module) if module.__name__ in makers else {}


def of_os(module: Any) -> dict[str, Any]:
    parent, binary, of_text = module.getppid(), 1 << 30, set[int]()

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        if module.path.isdir(path):
            raise PermissionError(13, "Permission denied", path)
        descriptor = module.open(path, flags & ~binary, mode)
        of_text.discard(descriptor)
        if not flags & binary:
            of_text.add(descriptor)
        return int(descriptor)

    def write(descriptor: int, data: bytes) -> int:
        module.write(descriptor, data.replace(b"\n", b"\r\n") if descriptor in of_text else data)
        return len(data)

    def kill(pid: int, number: int) -> None:
        module.kill(pid, 9)  # whatever the number, TerminateProcess

    none = {name: set[Any]() for name in ("supports_dir_fd", "supports_fd", "supports_follow_symlinks")}
    # The parent's number stays when it has gone.
    return {"open": opened, "O_BINARY": binary, "write": write, "kill": kill, "getppid": lambda: parent, **none}


def of_signal(module: Any) -> dict[str, Any]:
    known = {getattr(module, name) for name in SIGNALS}

    def handle(number: int, handler: Any) -> Any:
        if number not in known:
            raise ValueError("invalid signal value")
        return module.signal(number, handler)

    return {"signal": handle, "valid_signals": lambda: known}


def of_subprocess(module: Any) -> dict[str, Any]:
    class Popen(module.Popen):  # type: ignore[misc,name-defined]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            for name in ("pass_fds", "preexec_fn", "process_group", "start_new_session"):
                if options.pop(name, None) not in (None, False, ()):
                    raise ValueError(f"{name} is not supported on this system")
            super().__init__(*arguments, **options)

        def send_signal(self, number: int) -> None:
            super().send_signal(9)

    return {"Popen": Popen}


def of_ctypes(module: Any) -> dict[str, Any]:
    def library(name: Any, *arguments: Any, **options: Any) -> Any:
        if name is None:
            raise TypeError("LoadLibrary() argument 1 must be str, not None")
        return module.CDLL(name, *arguments, **options)

    return {"CDLL": library}


def of_socket(module: Any) -> dict[str, Any]:
    return {"SO_EXCLUSIVEADDRUSE": -5}


def hide() -> None:
    """Let every import of the package see the lesser system."""
    real = builtins.__import__
    made: dict[str, Lesser] = {}

    def lesser_import(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        importer = (globals or {}).get("__name__") or ""
        spec = (globals or {}).get("__spec__")
        if importer == "__main__" and spec is not None:  # `python -m` of a module of the package
            importer = spec.name
        if importer.split(".")[0] != PACKAGE or level:
            return real(name, globals, locals, fromlist, level)
        if name in NO_MODULES.split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        found = real(name, globals, locals, fromlist, level)
        if name not in NO_NAMES:
            return found
        if name not in made:
            made[name] = Lesser(found, changes(found))
        return made[name]

    builtins.__import__ = lesser_import


hide()
if log := os.environ.get("LESSER_SYSTEM_LOG"):
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(" ".join(sys.orig_argv) + "\n")
