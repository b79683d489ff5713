# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from lightning_interp.analysis.activations import (
    MOST_UNITS,
    KeptOutput,
    axis_of_examples,
    choose_stimuli,
    choose_units,
    gather_stimuli,
    missing_line,
    recorded_outputs,
    reduce_output,
    repeated_line,
    stimuli_of_batches,
)


class Twice(nn.Module):
    """Calls the same activation twice in one forward."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.lstm = nn.LSTM(3, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(self.act(self.act(x) - 1.0)[:, None])[0]


def test_reduce_output_keeps_flat_outputs():
    output = torch.arange(6.0).view(2, 3)
    assert torch.equal(reduce_output(output, nn.Linear(1, 1)), output)


def test_reduce_output_makes_one_number_per_example_a_unit():
    assert reduce_output(torch.ones(4), nn.Linear(1, 1)).shape == (4, 1)


def test_reduce_output_takes_the_last_token_of_a_sequence():
    output = torch.arange(12.0).view(2, 3, 2)
    assert torch.equal(reduce_output(output, nn.LayerNorm(2)), output[:, 2])


def test_reduce_output_averages_images_over_space():
    output = torch.arange(24.0).view(2, 3, 2, 2)
    assert torch.equal(reduce_output(output, nn.ReLU()), output.mean((2, 3)))


def test_reduce_output_averages_one_dimensional_convolutions_over_space():
    output = torch.arange(12.0).view(2, 3, 2)
    assert torch.equal(reduce_output(output, nn.Conv1d(1, 3, 1)), output.mean(2))


def test_recorded_outputs_tells_calls_of_one_layer_apart():
    module, x = Twice(), torch.tensor([[-1.0, 0.5, 3.0]])
    with recorded_outputs(module, ("act", "act#1"), torch.arange(1), examples=1) as found:
        module(x)
    assert found["act"].entries.tolist() == [[0.0, 0.5, 3.0]]
    assert found["act#1"].entries.tolist() == [[0.0, 0.0, 2.0]]


def test_recorded_outputs_takes_the_first_tensor_of_a_tuple():
    module = Twice()
    with recorded_outputs(module, ("lstm",), torch.arange(2), examples=2) as found:
        output = module(torch.ones(2, 3))
    assert torch.equal(found["lstm"].entries, output[:, -1])


def test_recorded_outputs_keeps_the_chosen_examples_and_units_in_float32():
    module = nn.Sequential(nn.Linear(2, 600, dtype=torch.bfloat16))
    with recorded_outputs(module, ("0",), torch.tensor([0, 2]), examples=3) as found:
        output = module(torch.randn(3, 2, dtype=torch.bfloat16))
    assert torch.equal(found["0"].entries, output[[0, 2]][:, choose_units("0", 600)].float())
    assert (found["0"].entries.dtype, found["0"].width) == (torch.float32, 600)


def test_recorded_outputs_are_those_of_the_layer_where_the_next_one_writes_into_them():
    module, x = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)), torch.tensor([[-1.0, 2.0]])
    with recorded_outputs(module, ("0", "1"), torch.arange(1), examples=1) as found:
        module(x)
    assert (found["0"].entries.tolist(), found["1"].entries.tolist()) == ([[-1.0, 2.0]], [[0.0, 2.0]])


def test_recorded_outputs_leaves_out_what_is_not_per_example():
    module = nn.Sequential(nn.Flatten(0))
    with recorded_outputs(module, ("0",), torch.arange(2), examples=2) as found:
        module(torch.ones(2, 3))
    assert not found


def test_recorded_outputs_finds_layers_under_a_module_named_module():
    module = nn.ModuleDict({"module": nn.Sequential(nn.Linear(2, 2), nn.ReLU())})
    with recorded_outputs(
        module, ("1",), torch.arange(3), examples=3
    ) as found:  # the name without the prefix a wrapper would add
        module["module"](torch.ones(3, 2))
    assert found["1"].entries.shape == (3, 2)


class TokensFirst(nn.Module):
    """Works on [token, example, unit]."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.act, self.unused = nn.GRU(3, 2), nn.Tanh(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.gru(x.transpose(0, 1))[0])


def test_recorded_outputs_finds_the_examples_where_tokens_come_first():
    module = TokensFirst()
    with recorded_outputs(module, ("gru", "act"), torch.arange(6), examples=6) as found:
        output = module(torch.randn(6, 4, 3))
    assert torch.equal(found["act"].entries, output[-1])


def test_recorded_outputs_takes_torchs_own_word_for_tokens_first_where_lengths_do_not_tell():
    module = TokensFirst()
    with recorded_outputs(module, ("gru",), torch.arange(4), examples=4) as found:
        output = module.gru(torch.randn(4, 4, 3))[0]
    assert torch.equal(found["gru"].entries, output[-1])


def test_recorded_outputs_keeps_to_the_axis_an_earlier_batch_told():
    module, axes, kept = TokensFirst(), {}, []
    for examples in (6, 4):  # the second has as many examples as tokens
        with recorded_outputs(module, ("act",), torch.arange(examples), examples=examples, axes=axes) as found:
            kept.append((found, module(torch.randn(examples, 4, 3))))
    (_, _), (second, output) = kept
    assert torch.equal(second["act"].entries, output[-1])


def test_recorded_outputs_takes_the_last_step_of_packed_sequences():
    lstm, sequences = nn.LSTM(3, 2, batch_first=True), [torch.randn(2, 3), torch.randn(4, 3)]
    with recorded_outputs(nn.ModuleList([lstm]), ("0",), torch.arange(2), examples=2) as found:
        lstm(nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False))
    last = torch.stack([lstm(sequence)[0][-1] for sequence in sequences])
    torch.testing.assert_close(found["0"].entries, last.detach())  # batched and single products differ in their last bits


def test_recorded_outputs_passes_over_a_call_with_something_else_than_the_batch():
    module = nn.Linear(3, 2)
    batch = torch.arange(12.0).view(4, 3)
    whole = nn.Sequential(module)
    with recorded_outputs(whole, ("0", "0#1"), torch.arange(4), examples=4) as found:
        whole(batch[:1])  # such as one state of a game that is played on beside the batch
        whole(batch)
    assert torch.equal(found["0"].entries, module(batch))
    assert "it is called 1 time in the forward" in found.why_not("0#1")


def test_recorded_outputs_says_what_is_not_called_and_what_has_another_shape():
    module = nn.Sequential(nn.Flatten(0), nn.ReLU())
    module.unused = nn.Sequential()
    layers = ("0", "unused.act", "1#1")
    module.unused.act = nn.ReLU()
    with recorded_outputs(module, layers, torch.arange(2), examples=2) as found:
        nn.Sequential(module[0], module[1])(torch.ones(2, 3))
    told = [found.why_not(layer) for layer in layers]
    assert "shape (6,), in which no axis is that of the 2 examples" in told[0]
    assert told[1] == "it is not called in the forward"
    assert "shape (6,)" in told[2]


@pytest.mark.parametrize(("shape", "axis"), [((6, 5), 0), ((5, 6, 2), 1), ((6, 6, 2), 0), ((5, 6, 6), None), ((5, 4), None)])
def test_axis_of_examples_is_the_first_or_the_only_one(shape, axis):
    assert axis_of_examples(torch.ones(shape), nn.Identity(), examples=6) == axis


def test_axis_of_examples_is_that_of_earlier_batches_or_none():
    assert axis_of_examples(torch.ones(5, 6), nn.Identity(), examples=6, known=0) is None


def test_missing_line_gathers_layers_of_one_reason():
    line = missing_line({"a": "it is not called", "b": "it gives no tensor", "c": "it is not called"})
    assert line.startswith(
        "no output per example from a, c: it is not called; no output per example from b: it gives no tensor"
    )


def test_repeated_line_names_the_second_call():
    assert "act; layers='act#1'" in repeated_line({"act": 2, "once": 1}, ("act", "once"))
    assert repeated_line({"act": 2}, ("act", "act#1")) == ""


def test_recorded_outputs_leaves_no_hook_behind():
    module = Twice()
    try:
        with recorded_outputs(module, ("act",), torch.arange(1), examples=1):
            raise RuntimeError("forward failed")
    except RuntimeError:
        pass
    assert not module.act._forward_hooks


def test_choose_units_keeps_all_of_a_narrow_layer():
    assert choose_units("act", 5).tolist() == [0, 1, 2, 3, 4]


def test_choose_units_is_a_fixed_subset_of_a_wide_layer():
    torch.manual_seed(0)
    first = choose_units("act", 2000)
    torch.manual_seed(1)
    assert torch.equal(choose_units("act", 2000), first)
    assert len(set(first.tolist())) == MOST_UNITS
    assert first.tolist() == sorted(first.tolist())


def test_choose_units_moves_no_random_stream():
    before = torch.get_rng_state()
    choose_units("act", 2000)
    assert torch.equal(torch.get_rng_state(), before)


def test_choose_stimuli_shares_256_between_the_splits():
    assert len(choose_stimuli(1000, splits=1)) == 256
    chosen = choose_stimuli(1000, splits=2)
    assert (len(chosen), chosen[0].item(), chosen[-1].item()) == (128, 0, 999)


def test_choose_stimuli_keeps_all_of_few():
    assert choose_stimuli(100, splits=2).tolist() == list(range(100))


def test_stimuli_of_batches_are_those_of_the_whole_split():
    sizes = [300, 7, 400]
    parts, starts = stimuli_of_batches(sizes, splits=2), (0, 300, 307)
    joined = torch.cat([part + start for part, start in zip(parts, starts, strict=True)])
    assert torch.equal(joined, choose_stimuli(707, splits=2))


def test_gather_stimuli_joins_batches():
    batches = [{"act": KeptOutput(torch.zeros(2, 3), 3)}, {"act": KeptOutput(torch.ones(1, 3), 3)}]
    assert gather_stimuli(batches, "act").tolist() == [[0.0] * 3, [0.0] * 3, [1.0] * 3]


def test_gather_stimuli_is_none_where_a_batch_has_no_output():
    assert gather_stimuli([{"act": KeptOutput(torch.zeros(2, 3), 3)}, {}], "act") is None


def test_gather_stimuli_is_none_where_the_units_differ_from_batch_to_batch():
    batches = [{"act": KeptOutput(torch.zeros(2, MOST_UNITS), width)} for width in (600, 700)]
    assert gather_stimuli(batches, "act") is None
