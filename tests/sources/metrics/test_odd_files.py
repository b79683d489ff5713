# SPDX-License-Identifier: Apache-2.0
"""Files that no writer leaves like that: told of in words, at once, and never the end of everything."""

import json
import os

import pytest
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2
from torch.utils.tensorboard import SummaryWriter

from lightning_interp.core.errors import MetricsError
from lightning_interp.sources.metrics.history import read_metrics

FLOAT, TEXT = 1, 7


def log_of(folder, tensors, last=8):
    """A log with a loss and tensors of one tag ``odd``; returns its folder."""
    with SummaryWriter(folder) as writer:
        for step in (*range(8), last):
            writer.add_scalar("train_loss", 3.0 - step / 2**54, step)
        for step, tensor in enumerate(tensors):
            value = summary_pb2.Summary.Value(tag="val_loss", tensor=tensor)
            value.metadata.plugin_data.plugin_name = "scalars"
            writer.file_writer.event_writer.add_event(
                event_pb2.Event(step=step, wall_time=step, summary=summary_pb2.Summary(value=[value]))
            )
    return folder


def place(name, path):
    if name == "pipe":
        os.mkfifo(path)
    elif name == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(path.name)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("odd", ["pipe", "device", "link to itself"])
@pytest.mark.parametrize("name", ["events.out.tfevents.9.host.1.0", "run-ab12cd34.wandb"])
def test_what_is_no_file_is_not_waited_for(tmp_path, odd, name):
    folder = log_of(tmp_path / "log", []) if "tfevents" in name else tmp_path / "offline-run-20260101_000000-ab12cd34"
    folder.mkdir(exist_ok=True)
    place(odd, folder / name)
    with pytest.raises(MetricsError, match=name):
        read_metrics(folder)


@pytest.mark.parametrize(
    "tensor",
    [
        tensor_pb2.TensorProto(dtype=FLOAT, tensor_content=b"abc"),
        tensor_pb2.TensorProto(dtype=FLOAT, tensor_content=b"12345678"),
        tensor_pb2.TensorProto(dtype=FLOAT),
    ],
    ids=["cut short", "two numbers", "nothing"],
)
def test_a_damaged_tensor_costs_itself_alone(tmp_path, tensor):
    whole = [tensor_pb2.TensorProto(dtype=FLOAT, float_val=[0.5 + step]) for step in range(4)]
    history = read_metrics(log_of(tmp_path, [*whole, tensor]))
    steps, values = history.series["heldout_loss"]
    assert (steps[:4], values[:4]) == ([0, 1, 2, 3], [0.5, 1.5, 2.5, 3.5])
    assert steps == [0, 1, 2, 3] or values[4] == 0  # TensorBoard reads a tensor that names no value as zero
    assert steps[4:] or any("`val_loss`, step 4: its content is damaged" in note for note in history.notes)


def test_texts_under_a_tag_of_numbers_are_no_values(tmp_path):
    texts = [
        tensor_pb2.TensorProto(dtype=TEXT, tensor_content=b"a word"),
        tensor_pb2.TensorProto(dtype=TEXT, string_val=[b"a word"], tensor_shape=tensor_shape_pb2.TensorShapeProto()),
    ]
    assert list(read_metrics(log_of(tmp_path, texts)).series) == ["train_loss"]


def test_a_step_that_no_number_holds_is_refused(tmp_path):
    with pytest.raises(MetricsError, match=f"step {2**63 - 1} is larger than any"):
        read_metrics(log_of(tmp_path, [], last=2**63 - 1))


def test_a_curve_that_a_new_start_leaves_empty_is_no_curve(tmp_path):
    log = [{"step": step, "loss": 3.0 - step / 50} for step in (0, 38)]
    log += [{"step": 50, "eval_loss": {"value": 2.0}}, {"step": 36, "loss": 1.5}]
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": log}))
    assert read_metrics(path).series == {"train_loss": ([0, 36], [3.0, 1.5])}
