# SPDX-License-Identifier: Apache-2.0
"""Every argument of the callback can be written in LightningCLI's YAML."""

from pathlib import Path

import pytest
from lightning.pytorch.cli import LightningCLI
from small_training import Classifier

from lightning_interp import TCA, CyclicGroupTask, EveryNSteps, Outcome, open_run

CONFIG = """
seed_everything: 0
trainer:
  logger: false
  enable_checkpointing: false
  callbacks:
    - class_path: lightning_interp.InterpMonitor
      init_args:
        dirpath: some/where
        schedule:
          class_path: lightning_interp.EveryNSteps
          init_args:
            n_steps: 5
        parameters: ["net.*"]
        layers: "type:ReLU"
        measures: [train_loss, weight_norm]
        task:
          class_path: lightning_interp.CyclicGroupTask
          init_args:
            p: 13
            op: add
        outcome:
          class_path: lightning_interp.Outcome
          init_args:
            name: val/quality
            direction: max
            null_value: 0.25
        tca:
          class_path: lightning_interp.TCA
          init_args:
            layers: ["net.*"]
            ranks: "1:4"
            every: 5
        probe: some/run
        probe_step: small_training:fit
        module: small_training:Classifier
        background: process
        device: cpu
        close_timeout: 5.0
        save_probe: false
        report: false
        strict: true
"""


OTHER = """
seed_everything: 0
trainer:
  accelerator: cpu
  max_steps: 9
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  default_root_dir: {root}
  callbacks:
    - class_path: lightning_interp.InterpMonitor
      init_args:
        dirpath: {root}/run
        every_n_steps: 3
"""


@pytest.mark.filterwarnings("ignore")  # what LightningCLI and jsonargparse say about themselves
def test_yaml_configures_the_monitor(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    cli = LightningCLI(Classifier, args=["--config", str(tmp_path / "config.yaml")], run=False, save_config_callback=None)
    (monitor,) = [callback for callback in cli.trainer.callbacks if type(callback).__name__ == "InterpMonitor"]
    config, request = monitor.config, monitor.config.request
    assert request.task == CyclicGroupTask(13, "add")
    assert request.outcome == Outcome("val/quality", "max", null_value=0.25)
    assert request.tca == TCA(layers=["net.*"], ranks="1:4", every=5)
    assert isinstance(config.schedule, EveryNSteps) and config.schedule.n_steps == 5
    assert (request.parameters, request.layers, request.measures) == (["net.*"], "type:ReLU", ["train_loss", "weight_norm"])
    assert (request.probe, request.probe_step, request.module) == (
        "some/run",
        "small_training:fit",
        "small_training:Classifier",
    )
    assert (request.device, config.close_timeout, config.save_probe, config.report) == ("cpu", 5.0, False, False)
    assert request.strict


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("text", "expected"), [("true", True), ("{ranks: [2, 3], nonnegative: true}", TCA(ranks=[2, 3], nonnegative=True))]
)
def test_yaml_asks_for_components_in_short(tmp_path: Path, text: str, expected: object) -> None:
    before, after = CONFIG.index("        tca:"), CONFIG.index("        probe: some/run")
    (tmp_path / "config.yaml").write_text(f"{CONFIG[:before]}        tca: {text}\n{CONFIG[after:]}")
    cli = LightningCLI(Classifier, args=["--config", str(tmp_path / "config.yaml")], run=False, save_config_callback=None)
    (monitor,) = [callback for callback in cli.trainer.callbacks if type(callback).__name__ == "InterpMonitor"]
    assert monitor.config.request.tca == expected


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("text", "expected"), [("val/f1", "val/f1"), ("{name: val/f1, null_value: 0.2}", Outcome("val/f1", null_value=0.2))]
)
def test_yaml_names_an_outcome_in_short(tmp_path: Path, text: str, expected: object) -> None:
    before, after = CONFIG.index("        outcome:"), CONFIG.index("        tca:")
    (tmp_path / "config.yaml").write_text(f"{CONFIG[:before]}        outcome: {text}\n{CONFIG[after:]}")
    cli = LightningCLI(Classifier, args=["--config", str(tmp_path / "config.yaml")], run=False, save_config_callback=None)
    (monitor,) = [callback for callback in cli.trainer.callbacks if type(callback).__name__ == "InterpMonitor"]
    assert monitor.config.request.outcome == expected


@pytest.mark.filterwarnings("ignore")
def test_yaml_of_the_other_namespace_trains_with_the_monitor(tmp_path: Path) -> None:
    """`pytorch_lightning`'s own LightningCLI, from a file to a finished run."""
    from other_namespace import Classifier, Data
    from pytorch_lightning.cli import LightningCLI

    (tmp_path / "config.yaml").write_text(OTHER.format(root=tmp_path))
    arguments = ["fit", "--config", str(tmp_path / "config.yaml")]
    LightningCLI(Classifier, Data, args=arguments, save_config_callback=None)
    run = open_run(tmp_path / "run")
    assert run.steps == [0, 3, 6, 9] and [record.step for record in run.all_records] == run.steps
