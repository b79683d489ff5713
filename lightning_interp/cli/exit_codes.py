# SPDX-License-Identifier: Apache-2.0
"""Exit codes of every command; 130 and 143 are what shells report for Ctrl-C and SIGTERM."""

DONE, FAILED, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
