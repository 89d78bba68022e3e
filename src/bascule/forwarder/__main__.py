"""Entry point of a forwarder process; the supervisor starts it."""

from bascule.forwarder.main import main

main()
