# SPDX-License-Identifier: Apache-2.0
"""Whether a device is here, asked without touching it: asking a GPU for its memory starts it up."""

import torch

from lightning_interp.core.errors import ConfigError


def check_device(wanted: str | torch.device, *, auto: bool = True, count: int | None = None) -> None:
    """Refuse a device that is not here.

    Args:
        wanted: A device, or its name.
        auto: Whether "auto" will do as well.
        count: Number of visible GPUs; None to ask torch.

    Raises:
        ConfigError: The device does not exist here.
    """
    if auto and wanted == "auto":
        return
    try:
        device = torch.device(wanted)
    except (RuntimeError, TypeError) as err:
        names = "'auto', 'cpu' or 'cuda:0'" if auto else "'cpu' or 'cuda:0'"
        raise ConfigError(f"device: {wanted!r} is not a device ({err}); use {names}.") from err
    count = torch.cuda.device_count() if count is None else count
    if device.type == "cuda" and (device.index or 0) >= count:
        names = "'auto' or 'cpu'" if auto else "'cpu'"
        raise ConfigError(f"device: {wanted!r} is not there ({count} GPUs visible); use {names}.")


def with_index(device: str | torch.device) -> torch.device:
    """A device with its number: calls that set or ask something of one GPU take no ``cuda`` without.

    >>> str(with_index("cuda")), str(with_index("cuda:1")), str(with_index("cpu"))
    ('cuda:0', 'cuda:1', 'cpu')
    """
    found = torch.device(device)
    return torch.device("cuda", found.index or 0) if found.type == "cuda" else found
