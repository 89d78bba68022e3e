import pytest

from bascule.gateway.life import Life, Stage
from tests.gateway.lives import WAYS, at

DOES = ("accepts", "keeps", "holds", "admits", "hurries")


def done(life: Life) -> set[str]:
    return {each for each in DOES if getattr(life, each)}


@pytest.mark.parametrize("before", Stage)
@pytest.mark.parametrize("after", Stage)
def test_there_is_one_way_to_each_stage_and_none_leads_back(before: Stage, after: Stage) -> None:
    life = at(before)
    if after is before or WAYS[after] == (*WAYS[before], after):
        life.go_on(after)
        assert life.stage is after
        assert done(life) == done(at(after))
    else:
        with pytest.raises(AssertionError, match=f"{before.name} → {after.name}"):
            life.go_on(after)
        assert life.stage is before


@pytest.mark.parametrize("stage", Stage)
def test_only_who_serves_takes_connections(stage: Stage) -> None:
    assert at(stage).accepts == (stage is Stage.SERVING)


@pytest.mark.parametrize("stage", [Stage.STOPPING, Stage.RETIRING, Stage.SETTLING, Stage.RETIRED])
def test_who_takes_no_connections_any_more_keeps_none_and_makes_nobody_wait(stage: Stage) -> None:
    assert done(at(stage)).isdisjoint({"keeps", "holds"})


def test_who_retires_still_takes_the_sessions_whose_heads_have_begun() -> None:
    admitting = [stage for stage in Stage if stage is not Stage.STARTING and at(stage).admits]
    assert admitting == [Stage.SERVING, Stage.RETIRING]


def test_who_is_followed_by_another_gives_slow_clients_the_time_they_need() -> None:
    assert [stage for stage in Stage if not at(stage).hurries] == [
        Stage.RETIRING,
        Stage.SETTLING,
        Stage.RETIRED,
    ]


@pytest.mark.parametrize("stage", Stage)
def test_a_drain_keeps_no_connections_and_takes_no_sessions_at_any_stage(stage: Stage) -> None:
    calm, life = at(stage), at(stage)
    assert life.drain(5.0) == 5.0
    assert (calm.draining, life.draining) == (False, True)
    assert done(life) == done(calm) - {"keeps", "admits"}


def test_a_drain_goes_on_at_the_stages_to_come() -> None:
    life = Life(5.0)
    for stage in WAYS[Stage.RETIRED]:
        life.go_on(stage)
        assert life.draining
        assert done(life).isdisjoint({"keeps", "admits"})


@pytest.mark.parametrize(("first", "second"), [(5.0, 7.0), (7.0, 5.0)])
def test_of_two_drains_the_earlier_counts(first: float, second: float) -> None:
    life = Life(first)
    assert life.drain(second) == 5.0
    assert life.draining_since == 5.0
