from __future__ import annotations

import pytest

from crewq import errors
from crewq.settings import Settings
from crewq.weights import read_weights


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("", ()),
        ("acme=3", (("acme", 3.0),)),
        (" acme = 3 , eva@example.org=0.5, *=2 ,", (("acme", 3.0), ("eva@example.org", 0.5), ("*", 2.0))),
    ],
)
def test_weights_are_read(text: str, weights: object) -> None:
    assert read_weights(text, "CREWQ_WEIGHTS") == weights
    assert Settings.from_env({"CREWQ_WEIGHTS": text}).weights == weights


@pytest.mark.parametrize("number", ["", "0", "-1", "three", "nan", "inf", "1e9", "101", "0.001", "1.2.3", "."])
def test_a_weight_that_cannot_be_meant_is_refused(number: str) -> None:
    with pytest.raises(errors.SettingInvalid, match=r"weight of acme must be a number from 0.01 to 100"):
        read_weights(f"acme={number}", "CREWQ_WEIGHTS")


@pytest.mark.parametrize("text", ["acme", "=3", "two words=3", "acme:3", "a*=2", "acme 3"])
def test_what_names_no_tenant_and_its_weight_is_refused(text: str) -> None:
    with pytest.raises(errors.SettingInvalid, match=r"CREWQ_WEIGHTS.*is no tenant and its weight"):
        read_weights(text, "CREWQ_WEIGHTS")


def test_a_tenant_has_one_weight() -> None:
    with pytest.raises(errors.SettingInvalid, match="names acme twice"):
        read_weights("acme=3,acme=1", "CREWQ_WEIGHTS")
