"""Keys come and go while runs are under way."""

from __future__ import annotations

import pytest

from crewq import errors
from crewq.settings import Settings
from crewq.store import Store
from tests.store.keyed import NEW, OLD, PLAIN, SECRET, everything, lived, with_keys
from tests.store.world import ONE, World


@pytest.fixture
def world(world: World) -> World:
    """The world, with a key."""
    return with_keys(world, OLD)


def test_a_new_key_encrypts_and_an_old_one_still_decrypts(world: World) -> None:
    run = lived(world)
    changed = with_keys(world, NEW, OLD)
    assert changed.read(run).inputs == {"x": SECRET}
    other = lived(changed, f"new {SECRET}")
    assert other != run
    alone = with_keys(world, NEW)
    assert alone.read(other).inputs == {"x": f"new {SECRET}"}
    with pytest.raises(errors.EncryptionKeyUnknown, match=r"'old'.*\n.*are new"):
        alone.read(run)
    with pytest.raises(errors.EncryptionKeyUnknown, match="'new'"):
        world.read(other)


def test_a_kickoff_is_the_same_after_the_keys_have_changed(world: World) -> None:
    run = world.accept(ONE, key="k", fingerprint="f")
    changed = with_keys(world, NEW, OLD)
    assert changed.accept(ONE, key="k", fingerprint="f") == run
    with pytest.raises(errors.KeyReused):
        changed.accept(ONE, key="k", fingerprint="other")
    batch = world.store.batches.create("b" * 36, "demo", "batch", "f")
    assert changed.store.batches.create("c" * 36, "demo", "batch", "f") == batch
    with pytest.raises(errors.KeyReused):
        changed.store.batches.create("c" * 36, "demo", "batch", "other")


def test_calls_are_found_again_after_the_keys_have_changed(world: World) -> None:
    run = world.accept(ONE)
    named = world.claim(run, claim="c").named("digest")
    assert named != "digest"
    assert with_keys(world, NEW, OLD).claim(run, claim="c").named("digest") == named
    with pytest.raises(errors.EncryptionKeyUnknown):
        with_keys(world, NEW).claim(run, claim="c").named("digest")
    assert with_keys(world, NEW, OLD).claim(world.accept(ONE)).named("digest") == named


def test_encryption_can_be_turned_on_while_runs_are_under_way(world: World) -> None:
    """First all get the key, then all encrypt, and in the end nothing else is taken any more."""
    before = with_keys(world)
    run = lived(before)
    assert SECRET in everything(world)
    ready, turned_on, done = with_keys(world, PLAIN, OLD), with_keys(world, OLD, PLAIN), with_keys(world, OLD)
    early, late = ready.accept(ONE, inputs={"x": "early"}), turned_on.accept(ONE, inputs={"x": "late"})
    for process in (ready, turned_on):
        assert process.read(run).inputs == {"x": SECRET}
        assert process.read(early).inputs == {"x": "early"}
        assert process.read(late).inputs == {"x": "late"}
    claim = turned_on.claim(early)
    assert claim.inputs == {"x": "early"}
    assert claim.named("digest") == "digest"
    assert turned_on.runs.spec(claim.spec) == ONE
    for plain in (run, early):
        with pytest.raises(errors.NotAuthentic, match="plain"):
            done.read(plain)
    assert done.read(late).inputs == {"x": "late"}


def test_without_the_package_it_is_an_error_that_names_the_extra(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography.exceptions", None)
    with pytest.raises(errors.EncryptionMissing, match=r"crewq\[encryption\]"):
        with_keys(world, NEW)
    assert Store(Settings(redis_url="redis://test"), client=world.client)
