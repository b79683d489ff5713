# SPDX-License-Identifier: Apache-2.0
import json
import math

import pytest
import torch

from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.core.timeline import Phase
from lightning_interp.tca.cp import CPFit, arranged
from lightning_interp.tca.description import describe_components

STEPS = sorted({0, 1, 2, 5, *(round(10 ** (1 + 3 * i / 50)) for i in range(51))})
CLOCK = torch.tensor(STEPS, dtype=torch.float64).log1p()
LABELS, HELDOUT = torch.arange(120) % 8, torch.arange(120) >= 80
PHASES = (
    Phase("memorization", 0, 300, 1.0, (0, 0), (300, 300)),
    Phase("circuit_formation", 300, 1500, 1.0, (300, 300), (1500, 1500)),
    Phase("cleanup", 1500, None, 1.0, (1500, 1500)),
)


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sigmoid(middle):
    return torch.sigmoid((CLOCK - math.log1p(middle)) / 0.15)


def planted(dtype=torch.float64):
    """Component 0 rises at 820 on held-out stimuli of class 3 and six units; 1 falls at 100 on all stimuli and units."""
    held = (0.2 + 1.5 * HELDOUT.double()) * (1 + 4 * (LABELS == 3).double()) * (1 + 0.1 * normal(120, seed=1))
    stimuli = torch.stack([held, 1 + 0.1 * normal(120, seed=2)], dim=1)
    units = torch.stack([torch.cat([torch.ones(6), -0.01 * torch.ones(34)]).double(), 1 + 0.1 * normal(40, seed=3)], dim=1)
    times = torch.stack([sigmoid(820), 1 - 0.9 * sigmoid(100)], dim=1)
    weights = torch.tensor([3.0, 0.05], dtype=dtype)
    factors = [factor.to(dtype) for factor in (times, stimuli, units)]
    return arranged(weights, factors, relative_error=0.1, converged=True, n_iter=9)


def fit_of(times, stimuli, units):
    return CPFit(torch.ones(times.shape[1]), (times, stimuli, units), 0.0, True, 1)


def single(times=None, stimuli=None, units=None):
    columns = (torch.arange(3.0) if times is None else times, torch.ones(4) if stimuli is None else stimuli)
    return fit_of(*(column[:, None] for column in (*columns, torch.ones(5) if units is None else units)))


def described(**kwargs):
    return describe_components(planted(), STEPS, labels=LABELS, heldout=HELDOUT, phases=PHASES, permutations=199, **kwargs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_describe_components_finds_what_was_planted(dtype):
    rising, falling = describe_components(
        planted(dtype), STEPS, labels=LABELS, heldout=HELDOUT, phases=PHASES, permutations=199
    )
    assert (rising.trend, falling.trend) == ("rises", "falls")
    assert rising.half_step == pytest.approx(820, rel=0.2)
    assert max(rising.phase_overlap, key=rising.phase_overlap.get) == "circuit_formation"
    assert [entry["label"] for entry in rising.classes] == [3] and falling.classes == ()
    assert rising.split["heldout"] > rising.split["train"] and rising.split["p_value"] == 1 / 200
    assert falling.split["p_value"] > 0.05
    assert (rising.active_units, rising.n_units, set(rising.top_units[:6])) == (6, 40, set(range(6)))
    assert all(HELDOUT[row] and LABELS[row] == 3 for row in rising.top_stimuli[:5])
    assert falling.phase_overlap == {} and falling.rise_step is None


def test_describe_components_sentence_reads_well():
    rising, falling = described()
    share = f"{100 * rising.phase_overlap['circuit_formation']:.0f} %"
    assert rising.sentence() == (
        f"component 0 ({100 * rising.variance_share:.0f} % of the energy) rises from step {rising.rise_step:,}, "
        f"is half-way at {rising.half_step:,} and saturates at {rising.saturation_step:,}, "
        f"mostly during circuit formation ({share} of its rise); "
        "loads on held-out more than train (p = .005) and on class 3; "
        f"6 of 40 units carry 90 % of it (Gini {rising.unit_gini:.2f})".replace("Gini 0.", "Gini .")
    )
    assert falling.sentence().startswith("component 1 (")
    assert "falls from its peak at step 0 to 10 % of it at the end; no class stands out;" in falling.sentence()


def test_describe_components_to_dict_survives_json():
    for description in described():
        data = description.to_dict()
        assert json.loads(json.dumps(data)) == data
        assert data["component"] == description.component and data["classes"] == list(description.classes)


def test_describe_components_holds_plain_python_values_only():
    for value in described()[0].to_dict().values():
        assert type(value) in (int, float, str, list, dict, type(None))


def test_describe_components_shares_add_up_to_one():
    assert sum(description.variance_share for description in described()) == pytest.approx(1, abs=1e-12)


def test_describe_components_uses_the_ids_it_is_given():
    first, second = described(ids=(7, 2))
    assert (first.component, second.component) == (7, 2)
    assert first.sentence().startswith("component 7 (")


def test_describe_components_takes_ids_labels_and_splits_as_lists():
    tensors = described()
    lists = describe_components(
        planted(), STEPS, labels=LABELS.tolist(), heldout=HELDOUT.tolist(), phases=PHASES, permutations=199, ids=[0, 1]
    )
    assert lists == tensors


def test_describe_components_does_not_depend_on_signs():
    fit = planted()
    times, stimuli, units = fit.factors
    flipped = CPFit(fit.cp_weights, (-times, -stimuli, -units), 0.1, True, 9)
    one = describe_components(fit, STEPS, labels=LABELS, heldout=HELDOUT, permutations=19)
    assert one == describe_components(flipped, STEPS, labels=LABELS, heldout=HELDOUT, permutations=19)


def test_describe_components_depends_on_its_seed_alone():
    before = torch.get_rng_state()
    assert described(seed=3) == described(seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_describe_components_without_labels_and_splits_says_nothing_of_them():
    (only,) = describe_components(single(), [0, 1, 2], permutations=19)
    assert (only.classes, only.classes_tested, only.split, only.phase_overlap) == ((), 0, None, {})
    assert "load" not in only.sentence() and "class" not in only.sentence()
    assert only.sentence().endswith("; 5 of 5 units carry 90 % of it (Gini .00)")


def test_describe_components_of_a_split_without_held_out_has_none():
    (only,) = describe_components(single(), [0, 1, 2], labels=[0, 0, 1, 2], heldout=[False] * 4, permutations=19)
    assert only.split is None


def test_describe_components_of_one_class_mentions_no_class():
    (only,) = describe_components(single(), [0, 1, 2], labels=[4] * 4, permutations=19)
    assert only.classes_tested == 1 and "class" not in only.sentence()


def test_describe_components_of_an_all_zero_factor_carries_nothing():
    (only,) = describe_components(
        single(torch.zeros(3), torch.zeros(4), torch.zeros(5)), [0, 1, 2], labels=[0, 0, 1, 1], permutations=19
    )
    assert only.sentence() == "component 0 carries nothing"
    assert (only.active_units, only.unit_gini, only.top_units, only.saturation_step) == (0, 0.0, (), None)


@pytest.mark.parametrize(
    ("curve", "text"),
    [
        ([1.0, 1.0, 1.0, 1.0], "is steady over training;"),
        ([0.0, 0.0, 1.0, 1.0], "jumps up at step 5,000 and stays;"),
        ([0.0, 1.0, 0.25, 0.25], "jumps up at step 10 and is at 25 % of its peak at the end;"),
        ([0.0, 0.4, 1.0, 0.25], "rises from step 10, peaks at 5,000 and is at 25 % of its peak at the end;"),
        ([0.0, 0.2, 0.6, 1.0], "rises from step 10, is half-way at 5,000 and saturates at 20,000;"),
        ([0.0, 0.2, 0.3, 1.0], "rises from step 10 and saturates at 20,000;"),
        ([0.0, 1.0, 0.2, 0.95], "jumps up at step 10 and is back from a dip at 20,000;"),
        ([1.0, 0.5, 0.2, 0.001], "falls from its peak at step 0 to <1 % of it at the end;"),
    ],
)
def test_sentence_tells_the_course(curve, text):
    (only,) = describe_components(single(torch.tensor(curve)), [0, 10, 5_000, 20_000])
    assert text in only.sentence()


def test_sentence_lists_many_classes_briefly():
    labels = torch.arange(400) % 40
    stimuli = (labels < 9).double() + 0.01 * normal(400)
    (only,) = describe_components(single(stimuli=stimuli), [0, 1, 2], labels=labels, permutations=199)
    assert len(only.classes) == 9
    assert "loads on classes " in only.sentence() and " and 3 more;" in only.sentence()


def test_sentence_of_a_single_unit_uses_the_singular():
    (only,) = describe_components(single(units=torch.tensor([1.0, 0.0, 0.0, 0.0])), [0, 1, 2])
    assert only.sentence().endswith("; 1 of 4 units carries 90 % of it (Gini .75)")


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"steps": [0, 1]}, ShapeError, "describe_components: expected one of `steps` per snapshot, 3 in all, got 2"),
        ({"steps": [0, 2, 1]}, ConfigError, "`steps` must ascend strictly, got 1 after 2"),
        ({"labels": [0, 1]}, ShapeError, "`labels` must be one integer class per stimulus, 4 in all"),
        ({"heldout": [True]}, ShapeError, "`heldout` must be one boolean per stimulus"),
        ({"permutations": 18}, ConfigError, "`permutations` must be an integer of 19 or more, got 18"),
        ({"seed": -1}, ConfigError, "`seed` must be an integer of 0 or more, got -1"),
        ({"ids": [0, 1]}, ConfigError, r"`ids` must be 1 distinct integers, one per component, got \[0, 1\]"),
    ],
)
def test_describe_components_refuses(given, error, text):
    with pytest.raises(error, match=text):
        describe_components(single(), **{"steps": [0, 1, 2], **given})


def test_describe_components_says_where_a_factor_is_not_finite():
    fit = single(stimuli=torch.tensor([1.0, 2.0, float("nan"), 1.0]))
    with pytest.raises(
        ShapeError, match=r"the stimulus factor of `fit` must be finite, but is nan at stimulus 2, component 0"
    ):
        describe_components(fit, [0, 1, 2])


def test_describe_components_refuses_a_fit_of_two_axes():
    fit = CPFit(torch.ones(1), (torch.ones(3, 1), torch.ones(4, 1)), 0.0, True, 1)
    with pytest.raises(ShapeError, match=r"needs the axes \(snapshot, stimulus, unit\).*got rank 1 and shape \(3, 4\)"):
        describe_components(fit, [0, 1, 2])
