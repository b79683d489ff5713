# SPDX-License-Identifier: Apache-2.0
"""Colors can be seen and told apart on both backgrounds."""

import pytest

from lightning_interp.core.timeline import PHASE_NAMES, STAGE_NAMES, WEIGHT_STAGE_NAMES
from lightning_interp.dashboards import theme

CURVES = {*theme.CURVE_COLORS, theme.TRAIN, theme.HELDOUT, theme.EXCLUDED, theme.RESTRICTED, theme.NEUTRAL, theme.MARK}


@pytest.mark.parametrize("ink", theme.INKS.values(), ids=theme.INKS)
def test_curves_stand_out_from_the_background(ink):
    """3 to 1 is what WCAG 2.1 asks of graphical objects (1.4.11)."""
    assert {color for color in CURVES if theme.contrast(color, ink.paper) < 3} == set()


@pytest.mark.parametrize("ink", theme.INKS.values(), ids=theme.INKS)
def test_text_can_be_read(ink):
    """4.5 to 1 is what WCAG 2.1 asks of text (1.4.3), on paper and on buttons."""
    for text in (ink.text, ink.faint):
        assert min(theme.contrast(text, ink.paper), theme.contrast(text, ink.button)) >= 4.5


@pytest.mark.parametrize("name", PHASE_NAMES)
def test_every_phase_has_a_color_of_its_own(name):
    assert list(theme.PHASE_COLORS.values()).count(theme.PHASE_COLORS[name]) == 1


def test_every_stage_has_a_color():
    assert {*STAGE_NAMES, *WEIGHT_STAGE_NAMES} == theme.STAGE_COLORS.keys()


def test_contrast_is_that_of_the_published_example():
    """WCAG's own: #777777 on white has 4.48 to 1, just too little for text."""
    assert theme.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_templates_differ_in_nothing_but_colors():
    def shape(value):
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        return "color" if isinstance(value, str) and value.startswith("#") else value

    assert shape(theme.LIGHT.to_plotly_json()) == shape(theme.DARK.to_plotly_json())
