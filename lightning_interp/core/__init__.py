# SPDX-License-Identifier: Apache-2.0
"""What every room may use: records, the timeline, batches, names, errors; nothing of a file, a network or a page."""
