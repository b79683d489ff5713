# SPDX-License-Identifier: Apache-2.0
"""Small operations on one thread: sharing them costs more than it gains, and on a busy machine a hundred times more."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORTH_SHARING = 300_000
"""Numbers an elementwise operation touches from which a second thread pays (two cores, measured)."""


@contextmanager
def one_thread_unless(large: bool) -> Iterator[None]:
    """Run torch's CPU operations on one thread unless the work is large, and restore the number of threads afterwards.

    With several threads each operation ends at a barrier that spins; where another process holds a core, that waits for the
    scheduler's next turn, thousands of times a second. Measured on two busy cores: 13 s in place of 0.2 s.
    """
    threads = torch.get_num_threads()
    if large or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
