# SPDX-License-Identifier: Apache-2.0
"""What a record is called in loggers, and the section it belongs to: the one place that knows the prefix."""

from lightning_interp.core.logged_curves import KINDS, Kind
from lightning_interp.core.tca_settings import PREFIX as COMPONENT_PREFIX
from lightning_interp.measures.label import NO_LABELS, Labels
from lightning_interp.measures.registry import known_labels

COMPONENTS, OTHERS = "components", "others"
_PREFIX = "interp/"


def logged_name(name: str) -> str:
    """Name in loggers, `callback_metrics` and, of settings, among a snapshot's scalars: none that a user logs begins so.

    >>> logged_name("train_loss")
    'interp/train_loss'
    """
    return f"{_PREFIX}{name}"


def record_name(logged: str) -> str | None:
    """The record's own name, or None if the monitor did not log it.

    >>> record_name("interp/hoyer/act"), record_name("train_loss")
    ('hoyer/act', None)
    """
    return logged.removeprefix(_PREFIX) if logged.startswith(_PREFIX) else None


def logged_at(name: str, kind: Kind) -> str:
    """Name among a snapshot's scalars of the optimizer step at which a value was logged.

    >>> logged_at("val_loss", "average")
    'interp/logged_average/val_loss'
    """
    return logged_name(f"logged_{kind}/{name}")


def tells_when_logged(name: str) -> bool:
    """Whether a snapshot's scalar is the step of a logged value, which says nothing without it."""
    return name.startswith(tuple(logged_at("", kind) for kind in KINDS))


def is_component(name: str) -> bool:
    """Whether a record is the loading of a tensor component."""
    return name.startswith(COMPONENT_PREFIX)


def section_of(name: str, own: Labels = NO_LABELS) -> str:
    """Section of a record: the one its label names, `COMPONENTS`, or `OTHERS` if it has no label.

    Args:
        name: Record name, with or without the layer or parameter it is a detail of.
        own: Labels of measures that are not built in.

    >>> section_of("hoyer/act"), section_of("component/act/0"), section_of("mine")
    ('sparsity', 'components', 'others')
    """
    if is_component(name):
        return COMPONENTS
    label = {**known_labels(), **own}.get(name.partition("/")[0])
    return OTHERS if label is None else label.section


STEP_KEY = logged_name("step")
"""Optimizer step of the snapshot: the x-axis of every row."""
