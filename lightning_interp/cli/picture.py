# SPDX-License-Identifier: Apache-2.0
"""The pictures that ``--figure`` asks for: a page that needs no network, or an image."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_interp.core.console import one_line
from lightning_interp.core.errors import ConfigError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FORMATS = (".html", ".png")
_INSTALL = "Install `lightning-interp[dashboards]` and Chrome or Chromium, or name a file that ends in .html."


def check_figure(target: Path) -> None:
    """Refuse a file that cannot be written, before minutes are spent on what it shows.

    Raises:
        ConfigError: Unknown format, no such folder, or no kaleido for an image.
    """
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(f"--figure {target}: expected a name that ends in {' or '.join(FORMATS)}.")
    if not target.absolute().parent.is_dir():
        raise ConfigError(f"--figure {target}: the folder {target.parent} does not exist. Make it, or choose another.")
    if target.suffix.lower() == ".png" and find_spec("kaleido") is None:
        raise ConfigError(f"--figure {target}: an image needs kaleido. {_INSTALL}")


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Errors of writing a picture, said in words.

    Raises:
        ConfigError: It could not be written.
    """
    try:
        yield
    except OSError as err:
        raise ConfigError(f"--figure {target}: cannot be written ({err.strerror or err}). Choose another place.") from err
    except RuntimeError as err:
        raise ConfigError(f"--figure {target}: no image could be made ({err}). {_INSTALL}") from err


def write_picture(figure: "Figure", target: Path) -> None:
    """Write a figure as the format its name ends in, and say where it is.

    Raises:
        ConfigError: It cannot be written.
    """
    from lightning_interp.dashboards.figures import write_html, write_image

    with writing(target):
        (write_image if target.suffix.lower() == ".png" else write_html)(figure, target)
    print(one_line(f"Picture: {target}"), file=sys.stderr)
