"""A run goes on only as what it was."""

from __future__ import annotations

import pytest

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.runs.identity import check_same_run, flatten, identity

CONFIG = {"optim": {"lr": 1e-3, "adam": {"betas": [0.9, 0.95]}}, "generate": {"every": 5}, "device": "cpu",
          "autocast": False, "seed": 1}


def make(config=CONFIG, store="aa"):
    return identity(config, ["device", "generate.*"], store, {"n_q": 4})


def test_flatten_names_leaves_by_their_path():
    assert flatten({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": {}}) == {"a.b.c": 1, "a.d": [1, 2]}


def test_what_cannot_change_the_result_may_change():
    other = {**CONFIG, "generate": {"every": 99}, "device": "cuda", "autocast": True}
    check_same_run(make(), make(other), "c.th")


def test_a_setting_that_came_later_and_is_not_used_makes_no_other_run():
    check_same_run(make(), make({**CONFIG, "optim": CONFIG["optim"] | {"muon": {"lr": None}}}), "c.th")


def test_what_names_no_run_any_more_may_be_in_an_old_record():
    then = make({**CONFIG, "compile": "slowly"})
    check_same_run(then, make(), "c.th", exclude=["compile"])
    with pytest.raises(UserError, match="compile was slowly"):
        check_same_run(then, make(), "c.th")


@pytest.mark.parametrize("change, words", [
    ({"optim": {"lr": 2e-3, "adam": {"betas": [0.9, 0.95]}}}, "optim.lr was 0.001, is 0.002"),
    ({"optim": {"lr": 1e-3, "adam": {"betas": [0.9, 0.99]}}}, r"optim.adam.betas was \[0.9, 0.95\], is \[0.9, 0.99\]"),
    ({"new": 1}, r"new was \(unset\), is 1"),
])
def test_a_changed_setting_is_named(change, words):
    with pytest.raises(UserError, match=words):
        check_same_run(make(), make({**CONFIG, **change}), "c.th")


def test_other_data_is_refused():
    with pytest.raises(UserError, match="c.th was trained on another token store"):
        check_same_run(make(), make(store="bb"), "c.th")
