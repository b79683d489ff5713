# SPDX-License-Identifier: Apache-2.0
"""A measure that is named by more than one dot."""

from lightning_interp.measures import Measure


class Box:
    """Holds a measure."""

    class Inner(Measure):
        """The step."""

        name, names, needs = "inner", ("inner",), frozenset({"weights"})

        def __call__(self, observation):
            return {"inner": float(observation.snapshot.step)}
