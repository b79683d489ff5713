# SPDX-License-Identifier: Apache-2.0
"""From snapshots to records: replicas, observations, the analyzer, and where it runs."""
