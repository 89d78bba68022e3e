"""Entry point of the gateway process; the supervisor starts it."""

from bascule.gateway.main import main

main()
