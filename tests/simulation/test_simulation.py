"""Whole runs in virtual time, by seed: whatever goes wrong, no law is broken, and when
nothing goes wrong any more everything is answered.

`SEED=17 python -m pytest TEST` plays that seed alone; campaign.py tells what happens.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from drama import Family
from ground import DiskFault, Ground
from plots import KINDS, POINTS, a_plot
from seeds import LIVENESS, SAFETY, play_all, shared, traced
from served import FILE, SERVER
from weather import NEVER_ANSWERED, TROUBLES


@pytest.mark.parametrize("first", shared(SAFETY))
def test_whatever_goes_wrong_no_law_is_broken(ground: Ground, first: int):
    play_all(ground, Family.SAFETY, range(first, first + SAFETY.step))


@pytest.mark.parametrize("first", shared(LIVENESS))
@pytest.mark.long
def test_when_the_trouble_is_over_everything_is_answered(ground: Ground, first: int):
    play_all(ground, Family.LIVENESS, range(first, first + LIVENESS.step))


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.long
def test_the_same_seed_tells_the_same_story(ground: Ground, family: Family):
    seeds = range(5)
    once = [traced(ground, family, seed)[0] for seed in seeds]
    again = [traced(ground, family, seed)[0] for seed in reversed(seeds)]
    assert once == again[::-1]
    assert len({tuple(trace) for trace in once}) == len(seeds)


@pytest.mark.long
def test_it_tells_it_in_any_process_of_any_machine():
    """Neither the order of a set of words nor a place in memory plays a part."""
    campaign = Path(__file__).parent / "campaign.py"
    plots = {seed: a_plot(seed, Family.SAFETY) for seed in range(SAFETY.stop)}
    busy = [
        seed
        for seed, plot in plots.items()
        if plot.disk_faults and plot.dooms and len(plot.processes) > 2
    ]
    for seed in busy[:3]:
        told = {
            subprocess.run(
                [sys.executable, str(campaign), "--seed", str(seed)],
                env={**os.environ, "PYTHONHASHSEED": salt},
                capture_output=True,
                check=True,
            ).stdout
            for salt in ("1", "2", "3")
        }
        assert len(told) == 1


def test_the_seeds_of_every_run_contain_whatever_can_go_wrong():
    plots = [a_plot(seed, Family.SAFETY) for seed in range(SAFETY.stop)]
    troubles = {name for plot in plots for name in plot.troubles}
    assert troubles == set(TROUBLES)
    points = {point for plot in plots for point, _ in plot.dooms}
    assert points == set(POINTS)
    faults = {fault for plot in plots for fault in plot.disk_faults.values()}
    assert faults == set(DiskFault)
    kinds = {tuple(rule["kind"] for rule in plot.rules) for plot in plots}
    assert kinds == set(KINDS)
    events = {event.what for plot in plots for event in plot.events}
    assert {"kill", "signal", "signal twice", "freeze", "suspend", "clock"} <= events
    assert {"reboot", "cancel", "pause", "resume", "append", "attempts"} <= events
    assert {"delete", "disk"} <= events
    assert {plot.database for plot in plots} == {FILE, SERVER}
    assert {plot.has_boot_names for plot in plots} == {True, False}
    unnamed = [plot for plot in plots if not plot.has_boot_names]
    assert any(one.what == "reboot" for plot in unnamed for one in plot.events)
    assert any(plot.others for plot in plots)
    assert {name for plot in plots for name in plot.bad.values()} == set(NEVER_ANSWERED)
    assert any(a_plot(seed, Family.LIVENESS).stretch for seed in LIVENESS)
