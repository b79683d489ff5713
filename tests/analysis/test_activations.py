# SPDX-License-Identifier: Apache-2.0
import torch
from torch import nn

from lightning_interp.analysis.activations import (
    MOST_UNITS,
    choose_stimuli,
    choose_units,
    gather_stimuli,
    recorded_outputs,
    reduce_output,
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
    with recorded_outputs(module, ("act", "act#1")) as found:
        module(x)
    assert found["act"].tolist() == [[0.0, 0.5, 3.0]]
    assert found["act#1"].tolist() == [[0.0, 0.0, 2.0]]


def test_recorded_outputs_takes_the_first_tensor_of_a_tuple():
    module = Twice()
    with recorded_outputs(module, ("lstm",)) as found:
        output = module(torch.ones(2, 3))
    assert torch.equal(found["lstm"], output[:, -1])


def test_recorded_outputs_finds_layers_under_a_module_named_module():
    module = nn.ModuleDict({"module": nn.Sequential(nn.Linear(2, 2), nn.ReLU())})
    with recorded_outputs(module, ("1",)) as found:  # the name without the prefix a wrapper would add
        module["module"](torch.ones(3, 2))
    assert found["1"].shape == (3, 2)


def test_recorded_outputs_leaves_no_hook_behind():
    module = Twice()
    try:
        with recorded_outputs(module, ("act",)):
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


def test_gather_stimuli_joins_batches():
    batches = [{"act": torch.zeros(2, 3)}, {"act": torch.ones(1, 3)}]
    assert gather_stimuli(batches, "act", [2, 1], splits=1).tolist() == [[0.0] * 3, [0.0] * 3, [1.0] * 3]


def test_gather_stimuli_is_none_where_a_batch_has_no_output_per_example():
    assert gather_stimuli([{"act": torch.zeros(2, 3)}, {}], "act", [2, 1], splits=1) is None
    assert gather_stimuli([{"act": torch.zeros(7, 3)}], "act", [2], splits=1) is None


def test_gather_stimuli_is_none_where_the_units_differ_from_batch_to_batch():
    batches = [{"act": torch.zeros(2, 3)}, {"act": torch.zeros(2, 4)}]
    assert gather_stimuli(batches, "act", [2, 2], splits=1) is None


def test_gather_stimuli_turns_low_precision_to_float32():
    assert gather_stimuli([{"act": torch.ones(2, 3, dtype=torch.bfloat16)}], "act", [2], splits=1).dtype == torch.float32
