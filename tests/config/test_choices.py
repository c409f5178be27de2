"""Choices in settings and on the command line are those that the code implements."""

from typing import get_args

import pytest

from rawmm_cli.config import choices
from rawmm_cli.config.heads import MaskedHead
from rawmm_cli.config.model import DiffusionHead, Sample
from rawmm_cli.core import codes, noise, solvers


def test_solvers_and_grids_are_those_of_the_core():
    assert choices.SOLVERS == tuple(solvers.SOLVERS)
    assert choices.GRIDS == solvers.GRIDS
    assert choices.TUNED not in choices.GRIDS


def test_predictions_are_those_of_the_core():
    assert get_args(choices.Prediction) == noise.PREDICTIONS


@pytest.mark.parametrize(
    "settings, name, allowed",
    [
        (Sample, "solver", choices.SOLVERS),
        (Sample, "grid", choices.GRIDS),
        (Sample, "precision", choices.PRECISIONS),
        (Sample, "order", codes.ORDERS),
        (MaskedHead, "schedule", tuple(codes.SCHEDULES)),
        (DiffusionHead, "prediction", noise.PREDICTIONS),
        (DiffusionHead, "loss", noise.PREDICTIONS),
    ],
)
def test_settings_allow_exactly_these_choices(settings, name, allowed):
    assert get_args(settings.model_fields[name].annotation) == allowed
