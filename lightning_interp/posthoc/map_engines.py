# SPDX-License-Identifier: Apache-2.0
"""Where checkpoints are mapped: in this process, in several on this machine, or over a cluster by Ray.

Each engine yields results as they come, at most a few ahead of what was asked for, so that memory does not grow with the
number of checkpoints. The results are the same bits whichever engine gives them.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import cloudpickle

from lightning_interp.core.child_python import safe_children
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.imports import also_from, folders_needed, searched_last
from lightning_interp.core.system_features import SIGNAL_MASKS

if TYPE_CHECKING:
    from lightning_interp.posthoc.checkpoint_mapping import MapOrder, Mapped, Mapper
    from lightning_interp.sources.checkpoints.integrity import Inspected

AHEAD = 2
"""Checkpoints under way or waiting to be taken in, for each worker."""
TRIES = 2
"""Times a checkpoint may end a worker before it is left out."""
DIED = "a worker process died of it; its memory may not suffice"

_mapper: "Mapper | None" = None


def map_inline(mapper: "Mapper", items: "Sequence[Inspected]") -> "Iterator[Mapped]":
    """One after the other, in this process."""
    return (mapper(item) for item in items)


def map_local(order: "MapOrder", items: "Sequence[Inspected]", *, workers: int) -> "Iterator[Mapped]":
    """In several processes of this machine. One that dies is replaced, and what it was at is tried once more, alone."""
    packed = _packed(order)
    waiting, suspects = list(reversed(items)), list["Inspected"]()
    while waiting or suspects:
        alone = bool(suspects)
        source = suspects if alone else waiting
        running: dict[Future[bytes], Inspected] = {}
        with _pool(packed, 1 if alone else workers) as pool:
            try:
                while source or running:
                    while source and len(running) < (1 if alone else AHEAD * workers):
                        with (
                            _ctrl_c_later(),
                            safe_children(),
                        ):  # a pool that is broken by now takes nothing, and the item stays
                            future = pool.submit(_mapped, cloudpickle.dumps(source[-1]))
                        running[future] = source.pop()
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        result = cloudpickle.loads(future.result())
                        del running[future]
                        yield result
            except BrokenProcessPool:
                if alone:
                    yield from (_died(item) for item in running.values())
                else:
                    suspects = list(running.values())


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back for the duration of the block, and for ever in processes that are started inside.

    A terminal sends it to them as well, but it is for this one, which then ends them: a worker must not die of it half-way
    through its imports, with a traceback that nobody asked for. Where a system cannot hold it back, that may happen.
    """
    if not SIGNAL_MASKS:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _died(item: "Inspected") -> "Mapped":
    from lightning_interp.posthoc.checkpoint_mapping import Mapped

    return Mapped(item, failure=DIED)


def _pool(packed: bytes, workers: int) -> ProcessPoolExecutor:
    with safe_children():  # the pool's locks start a process that looks after them
        return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_prepare, initargs=(packed,))


def _packed(order: "MapOrder") -> bytes:
    """An order with what a worker must share with this process to unpickle it: the import path and folders."""
    return bytes(cloudpickle.dumps((sys.path, folders_needed(), cloudpickle.dumps(order))))


def _prepare(packed: bytes) -> None:
    """Make the mapper of a worker process."""
    global _mapper
    import torch

    from lightning_interp.core.inert_output import make_output_inert

    make_output_inert()  # it shares the terminal with the command
    from lightning_interp.analysis.apart import work_apart
    from lightning_interp.analysis.preload import import_all
    from lightning_interp.posthoc.checkpoint_mapping import Mapper

    import_all()
    paths, folders, inner = cloudpickle.loads(packed)
    sys.path += [path for path in paths if path not in sys.path]
    with searched_last(folders), also_from(folders):
        order: MapOrder = cloudpickle.loads(inner)
        torch.set_num_threads(order.threads)  # after the user's imports, which may set another number
        work_apart()
        _mapper = Mapper.of(order)


def _mapped(item: bytes) -> bytes:
    assert _mapper is not None
    return bytes(cloudpickle.dumps(_mapper(cloudpickle.loads(item))))


def map_ray(order: "MapOrder", items: "Sequence[Inspected]", *, workers: int) -> "Iterator[Mapped]":
    """Over the Ray cluster this process is connected to, or one that is started on this machine.

    Checkpoints must be reachable from every node under the same path or URL. A worker that dies is replaced by Ray.

    Raises:
        ConfigError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as err:
        raise ConfigError("engine: Ray is not installed: pip install 'lightning-interp[ray]'.") from err
    if ray.is_initialized():
        yield from _by_ray(ray, _packed(order), items, workers, folder=None)
        return
    folder = Path.cwd()
    with TemporaryDirectory(prefix="interp-ray-", ignore_cleanup_errors=True) as empty:
        with chdir(empty), safe_children():  # Ray has its workers import from the folder it is started in, first
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
        try:
            yield from _by_ray(ray, _packed(order), items, workers, folder=folder)
        finally:
            ray.shutdown()


def _by_ray(
    ray: "object", packed: bytes, items: "Sequence[Inspected]", workers: int, *, folder: Path | None
) -> "Iterator[Mapped]":
    shared = ray.put((packed, folder))  # type: ignore[attr-defined]
    remote = ray.remote(num_cpus=1, max_retries=TRIES)(_mapped_by_ray)  # type: ignore[attr-defined]
    waiting, running = list(reversed(items)), dict["object", "Inspected"]()
    while waiting or running:
        while waiting and len(running) < AHEAD * workers:
            item = waiting.pop()
            running[remote.remote(shared, cloudpickle.dumps(item))] = item
        done, _ = ray.wait(list(running), num_returns=1)  # type: ignore[attr-defined]
        for reference in done:
            item = running.pop(reference)
            try:
                result = cloudpickle.loads(ray.get(reference))  # type: ignore[attr-defined]
            except ray.exceptions.WorkerCrashedError:  # type: ignore[attr-defined]
                result = _died(item)
            yield result


def _mapped_by_ray(shared: tuple[bytes, Path | None], item: bytes) -> bytes:
    """The task of one checkpoint; a worker process keeps its mapper from one to the next."""
    packed, folder = shared
    if _mapper is None:
        if folder is not None and folder.is_dir():  # relative paths of checkpoints count from where the command runs
            os.chdir(folder)
        _prepare(packed)
    return _mapped(item)
