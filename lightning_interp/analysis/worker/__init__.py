# SPDX-License-Identifier: Apache-2.0
"""The analyzer's process: how a training starts it, what they tell each other, and what ends it."""
