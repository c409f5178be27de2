"""Fixtures that the tests of commands share."""

import shutil

import pytest


@pytest.fixture
def digits(tmp_path, few_digits, tiny_run, monkeypatch):
    """A folder to work in, with the set `digits` and the run `tiny`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(few_digits / "digits", "data/digits")
    shutil.copytree(tiny_run, "runs/tiny")
    return tmp_path
