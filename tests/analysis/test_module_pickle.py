# SPDX-License-Identifier: Apache-2.0
import importlib.util
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import nn

from lightning_interp.analysis.module_pickle import NotCarried, pack_module, unpack_module
from lightning_interp.core.errors import ProbeError
from lightning_interp.core.names import strip_wrappers


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(x)).relu())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(tokens))


class Lit(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(3, 1)

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def copy_of(module: nn.Module) -> nn.Module:
    weights = {strip_wrappers(name): tensor for name, tensor in module.state_dict().items()}
    return unpack_module(pack_module(module), weights)


INPUT = torch.linspace(-1, 1, 12).view(4, 3)


def test_unpack_module_computes_what_the_live_module_does():
    live = Net().eval()
    assert torch.equal(copy_of(live)(INPUT), live(INPUT))


def test_pack_module_carries_no_weights():
    module = nn.Linear(1000, 1000)  # 4 MB of float32
    assert len(pack_module(module)) < 20_000


def test_unpack_module_takes_the_weights_it_is_given():
    live = Net()
    weights = {name: torch.zeros_like(tensor) for name, tensor in live.state_dict().items()}
    assert all(not tensor.any() for tensor in unpack_module(pack_module(live), weights).state_dict().values())


def test_unpack_module_copies_are_private():
    live, weights = nn.Linear(2, 2), {"weight": torch.ones(2, 2), "bias": torch.ones(2)}
    packed = pack_module(live)
    with torch.no_grad():
        unpack_module(packed, weights).weight.zero_()
    assert torch.equal(unpack_module(packed, weights).weight, torch.ones(2, 2))


def test_unpack_module_keeps_tied_weights_tied():
    copy = copy_of(Tied())
    assert copy.head.weight is copy.embed.weight


def test_unpack_module_keeps_which_parameters_train():
    live = Net()
    live.first.requires_grad_(False)
    copy = copy_of(live)
    assert [(n, type(p), p.requires_grad) for n, p in copy.named_parameters()] == [
        (n, type(p), p.requires_grad) for n, p in live.named_parameters()
    ]


def test_unpack_module_says_when_a_weight_is_missing():
    with pytest.raises(ProbeError, match=r"cannot be rebuilt .*KeyError.*bias"):
        unpack_module(pack_module(nn.Linear(2, 2)), {"weight": torch.ones(2, 2)})


def test_pack_module_carries_buffers_outside_the_state_dict():
    live = nn.Module()
    live.register_buffer("table", torch.arange(3), persistent=False)
    assert copy_of(live).table.tolist() == [0, 1, 2]


def test_pack_module_leaves_the_live_module_as_it_was():
    live = Net()
    live.lock, live.note = threading.Lock(), {"a": 1}
    before = {name: tensor.clone() for name, tensor in live.state_dict().items()}
    attributes = [{name: id(value) for name, value in vars(child).items()} for child in live.modules()]
    pack_module(live)
    assert all(torch.equal(tensor, before[name]) for name, tensor in live.state_dict().items())
    assert [{name: id(value) for name, value in vars(child).items()} for child in live.modules()] == attributes


def opened() -> object:
    return Path(__file__).open()  # closed by the test


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (threading.Lock, "lock"),
        (lambda: (number for number in range(3)), "generator"),
        (opened, "TextIOWrapper"),
        (lambda: iter(torch.utils.data.DataLoader([1, 2])), None),
    ],
    ids=["lock", "generator", "open file", "loader iterator"],
)
def test_pack_module_puts_a_stub_for_what_cannot_travel(make, kind):
    live = nn.Linear(3, 1)
    live.held = make()
    copy = copy_of(live)
    assert torch.equal(copy(INPUT), live(INPUT))
    if kind is not None:
        assert isinstance(copy.held, NotCarried)
        with pytest.raises(ProbeError, match=f"a {kind} held by the module cannot travel.*pass module= or probe_step="):
            copy.held.anything()
    getattr(live.held, "close", lambda: None)()


def test_not_carried_travels_itself():
    with pytest.raises(ProbeError, match="a lock held"):
        pickle.loads(pickle.dumps(NotCarried("lock")))()


def test_pack_module_sends_the_module_inside_a_compiled_one():
    live = nn.Sequential(torch.compile(nn.Linear(3, 1), backend="eager"))
    copy = copy_of(live)
    assert type(copy[0]) is nn.Linear
    assert torch.equal(copy(INPUT), live[0]._orig_mod(INPUT))


def test_pack_module_takes_out_compilation_in_place():
    live = nn.Linear(3, 1)
    live.compile(backend="eager")
    copy = copy_of(live)
    assert copy._compiled_call_impl is None
    assert live._compiled_call_impl is not None


def test_pack_module_names_the_attribute_that_is_too_large():
    live = Net()
    live.norm.table = torch.zeros(1000, 100)
    with pytest.raises(ProbeError, match=r"over 0 MB: attribute `norm.table` takes 0.4 MB.*module= \(a factory\)"):
        pack_module(live, size_cap=100_000)


def test_pack_module_names_a_buffer_that_is_too_large():
    live = Net()
    live.last.register_buffer("table", torch.zeros(1000, 100), persistent=False)
    with pytest.raises(ProbeError, match=r"attribute `last.table` takes"):
        pack_module(live, size_cap=100_000)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
def test_pack_module_refuses_torchscript():
    live = nn.Sequential(torch.jit.script(nn.Linear(2, 2)))
    with pytest.raises(ProbeError, match=r"cannot be pickled .*TorchScript.*pass module= \(a factory\)"):
        pack_module(live)


def test_pack_module_leaves_the_trainer_behind(tmp_path):
    live = Lit()
    trainer = L.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(live, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(2, 3))))
    copy = copy_of(live)
    assert live._trainer is trainer
    assert copy._trainer is None
    assert torch.equal(copy.net(INPUT), live.net(INPUT))


READER = """
import pickle, sys
from lightning_interp.analysis.module_pickle import unpack_module
packed, weights, given = pickle.load(open(sys.argv[1], "rb"))
module = unpack_module(packed, weights)
pickle.dump((module(given), type(module).__module__), open(sys.argv[1], "wb"))
"""

HOME = """
import torch
from torch import nn

SCALE = 3.0

class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 2)

    def forward(self, x):
        return helper(self.net(x))

def helper(x):
    return x * SCALE
"""


def elsewhere(module: nn.Module, folder: Path) -> torch.Tensor:
    """What a copy of the module gives in another process, which can import this package and nothing of the tests."""
    parcel = folder / "parcel"
    parcel.write_bytes(pickle.dumps((pack_module(module), dict(module.state_dict()), INPUT)))
    subprocess.run([sys.executable, "-c", READER, str(parcel)], check=True, cwd=folder)
    output, _ = pickle.loads(parcel.read_bytes())
    return output


def test_a_class_loaded_by_path_travels_by_value(tmp_path):
    path = tmp_path / "hidden" / "their_model.py"
    path.parent.mkdir()
    path.write_text(HOME)
    spec = importlib.util.spec_from_file_location("their_model", path)
    home = sys.modules["their_model"] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(home)
        live = home.Scaled()
        torch.testing.assert_close(elsewhere(live, tmp_path), live(INPUT), rtol=0, atol=0)
    finally:
        del sys.modules["their_model"]


def test_a_class_of_a_script_without_guard_travels(tmp_path):
    script = tmp_path / "train.py"
    sender = """
    import pickle, sys, torch
    from lightning_interp.analysis.module_pickle import pack_module
    live, given = Scaled(), torch.ones(2, 3)
    pickle.dump((pack_module(live), dict(live.state_dict()), given), open(sys.argv[1], "wb"))
    pickle.dump(live(given).detach(), open(sys.argv[1] + ".expected", "wb"))
    """
    script.write_text(HOME + textwrap.dedent(sender))
    parcel = tmp_path / "parcel"
    subprocess.run([sys.executable, str(script), str(parcel)], check=True)
    subprocess.run([sys.executable, "-c", READER, str(parcel)], check=True, cwd=tmp_path)
    output, home = pickle.loads(parcel.read_bytes())
    assert home == "__main__"
    assert torch.equal(output, pickle.loads((tmp_path / "parcel.expected").read_bytes()))
