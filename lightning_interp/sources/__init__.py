# SPDX-License-Identifier: Apache-2.0
"""Other people's files: checkpoints of trainings that were not watched, and metrics that other tools logged."""
