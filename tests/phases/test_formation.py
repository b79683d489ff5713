# SPDX-License-Identifier: Apache-2.0
"""Where memorization ends: by the excluded loss where a group task logs it, by the held-out loss elsewhere."""

import math

import pytest

from lightning_interp.phases import detect_phases


@pytest.fixture
def start(histories):
    """Start of circuit formation in a run that memorizes at 150 and groks at 6,000, with curves added."""

    def start(**curves):
        given = {
            "train_loss": histories.train_curve(150),
            # decay takes it off its peak from the fit on, long before anything forms
            "heldout_loss": lambda s: (
                histories.overfit(s, 150, 15.0) * (s + 1) ** -0.05 * histories.fall(s, 6000, 0.07) + 1e-4
            ),
            "weight_norm": lambda s: 40 * (s + 1) ** -0.02,
        } | curves
        table = histories.build(histories.log_steps(20_000), **given)
        return histories.boundary(detect_phases(table, n_classes=100), "circuit_formation")

    return start


def turning_at(step):
    """An excluded loss with its least value at a step."""
    return lambda s: 1e-3 * math.exp(abs(math.log((s + 1) / (step + 1))))


@pytest.mark.parametrize("turn", [800, 2000])
def test_formation_begins_at_the_least_excluded_loss(start, turn):
    assert start(excluded_loss=turning_at(turn)) == pytest.approx(turn, rel=0.05)


def test_without_excluded_loss_formation_begins_at_the_greatest_heldout_loss(start):
    assert start() < 500


def test_an_excluded_loss_that_only_falls_leaves_it_to_the_heldout_loss(start):
    assert start(excluded_loss=lambda s: 1 / (s + 1)) == start()


def test_an_excluded_loss_of_zero_has_no_least_value_to_fear(start):
    assert start(excluded_loss=lambda s: 0.0 if s < 1000 else 1e-3 * s) is not None


def losses_alone(histories, *, fall_to):
    """A history of losses that memorizes at 150 and whose held-out loss comes down from its peak of 15 nats to a level."""
    table = histories.build(
        histories.log_steps(20_000),
        train_loss=histories.train_curve(150),
        heldout_loss=lambda s: fall_to + (histories.overfit(s, 150, 15.0) - fall_to) * histories.fall(s, 6000, 0.3),
    )
    return detect_phases(table, n_classes=100)


@pytest.mark.parametrize(("fall_to", "forms"), [(14.0, False), (9.0, False), (4.4, False), (4.0, True)])
def test_from_losses_alone_a_circuit_forms_when_the_loss_is_under_a_constant_predictors(histories, fall_to, forms):
    assert ("circuit_formation" in histories.phase_names(losses_alone(histories, fall_to=fall_to))) is forms


def test_from_losses_alone_the_fit_is_dated_within_what_an_accuracy_allows(histories):
    timeline = losses_alone(histories, fall_to=14.0)
    memorization = next(phase for phase in timeline.phases if phase.name == "memorization")
    chance = math.log(100)
    train = histories.train_curve(150)
    low, high = memorization.start_interval
    assert train(memorization.start) <= 0.1 * chance < train(memorization.start / 1.1)
    assert train(low) > 0.2 * chance
    assert train(high) <= 0.05 * chance
