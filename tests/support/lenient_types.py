# SPDX-License-Identifier: Apache-2.0
"""The run-time type checker of the tests: beartype, with int accepted where float is asked for (PEP 484).

A name of its own because jaxtyping's pytest option takes several packages only if the checker has no parentheses.
"""

from beartype import BeartypeConf, beartype

typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))
