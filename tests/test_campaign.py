"""The campaigns in short; `make campaign` has more time."""

import pytest
from campaign.fuzz import fuzz
from campaign.kills import solo, sweep

SEED = 11


def test_mutated_run_folders(in_tmp_path, monkeypatch):
    monkeypatch.setenv("CAMPAIGN_SECRET", "")  # undone at the end
    for tally in fuzz(SEED, 10):
        assert tally.failures == [], tally.name
        assert tally.passed == tally.tried == 10


@pytest.mark.parametrize(("campaign", "trials"), [(solo, 1), (sweep, 1)])
def test_kills(campaign, trials, in_tmp_path):
    tally = campaign(SEED, trials)
    assert tally.failures == []
    assert tally.passed == trials
