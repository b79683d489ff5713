# SPDX-License-Identifier: Apache-2.0
"""How good the detectors are: labels of finished runs, rivals, and rates with their intervals."""
