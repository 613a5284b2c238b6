"""What a command ends with."""

from __future__ import annotations

import pytest

from audiocraft_ext.core.errors import UserError, run_cli


@pytest.mark.parametrize("error, line", [
    (UserError("x.wav: no\naudio"), "error: x.wav: no audio"),
    (OSError(28, "No space left on device", "x.wav"), "error: No space left on device: x.wav"),
    (MemoryError(), "error: not enough memory"),
    (MemoryError("Unable to allocate 8 TiB"), "error: not enough memory: Unable to allocate 8 TiB"),
], ids=["ours", "the disk's", "memory", "numpy's"])
def test_an_error_of_the_machine_or_the_user_is_one_line(error, line, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as left:
        run_cli(main)
    assert left.value.code == 2 and capsys.readouterr().err == f"{line}\n"
