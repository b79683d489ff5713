# SPDX-License-Identifier: Apache-2.0
"""Ordinary trainings, made to be watched: data sets, networks, the loop, and the families of configurations."""
