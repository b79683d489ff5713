# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from lightning_interp.core.errors import MeasureSkipped, ShapeError
from lightning_interp.core.records import ProbeOutputs
from lightning_interp.measures import (
    CyclicGroupTask,
    HeldoutPercentile,
    heldout_percentile,
    mirror_free,
    never_seen_candidates,
)
from lightning_interp.measures import percentile as percentile_module


def random_case(examples=60, classes=7, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(examples, classes, generator=generator, dtype=dtype)
    return logits, torch.randint(classes, (examples,), generator=generator), generator


def slow_percentiles(logits, targets, candidates):
    """Percentile of each example that counts, by counting one rival at a time."""
    center = logits.double().mean(dim=0)
    found = []
    for row, true, allowed in zip(logits.double() - center, targets.tolist(), candidates.tolist(), strict=True):
        rivals = [c for c, ok in enumerate(allowed) if ok and c != true]
        if allowed[true] and rivals:
            below = sum(1.0 if row[c] < row[true] else 0.5 if row[c] == row[true] else 0.0 for c in rivals)
            found.append(below / len(rivals))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_heldout_percentile_equals_counting_one_rival_at_a_time(dtype):
    logits, targets, generator = random_case(dtype=dtype)
    candidates = torch.rand(logits.shape, generator=generator) < 0.6
    slow = slow_percentiles(logits, targets, candidates)
    result = heldout_percentile(logits, targets, candidates=candidates)
    # Means of 60 fractions: rounding of order 1e-15.
    assert result.percentile == pytest.approx(sum(slow) / len(slow), abs=1e-14)


def test_heldout_percentile_of_a_perfect_network_is_one():
    targets = torch.arange(40) % 5
    assert heldout_percentile(torch.nn.functional.one_hot(targets).double(), targets).percentile == 1


def test_heldout_percentile_of_constant_logits_is_one_half():
    result = heldout_percentile(torch.zeros(40, 5), torch.arange(40) % 5)
    assert (result.percentile, result.z) == (0.5, 0.0)


def test_heldout_percentile_ignores_a_bias_per_class():
    logits, targets, _ = random_case()
    shifted = logits + torch.tensor([100.0, -5.0, 0.0, 7.0, 1.0, 2.0, 3.0])
    assert heldout_percentile(shifted, targets).percentile == heldout_percentile(logits, targets).percentile


def test_heldout_percentile_does_not_depend_on_chunks(monkeypatch):
    logits, targets, _ = random_case()
    whole = heldout_percentile(logits, targets)
    monkeypatch.setattr(percentile_module, "CHUNK_ELEMENTS", 20)
    assert heldout_percentile(logits, targets).percentile == whole.percentile


def test_heldout_percentile_has_no_z_with_three_classes(fake, build):
    logits, _, _ = random_case()
    outputs = build["classified"](logits, torch.arange(60) % 3)
    assert list(HeldoutPercentile()(fake(split_outputs={"train": outputs, "heldout": outputs}))) == ["heldout_percentile"]


def test_heldout_percentile_refuses_candidates_that_never_hold_the_true_class():
    with pytest.raises(ShapeError, match="among two or more `candidates`"):
        heldout_percentile(torch.zeros(3, 4), torch.zeros(3).long(), candidates=torch.zeros(3, 4, dtype=torch.bool))


def test_never_seen_candidates_exclude_classes_seen_with_either_token_or_never():
    # Token 0 was seen with class 0, token 1 with class 1, token 2 with class 2; class 3 is no training class.
    seen = torch.eye(4, dtype=torch.bool)[:3]
    assert never_seen_candidates(torch.tensor([[0, 1]]), seen).tolist() == [[False, False, True, False]]


def test_mirror_free_drops_pairs_trained_in_reverse_order():
    heldout = torch.tensor([[1, 2], [3, 4], [5, 5]])
    assert mirror_free(heldout, torch.tensor([[2, 1], [4, 9]])).tolist() == [False, True, True]


def token_observation(build, *, logits=None, share=0.4, seed=0, p=23):
    task = CyclicGroupTask(p, "add")
    train = build["random_split"](task, share=share, seed=seed)
    pairs, answers = build["all_pairs"](task)
    seen = torch.zeros(p + 1, p, dtype=torch.bool)
    for slot in (0, 1):
        seen[pairs[train, slot], answers[train]] = True
    scores = build["memorizer_logits"](task, train, gap=5, seed=seed + 1) if logits is None else logits
    return build["observe"](task, scores, train, cooccurrence=seen), answers[~train]


def test_heldout_percentile_of_a_memorizer_is_at_chance_on_token_pairs(build):
    # It answers trained pairs right and the others at random, so the true class ranks uniformly: |z| < 4 but 1 in 16,000.
    assert abs(HeldoutPercentile()(token_observation(build)[0])["heldout_percentile_z"]) < 4


def test_heldout_percentile_sees_a_weak_signal_before_any_accuracy(build):
    task = CyclicGroupTask(23, "add")
    generator = torch.Generator().manual_seed(5)
    noise = 5 * torch.randn(23 * 23, 23, generator=generator, dtype=torch.float64)
    observation, targets = token_observation(build, logits=noise + build["cosine_logits"](task, (1, 2, 5), scale=1.0))
    # Signal 3 against noise 5 lifts the expected percentile to about Phi(3 / (5 sqrt 2)) = .66; over some 200 usable pairs
    # that is .16 / (.3 / sqrt 200) = 7 sd.
    assert HeldoutPercentile()(observation)["heldout_percentile_z"] > 4
    assert (observation.outputs("heldout").logits.argmax(dim=1) == targets).double().mean() < 0.3


def test_heldout_percentile_uses_only_mirror_free_pairs_with_an_unseen_answer(build):
    observation, targets = token_observation(build)
    tokens, trained = observation.inputs("heldout")[:, :2], observation.inputs("train")[:, :2].tolist()
    candidates = torch.zeros(len(tokens), 23, dtype=torch.bool)
    for row, (a, b) in enumerate(tokens.tolist()):
        seen = observation.cooccurrence[a] | observation.cooccurrence[b]
        candidates[row] = ~seen & ([b, a] not in trained)
    slow = slow_percentiles(observation.outputs("heldout").logits, targets, candidates)
    value = HeldoutPercentile()(observation)["heldout_percentile"]
    # Means of a few hundred fractions: rounding of order 1e-15.
    assert value == pytest.approx(sum(slow) / len(slow), abs=1e-14)


def test_heldout_percentile_drops_classes_that_are_no_answer(build):
    observation, _ = token_observation(build)
    outputs = observation.split_outputs["heldout"]
    plain = HeldoutPercentile()(observation)
    extra = torch.cat([outputs.logits, torch.full((len(outputs.logits), 1), 50.0)], dim=1)
    observation.split_outputs["heldout"] = ProbeOutputs(outputs.loss, extra, outputs.targets)
    assert HeldoutPercentile()(observation) == plain


def test_heldout_percentile_says_too_few_below_its_minimum(build):
    observation, _ = token_observation(build, share=0.95)
    with pytest.raises(MeasureSkipped, match=r"too few usable held-out examples: \d+, the percentile needs 30"):
        HeldoutPercentile()(observation)


def test_heldout_percentile_ranks_all_classes_without_cooccurrence(fake, build):
    logits, targets, _ = random_case()
    outputs = build["classified"](logits, targets)
    value = HeldoutPercentile()(fake(split_outputs={"train": outputs, "heldout": outputs}))
    assert value["heldout_percentile"] == heldout_percentile(logits, targets).percentile


def test_heldout_percentile_skips_token_pairs_given_as_floats(build):
    observation, _ = token_observation(build)
    observation.split_inputs["heldout"] = observation.split_inputs["heldout"].float()
    with pytest.raises(MeasureSkipped, match="token pairs need inputs"):
        HeldoutPercentile()(observation)
