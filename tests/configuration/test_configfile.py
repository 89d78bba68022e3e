"""A configuration file, our own or a values file of the Hopsworks chart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bascule.configuration.config import Config
from bascule.configuration.loading import load
from tests.configuration.loader import problems, set_by

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("text", ["", "# nothing\n", "limits:\nauth:\n  session:\n"])
def test_an_empty_file_and_empty_blocks_set_nothing(file: Callable[..., Path], text: str) -> None:
    assert load(file(text), {}).config == Config()


def test_a_whole_hopsworks_values_file_is_accepted_as_it_is(file: Callable[..., Path]) -> None:
    path = file(
        "global: {x: 1}\nlog: [not, ours]\nhopsworks:\n  other: true\n  payara:\n    jvm: -X\n"
        "    websocketProxy:\n      maxSessionsPerApp: 800\n      heartbeatIntervalMs: 0\n"
    )

    loaded = load(path, {})

    assert loaded.config.websocket_proxy.max_sessions_per_app == 800
    assert set_by(loaded) == {
        "websocketProxy.maxSessionsPerApp": "file",
        "websocketProxy.heartbeatIntervalMs": "file",
    }


@pytest.mark.parametrize(
    "text",
    [
        "hopsworks:",
        "hopsworks: {payara: }",
        "hopsworks: {payara: {a: 1}}",
        "hopsworks: {payara: {websocketProxy: }}",
    ],
)
def test_a_values_file_without_the_five_keys_sets_nothing(file: Callable[..., Path], text: str) -> None:
    assert load(file(text), {}).config == Config()


@pytest.mark.parametrize(
    ("text", "place", "meant"),
    [
        ("hopsworks: {payra: {websocketProxy: {maxSessionsPerApp: 1}}}", "hopsworks.payra", "payara"),
        ("hopsworks: {Payara: {websocketProxy: {maxSessionsPerApp: 1}}}", "hopsworks.Payara", "payara"),
        (
            "hopsworks: {payara: {websocketProxi: {maxSessionsPerApp: 1}}}",
            "hopsworks.payara.websocketProxi",
            "websocketProxy",
        ),
        (
            "hopsworks: {payara: {websocketProxy: {}, websocket_proxy: {maxSessionsPerApp: 1}}}",
            "hopsworks.payara.websocket_proxy",
            "websocketProxy",
        ),
    ],
)
def test_a_misspelt_block_of_a_values_file_is_told(
    file: Callable[..., Path], text: str, place: str, meant: str
) -> None:
    (said,) = problems(file(text), {})
    assert said.endswith(f'{place}: unknown key; did you mean "{meant}"?')


def test_neighbours_in_a_values_file_are_not_taken_for_misspelt(file: Callable[..., Path]) -> None:
    text = "hopsworks: {payaraPool: 1, payara: {websocket: 1, proxy: 2, websocketProxyImage: 3}}"
    assert load(file(text), {}).config == Config()


GENERIC = {"admin", "auth", "capacity", "drain", "log", "metrics", "readiness"}


@pytest.mark.parametrize("key", [str(field.alias) for field in Config.model_fields.values()])
def test_a_key_of_ours_in_a_values_file_is_told_unless_it_may_be_the_platforms(
    file: Callable[..., Path], key: str
) -> None:
    path = file(f"hopsworks: {{payara: {{websocketProxy: {{maxSessionsPerApp: 1}}}}}}\n{key}: {{x: 1}}\n")

    if key in GENERIC:
        assert set_by(load(path, {})) == {"websocketProxy.maxSessionsPerApp": "file"}
    else:
        text = "put Bascule's own keys into a second file; this one is a Hopsworks values file"
        assert problems(path) == [f"b.yaml: {key}: {text}"]


def test_a_file_that_is_not_there_is_named(file: Callable[..., Path], tmp_path: Path) -> None:
    path = file("")
    path.unlink()

    assert problems(path) == ["b.yaml: the file cannot be read: No such file or directory"]
    assert problems(tmp_path) == [f"{tmp_path}: the file cannot be read: Is a directory"]


def test_no_more_is_read_of_a_file_than_a_configuration_can_have(file: Callable[..., Path]) -> None:
    assert problems(Path("/dev/zero")) == ["/dev/zero: the file is too large; allowed: 4 MiB"]
    assert load(file("# " + "x" * (4 * 2**20 - 2)), {}).config == Config()
    assert problems(file("# " + "x" * (4 * 2**20 - 1))) == ["b.yaml: the file is too large; allowed: 4 MiB"]
