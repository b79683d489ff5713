# SPDX-License-Identifier: Apache-2.0
"""The fixture `prepare` for tests of this folder, and how far shapes are checked."""

from prepared_run import prepare as prepare
from type_checks import checked_types as checked_types
from type_checks import unchecked_fits as unchecked_fits
