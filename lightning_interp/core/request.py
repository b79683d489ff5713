# SPDX-License-Identifier: Apache-2.0
"""What an analysis is asked for: one object that travels whole from the user to whichever process does the work.

To add an option, add a field here and read it where it is used. Nothing in between names it: a configuration, the order for
an analyzer process, its plan and the order for checkpoint workers all hold the request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar


@dataclass(frozen=True)
class AnalysisRequest:
    """What to analyze, and how; `InterpMonitor` documents the options.

    It begins as the user wrote it, then `config.resolve` or a stored run replaces names by what they stand for. That takes
    values of rooms above this one, hence `Any`. A resolved request can be pickled.

    Attributes:
        parameters: Patterns; resolved: names of parameters, tied ones once.
        layers: Patterns; resolved: names of the activation layers.
        measures: Names, measures or classes; resolved: a tuple of `Measure`.
        task: `CyclicGroupTask` of the training, or None. With one, the probe is never cut.
        tca: `TCA`, a bool, or None; resolved: `TCA` with its layers named, or None.
        outcome: `Outcome`, its name, or None; resolved: an `Outcome` with its direction, or None.
        probe: `Probe`, run directory, function or ``pkg.mod:fn``, or None to build one; resolved: the `Probe`, or None.
            In an order for an analyzer process, only a probe that is kept out of the run directory.
        probe_step: Function (module, batch) -> ProbeOutputs or ``pkg.mod:fn``, or None; resolved: the function, or None.
        module: Factory of the module or ``pkg.mod:fn``, or None; imported where it is called.
        device: ``"auto"``, or a device by name; in a plan, the device in use.
        strict: Let a failing measure end the analysis.
    """

    parameters: Any = "*"
    layers: Any = None
    measures: Any = "standard"
    task: Any = None
    tca: Any = None
    outcome: Any = None
    probe: Any = None
    probe_step: Any = None
    module: Any = None
    device: str = "auto"
    strict: bool = False


class HoldsRequest(Protocol):
    """A frozen dataclass with a request beside options of its own."""

    @property
    def request(self) -> AnalysisRequest:
        """What the analysis is asked for."""
        ...


Holder = TypeVar("Holder", bound=HoldsRequest)


def with_options(holder: Holder, options: Mapping[str, Any]) -> Holder:
    """A copy of a dataclass that holds a request, with options set in it or in the request, wherever each one belongs.

    Raises:
        TypeError: Neither has an option of that name.
    """
    asked = {name: value for name, value in options.items() if name in holder.request.__dataclass_fields__}
    own = {name: value for name, value in options.items() if name not in asked}
    request = replace(own.pop("request", holder.request), **asked)
    changed: Holder = replace(holder, request=request, **own)  # type: ignore[type-var]
    return changed
