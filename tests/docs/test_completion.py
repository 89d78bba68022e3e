"""A shell completes the command line as its page says."""

import pytest

from tests.docs.claims import claimed
from tests.support.terminal import Terminal

(COMMAND,) = claimed(__name__)


def test_bash_completes_commands_after_the_pages_line(terminal: Terminal) -> None:
    terminal.run(COMMAND.text)
    assert "-F _bascule_completion" in terminal.run("complete -p bascule")
    offered = "COMP_WORDS=(bascule co) COMP_CWORD=1 && _bascule_completion bascule && echo ${COMPREPLY[*]}"
    assert terminal.run(offered).split() == ["config"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_there_is_a_script_for_the_other_shells_too(shell: str, terminal: Terminal) -> None:
    assert f"{shell}_source" not in COMMAND.text
    command = COMMAND.text.partition('"$(')[2].removesuffix(')"')
    assert "_bascule_completion" in terminal.run(command.replace("bash_source", f"{shell}_source"))
