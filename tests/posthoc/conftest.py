# SPDX-License-Identifier: Apache-2.0
"""The fixture `prepare` for tests of this folder."""

from prepared_run import prepare as prepare
