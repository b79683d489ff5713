# SPDX-License-Identifier: Apache-2.0
import math

from scoring.statistics import Estimate
from scoring.warning_figure import warning_figure
from scoring.warning_scores import WarningScores

NOTHING = Estimate(math.nan, 0.0, 1.0, "0 of 0")


def scores(name):
    """Scores of which each estimate that is drawn is another number."""
    early, area, ahead, found, false = (
        Estimate(value, value - 0.05, value + 0.01, "") for value in (0.5, 0.9, 0.8, 0.7, 0.1)
    )
    none = {0.25: NOTHING, 0.5: NOTHING}
    areas = {"areas": {0.25: early, 0.5: area}, "areas_decayed": none, "areas_ahead": {0.25: early, 0.5: ahead}}
    alarms = {"detected": found, "false_alarms": false, "false_alarms_decayed": NOTHING, "undecided": NOTHING}
    leads = dict.fromkeys(("lead_share", "lead_steps", "null_lead_share", "null_false_alarms"), math.nan)
    return WarningScores(score=name, rule="its own", **areas, **alarms, **leads)


def test_warning_figure_has_areas_at_half_of_the_budget_left_and_alarms_right():
    drawn = {trace.name: (trace.xaxis, *trace.x) for trace in warning_figure([scores("ours")], title="").data}
    assert drawn == {
        "all positives": ("x", 0.9),
        "those that had not generalized yet": ("x", 0.8),
        "detected in time": ("x2", 0.7),
        "false alarms": ("x2", 0.1),
    }


def test_warning_figure_draws_the_interval_of_each_dot():
    trace = warning_figure([scores("ours")], title="").data[0]
    assert [round(trace.error_x.array[0], 9), round(trace.error_x.arrayminus[0], 9)] == [0.01, 0.05]


def test_warning_figure_shows_names_as_text():
    figure = warning_figure([scores("<b>ours")], title="<i>title")
    assert figure.data[0].y == ("&lt;b&gt;ours: its own",) and figure.layout.title.text == "&lt;i&gt;title"
