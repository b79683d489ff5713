# SPDX-License-Identifier: Apache-2.0
"""Results on their way to the loggers of a training: W&B, TensorBoard, MLflow and the rest."""
