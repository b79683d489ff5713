# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from lightning_interp.core.errors import ConfigError, ShapeError
from lightning_interp.tca import SnapshotSource, fit_cp, source
from lightning_interp.tca.source import Data, as_double_gram, float64_device, squared_norm


def uniform(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_data_of_a_tensor_is_resident_and_contiguous():
    tensor = uniform(4, 5, 6).permute(2, 0, 1)
    data = Data(tensor, device="cpu")
    assert data.resident.is_contiguous()
    torch.testing.assert_close(data.resident, tensor, rtol=0, atol=0)


def test_data_of_a_source_is_not_resident(planted):
    assert Data(planted.CountingSource(uniform(4, 5, 6)), device="cpu").resident is None


def test_counting_source_is_a_snapshot_source(planted):
    assert isinstance(planted.CountingSource(uniform(4, 5, 6)), SnapshotSource)


def test_data_reads_every_snapshot_once_to_check_it(planted):
    counting = planted.CountingSource(uniform(4, 5, 6))
    Data(counting, device="cpu")
    assert counting.passes == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_chunks_cover_all_snapshots_in_order(planted, streamed, monkeypatch):
    monkeypatch.setattr(source, "CHUNK_BYTES", 3 * 30 * 8)
    tensor = uniform(10, 5, 6)
    data = Data(planted.CountingSource(tensor) if streamed else tensor, device="cpu")
    chunks = list(data.chunks())
    assert [(start, len(chunk)) for start, chunk in chunks] == [(0, 3), (3, 3), (6, 3), (9, 1)]
    torch.testing.assert_close(torch.cat([chunk for _, chunk in chunks]), tensor, rtol=0, atol=0)


def test_chunks_hold_one_snapshot_where_none_fits(monkeypatch):
    monkeypatch.setattr(source, "CHUNK_BYTES", 1)
    assert [len(chunk) for _, chunk in Data(uniform(4, 5, 6), device="cpu").chunks()] == [1, 1, 1, 1]


def test_chunks_shrink_for_what_a_pass_needs_beside_the_data(monkeypatch):
    monkeypatch.setattr(source, "CHUNK_BYTES", 4 * 30 * 8)
    assert max(len(chunk) for _, chunk in Data(uniform(8, 5, 6), device="cpu").chunks(2 * 30 * 8)) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norm2_is_the_sum_of_squares_to_float64_accumulation(dtype):
    # errors are differences to it ("sums in float64", Finished.errors): half the squared error of .01 that is measured so,
    # times 2e-4, the share by which the closed form may be wrong there (CLOSED_FORM_DOWN_TO)
    tensor = uniform(2, 512, 1024, dtype=dtype)
    exact = float(tensor.double().square().sum())
    assert Data(tensor, device="cpu").norm2 == pytest.approx(exact, rel=2e-8)


def test_squared_norm_of_float64_is_exact():
    tensor = uniform(5, 6, 7)
    assert squared_norm(tensor) == pytest.approx(float(tensor.square().sum()), rel=1e-14)


@pytest.mark.parametrize("columns", [100, 40000])
@pytest.mark.parametrize(("exact", "tolerance"), [(True, 1e-12), (False, 1e-5)])  # float64 products; float32 ones
def test_as_double_gram_is_the_product(exact, tolerance, columns):
    matrix = uniform(4, columns, dtype=torch.float32)
    wide = matrix.double()
    torch.testing.assert_close(as_double_gram(matrix, exact=exact), wide @ wide.T, rtol=tolerance, atol=0)


@pytest.mark.parametrize("shape", [(), (5,), (5, 6)])
def test_data_refuses_fewer_than_three_axes(shape):
    with pytest.raises(ShapeError, match=r"tensor: expected 3 or more axes \(snapshot, stimulus, unit\), got shape"):
        Data(torch.ones(shape), device="cpu")


@pytest.mark.parametrize("axis", range(3))
def test_data_refuses_an_empty_axis_and_names_it(axis):
    shape = [4, 5, 6]
    shape[axis] = 0
    with pytest.raises(ShapeError, match=rf"tensor: axis {axis} is empty, shape"):
        Data(torch.ones(shape), device="cpu")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.complex64])
def test_data_refuses_other_numbers_than_float32_and_float64(dtype):
    with pytest.raises(ShapeError, match=rf"tensor: expected float32 or float64, got {dtype}"):
        Data(torch.ones(4, 5, 6, dtype=dtype), device="cpu")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("chunk_bytes", [1, 2**20])
def test_data_says_where_the_first_entry_that_is_not_finite_is(value, chunk_bytes, monkeypatch):
    monkeypatch.setattr(source, "CHUNK_BYTES", chunk_bytes)
    tensor = uniform(4, 5, 6)
    tensor[2, 3, 1] = tensor[2, 4, 0] = value
    with pytest.raises(ShapeError, match=rf"tensor: entry \(2, 3, 1\) = {value} \(one of 2\) is not finite"):
        Data(tensor, device="cpu")


def test_data_says_where_an_entry_is_too_large_to_square():
    tensor = uniform(4, 5, 6, dtype=torch.float32)
    tensor[1, 2, 3] = 1e25
    with pytest.raises(ShapeError, match=r"tensor: entry \(1, 2, 3\) = .* too large to square"):
        Data(tensor, device="cpu")


def test_data_refuses_nothing_but_zeros():
    with pytest.raises(ShapeError, match=r"tensor: all entries are zero, so there is nothing to decompose"):
        Data(torch.zeros(4, 5, 6), device="cpu")


def test_data_does_not_call_tiny_entries_zero():
    # 1e-25 is a float32 (smallest normal 1.2e-38), its square is not
    try:
        data = Data(1e-25 * uniform(4, 5, 6, dtype=torch.float32), device="cpu")
    except ShapeError as err:
        assert "all entries are zero" not in str(err)
    else:
        assert data.norm2 > 0


def test_data_refuses_negative_entries_where_asked_and_says_how_low():
    tensor = uniform(4, 5, 6)
    tensor[3, 0, 0] = -0.25
    with pytest.raises(ConfigError, match=r"nonnegative: the tensor has negative entries \(lowest -0\.25\)"):
        Data(tensor, device="cpu", nonnegative=True)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("given", [None, [1.0], "tensor", torch.ones(3, 4, 5).numpy()])
def test_data_refuses_what_is_no_tensor_and_says_what_came(given):
    with pytest.raises(ShapeError, match=rf"tensor: expected a torch tensor .* got a {type(given).__name__}"):
        Data(given, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_float64_device_refuses_a_gpu_that_is_not_there(device):
    with pytest.raises(ConfigError, match=rf"device: '{device}' is not there \(0 GPUs visible\)"):
        float64_device(device)


@pytest.mark.parametrize("device", ["foo", "cpu:x"])
def test_float64_device_refuses_what_is_no_device(device):
    with pytest.raises(ConfigError, match="device: "):
        float64_device(device)


@pytest.mark.parametrize("device", ["meta", "mps"])
def test_fit_cp_refuses_devices_that_cannot_compute_here(device):
    with pytest.raises(ConfigError, match="device: "):
        fit_cp(uniform(4, 5, 6), 1, device=device)


def test_float64_device_takes_a_device():
    assert float64_device(torch.device("cpu")) == float64_device("cpu") == torch.device("cpu")


class Faulty:
    """A source of three snapshots fewer, of another precision, or of fewer units than it says."""

    shape, dtype = (8, 5, 6), torch.float64

    def __init__(self, fault):
        self.fault = fault

    def read(self, start, stop):
        return self.fault(uniform(*self.shape)[start:stop])


@pytest.mark.parametrize(
    "fault",
    [lambda chunk: chunk[:-3], lambda chunk: chunk.float(), lambda chunk: chunk[:, :, :4]],
    ids=["snapshots", "dtype", "units"],
)
def test_data_refuses_a_source_that_does_not_keep_its_word(fault):
    with pytest.raises(ShapeError, match="read"):
        Data(Faulty(fault), device="cpu")


def test_data_does_not_carry_gradients():
    tensor = uniform(4, 5, 6).requires_grad_()
    assert not Data(tensor, device="cpu").resident.requires_grad
