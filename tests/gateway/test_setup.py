"""A gateway is given the descriptors that it is told of."""

from dataclasses import replace

from bascule.configuration.config import Config
from bascule.gateway.setup import PROCESS_NAME, GatewaySetup

SETUP = GatewaySetup(
    3, 4, 2, config=Config(), sources={}, public=5, admin=6, figures=7, hub=8, forwarder_restarts=[2, 0]
)


def test_a_gateway_inherits_the_descriptors_that_it_is_told_of() -> None:
    assert SETUP.descriptors == (3, 4, 5, 6, 7, 8)
    assert replace(SETUP, redirect=9).descriptors == (3, 4, 5, 6, 9, 7, 8)


def test_its_name_is_no_longer_than_the_kernel_keeps() -> None:
    assert len(PROCESS_NAME.encode()) <= 15
