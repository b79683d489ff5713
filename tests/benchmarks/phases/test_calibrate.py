# SPDX-License-Identifier: Apache-2.0
import calibrate


def test_calibrate_replaces_the_modules_that_say_it_wrote_them():
    says = "Written by ``benchmarks/phases/calibrate.py"
    fitted = {path for path in calibrate.PACKAGE.rglob("*.py") if says in path.read_text(encoding="utf-8")}
    assert fitted == {calibrate.COEFFICIENTS, calibrate.STATES, calibrate.CARD}
