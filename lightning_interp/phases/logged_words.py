# SPDX-License-Identifier: Apache-2.0
"""What a timeline says of its source where it was found from what the training itself logged."""

from collections.abc import Mapping
from dataclasses import replace

from lightning_interp.core.logged_curves import CURVES, LoggedAs, curve_words, plain_logged
from lightning_interp.core.timeline import Timeline
from lightning_interp.phases.confidence import LOSSES_ONLY_CAP

SOURCE, LOGGED = "source", "logged"
"""Key of the evidence for where the curves come from, and its value here; it is not there for the probe's and a file's."""


def judged_as_logged(timeline: Timeline, logged_as: Mapping[str, LoggedAs]) -> Timeline:
    """The timeline with its source in the evidence and in the sentence on its verdict.

    Batch values and averages over weights that moved on are no losses of one network: without an accuracy, confidence stays
    under the cap of losses alone, also where weights are known.

    Args:
        timeline: As the detector gives it.
        logged_as: What each curve is logged as, as far as that is known.
    """
    evidence = timeline.evidence
    present = [curve for curve in CURVES if curve in evidence["series"]["present"]]
    told = [logged_as[curve].words(curve) if curve in logged_as else curve_words(curve) for curve in present]
    capped = not any(curve.endswith("accuracy") for curve in present)
    return replace(
        timeline,
        phases=tuple(
            replace(phase, confidence=min(phase.confidence, LOSSES_ONLY_CAP) if capped else phase.confidence)
            for phase in timeline.phases
        ),
        evidence={
            **evidence,
            "reason": f"{evidence['reason']} Judged by what the training logged: {', '.join(told)}.",
            "confidence_cap": LOSSES_ONLY_CAP if capped else evidence["confidence_cap"],
            SOURCE: LOGGED,
            "logged_as": plain_logged({curve: logged_as[curve] for curve in present if curve in logged_as}),
        },
    )
