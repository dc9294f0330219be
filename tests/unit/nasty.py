"""Strategies for what nobody should have written: texts, JSON and numbers that readers stumble over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import strategies as st

DIGITS = "9" * 5000  # more than Python makes a number of
NASTY = st.sampled_from(
    [
        "", " ", "\0", "\n", "nan", "inf", "-inf", "1e999", "-1", "0", DIGITS, "1" * 400 + ".5", "٣", "²", "½", "1_0", "{", "}",
        "{{", "[" * 100_000, '{"a":' * 20_000, "{x}", "{x-y}", "${HOME}", "%s", "..", "../..", "a:b", "a:b:c", ":", "::", ".",
        "os:system", "redis://", "redis://[::1", "redis://h:port/0", "redis://h:99999999/x", "rediss://:p@ss@h/0", "unix://",
        "redis://h/0?socket_timeout=x", "redis://h/0?wings=2", "http://[", "://", "x=", "=x", "rpm=5", "* rpm=5", "a rpm=9e9; ",
        f"a rpm={DIGITS}", f"a max_cost={DIGITS}", f"a max_tokens={DIGITS}", "a max_cost=.", "true", "null", "NaN", "1.0e400",
        "\ufeff{}", "2020-13-45", "&a [*a]", "!!int x", "!!int ''", "!!bool x", "!!timestamp x", "!!float x", "!!binary ä",
        "!!python/object/apply:os.system [ls]", "? {a: b}", "- - - -", "---\n---", "%YAML 9.9", "a: 0o9", "a: 1:99:99",
        "<<: [1]", "{b: [1]}", "{b: {c: [1]}}", '"\\ud800"', '{"version": 1e400}', '{"version": ' + DIGITS + "}",
        '[[1, {"a": NaN}]]', "*/0 * * * *", "60 * * * *", "0 0 31 2 *", "1-99999999999 * * * *", f"{DIGITS}s", "1h1h", "0d",
    ]
)  # fmt: skip
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | NASTY
ANY_TEXT = (
    st.text(max_size=60) | UNICODE | st.sampled_from(["\udcff", "a=\udcff", "\ud800:x", "x:\udcff", "redis://\udcff/0"])
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | UNICODE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(UNICODE, inner, max_size=4),
    max_leaves=12,
)

NUMBERS = st.floats() | st.integers() | ANY_TEXT | st.none() | st.sampled_from([10**400, 10**5000, -(10**5000)])

ANYTHING = JSON | ANY_TEXT | st.binary() | st.tuples(st.integers()) | st.just(10**5000) | st.just(-(10**5000))


@contextmanager
def only(*allowed: type[BaseException]) -> Iterator[None]:
    """Nothing but these comes out of it, and with a message that can be shown."""
    told = "nothing"
    try:
        yield
    except allowed as error:
        told = str(error)
    assert told
    told.encode(errors="backslashreplace")
