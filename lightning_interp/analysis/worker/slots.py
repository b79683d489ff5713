# SPDX-License-Identifier: Apache-2.0
"""How many analyzers of one user work on a machine at a time: locked files in a folder of the user's own.

The kernel holds the locks, so an analyzer that is killed leaves none behind. An analyzer has a slot only while it has work,
and hands it on after a while, so that the others of a sweep get their turn. A locked file holds its holder's process id, for
those that wait.
"""

import os
import stat
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lightning_interp.core.errors import RunError
from lightning_interp.core.processes import is_alive
from lightning_interp.core.system_features import OWNED_LOCKS

LIMIT_VARIABLE = "LIGHTNING_INTERP_ANALYZERS"
TURN_S = 20.0
"""An analyzer with much to do hands its slot on after the snapshot that ends after this many seconds."""


def slot_count(environment: Mapping[str, str] = os.environ) -> int:
    """Analyzers that may work at a time: half the cores, or what the environment says.

    Raises:
        RunError: The environment says no positive number.
    """
    given = environment.get(LIMIT_VARIABLE, "").strip()
    if not given:
        return max(1, (os.cpu_count() or 1) // 2)
    if not given.isdecimal() or int(given) < 1:
        raise RunError(f"{LIMIT_VARIABLE}: expected how many analyzers may work at a time, 1 or more, got {given!r}.")
    return int(given)


def slot_folder() -> Path:
    """This user's folder of slots on this machine."""
    return Path(tempfile.gettempdir()) / f"lightning-interp-{os.getuid()}"


class Slots:
    """Leave to work. This one is always given: no limit.

    Attributes:
        waits_for: Process ids of those that held the slots at the latest `take`, ascending, if none was free then;
            those that are gone or cannot be seen from here are left out.
    """

    waits_for: tuple[int, ...] = ()

    def take(self) -> bool:
        """Hold a slot; False where others hold them all."""
        return True

    @property
    def turn_over(self) -> bool:
        """Whether it is time to hand the slot on."""
        return False

    def give_back(self) -> None:
        """Let others have the slot."""


class MachineSlots(Slots):
    """The slots of one user on one machine, lock files in a folder that is made if need be; one of them may be held.

    Raises:
        RunError: The folder is not a folder of this user that no one else can write to.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._count = count
        self._held: int | None = None
        self._taken_at = 0.0
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        try:
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as err:
            raise RunError(f"{folder}: expected a folder of this user's own ({err}).") from err
        about = os.fstat(self._folder)
        if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o022:
            os.close(self._folder)
            raise RunError(f"{folder}: expected a folder that only this user can write to; remove it.")

    def take(self) -> bool:
        """Hold a slot, the one held already or any that is free; False where others hold them all."""
        import fcntl

        holders: list[int] = []
        for number in range(self._count) if self._held is None else ():
            descriptor = os.open(
                f"analyzer-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, mode=0o600, dir_fd=self._folder
            )
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holders.append(_holder(descriptor))
                os.close(descriptor)
                continue
            self._held, self._taken_at = descriptor, time.monotonic()
            _sign(descriptor, str(os.getpid()))
            break
        taken = self._held is not None
        self.waits_for = () if taken else tuple(sorted(pid for pid in holders if is_alive(pid) is not False))
        return taken

    @property
    def turn_over(self) -> bool:
        """Whether it is time to hand the slot on."""
        return self._held is not None and time.monotonic() - self._taken_at > TURN_S

    def give_back(self) -> None:
        """Let others have the slot."""
        if self._held is not None:
            _sign(self._held, "")
            os.close(self._held)
            self._held = None


def _sign(descriptor: int, text: str) -> None:
    """Put a process id into a locked file, or take it out; a full disk costs the others a name, nobody a slot."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _holder(descriptor: int) -> int:
    """Process id in a file that another process has locked, 0 if it holds none."""
    try:
        text = os.pread(descriptor, 20, 0).decode("ascii", "replace")
    except OSError:
        return 0
    return int(text) if text.isdecimal() and text.isascii() else 0


def machine_slots() -> tuple[Slots, str]:
    """The slots of this machine, and why there is no limit where there is none.

    Where the system has no locks for them, nothing is said here: `what_analyzers_lack` does.
    """
    if not OWNED_LOCKS:
        return Slots(), ""
    try:
        return MachineSlots(slot_folder(), slot_count()), ""
    except (RunError, OSError) as err:
        return Slots(), f"the number of analyzers on this machine is not limited: {err}"
