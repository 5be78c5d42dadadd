"""Turns: everybody's comes, and those with news are seen first."""

from workers.rota import Rota

NAMES = [f"h{number}" for number in range(100)]


def test_few_are_all_looked_at_each_time() -> None:
    rota = Rota(8)
    assert rota.next(["a", "b"]) == ["a", "b"]
    assert rota.next(["a", "b"], urgent={"b"}) == ["b", "a"]
    assert rota.next([]) == []


def test_everybody_has_a_turn_before_anybody_has_two() -> None:
    rota = Rota(8)
    seen = [name for _ in range(13) for name in rota.next(NAMES)]
    assert len(seen) == 13 * 8
    assert set(seen[:100]) == set(NAMES)


def test_news_come_first_and_the_others_still_have_a_quarter() -> None:
    rota = Rota(8)
    urgent = set(NAMES[:50])
    turns = [rota.next(NAMES, urgent) for _ in range(25)]
    assert all(sum(name in urgent for name in turn) == 6 for turn in turns)
    assert {name for turn in turns for name in turn} == set(NAMES)


def test_without_others_all_of_a_turn_is_for_news() -> None:
    assert len(Rota(8).next(NAMES, set(NAMES))) == 8


def test_who_comes_back_is_new() -> None:
    rota = Rota(1)
    assert [rota.next(names)[0] for names in (["a"], ["b"], ["a", "b"])] == ["a", "b", "a"]
