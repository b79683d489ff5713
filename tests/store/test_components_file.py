# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest
import torch

from lightning_interp.core.errors import CorruptSnapshotError, RunError
from lightning_interp.store import (
    FollowState,
    StoredComponents,
    open_run,
    read_components,
    read_follow_state,
    resume_run,
    write_components,
)
from lightning_interp.store.layout import ABANDONED, COMPONENTS, components_file


def components(layer: str = "act", folded_steps: tuple[int, ...] = (0, 5, 9)) -> StoredComponents:
    generator = torch.Generator().manual_seed(0)
    when, stimuli, units = (torch.rand(size, 2, generator=generator) for size in (2, 4, 3))
    return StoredComponents(
        layer=layer,
        steps=folded_steps[-2:],
        cp_weights=torch.tensor([3.0, 1.0]),
        factors=(when, stimuli, units),
        component_ids=(0, 2),
        changes=({"step": 5, "component": 2, "kind": "birth"},),
        table=({"rank": 2, "relative_error": 0.1, "similarity": None, "core_consistency": None, "heldout_error": 0.2},),
        recommended=2,
        reasons=("only one rank was compared",),
        relative_error=0.1,
        flags=("not_converged",),
        preprocessing={"scale": "rms", "scales": [1.5, 2.0], "stimuli": 4, "units": 3},
        nonnegative=True,
        folded_steps=folded_steps,
    )


def state(**changes) -> FollowState:
    basis = torch.arange(6.0).reshape(2, 3)
    whole = FollowState(
        {"ranks": [1, 2], "nonnegative": "auto"}, {0: 1.0, 5: 0.1, 9: 2.0}, True, {"basis": basis}, {"ids": [0, 2]}
    )
    return replace(whole, **changes)


def assert_same(one: StoredComponents, other: StoredComponents) -> None:
    plain = [{name: value for name, value in vars(c).items() if name not in ("cp_weights", "factors")} for c in (one, other)]
    assert plain[0] == plain[1]
    assert torch.equal(one.cp_weights, other.cp_weights)
    assert all(torch.equal(a, b) for a, b in zip(one.factors, other.factors, strict=True))


def test_components_are_read_as_they_were_written(run_dir):
    write_components(run_dir, components(), state())
    assert_same(open_run(run_dir).components("act"), components())


def test_components_keep_what_an_analyzer_goes_on_from(run_dir):
    write_components(run_dir, components(), state())
    found = read_follow_state(run_dir, "act")
    assert replace(found, tensors={}) == state(tensors={})
    assert torch.equal(found.tensors["basis"], state().tensors["basis"])


def test_components_take_a_state_whose_tensors_share_memory(run_dir):
    shared = torch.arange(6.0)
    write_components(run_dir, components(), state(tensors={"all": shared, "part": shared[2:4]}))
    assert read_follow_state(run_dir, "act").tensors["part"].tolist() == [2.0, 3.0]


def test_components_of_a_layer_without_any_list_those_that_have(run_dir):
    with pytest.raises(RunError, match=r"no components of layer 'act'\. Layers with components: none yet; .* tca="):
        open_run(run_dir).components("act")
    write_components(run_dir, components(), state())
    with pytest.raises(RunError, match=r"no components of layer 'w'\. Layers with components: act"):
        open_run(run_dir).components("w")


def test_there_is_no_state_where_there_are_no_components(run_dir):
    assert read_follow_state(run_dir, "act") is None


def test_component_layers_are_in_the_order_of_the_run(run_dir):
    for layer in ("zebra", "w", "act"):
        write_components(run_dir, components(layer), state())
    assert open_run(run_dir).component_layers == ("act", "w", "zebra")


def test_damaged_components_are_noticed_and_not_listed(run_dir):
    write_components(run_dir, components(), state())
    path = components_file(run_dir, "act")
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(CorruptSnapshotError):
        read_follow_state(run_dir, "act")
    path.write_bytes(b"\0")
    with pytest.raises(CorruptSnapshotError):
        read_components(run_dir, "act")
    assert open_run(run_dir).component_layers == ()


ODD = ["a/b", "../../evil", "/etc/passwd", "a b", ".hidden", "naïve", "x" * 300, "", "..", "a\nb", "con:1"]


@pytest.mark.parametrize("layer", ODD)
def test_components_of_oddly_named_layers_stay_in_their_folder(run_dir, layer):
    write_components(run_dir, components(layer), state())
    (path,) = (run_dir / COMPONENTS).iterdir()
    assert path.parent.resolve() == (run_dir / COMPONENTS).resolve() and not path.name.startswith(".")
    assert open_run(run_dir).components(layer).layer == layer


def test_plain_layer_names_are_file_names_and_odd_ones_do_not_collide(run_dir):
    assert components_file(run_dir, "net.1#2").name == "net.1#2.safetensors"
    assert len({components_file(run_dir, layer) for layer in [*ODD, "a_b", "a:b"]}) == len(ODD) + 2


def test_resume_run_sets_components_aside_that_later_steps_went_into(run_dir):
    write_components(run_dir, components("act", (0, 5, 20)), state())
    write_components(run_dir, components("w", (0, 5, 10)), state())
    resume_run(run_dir, 10)
    assert open_run(run_dir).component_layers == ("w",)
    aside = run_dir / ABANDONED / "attempt_0" / COMPONENTS
    assert [path.name for path in aside.iterdir()] == ["act.safetensors"]


def test_resume_run_sets_damaged_components_aside(run_dir):
    write_components(run_dir, components(), state())
    components_file(run_dir, "act").write_bytes(b"\0")
    (run_dir / COMPONENTS / ".act.safetensors.7.tmp").write_bytes(b"")
    resume_run(run_dir, 100)
    assert list((run_dir / COMPONENTS).iterdir()) == []
