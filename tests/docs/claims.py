"""Which test runs which command of the pages.

Every command matches exactly one line, which names the module whose tests run it as it is typed. A module
takes its commands from here (``claimed(__name__)``), so what a page says is what is run; a command that
no line matches fails tests/docs/test_commands.py.
"""

import re
from typing import Final

from tests.support.pages import Command, commands

__all__ = ["CLAIMS", "claimed", "claims_on", "without_twins"]

CLAIMS: Final = (
    ("tests.chart.test_howto", r": (helm (lint|template b)|promtool|sed )"),
    ("tests.docs.test_accept_command", r"helm.md: make accept-chart"),
    ("tests.docs.test_badge_commands", r"badge-in-jupyterlab.md: (mkdir|cp|jupyter) "),
    ("tests.docs.test_bench_commands", r": (python -m bench|make bench)"),
    ("tests.docs.test_calls", r"(capacity-badges|admin-api).md: curl "),
    ("tests.docs.test_calls", r'drain-and-upgrade.md: curl .* "X-Bascule-Admin: 1"'),
    ("tests.docs.test_completion", r"cli.md: eval "),
    ("tests.docs.test_fuzz_commands", r"fuzz/README.md: "),
    ("tests.docs.test_hub_page", r"jupyterhub.md: curl -s -H "),
    ("tests.docs.test_image", r": podman "),
    ("tests.docs.test_login_commands", r"require-a-login.md: "),
    ("tests.docs.test_make_commands", r": make (check|develop|install|test)\b"),
    ("tests.docs.test_picture_commands", r": python -m scripts\."),
    ("tests.docs.test_readme", r"README.md: (make demo|\.venv/bin/bascule serve)"),
    ("tests.docs.test_reload_command", r"reload.md: kill "),
    ("tests.docs.test_release", r"howto/(helm|tune-the-cap|drain-and-upgrade).md: helm .*upgrade "),
    ("tests.docs.test_release", r"charts/bascule/README.md: helm upgrade "),
    ("tests.docs.test_release", r"howto/.*: helm -n hopsworks rollback "),
    ("tests.docs.test_release", r"howto/.*: kubectl .*(rollout (restart|status)|create secret)"),
    ("tests.docs.test_runbooks", r"docs/runbooks/"),
    ("tests.docs.test_runbooks", r"debug-a-closed-session.md: (curl|kubectl)"),
    (
        "tests.docs.test_runbooks",
        r"(at-a-shell|drain-and-upgrade).md: kubectl (-n hopsworks (exec|get pods)|drain)",
    ),
    ("tests.docs.test_shell_page", r"at-a-shell.md: bascule "),
    ("tests.docs.test_runbooks", r"helm.md: kubectl -n hopsworks logs POD"),
    ("tests.docs.test_systemd", r"systemd.md: (useradd|install|systemctl) "),
    ("tests.docs.test_tls_page", r"howto/tls.md: "),
    (
        "tests.docs.test_upstream_commands",
        r"jupyter-and-streamlit.md: (jupyter|streamlit|\.venv/bin/bascule) ",
    ),
    ("tests.real.test_jupyterhub_internal_ssl", r"jupyterhub.md: curl -s --cacert "),
    ("tests.soak.test_idle_sessions", r": make soak"),
)


def claims_on(command: Command) -> list[str]:
    """Return the modules that say they run a command."""
    return [module for module, pattern in CLAIMS if re.search(pattern, str(command))]


def claimed(module: str) -> list[Command]:
    """Return the commands that a module runs, in the order of the pages.

    Args:
        module: Its ``__name__``.
    """
    return [command for command in commands() if module in claims_on(command)]


def without_twins(found: list[Command]) -> list[Command]:
    """Leave out what differs from another command in nothing but its page and its comment."""
    return list({command.text.partition(" #")[0].strip(): command for command in reversed(found)}.values())[
        ::-1
    ]
