# SPDX-License-Identifier: Apache-2.0
"""Parts of benchmarks/tca.py: tensors, peers, and one file for each claim."""
