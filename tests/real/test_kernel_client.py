"""A program drives a real kernel through the proxy, in both of Jupyter's wire protocols."""

import uuid
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support.jupyter import Jupyter
from tests.support.kernel import V1, execute, text_of

pytestmark = pytest.mark.real

IN_ONE_FRAME = 20_000_000
"""Bytes. Above every usual buffer, below the 32 MiB that a frame may have by default."""


@pytest_asyncio.fixture(params=[None, V1], ids=["json", "v1"])
async def kernel(
    request: pytest.FixtureRequest, jupyter: Jupyter, front: Callable[..., str]
) -> AsyncIterator[ClientConnection]:
    """The connection to a new kernel, with one subprotocol offered or none."""
    address = front(jupyter)
    made = await jupyter.call(address, "POST", "kernels", {"name": "python3"})
    offered = [Subprotocol(request.param)] if request.param else None
    async with connect(
        jupyter.socket(address, f"api/kernels/{made['id']}/channels?session_id={uuid.uuid4().hex}"),
        additional_headers=jupyter.fields,
        origin=address,  # type: ignore[arg-type]  # as a browser does
        subprotocols=offered,
        max_size=None,
        open_timeout=60,  # the server answers once its kernel has
    ) as connection:
        assert connection.subprotocol == request.param
        yield connection
    await jupyter.call(address, "DELETE", f"kernels/{made['id']}")


async def test_a_cell_answers(kernel: ClientConnection) -> None:
    messages = await execute(kernel, "print('a' + 'b'); 6 * 7")

    assert text_of(messages) == "ab\n42"


async def test_a_display_of_20_mb_arrives_in_one_frame(kernel: ClientConnection) -> None:
    messages = await execute(kernel, f"display({{'text/plain': 'y' * {IN_ONE_FRAME}}}, raw=True)")

    assert text_of(messages) == "y" * IN_ONE_FRAME


async def test_many_small_outputs_arrive_in_order(kernel: ClientConnection) -> None:
    messages = await execute(kernel, "for n in range(500):\n    display({'text/plain': f'{n},'}, raw=True)")

    assert text_of(messages) == "".join(f"{n}," for n in range(500))


async def test_a_cell_of_9_mb_arrives_whole(kernel: ClientConnection) -> None:
    source = "z" * 9_000_000  # Tornado takes 10 MiB in one message

    assert text_of(await execute(kernel, f"len({source!r})")) == str(len(source))
