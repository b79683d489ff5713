# SPDX-License-Identifier: Apache-2.0
"""components/<layer>.safetensors: the latest fit of one layer, and what the analyzer needs to go on from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_interp.core.errors import CorruptSnapshotError, RunError
from lightning_interp.core.shapes import Float, Tensor
from lightning_interp.store.layout import COMPONENTS, components_file
from lightning_interp.store.tensor_file import read_metadata, read_tensors, write_tensors

_WEIGHTS = "cp_weights"
_FACTORS = ("snapshot_factor", "stimulus_factor", "unit_factor")
_STATE = "state/"
"""Start of the names of tensors that only the analyzer reads."""


@dataclass(frozen=True)
class StoredComponents:
    """The latest fit of one layer: activations ~ sum over r of cp_weights[r] * when_r ∘ which stimuli_r ∘ which units_r.

    Attributes:
        layer: Layer name.
        steps: Optimizer step of each row of the snapshot factor; a long run is thinned.
        cp_weights: Size of each component; the scaled activations have root mean square 1.
        factors: Snapshot, stimulus and unit factor, one column a component; columns have unit norm. Stimuli are train
            examples, then held-out ones, as in `Run.activations`.
        component_ids: Identity of each column; the same component keeps it from fit to fit.
        changes: Births and deaths of components: ``{"step", "component", "kind"}``.
        table: One mapping for each rank compared: ``rank, relative_error, similarity, core_consistency, heldout_error``.
        recommended: Rank recommended by the latest table; the fit keeps to a rank for a while, and may have another.
        reasons: Why that rank.
        relative_error: Of the fit, 0 is exact.
        flags: What to know before reading the components, from `CPFit.flags`.
        preprocessing: What was done to the activations before the fit.
        nonnegative: Whether all factors are non-negative.
        folded_steps: Steps of every snapshot that went into the fit, those thinned away since included.
    """

    layer: str
    steps: tuple[int, ...]
    cp_weights: Float[Tensor, " rank"]
    factors: tuple[Float[Tensor, "snapshot rank"], Float[Tensor, "stimulus rank"], Float[Tensor, "unit rank"]]
    component_ids: tuple[int, ...]
    changes: tuple[Mapping[str, Any], ...]
    table: tuple[Mapping[str, float | int | None], ...]
    recommended: int
    reasons: tuple[str, ...]
    relative_error: float
    flags: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    nonnegative: bool
    folded_steps: tuple[int, ...]


@dataclass(frozen=True)
class FollowState:
    """What lets another analyzer go on where this one is.

    Attributes:
        settings: Settings the fit depends on; other settings make another fit.
        scales: Root mean square of the activations by step, of every snapshot folded in, ascending.
        nonnegative: Whether the components are non-negative.
        tensors: State of the solver.
        metadata: The rest of it, in values JSON can hold.
    """

    settings: Mapping[str, Any]
    scales: Mapping[int, float]
    nonnegative: bool
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


def write_components(run_dir: Path, components: StoredComponents, state: FollowState) -> int:
    """Replace the file of one layer in one step.

    Returns:
        Bytes written.
    """
    path = components_file(run_dir, components.layer)
    path.parent.mkdir(exist_ok=True)
    shown = {_WEIGHTS: components.cp_weights, **dict(zip(_FACTORS, components.factors, strict=True))}
    kept = {_STATE + name: tensor for name, tensor in state.tensors.items()}
    plain = {name: value for name, value in vars(components).items() if name not in (_WEIGHTS, "factors")}
    following = {
        "settings": dict(state.settings),
        "scales": [[step, scale] for step, scale in state.scales.items()],
        "state": dict(state.metadata),
    }
    # safetensors refuses tensors that share memory, which views of one state may do.
    return write_tensors(path, {n: t.detach().cpu().clone() for n, t in (shown | kept).items()}, plain | following)


def read_components(run_dir: Path, layer: str) -> StoredComponents:
    """The latest fit of one layer.

    Raises:
        RunError: There is none; the message lists the layers that have one.
        CorruptSnapshotError: The file is damaged.
    """
    path = components_file(run_dir, layer)
    if not path.exists():
        there = ", ".join(component_layers(run_dir)) or "none yet; the monitor's argument tca= asks for them"
        raise RunError(f"{run_dir}: no components of layer {layer!r}. Layers with components: {there}.")
    content = read_tensors(path, [_WEIGHTS, *_FACTORS])
    factors = tuple(content.tensors[name] for name in _FACTORS)
    fields = StoredComponents.__dataclass_fields__
    plain = {name: tuple(v) if isinstance(v, list) else v for name, v in content.metadata.items() if name in fields}
    return StoredComponents(**plain, cp_weights=content.tensors[_WEIGHTS], factors=factors)  # type: ignore[arg-type]


def read_follow_state(run_dir: Path, layer: str) -> FollowState | None:
    """What an earlier analyzer left to go on from, None where it left nothing.

    Raises:
        CorruptSnapshotError: The file is damaged.
    """
    path = components_file(run_dir, layer)
    if not path.exists():
        return None
    content = read_tensors(path)
    tensors = {name.removeprefix(_STATE): t for name, t in content.tensors.items() if name.startswith(_STATE)}
    scales = {int(step): float(scale) for step, scale in content.metadata["scales"]}
    saved = content.metadata
    return FollowState(saved["settings"], scales, saved["nonnegative"], tensors, saved["state"])


def component_layers(run_dir: Path) -> tuple[str, ...]:
    """Layers with components, by name; files that are damaged are left out."""
    return tuple(layer for _, layer, _ in sorted(component_files(run_dir), key=lambda entry: entry[1]) if layer)


def component_files(run_dir: Path) -> Iterator[tuple[Path, str, int]]:
    """Every file of components: its path, its layer and the last step that went into it.

    Of a damaged file, the layer is empty and the step -1.
    """
    for path in sorted((run_dir / COMPONENTS).glob("*.safetensors")):
        try:
            metadata = read_metadata(path)
            yield path, str(metadata["layer"]), max(metadata["folded_steps"])
        except (CorruptSnapshotError, KeyError, ValueError):
            yield path, "", -1
