"""How a run hears that it is to stop, wherever in its work that comes."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys

import pytest
import torch

from audiocraft_ext.training.stopping import Interrupted, Stopping


class Hit(io.RawIOBase):
    """A file; while it is written to, somebody asks this process to end."""

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return len(data)


def test_ctrl_c_in_the_middle_of_a_line_of_the_log(monkeypatch, capfd):
    """Whoever logged from the handler wrote to what was being written to, and the run failed instead of stopping."""
    stopping = Stopping(lambda: "")
    with stopping.listening(), io.TextIOWrapper(io.BufferedWriter(Hit()), write_through=True) as file:
        monkeypatch.setattr(sys, "stderr", file)
        handler = logging.StreamHandler(file)
        logging.getLogger().addHandler(handler)
        try:
            logging.getLogger("a line").warning("of the log")
        finally:
            logging.getLogger().removeHandler(handler)
            monkeypatch.undo()
        assert stopping.asked == signal.SIGTERM
        with pytest.raises(Interrupted):
            stopping.total(torch.zeros(1))
    assert "SIGTERM: stopping after this step" in capfd.readouterr().err
