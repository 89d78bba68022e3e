"""Gateways at the stages of their lives."""

from typing import Final

from bascule.gateway.life import Life, Stage

WAYS: Final = {
    Stage.STARTING: (),
    Stage.SERVING: (Stage.SERVING,),
    Stage.STOPPING: (Stage.SERVING, Stage.STOPPING),
    Stage.RETIRING: (Stage.SERVING, Stage.RETIRING),
    Stage.SETTLING: (Stage.SERVING, Stage.RETIRING, Stage.SETTLING),
    Stage.RETIRED: (Stage.SERVING, Stage.RETIRING, Stage.SETTLING, Stage.RETIRED),
}
"""Stage → the only way there."""


def at(stage: Stage) -> Life:
    """Return a life that has come to a stage."""
    life = Life()
    for each in WAYS[stage]:
        life.go_on(each)
    return life
