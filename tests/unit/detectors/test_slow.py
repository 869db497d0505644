"""Shift, creep, drop and gone: what is seen over days."""

import numpy as np
import pytest

from .conftest import START

CALM = 49 * 24


def first(series, name, costs, begin):
    for h, cost in enumerate(costs, begin):
        if series.see(START + h, cost)[name] >= 1:
            return h - begin
    return None


@pytest.fixture
def calm(watched, web):
    series = watched()
    odd = {}
    for h, cost in enumerate(web[:CALM]):
        for name, share in series.see(START + h, cost).items():
            odd[name] = max(odd.get(name, 0.0), share)
    assert max(odd.values()) < 1
    return series


def test_a_quarter_more_is_found_within_three_days_and_not_dated_before_it_began(calm, web):
    found = first(calm, "shift", 1.25 * web[CALM:], CALM)
    assert found is not None
    assert found <= 72
    since = calm.judge(START + CALM + found + 1, 1.25 * web[CALM + found + 1])["shift"].since
    assert CALM - 6 <= since - START <= CALM + found + 1


def test_growth_of_three_percent_a_day_is_found_within_a_week(calm, web):
    days = np.arange(len(web) - CALM) / 24
    found = first(calm, "creep", web[CALM:] * (1 + 0.03 * days), CALM)
    assert found is not None
    assert found <= 168


def test_growth_as_ever_is_no_creep(watched):
    series = watched(["shift", "creep"])
    r = np.random.default_rng(1)
    for h in range(80 * 24):
        said = series.see(START + h, 5.0 * 1.08 ** (h / 720) * np.exp(0.005 * r.normal()))
        assert max(said.values()) < 1


def test_half_of_the_spend_is_a_drop(calm, web):
    found = first(calm, "drop", 0.5 * web[CALM:], CALM)
    assert found is not None
    assert found <= 48


def test_no_rows_at_all_are_gone_within_a_day_and_dated_to_the_last_row(calm):
    threshold = calm.fleet.threshold("gone")
    calm.fleet.learn(*calm.pending)
    said = [calm.judge(START + CALM + h, np.nan)["gone"] for h in range(48)]
    found = next(h for h, score in enumerate(said) if score.surprise >= threshold)
    assert 6 <= found <= 24
    assert said[found].since == START + CALM


def test_a_nightly_job_is_not_gone_by_day(watched):
    series = watched(["gone"])
    for h in range(CALM):
        assert series.see(START + h, 4.0 if h % 24 in (2, 3) else 0.0)["gone"] < 1
