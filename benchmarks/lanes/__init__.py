# SPDX-License-Identifier: Apache-2.0
"""Trainings in processes of their own that take turns on the machine, and the networks they train."""
