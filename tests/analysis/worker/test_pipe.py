# SPDX-License-Identifier: Apache-2.0
import io
import threading

import pytest

from lightning_interp.analysis.worker.pipe import StartOrder, decode, encode, encode_start, read_frame
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.request import AnalysisRequest

ORDER = StartOrder(AnalysisRequest(measures=(), probe_step=lambda module, batch: 3), packed_module=b"module")


def test_frames_round_trip():
    stream = io.BytesIO(encode("probe", {"a": 1}) + encode("finish"))
    header, body = read_frame(stream)
    assert (header["kind"], decode(body)) == ("probe", {"a": 1})
    assert read_frame(stream) == ({"kind": "finish", "bytes": 0}, b"")
    assert read_frame(stream) is None


def test_encode_start_sends_the_import_path_ahead_of_what_needs_it():
    stream = io.BytesIO(encode_start(ORDER))
    head, body = read_frame(stream)
    assert (head["sys_path"], body) == (list(ORDER.sys_path), b"")
    order = decode(read_frame(stream)[1])
    assert (order.packed_module, order.request.probe_step(None, None)) == (b"module", 3)


@pytest.mark.parametrize("keep", [3, -1], ids=["in the header", "in the body"])
def test_read_frame_is_none_in_the_middle_of_a_frame(keep):
    assert read_frame(io.BytesIO(encode("probe", "text")[:keep])) is None


def test_encode_says_what_cannot_be_sent():
    with pytest.raises(ProbeError, match=r"cannot be sent to the analyzer .*lock"):
        encode("probe", threading.Lock())
