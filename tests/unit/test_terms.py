from __future__ import annotations

from typing import Any

import pytest

from crewq import errors
from crewq.terms import Terms


@pytest.mark.parametrize("tenant", ["acme", "a", "team-1.north", "eva@example.org", "x" * 64])
def test_a_tenants_name_reads_well_wherever_it_is_shown(tenant: str) -> None:
    assert Terms(tenant=tenant).tenant == tenant


@pytest.mark.parametrize("tenant", ["", " ", "two words", "a|b", "a:b", "{a}", "-a", "ä", "x" * 65, 7, None, "a\n"])
def test_any_other_name_is_refused(tenant: Any) -> None:
    with pytest.raises(errors.InvalidField, match="tenant"):
        Terms(tenant=tenant)


def test_a_priority_is_one_of_three_words() -> None:
    wrong: Any = 9
    with pytest.raises(errors.InvalidField, match="high, normal, low"):
        Terms(priority=wrong)


def test_what_is_not_a_term_is_an_error() -> None:
    wrong: Any = {"tennant": "acme"}
    with pytest.raises(TypeError, match="tennant"):
        Terms(**wrong)


@pytest.mark.parametrize("terms", [Terms(), Terms(tenant="acme"), Terms(priority="low"), Terms("acme", "high")])
def test_terms_are_read_as_they_were_written(terms: Terms) -> None:
    assert Terms.read(terms.fields()) == terms
    assert len(terms.fields()) == (terms.tenant != "default") + (terms.priority != "normal")
