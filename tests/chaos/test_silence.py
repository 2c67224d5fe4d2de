from __future__ import annotations

from tests.chaos.silence import Mark, Silences, stalls_of


def told(answers: list[float]) -> Silences:
    """A lane where there is always work, answered at these times."""
    silences = Silences()
    silences.begun(["x"], 0.0)
    for at in answers:
        silences.begun(["x"], at)
        silences.ended(["x"], at)
    return silences


def test_the_longest_silence_after_a_fault_is_its_stall_less_the_usual() -> None:
    silences = told([0.01, 0.02, 1.5, 1.51, 1.52])
    (found,) = stalls_of(silences, [Mark(0.03, "kill", "c")], end=2.0)
    assert round(found[1], 2) == 1.47


def test_a_silence_counts_for_the_fault_before_it_only() -> None:
    silences = told([0.01, 0.02, 0.03, 0.04, 1.04, 1.05, 1.06, 1.07, 1.08])
    marks = [Mark(0.02, "kill", "c"), Mark(1.05, "kill", "w")]
    assert [round(stall, 2) for _, stall in stalls_of(silences, marks, end=2.0)] == [0.99, 0.0]


def test_a_lane_without_work_is_not_silent() -> None:
    silences = Silences()
    for at in (0.0, 10.0):
        silences.begun(["x"], at)
        silences.ended(["x"], at + 0.01)
    assert silences.found == []


def test_another_lane_does_not_hide_a_silence() -> None:
    silences = Silences()
    silences.begun(["x"], 0.0)
    for tenth in range(1, 31):
        silences.begun(["y"], tenth / 10 - 0.01)
        silences.ended(["y"], tenth / 10)
    silences.ended(["x"], 3.0)
    assert max(b - a for a, b in silences.found) == 3.0


def test_what_never_ends_is_silent_until_the_end() -> None:
    silences = told([0.01, 0.02, 0.03])
    silences.close(9.03)
    (found,) = stalls_of(silences, [Mark(0.04, "kill", "c")], end=10.0)
    assert round(found[1]) == 9
