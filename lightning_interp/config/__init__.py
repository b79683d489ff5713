# SPDX-License-Identifier: Apache-2.0
"""What was asked for, checked before anything changes, and the run directory it goes to."""
