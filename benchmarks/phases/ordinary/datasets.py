# SPDX-License-Identifier: Apache-2.0
"""Every data set by name. Those in `THIRD_PARTY` were made by others and come with installed packages or with Python."""

from collections.abc import Callable
from inspect import signature

from ordinary import made, shipped
from ordinary.examples import Examples

DATA: dict[str, Callable[..., Examples]] = {
    "digits": shipped.digits,
    "mnist": shipped.mnist,
    "wine": shipped.wine,
    "breast_cancer": shipped.breast_cancer,
    "iris": shipped.iris,
    "voters": shipped.voters,
    "affairs": shipped.affairs,
    "diabetes": shipped.diabetes,
    "linnerud": shipped.linnerud,
    "cars": shipped.cars,
    "doctor_visits": shipped.doctor_visits,
    "sea_temperature": shipped.sea_temperature,
    "photo_patches": shipped.photo_patches,
    "photo_colors": shipped.photo_colors,
    "digit_strokes": shipped.digit_strokes,
    "text": shipped.text,
    "text_origin": shipped.text_origin,
    "text_keywords": shipped.text_keywords,
    "gaussians": made.gaussians,
    "teacher": made.teacher,
    "spirals": made.spirals,
    "friedman": made.friedman,
    "linear_teacher": made.linear_teacher,
    "no_relation": made.no_relation,
    "label_teacher": made.label_teacher,
    "rare_rule": made.rare_rule,
    "rare_random": made.rare_random,
    "shapes": made.shapes,
    "markov": made.markov,
    "subjects": made.subjects,
    "parity": made.parity,
    "modular": made.modular,
    "factors": made.factors,
}
"""Called with the options of a run, and ``seed=`` where something is drawn."""
THIRD_PARTY = frozenset(name for name, function in DATA.items() if function.__module__ == shipped.__name__)


def examples_of(name: str, *, seed: int, **options: object) -> Examples:
    """A data set by its name.

    Args:
        name: Key of `DATA`.
        seed: Of what is drawn, if anything is.
        **options: See the function.
    """
    function = DATA[name]
    drawn = {"seed": seed} if "seed" in signature(function).parameters else {}
    return function(**drawn, **options)
