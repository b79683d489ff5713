# SPDX-License-Identifier: Apache-2.0
"""Observables of training: pure functions on tensors, and thin measures that apply them to an observation."""

from lightning_interp.measures.base import Cost, Measure, Need
from lightning_interp.measures.class_null import class_null_z
from lightning_interp.measures.cyclic_group import CyclicGroupTask, exponent_table, tokens_by_exponent
from lightning_interp.measures.excluded_loss import (
    ExcludedLoss,
    ExcludedLossMax,
    excluded_loss,
    excluded_loss_by_frequency,
)
from lightning_interp.measures.fourier import (
    band_pass,
    fourier_basis,
    frequency_power,
    label_table,
    select_key_freqs,
)
from lightning_interp.measures.fourier_gini import GiniEmbedding, GiniReadout, fourier_gini
from lightning_interp.measures.fourier_power import FourierPowerEmbedding, FourierPowerReadout, frequency_shares
from lightning_interp.measures.label import Label
from lightning_interp.measures.losses import (
    HeldoutAccuracy,
    HeldoutLoss,
    LossGap,
    TrainAccuracy,
    TrainLoss,
    accuracy,
    cross_entropy,
)
from lightning_interp.measures.margins import ScoreMargin, score_margin
from lightning_interp.measures.norms import WeightNorm, WeightNormSlope, l2_norm, log_log_slope, theil_sen_slope
from lightning_interp.measures.null_loss import (
    exchanged_cross_entropy,
    null_of_binary_labels,
    null_of_classes,
    null_of_squared_error,
)
from lightning_interp.measures.pair_table import PairTable, pair_table
from lightning_interp.measures.percentile import (
    HeldoutPercentile,
    HeldoutPercentileResult,
    heldout_percentile,
    mirror_free,
    never_seen_candidates,
)
from lightning_interp.measures.registry import MeasureSpec, resolve_measures, scalar_names
from lightning_interp.measures.restricted_loss import RestrictedLoss, block_logits, restricted_loss
from lightning_interp.measures.shuffled_loss import ShuffledLoss
from lightning_interp.measures.sparsity import ActivationSparsity, gini, hoyer, near_zero_share
from lightning_interp.measures.spectra import (
    ActivationSpectra,
    WeightSpectra,
    effective_rank,
    participation_ratio,
    spectral_ranks,
    squared_singular_values,
    stable_rank,
)
from lightning_interp.measures.weight_sketch import WeightSketch, sketch

__all__ = [
    "ActivationSparsity",
    "ActivationSpectra",
    "Cost",
    "CyclicGroupTask",
    "ExcludedLoss",
    "ExcludedLossMax",
    "FourierPowerEmbedding",
    "FourierPowerReadout",
    "GiniEmbedding",
    "GiniReadout",
    "HeldoutAccuracy",
    "HeldoutLoss",
    "HeldoutPercentile",
    "HeldoutPercentileResult",
    "Label",
    "LossGap",
    "Measure",
    "MeasureSpec",
    "Need",
    "PairTable",
    "RestrictedLoss",
    "ScoreMargin",
    "ShuffledLoss",
    "TrainAccuracy",
    "TrainLoss",
    "WeightNorm",
    "WeightNormSlope",
    "WeightSketch",
    "WeightSpectra",
    "accuracy",
    "band_pass",
    "block_logits",
    "class_null_z",
    "cross_entropy",
    "effective_rank",
    "exchanged_cross_entropy",
    "excluded_loss",
    "excluded_loss_by_frequency",
    "exponent_table",
    "fourier_basis",
    "fourier_gini",
    "frequency_power",
    "frequency_shares",
    "gini",
    "heldout_percentile",
    "hoyer",
    "l2_norm",
    "label_table",
    "log_log_slope",
    "mirror_free",
    "near_zero_share",
    "never_seen_candidates",
    "null_of_binary_labels",
    "null_of_classes",
    "null_of_squared_error",
    "pair_table",
    "participation_ratio",
    "resolve_measures",
    "restricted_loss",
    "scalar_names",
    "score_margin",
    "select_key_freqs",
    "sketch",
    "spectral_ranks",
    "squared_singular_values",
    "stable_rank",
    "theil_sen_slope",
    "tokens_by_exponent",
]
