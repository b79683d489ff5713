# SPDX-License-Identifier: Apache-2.0
"""Live: a training is watched from start to end; capture, analyzer and loggers are opened, driven and closed here."""
