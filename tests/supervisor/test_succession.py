"""Which gateway serves when one of two dies at a bad moment. The rest: tests/sessions/reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog

from bascule.configuration.config import Config
from bascule.configuration.loading import Loaded
from bascule.errors import ConfigError
from bascule.handover.counters import GATEWAYS
from bascule.supervisor.gatewaychild import GatewayChild
from bascule.supervisor.gateways import Gateways
from bascule.supervisor.renewal import TRY_AGAIN
from bascule.supervisor.succession import Succession
from tests.supervisor.sleepers import Sleepers
from tests.support.proctree import alive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bascule.supervisor.child import Child

OTHER = Loaded(Config.model_validate({"websocketProxy": {"maxSessionsPerApp": 7}}), {})


class Host(Sleepers):
    """A supervisor whose gateways sleep, and are what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.gateways = Gateways()
        self.succession = Succession(Loaded(Config(), {}), self.gateways, self, self, self.do_later)
        self.again: list[Child] = []
        self.served: list[Child] = []
        self.turns = 0
        self.is_leaving = False
        self.fails = False
        self.start(self.gateways.serving)
        self.gateways.serving.ready = True

    def start(self, child: Child) -> None:
        if self.fails:
            raise OSError("no memory")
        super().start(child)

    def start_again(self, child: Child) -> None:
        self.again.append(child)

    def turns_of(self, child: Child) -> int:
        return self.turns

    def go_over(self) -> None:
        self.served.append(self.gateways.serving)


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.end()


def begin(host: Host) -> tuple[Child, Child]:
    """Begin; return the gateway that serves and the one that is to."""
    before = host.gateways.serving
    host.succession.begin(lambda: OTHER)
    assert host.gateways.successor is not None
    return before, host.gateways.successor


def is_reloaded(host: Host) -> bool:
    return host.succession.reloaded


def test_the_gateway_that_serves_retires_when_the_next_is_prepared_which_then_serves(host: Host) -> None:
    before, after = begin(host)
    assert host.succession.loaded is not OTHER
    host.succession.on_prepared()
    assert host.told(before) == ["Retire"]
    assert host.served == []
    host.succession.on_retired()
    assert host.served == [after]
    assert host.succession.loaded is OTHER
    assert host.gateways.former == [before]


def test_the_gateway_that_serves_dies_before_the_other_is_prepared(host: Host) -> None:
    before, after = begin(host)
    host.dies(before)
    assert host.succession.on_servings_death()
    assert host.served == []
    host.succession.on_prepared()
    assert host.served == [after]
    assert host.gateways.former == []


def test_the_gateway_that_serves_dies_while_it_retires(host: Host) -> None:
    before, after = begin(host)
    host.succession.on_prepared()
    host.dies(before)
    assert host.succession.on_servings_death()
    assert host.served == [after]


def test_both_die_and_one_is_started_with_what_was_in_force(host: Host) -> None:
    before, after = begin(host)
    host.dies(before)
    assert host.succession.on_servings_death()
    host.dies(after)
    host.succession.on_successors_death("SIGKILL")
    assert host.again == [before]
    assert host.succession.wanted is host.succession.loaded
    assert host.succession.loaded is not OTHER


def test_the_successor_dies_before_it_is_prepared_and_nothing_has_changed(host: Host) -> None:
    before, after = begin(host)
    host.dies(after)
    host.succession.on_successors_death("SIGKILL")
    assert host.told(before) == ["NotReloaded"]
    assert host.gateways.serving is before
    assert host.again == []
    assert before.process is not None
    assert alive(before.process.pid)


def test_the_successor_dies_when_the_other_accepts_nothing_more(host: Host) -> None:
    before, after = begin(host)
    host.succession.on_prepared()
    host.dies(after)
    host.succession.on_successors_death("SIGKILL")
    assert host.was_killed(before), "so that it is started again"
    host.succession.on_retired()
    assert host.served == []
    before.reap(0.0)
    assert not host.succession.on_servings_death(), "the supervisor starts it again as ever"


def test_one_whose_loop_stands_still_when_it_is_to_retire_is_killed_soon(host: Host) -> None:
    before, _ = begin(host)
    host.succession.on_prepared()
    _, soon, _ = host.later
    soon()
    assert host.was_killed(before)


@pytest.mark.parametrize("retires", [True, False])
def test_one_that_is_slow_to_retire_has_some_time_but_not_for_ever(host: Host, retires: bool) -> None:
    before, _ = begin(host)
    host.succession.on_prepared()
    host.turns += 1
    _, soon, at_most = host.later
    soon()
    if retires:
        host.succession.on_retired()
        at_most()
        assert host.was_left(before)
    else:
        at_most()
        assert host.was_killed(before)


def test_one_that_is_prepared_late_has_the_time_in_which_the_other_retires(host: Host) -> None:
    _, after = begin(host)
    (is_late,) = host.later
    host.succession.on_prepared()
    is_late()
    assert host.was_left(after)


def test_a_late_word_of_having_retired_lets_nobody_serve_who_is_not_prepared(host: Host) -> None:
    before, after = begin(host)
    host.succession.on_prepared()
    host.succession.begin(lambda: OTHER)
    host.dies(after)
    host.succession.on_successors_death("SIGKILL")
    assert host.gateways.successor is not None, "what was asked for meanwhile has begun"
    host.succession.on_retired()
    assert host.gateways.serving is before
    assert host.served == []


def test_one_that_never_serves_is_succeeded_by_what_was_asked_for_meanwhile(host: Host) -> None:
    before = host.gateways.serving
    before.ready = False
    host.succession.begin(lambda: OTHER)
    assert host.gateways.successor is None
    host.dies(before)
    assert host.succession.on_servings_death()
    host.succession.on_prepared()
    assert host.succession.loaded is OTHER


def test_while_we_leave_nobody_waits_for_a_successor_that_was_told_to_leave(host: Host) -> None:
    before, _ = begin(host)
    host.is_leaving = True
    host.dies(before)
    assert not host.succession.on_servings_death()


def test_what_is_asked_for_meanwhile_is_done_afterwards_once(host: Host) -> None:
    _, after = begin(host)
    asked: list[int] = []

    def load() -> Loaded:
        asked.append(1)
        return OTHER

    host.succession.begin(load)
    host.succession.begin(load)
    assert asked == []
    host.succession.on_prepared()
    host.succession.on_retired()
    assert asked == [], "the one that serves now does not do so yet"
    after.ready = True
    host.succession.go_on()
    assert asked == [1]


def test_what_failed_is_remembered_until_that_very_thing_is_done(host: Host, tmp_path: Path) -> None:
    def fails() -> Loaded:
        raise ConfigError(["no"])

    def done() -> None:
        host.succession.on_prepared()
        host.succession.on_retired()
        host.gateways.serving.ready = True
        host.succession.go_on()

    named = tmp_path / "token"
    named.write_text("first")
    with_file = Loaded(Config.model_validate({"adminTokenFile": str(named)}), {})
    host.succession.begin(lambda: with_file)
    done()
    assert is_reloaded(host)
    host.succession.begin(fails)
    assert not is_reloaded(host)
    named.write_text("the second one")
    host.succession.look_for_renewal(None)
    host.succession.look_for_renewal(None)
    assert host.gateways.successor is not None, "a renewal goes on all the same"
    done()
    assert not is_reloaded(host), "it was asked for another configuration"
    host.succession.begin(lambda: with_file)
    done()
    assert is_reloaded(host)


def test_a_renewal_is_noticed_though_what_is_asked_for_meanwhile_fails(host: Host, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("first")
    auth = {"session": {"keyFile": str(key)}}
    host.succession = Succession(
        Loaded(Config.model_validate({"auth": auth}), {}), host.gateways, host, host, host.do_later
    )
    _, after = begin(host)

    def load() -> Loaded:
        raise ConfigError(["something"])

    host.succession.begin(load)
    key.write_text("another")
    for _ in range(2):
        host.succession.look_for_renewal(None)
    host.dies(after)
    host.succession.on_successors_death("2")
    assert host.gateways.successor is None
    for _ in range(2):
        host.succession.look_for_renewal(None)
    assert host.gateways.successor is not None


def test_a_renewal_that_finds_no_place_for_a_gateway_is_told_and_tried_again_until_there_is_one(
    host: Host, tmp_path: Path
) -> None:
    named = tmp_path / "token"
    named.write_text("first")
    config = Config.model_validate({"adminTokenFile": str(named)})
    host.succession = Succession(Loaded(config, {}), host.gateways, host, host, host.do_later)
    serving, former = host.gateways.serving, host.gateways.former
    former += [GatewayChild(place) for place in range(GATEWAYS) if place != serving.place]
    named.write_text("the second one")

    with structlog.testing.capture_logs() as logs:
        for _ in range(2 + TRY_AGAIN):
            host.succession.look_for_renewal(None)

    said = [line["problem"] for line in logs if line["event"] == "configuration not reloaded"]
    assert said == ["7 former gateways have work left; try again when one has finished"] * 2
    assert host.told(serving) == ["NotReloaded"] * 2, "BasculeReloadFailed fires"
    assert not is_reloaded(host)

    former.pop()
    for _ in range(TRY_AGAIN):
        host.succession.look_for_renewal(None)
    assert host.gateways.successor is not None
    host.succession.on_prepared()
    host.succession.on_retired()
    assert is_reloaded(host)


def test_no_process_is_no_reload(host: Host) -> None:
    host.fails = True
    host.succession.begin(lambda: OTHER)
    assert host.gateways.successor is None
    assert host.told(host.gateways.serving) == ["NotReloaded"]


def test_a_fault_of_ours_is_no_reload_and_ends_nobody(host: Host) -> None:
    def load() -> Loaded:
        raise RuntimeError("nobody thought of that")

    host.succession.begin(load)
    assert host.gateways.successor is None
    assert host.told(host.gateways.serving) == ["NotReloaded"]


def test_who_is_leaving_begins_nothing(host: Host) -> None:
    host.is_leaving = True
    host.succession.begin(lambda: OTHER)
    assert host.gateways.successor is None


def test_a_changed_file_of_the_configuration_is_loaded_where_the_configuration_says_so(
    host: Host, tmp_path: Path
) -> None:
    file = tmp_path / "bascule.yaml"
    file.write_text("first")

    def load() -> Loaded:
        return Loaded(Config(reload_on_change=True), {}, (file,))

    def looks() -> bool:
        for _ in range(2):
            host.succession.look_for_renewal(load)
        return host.gateways.successor is not None

    host.succession = Succession(Loaded(Config(), {}, (file,)), host.gateways, host, host, host.do_later)
    file.write_text("somebody edits it")
    assert not looks()

    host.succession = Succession(load(), host.gateways, host, host, host.do_later)
    assert not looks()
    file.write_text("a ConfigMap has changed")
    assert looks()


def test_a_changed_file_that_cannot_be_used_is_tried_again_some_time_later(
    host: Host, tmp_path: Path
) -> None:
    file = tmp_path / "bascule.yaml"
    file.write_text("first")
    loads: list[int] = []

    def fails() -> Loaded:
        loads.append(1)
        raise ConfigError(["no"])

    host.succession = Succession(
        Loaded(Config(reload_on_change=True), {}, (file,)), host.gateways, host, host, host.do_later
    )
    file.write_text("the second one")
    for _ in range(TRY_AGAIN):
        host.succession.look_for_renewal(fails)
    assert len(loads) == 1
    assert not is_reloaded(host)
    for _ in range(2):
        host.succession.look_for_renewal(fails)
    assert len(loads) == 2


def test_what_a_signal_has_loaded_is_not_loaded_again_by_itself(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "bascule.yaml"
    file.write_text("first")

    def load() -> Loaded:
        return Loaded(Config(reload_on_change=True), {}, (file,))

    host.succession = Succession(load(), host.gateways, host, host, host.do_later)
    file.write_text("the second one")
    host.succession.begin(load)
    host.succession.on_prepared()
    host.succession.on_retired()
    host.gateways.serving.ready = True
    host.succession.go_on()
    for _ in range(3):
        host.succession.look_for_renewal(load)
    assert host.gateways.successor is None
