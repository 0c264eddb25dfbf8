"""What comes again is remembered, and memory stays within its budget."""

from services.gateway.remembering import Remembered


def test_what_is_asked_for_stays_and_the_rest_goes() -> None:
    remembered = Remembered[str, int](10)
    remembered.put("often", 0, 1)
    for number in range(100):
        remembered.put(f"once {number}", number, 1)
        assert remembered.get("often") == 0
    assert remembered.get("once 99") == 99
    assert [remembered.get(f"once {number}") for number in range(89)] == [None] * 89


def test_what_was_never_put_is_none() -> None:
    assert Remembered[str, int](10).get("nothing") is None
