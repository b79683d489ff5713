# SPDX-License-Identifier: Apache-2.0
"""Afterwards: an unfinished run, a folder of checkpoints, the components of a stored layer, runs beside each other."""
