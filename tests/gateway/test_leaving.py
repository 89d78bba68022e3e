"""A gateway that its supervisor hangs up on leaves, whatever it was waiting for."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys

from bascule.handover.control import receive_control
from bascule.handover.counters import CounterFile
from bascule.handover.descriptors import PacketReader, channel_pair
from bascule.handover.environment import ChildSetup
from bascule.handover.journal import Journal
from bascule.policy.config import Config
from tests.support.waiting import eventually


def test_one_that_waits_for_its_forwarders_leaves_at_once_and_without_a_word() -> None:
    ours, theirs = channel_pair()
    counters, figures, hub = CounterFile.create(1), Journal.create("figures"), Journal.create("hub")
    with socket.create_server(("127.0.0.1", 0)) as public, socket.create_server(("127.0.0.1", 0)) as admin:
        setup = ChildSetup(
            Config().model_dump_json(by_alias=True), {}, theirs.fileno(), counters.descriptor, 1, -1,
            public=public.fileno(), admin=admin.fileno(), figures=figures.descriptor, hub=hub.descriptor,
            forwarder_restarts=[0],
        )  # fmt: skip
        told = setup.write()
        inherited = (told, setup.control, setup.counters, setup.public, setup.admin, setup.figures, setup.hub)
        with subprocess.Popen(
            [sys.executable, "-m", "bascule.gateway", str(told)], pass_fds=inherited, stderr=subprocess.PIPE
        ) as process:
            theirs.close()

            def said() -> str | None:
                with contextlib.suppress(BlockingIOError):
                    message, _ = receive_control(ours, PacketReader()) or ({"message": "nothing"}, ())
                    return str(message["message"])
                return None

            try:
                assert eventually(said, 30, "it is prepared") == "prepared"
                ours.close()
                _, errors = process.communicate(timeout=8)
            finally:
                process.kill()
    assert (process.returncode, errors) == (0, b"")
