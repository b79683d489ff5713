# SPDX-License-Identifier: Apache-2.0
"""Every kind of loss through the analyzer of a run: what a constant prediction gets, and the loss with answers exchanged."""

import math

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_interp.analysis import outputs, record_history
from lightning_interp.analysis.module_loss import step_loss
from lightning_interp.analysis.orders import analyzer_for
from lightning_interp.core.records import Probe, ProbeOutputs, ProbeSplit
from lightning_interp.phases import PhaseDetector
from lightning_interp.store import open_run, write_probe
from lightning_interp.store.analysis_state import read_state

MEASURES = ("train_loss", "heldout_loss", "heldout_accuracy", "shuffled_loss")
KNOWN = "shares of the held-out classes"


class Lit(L.LightningModule):
    """One linear layer; `validation_step` has the loss it was made with, if any."""

    def __init__(self, outputs, loss=None):
        super().__init__()
        self.net = nn.Linear(3, outputs)
        self.loss = loss

    def forward(self, x):
        return self.net(x)


class OwnLoss(Lit):
    def validation_step(self, batch, batch_idx):
        return self.loss(self(batch[0]), batch)


class Own(Lit):
    def probe_step(self, batch):
        logits = self(batch[0])
        return ProbeOutputs(self.loss(logits, batch), logits, batch[1])


class DictLoss(Lit):
    def forward(self, x, labels=None):
        logits = self.net(x)
        return {"loss": self.loss(logits, (x, labels)), "logits": logits} if labels is not None else logits


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(count, seed):
    return normal(seed, count, 3)


def pairs(answers, *, seed, cut=37):
    """(x, y) batches of uneven size."""
    x = inputs(len(answers), seed)
    return ProbeSplit(((x[:cut], answers[:cut]), (x[cut:], answers[cut:])))


def skewed(count, *, rare):
    return (torch.arange(count) % (count // rare) == 0).long()


CLASSES = Probe(pairs(skewed(300, rare=3), seed=1), pairs(skewed(200, rare=2), seed=2))
ENTROPY = -(0.99 * math.log(0.99) + 0.01 * math.log(0.01))


@pytest.fixture
def analyze(prepare):
    def analyzed(module, probe, *, train=None, steps=1, measures=MEASURES, name="run"):
        """Records and state of a run with a snapshot at every step of descent on a loss."""
        run = prepare(name, module=module, steps=(), stored_probe=False, measures=measures)
        write_probe(run.path, probe)
        for step in range(steps):
            run.commit(step)
            if train is not None:
                gradients = torch.autograd.grad(train(module), list(module.parameters()))
                with torch.no_grad():
                    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                        parameter.sub_(0.3 * gradient)
        analyzer = analyzer_for(run.path, run.order())
        analyzer.run_pending()
        analyzer.finish("finished")
        return open_run(run.path), read_state(run.path)

    return analyzed


def plain(logits, batch):
    return F.cross_entropy(logits, batch[1])


def weighted(logits, batch):
    return F.cross_entropy(logits, batch[1], weight=torch.tensor([1.0, 99.0]))


def smoothed(logits, batch):
    return F.cross_entropy(logits, batch[1], label_smoothing=0.1)


@pytest.mark.parametrize("module", [Lit(2), OwnLoss(2, plain), Own(2, plain)], ids=["pair", "checked", "probe_step"])
def test_a_classifier_at_99_to_1_has_the_entropy_of_its_classes(analyze, module):
    run, state = analyze(module, CLASSES)
    assert state.null_loss == pytest.approx(ENTROPY, rel=1e-12)
    assert (state.null_error, state.null_source, state.heldout_examples) == (pytest.approx(0.01), KNOWN, 200)
    assert run.records("shuffled_loss")[1].min() >= ENTROPY


def test_a_dict_batch_with_the_models_own_cross_entropy_has_it_too(analyze):
    split = ProbeSplit(tuple({"x": x, "labels": y} for x, y in CLASSES.heldout.batches))
    _, state = analyze(DictLoss(2, plain), Probe(split, split))
    assert (state.route, state.null_loss) == ("mapping", pytest.approx(ENTROPY, rel=1e-12))


@pytest.mark.parametrize("loss", [weighted, smoothed])
def test_a_weighted_or_smoothed_loss_is_not_judged_by_the_shares_of_classes(analyze, loss):
    run, state = analyze(Own(2, loss), CLASSES)
    assert (state.null_loss, state.null_error) == (None, pytest.approx(0.01))
    assert state.null_source == "shares of the held-out classes"
    assert len(run.records("shuffled_loss")[1]) == 1


def test_equal_scores_of_a_new_head_do_not_pass_a_smoothed_loss_for_a_plain_one(analyze):
    module = Own(2, smoothed)
    nn.init.zeros_(module.net.weight), nn.init.zeros_(module.net.bias)
    assert analyze(module, CLASSES)[1].null_loss is None


def zero_head(module):
    nn.init.zeros_(module.net.weight), nn.init.zeros_(module.net.bias)
    return module


def test_what_the_library_computes_needs_no_scores_to_be_told(analyze):
    assert analyze(zero_head(Lit(2)), CLASSES)[1].null_loss == pytest.approx(ENTROPY, rel=1e-12)


@pytest.mark.parametrize(("loss", "known"), [(plain, True), (smoothed, False)])
def test_a_loss_of_equal_scores_is_told_once_they_differ(analyze, loss, known):
    module = zero_head(Own(2, loss))
    x, y = CLASSES.train.batches[0]
    _, state = analyze(module, CLASSES, steps=2, train=lambda own: F.cross_entropy(own(x), y))
    assert state.null_error == pytest.approx(0.01)
    assert (state.null_loss is not None) is known


class Each(Own):
    """Gives the loss of every example, in its own precision."""

    def probe_step(self, batch):
        logits = self(batch[0])
        return ProbeOutputs(F.cross_entropy(logits, batch[1], reduction="none"), logits, batch[1])


def test_a_confident_network_in_float32_still_has_a_plain_cross_entropy(analyze):
    module = Each(2, plain)
    with torch.no_grad():
        module.net.weight.mul_(60.0)
    assert analyze(module, CLASSES)[1].null_loss == pytest.approx(ENTROPY, rel=1e-12)


def test_a_network_in_bfloat16_still_has_a_plain_cross_entropy(analyze):
    probe = Probe(
        *(ProbeSplit(tuple((x.bfloat16(), y) for x, y in split.batches)) for split in (CLASSES.train, CLASSES.heldout))
    )
    assert analyze(Each(2, plain).bfloat16(), probe)[1].null_loss == pytest.approx(ENTROPY, rel=1e-12)


def test_a_number_that_is_none_among_the_answers_leaves_the_analysis_alive(analyze):
    probe, _, _ = regression(1)
    probe.heldout.batches[0][1][3] = math.nan
    run, state = analyze(Lit(1), probe, steps=3)
    assert (state.stage, len(run.all_records)) == ("finished", 3)


def regression(scale):
    train, heldout = (scale * normal(seed, count, 1) for seed, count in ((3, 90), (4, 60)))
    return Probe(pairs(train, seed=5), pairs(heldout, seed=6)), train.double(), heldout.double()


@pytest.mark.parametrize("scale", [1, 1000])
@pytest.mark.parametrize("module", [Lit(1), OwnLoss(1, lambda out, b: F.mse_loss(out, b[1]))], ids=["pair", "checked"])
def test_a_regression_has_the_variance_of_its_targets_about_the_train_mean(analyze, module, scale):
    probe, train, heldout = regression(scale)
    run, state = analyze(module, probe)
    expected = (heldout - train.mean()).square().mean().item()
    assert (state.null_loss, state.null_error, state.n_classes) == (pytest.approx(expected, rel=1e-12), None, None)
    assert run.all_records[0].skipped["shuffled_loss"].startswith("the loss of a constant prediction is known (variance")


def labels(count, seed):
    rates = torch.tensor([0.5, 0.1, 0.8, 0.02])
    return (torch.rand(count, 4, generator=torch.Generator().manual_seed(seed)) < rates).float()


def of_scores(outputs, batch):
    return F.binary_cross_entropy_with_logits(outputs, batch[1].float())


def of_probabilities(outputs, batch):
    return F.binary_cross_entropy(outputs, batch[1].float())


class Probabilities(OwnLoss):
    def forward(self, x):
        return self.net(x).sigmoid()


@pytest.mark.parametrize("module", [OwnLoss(4, of_scores), Probabilities(4, of_probabilities)], ids=["scores", "shares"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_several_labels_have_the_cross_entropy_of_their_train_rates(analyze, module, dtype):
    train, heldout = labels(150, 7).to(dtype), labels(100, 8).to(dtype)
    _, state = analyze(module, Probe(pairs(train, seed=5), pairs(heldout, seed=6)))
    rates = (train.double().sum(0) + 0.5) / 151
    expected = F.binary_cross_entropy(rates.expand(100, 4), heldout.double()).item()
    assert (state.route, state.null_loss) == ("validation_step", pytest.approx(expected, rel=1e-12))
    assert state.null_source == "train rates of the labels"


def seven_errors(outputs, batch):
    return 7 * F.mse_loss(outputs, batch[1])


def test_a_loss_only_the_module_knows_is_followed_with_exchanged_answers(analyze):
    probe, _, heldout = regression(2.0)
    module = OwnLoss(1, seven_errors)
    x, y = probe.train.batches[0]
    run, state = analyze(module, probe, train=lambda m: F.mse_loss(m(x), y), steps=30)
    assert (state.null_loss, state.null_source, state.heldout_examples) == (None, None, 60)
    least, null = run.records("shuffled_loss")[1].min(), 7 * heldout.var(correction=0).item()
    assert len(run.records("shuffled_loss")[1]) == 30
    # The covariance of 60 predictions with exchanged answers: their deviation, a third of that of the answers, over root 60
    # twice, that is .09 of the variance; three of these.
    assert least > 0.74 * null


def test_exchanged_classes_never_fall_under_the_null_while_a_rule_is_learned(analyze):
    x, xh = inputs(300, 1), inputs(200, 2)
    rule = lambda x: x.argmax(dim=1)  # noqa: E731
    probe = Probe(ProbeSplit(((x, rule(x)),)), ProbeSplit(((xh, rule(xh)),)))
    run, state = analyze(Lit(3), probe, train=lambda m: F.cross_entropy(m(x), rule(x)), steps=60)
    assert run.records("heldout_loss")[1][-1] < 0.7 * state.null_loss
    assert run.records("shuffled_loss")[1].min() >= state.null_loss


class AutoEncoder(Lit):
    """Takes batches of x alone, or the x of pairs."""

    def __init__(self):
        super().__init__(3)

    def validation_step(self, batch, batch_idx):
        x = batch[0] if isinstance(batch, tuple | list) else batch
        return F.mse_loss(self(x), x)


def test_an_autoencoder_without_answers_says_why_it_has_none(analyze):
    split = ProbeSplit((inputs(40, 1),))
    run, state = analyze(AutoEncoder(), Probe(split, split))
    assert (state.null_loss, state.heldout_examples) == (None, 40)
    assert run.all_records[0].skipped["shuffled_loss"].startswith("no answers can be told from inputs")


def test_an_autoencoder_of_labelled_pairs_says_that_the_labels_do_not_matter(analyze):
    run, state = analyze(AutoEncoder(), CLASSES)
    assert (state.route, state.null_loss) == ("validation_step", None)
    assert run.all_records[0].skipped["shuffled_loss"].startswith("the loss is the same with answers exchanged")


def test_tokens_whose_scores_are_too_large_to_keep_have_the_entropy_of_their_shares(analyze, monkeypatch):
    monkeypatch.setattr("lightning_interp.analysis.observation.LOGITS_CAP", 8)
    answers = skewed(200, rare=2)
    answers[5] = -100
    split = pairs(answers, seed=2)
    _, state = analyze(Lit(2), Probe(split, split))
    shares = torch.bincount(answers[answers >= 0]).double() / 199
    assert state.null_loss == pytest.approx(torch.special.entr(shares).sum().item(), rel=1e-12)
    assert (state.null_error, state.heldout_examples) == (None, 199)


def test_a_run_without_heldout_examples_knows_that_it_has_none(analyze):
    _, state = analyze(Lit(2), Probe(CLASSES.train))
    assert (state.null_loss, state.null_error, state.heldout_examples) == (None, None, 0)


@pytest.mark.parametrize(("measures", "passes"), [(("heldout_loss",), 1), (("heldout_loss", "shuffled_loss"), 2)])
def test_a_loss_with_exchanged_answers_costs_one_pass_over_the_heldout_examples(analyze, monkeypatch, measures, passes):
    seen = []

    def counted(replica, batch, step, **found):
        seen.append(len(batch[0]))
        return step_loss(replica, batch, step, **found)

    monkeypatch.setattr(outputs, "step_loss", counted)
    probe, _, _ = regression(1.0)
    analyze(OwnLoss(1, seven_errors), probe, measures=measures, steps=5)
    # What the first step takes to choose the way to the loss and to time it falls out; 90 train examples give activations.
    first = seen.copy()
    seen.clear()
    analyze(OwnLoss(1, seven_errors), probe, measures=measures, steps=4, name="shorter")
    assert sum(first) - sum(seen) == 90 + 60 * passes


def test_the_timeline_of_a_run_is_judged_by_what_was_found(analyze, monkeypatch):
    told = []
    monkeypatch.setattr(record_history, "PhaseDetector", lambda **facts: told.append(facts) or PhaseDetector(**facts))
    _, state = analyze(Lit(2), CLASSES)
    assert told[-1] == state.null.for_detector()
    assert told[-1].keys() == {"n_classes", "null_loss", "null_error", "null_source", "heldout_examples"}


def test_what_was_found_first_holds_for_a_run_that_goes_on(prepare):
    run = prepare(steps=(0,), measures=MEASURES)
    analyzer = analyzer_for(run.path, run.order())
    analyzer.run_pending()
    found = read_state(run.path)
    found.null_loss = 0.125
    found.write(run.path)
    run.commit(9)
    analyzer_for(run.path, run.order()).run_pending()
    assert read_state(run.path).null_loss == 0.125
