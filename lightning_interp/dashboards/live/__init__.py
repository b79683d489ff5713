# SPDX-License-Identifier: Apache-2.0
"""The live page: the panels of a report, updating while training runs, from run directories alone (extra ``dashboards``)."""
