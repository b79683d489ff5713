# SPDX-License-Identifier: Apache-2.0
import json

import pytest

import lightning_interp
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.tca_settings import MOST_LOGGED, TCA, checked_ranks, logged_components


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ("1:3", (1, 2, 3)),
        (" 2 : 3 ", (2, 3)),
        ("4", (4,)),
        ("1, 3:4", (1, 3, 4)),
        (range(1, 3), (1, 2)),
        ([5, 2, 5], (2, 5)),
        ((1,), (1,)),
    ],
)
def test_checked_ranks_are_ascending_and_distinct(ranks, expected):
    assert checked_ranks(ranks) == expected


@pytest.mark.parametrize(
    "ranks",
    ["", "3:1", "1,3:1", "0:2", "1:9999999999", [513], "1,", "1-8", "a", [], range(0), [0], [1.5], [True], 3, None, ["1"]],
)
def test_checked_ranks_refuses_what_are_no_ranks(ranks):
    with pytest.raises(ConfigError, match=r"tca\.ranks: expected"):
        checked_ranks(ranks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "tca.every: expected whole numbers, 1 or more, got 0"),
        ({"every": 2.5}, "tca.every: expected whole numbers, 1 or more, got 2.5"),
        ({"restarts": True}, "tca.restarts"),
        ({"history": 7}, "tca.history: expected whole numbers, 8 or more, got 7"),
        ({"seed": -1}, "tca.seed"),
        ({"nonnegative": "yes"}, "tca.nonnegative: expected true, false or 'auto', got 'yes'"),
        ({"nonnegative": 1}, "tca.nonnegative"),
    ],
)
def test_checked_names_the_setting_it_cannot_honour(settings, message):
    with pytest.raises(ConfigError, match=message):
        TCA(**settings).checked()


def test_settings_survive_json():
    settings = TCA(layers=("a", "b"), ranks="1:2", nonnegative=False, every=3)
    back = TCA.from_plain(json.loads(json.dumps(settings.checked().plain())))
    assert back == TCA(layers=["a", "b"], ranks=(1, 2), nonnegative=False, every=3)


def test_settings_of_a_later_version_are_read():
    assert TCA.from_plain({"every": 4, "unheard_of": 1}) == TCA(every=4, ranks=tuple(range(1, 9)))


def test_logged_components_share_the_room_among_layers():
    names = logged_components([f"layer{k}" for k in range(5)], range(1, 9), room=100)
    assert len(names) == 5 * (MOST_LOGGED // 5)
    assert names[:4] == tuple(f"component/layer0/{k}" for k in range(4))


def test_logged_components_give_some_layers_one_name_where_there_is_little_room():
    assert logged_components(["a", "b", "c"], [1, 2], room=2) == ("component/a/0", "component/b/0")
    assert logged_components(["a"], [1], room=-3) == ()


def test_tca_is_a_public_name():
    assert lightning_interp.TCA is TCA
