# SPDX-License-Identifier: Apache-2.0
"""Alarms and phases on their way to the user: callbacks, one console line, one alert."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from lightning.pytorch.loggers import WandbLogger
from prepared_run import prepare_run
from small_training import TurnsNaN, fit
from wandb_records import SETTINGS, WandbRecords

from lightning_interp import InterpMonitor, Monitor
from lightning_interp.config.run_directory import Progress
from lightning_interp.core.errors import ConfigError
from lightning_interp.core.timeline import Alarm, Phase, Timeline
from lightning_interp.monitor.delivery import Delivery
from lightning_interp.monitor.listeners import Listeners
from lightning_interp.store.layout import PHASES

WARNED = Timeline(
    "unknown",
    (Phase("fitting", 0, None, 0.5, (0, 0)),),
    (Alarm("phase_began", 0), Alarm("early_warning", 300)),
    {"memorization": ((0, 0.0), (300, 1.0))},
    {"reason": "It fits."},
    state="provisional",
    analyzed=(9, 9),
)


def tell(run_dir, timeline, listeners, *loggers, progress=None, times=1):
    """What people hear when the analyzer has written a timeline, some number of times."""
    delivery = Delivery(run_dir, (), loggers, listeners=listeners, strict=False, progress=progress)
    for time in range(times):
        later = replace(timeline, analyzed=(9 + time, 9 + time))
        (run_dir / PHASES).write_text(json.dumps(later.to_dict()))
        delivery._tailer.read_now()
        delivery.deliver()
    delivery.stop()
    return delivery


@pytest.fixture
def run_dir(tmp_path):
    return prepare_run(tmp_path, steps=()).path


@pytest.mark.parametrize("monitor", [InterpMonitor(), Monitor()], ids=["trainer", "own loop"])
def test_callbacks_are_for_names_there_are(monitor):
    with pytest.raises(ConfigError, match=r"on_alarm: no alarm 'fire'; there are early_warning, phase_began"):
        monitor.on_alarm("fire", print)
    with pytest.raises(ConfigError, match=r"on_phase: no phase 'fire'; there are warm_up, fitting"):
        monitor.on_phase("fire", print)


def test_an_early_warning_is_one_callback_one_line_and_one_alert(run_dir, caplog):
    caplog.set_level(logging.INFO, logger="lightning_interp")
    heard, listeners = [], Listeners()
    logger = WandbLogger(project="test", save_dir=run_dir.parent, mode="offline", settings=SETTINGS)
    listeners.on_alarm("early_warning", heard.append)
    delivery = tell(run_dir, WARNED, listeners, logger, times=3)
    assert heard == [Alarm("early_warning", 300)]
    assert [line for line in caplog.messages if "early warning" in line] == ["Alarm at step 300: early warning"]
    moved = replace(WARNED, alarms=(Alarm("early_warning", 280),))
    (run_dir / PHASES).write_text(json.dumps(moved.to_dict()))
    delivery._tailer.read_now()
    delivery.deliver()
    assert len(heard) == 1, "a better record of an earlier step moved it"
    logger.experiment.finish()
    alerts = WandbRecords(Path(logger.experiment.settings.sync_file)).alerts
    assert [text for text in alerts if "early" in text] == ["Alarm at step 300: early warning"]


@pytest.mark.parametrize("name", ["divergence", "collapse"])
def test_an_alarm_is_told_again_if_it_is_raised_again_and_not_if_its_step_moves(run_dir, name):
    heard, listeners = [], Listeners()
    listeners.on_alarm(name, heard.append)
    delivery = tell(run_dir, replace(WARNED, alarms=(Alarm(name, 100),)), listeners)
    for alarms in ((Alarm(name, 110),), (Alarm(name, 110), Alarm(name, 500))):
        (run_dir / PHASES).write_text(json.dumps(replace(WARNED, alarms=alarms).to_dict()))
        delivery._tailer.read_now()
        delivery.deliver()
    assert [alarm.step for alarm in heard] == [100, 500]


def test_a_resumed_training_is_not_warned_again(run_dir):
    heard, listeners = [], Listeners()
    listeners.on_alarm("early_warning", heard.append)
    first = tell(run_dir, WARNED, listeners)
    progress = Progress(str(run_dir), "id", 300, 0, announced=first.announced, alarmed=first.alarmed)
    kept = Progress.from_state(json.loads(json.dumps(progress.state_dict())))
    assert kept == progress
    tell(run_dir, WARNED, listeners, progress=kept)
    assert len(heard) == 1


def test_a_checkpoint_of_an_earlier_version_has_no_alarms():
    state = Progress("run", "id", 3, 0).state_dict()
    del state["alarmed"]
    assert Progress.from_state(state) == Progress("run", "id", 3, 0)


def test_the_beginning_of_a_phase_is_told_once_and_is_an_alarm_for_who_asks(run_dir, caplog):
    caplog.set_level(logging.INFO, logger="lightning_interp")
    heard, listeners = [], Listeners()
    listeners.on_alarm("phase_began", heard.append)
    tell(run_dir, WARNED, listeners)
    assert heard == [Alarm("phase_began", 0)]
    assert len([line for line in caplog.messages if "began" in line]) == 1


def test_a_callback_that_fails_ends_no_training(tmp_path, caplog):
    """The alarm is a real one: the loss is NaN from step 30 on."""
    heard = []

    def fails(alarm):
        heard.append(alarm)
        raise ValueError("no pager")

    monitor = InterpMonitor(tmp_path / "run", every_n_steps=5, background="inline", report=False)
    monitor.on_alarm("divergence", fails)
    trainer = fit(tmp_path, monitor, TurnsNaN(), max_steps=50)
    assert trainer.global_step == 50
    assert [alarm.name for alarm in heard] == ["divergence"]
    assert "on_alarm callback for divergence failed (ValueError: no pager)" in caplog.text


def test_strict_passes_on_what_a_callback_raises(run_dir):
    def fails(alarm):
        raise ValueError("no pager")

    listeners = Listeners()
    listeners.on_alarm("early_warning", fails)
    with pytest.raises(ValueError, match="no pager"):
        listeners.alarm_raised(Alarm("early_warning", 3), strict=True)
