# SPDX-License-Identifier: Apache-2.0
"""When a training ends, where averages are put in."""

from types import SimpleNamespace

from lightning.pytorch import Callback

from lightning_interp.monitor.training_end import TrainingEnd


class StochasticWeightAveraging(Callback):
    """Lightning's of the same name, in a training without a last epoch."""

    swa_end = -2


def test_a_training_without_a_last_epoch_is_not_over_from_the_start():
    monitor = Callback()
    trainer = SimpleNamespace(callbacks=[StochasticWeightAveraging(), monitor], current_epoch=0, max_epochs=-1)
    assert not TrainingEnd(trainer, monitor).is_over(trainer)
