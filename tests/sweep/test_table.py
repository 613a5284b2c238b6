"""A run is summed up as it is, the table holds it in any width, and it is drawn when there is something to draw."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from audiocraft_ext.core.errors import UserError
from audiocraft_ext.sweep import monitor as monitoring
from audiocraft_ext.sweep.options import OPTIONS
from audiocraft_ext.sweep.summary import KINDS, Row, common, differences, left_of_all, overrides, summary
from audiocraft_ext.sweep.table import ESCAPE, Screen, columns, count, fitted, ordered, span, table, total
from tests.helpers.sweeps import make_run


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.fixture
def rows(tmp_path) -> list[Row]:
    """Six runs: two that are done, one that runs, one that waits, one that failed, one that was stopped."""
    states = [dict(best=3.5, clips=1), dict(state="training", done=60, best=3.1), dict(state=None),
              dict(state="failed", done=10, error="UserError: the loss is nan"), dict(state="stopped", done=30),
              dict(best=3.2)]
    jobs = ["COMPLETED", "RUNNING", "PENDING", "FAILED", "CANCELLED", "COMPLETED"]
    return [summary(make_run(tmp_path / f"run{i}", **state), i, {"lr": f"{10.0 ** -i:g}", "dset": "audio/jungle"}, job)
            for i, (state, job) in enumerate(zip(states, jobs))]


def test_a_run_is_summed_up(tmp_path):
    row = summary(make_run(tmp_path / "abc", done=60, state="training", best=3.0, clips=2), 5, {"lr": "1"}, "RUNNING")
    assert (row.index, row.sig, row.state, row.name) == (5, "abc", "running", "lr=1")
    assert (row.epoch, row.epochs, row.step, row.steps, row.left_s) == (2, 4, 60, 100, 40)
    assert row.tokens_s == 12345.6 and row.took_s == 22 and row.samples == tmp_path / "abc/samples/epoch_4"
    assert row.best == row.valid == pytest.approx(3.234, abs=1e-3)
    assert row.train == pytest.approx(2.981, abs=1e-3)  # of the curve, not of the last batch (3.3)


def test_what_clips_were_judged_by_are_columns(tmp_path):
    folders = [make_run(tmp_path / name, best=3.0) for name in "ab"]
    with (folders[0] / "curve.jsonl").open("a") as file:
        file.write('{"stage": "clips", "step": 50, "kad": 9.5, "pulse": 0.1}\n')
        file.write('{"stage": "clips", "step": 100, "kad": 4.25, "pulse": 0.31, "score": null}\n')
    rows = [summary(folder, i) for i, folder in enumerate(folders)]
    assert rows[0].judged == {"kad": 4.25, "pulse": 0.31} and not rows[1].judged
    assert {"kad", "pulse"} <= {column.name for column in columns(rows)}
    assert "4.250" in table(rows, width=200) and ordered(rows, "-pulse")[0].index == 0


def test_before_the_first_epoch_has_ended_there_is_the_status(tmp_path):
    folder = make_run(tmp_path / "a", state="training", done=1)
    (folder / "curve.jsonl").unlink()
    (folder / "history.json").unlink()
    row = summary(folder, job_state="RUNNING")
    assert (row.state, row.step, row.train, row.valid, row.best, row.left_s) == ("running", 1, 3.3, None, None, 99)


def test_a_run_can_be_looked_at_as_it_was_some_epochs_ago(tmp_path):
    folder = make_run(tmp_path / "a")
    first, whole = summary(folder, epochs=1), summary(folder)
    assert first.best == first.valid > whole.best and first.train > whole.train


@pytest.mark.parametrize("said, job, shown", [
    (None, None, "new"), (None, "PENDING", "waiting"), (None, "RUNNING", "running"), (None, "FAILED", "failed"),
    ("finished", None, "done"), ("finished", "RUNNING", "done"), ("finished", "CANCELLED", "done"),
    ("training", "RUNNING", "running"), ("training", None, "running"), ("training", "PENDING", "running"),
    ("failed", None, "failed"), ("failed", "RUNNING", "running"), ("failed", "PENDING", "waiting"),
    ("failed", "COMPLETED", "failed"), ("stopped", "CANCELLED by 0", "cancelled"), ("stopped", None, "stopped"),
    ("stopped", "TIMEOUT", "timeout"), ("stopped", "PENDING", "waiting"), ("stopped", "OUT_OF_MEMORY", "out of memory"),
    ("stopped", "NODE_FAIL", "interrupted"), ("stopped", "COMPLETED", "stopped"),
])
def test_what_the_queue_says_and_what_the_run_says_is_one_word(said, job, shown, tmp_path):
    row = summary(make_run(tmp_path / "a", state=said, done=50, error="boom"), job_state=job)
    assert row.state == shown and any(shown in states for states in KINDS.values())
    assert (row.error is None) == (shown in ("done", "running", "waiting") or said is None)
    assert (row.left_s is None) == (shown != "running" or said is None)


@pytest.mark.parametrize("job, shown", [(None, "interrupted"), ("PENDING", "waiting"), ("CANCELLED", "cancelled")])
def test_a_run_whose_process_is_gone_does_not_train(job, shown, tmp_path, gone):
    assert summary(make_run(tmp_path / "a", state="training", done=50, pid=gone), job_state=job).state == shown


def test_a_process_with_the_same_number_is_another_one(tmp_path):
    folder = make_run(tmp_path / "a", state="training", done=50, updated=time.time() - 1e6)
    assert summary(folder).state == ("interrupted" if sys.platform == "linux" else "running")


@pytest.mark.parametrize("ago, shown", [(5, "running"), (5000, "interrupted")])
def test_of_another_machine_only_silence_is_known(ago, shown, tmp_path):
    folder = make_run(tmp_path / "a", state="training", done=50, host="elsewhere", pid=1, updated=time.time() - ago)
    assert summary(folder).state == shown


def test_what_this_machines_queue_noted_is_there(tmp_path, gone):
    folder = make_run(tmp_path / "a", state="training", done=50, pid=gone)
    (folder / "local.json").write_text(json.dumps({"state": "FAILED", "tries": 3, "reason": "killed\x1b[31m by 9"}))
    row = summary(folder)
    assert (row.state, row.tries, row.error) == ("failed", 3, "killed [31m by 9")  # nothing that a terminal obeys


@pytest.mark.parametrize("name, text", [("status.json", "[1]"), ("status.json", "{"), ("curve.jsonl", "\xff{\n[]\n"),
                                        ("history.json", '{"a": 1}'), ("history.json", "[[]]"), ("local.json", "7"),
                                        ("status.json", '{"metrics": 3, "step": "x", "state": 1, "samples": 2}')])
def test_files_that_are_damaged_are_no_end_of_it(name, text, tmp_path):
    folder = make_run(tmp_path / "a")
    (folder / name).write_text(text, "latin-1")
    assert table([summary(folder)])


def test_the_newest_samples_count_where_none_are_named(tmp_path):
    folder = make_run(tmp_path / "a", clips=1)
    (folder / "samples/epoch_9").mkdir()
    os.utime(folder / "samples/epoch_4", (1, 1))
    assert summary(folder).samples.name == "epoch_4"  # what the status says
    (folder / "status.json").unlink()
    assert summary(folder).samples.name == "epoch_9"


@pytest.mark.parametrize("runs, told", [
    ([{"optim.lr": 1e-3, "a": 1}, {"optim.lr": 0.01, "a": 1}], [{"lr": "0.001"}, {"lr": "0.01"}]),
    ([{"a.dim": 1, "b.dim": 2}, {"a.dim": 2, "b.dim": 2}, {"b.dim": 3}],
     [{"a.dim": "1", "b.dim": "2"}, {"a.dim": "2", "b.dim": "2"}, {"a.dim": "–", "b.dim": "3"}]),
    ([{"model/lm/model_scale": "micro"}, {}], [{"model_scale": "micro"}, {"model_scale": "–"}]),
    ([{"a": True, "b": "x\n\x1b[2J"}, {"a": False, "b": None}], [{"a": "yes", "b": "x [2J"}, {"a": "no", "b": "–"}]),
    ([{"a": 1}], [{}]), ([], []),
])
def test_runs_are_named_by_what_differs(runs, told):
    assert differences(runs) == told


def test_the_rest_is_common(tmp_path):
    assert common([{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3}]) == {"a": "1"}
    folder = make_run(tmp_path / "a", argv={"optim.lr": "1e-3", "dset": "audio/x=y"})
    assert overrides(folder) == {"optim.lr": 0.001, "dset": "audio/x=y"}


def row(state, left=None, took=None, step=None, steps=None) -> Row:
    return Row(0, "a", None, state=state, left_s=left, took_s=took, step=step, steps=steps)


@pytest.mark.parametrize("rows, left", [
    ([row("running", 60)], 60), ([row("running", 60), row("running", 100)], 100), ([row("done", took=5)], None),
    ([row("waiting"), row("running")], None),
    ([row("running", 50, step=50, steps=100), row("waiting"), row("waiting")], 250),  # each 100 s, one at a time
    ([row("running", 50, step=50, steps=100)] * 2 + [row("waiting")] * 2, 150),  # two at a time
    ([row("done", took=30), row("running", 10), row("waiting")], 40), ([], None),
])
def test_the_time_left_counts_those_that_wait(rows, left):
    assert left_of_all(rows) == left


@pytest.mark.parametrize("seconds, text", [(None, ""), (0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3599, "1.0 h"),
                                           (3541, "59 min"), (35000, "9.7 h"), (40000, "11 h"), (90000, "1.0 d")])
def test_time_reads_well(seconds, text):
    assert span(seconds) == text


@pytest.mark.parametrize("number, text", [(None, ""), (0, "0"), (999, "999"), (1234, "1.23k"), (12345, "12.3k"),
                                          (4_567_890, "4.57M")])
def test_numbers_are_short(number, text):
    assert count(number) == text


@pytest.mark.parametrize("by, first", [(None, 5), ("best", 5), ("lr", 5), ("-lr", 0), ("#", 0), ("-#", 5), ("left", 1),
                                       ("state", 4), ("sounds", 0), ("tok/s", 0)])
def test_sorting(rows, by, first):
    assert ordered(rows, by)[0].index == first


def test_runs_without_a_value_come_last_in_their_order(rows):
    assert [row.index for row in ordered(rows)] == [5, 1, 0, 4, 2, 3]
    assert [row.index for row in ordered(rows, "-best")][-2:] == [2, 3]


def test_an_unknown_column_is_named_with_those_there_are(rows):
    with pytest.raises(UserError, match=r"--sort speed: no such column; there are #, lr, dset, state"):
        ordered(rows, "speed")


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize("terminal", [False, True])
def test_the_table_fits_and_its_columns_stand_in_line(rows, width, terminal):
    text = table(rows, width=width, terminal=terminal)
    assert terminal == ("\x1b" in text)
    head, *lines = ESCAPE.sub("", text).splitlines()[: len(rows) + 1]
    assert all(len(line) <= max(width, 45) for line in [head, *lines])
    assert {"#", "state", "best"} <= set(head.split())  # what is never left out
    end = head.index("best") + 4
    assert [line[end - 5 : end].strip() for line in lines] == ["3.200", "3.334", "3.500", "3.699", "", ""]
    if width >= 80:
        assert {"lr", "dset", "step", "left"} <= set(head.split())
        assert re.search(r"1 +0\.1 +audio/jungle +running +(2/4 +)?60/100", lines[1])
    if width >= 120:
        assert {"train", "valid", "tok/s", "sig"} <= set(head.split())


def test_a_column_that_nobody_fills_is_not_there(rows):
    assert "left" not in table([row for row in rows if row.state == "done"], width=200)
    assert "tries" not in table(rows, width=200)


def test_the_sum_and_what_failed_stand_below(rows):
    *_, failed, last = table(rows, width=80).splitlines()
    assert failed == "#3: UserError: the loss is nan"
    assert last == total(rows) == "2 done, 1 running, 1 waiting, 1 failed, 1 stopped; about 2 min left"


def test_on_a_terminal_the_sounds_are_a_link(rows, monkeypatch):
    assert f"\x1b]8;;{rows[0].samples.as_uri()}\x1b\\epoch_4\x1b]8;;\x1b\\" in table(rows, width=200, terminal=True)
    monkeypatch.chdir(rows[0].folder.parent)
    assert "  run0/samples/epoch_4" in table(rows, width=200)


def test_long_settings_are_cut(tmp_path):
    made = [Row(0, "a", tmp_path, {"x": "y" * 100}), Row(1, "b", tmp_path, {"x": "z"})]
    assert "y" * 23 + "…" in table(made) and "y" * 24 not in table(made)
    assert columns(made)[1].right is False


@pytest.mark.parametrize("line, width, cut", [("abc", 3, "abc"), ("abcd", 3, "ab…"),
                                              ("\x1b[31mabcd\x1b[0m", 3, "\x1b[31mab…\x1b[0m"),
                                              ("\x1b]8;;file:///x\x1b\\abcd\x1b]8;;\x1b\\", 4,
                                               "\x1b]8;;file:///x\x1b\\abcd\x1b]8;;\x1b\\")])
def test_a_line_is_cut_to_what_is_seen(line, width, cut):
    assert fitted(line, width) == cut


class Pane:
    """A terminal that knows what the table needs."""

    def __init__(self):
        self.lines, self.at, self.written = [""], 0, []

    def write(self, text="", end="\n", flush=False):
        self.written.append(text)
        for part in re.split(r"(\x1b\[\d+F|\x1b\[J|\n)", ESCAPE_BUT_MOVES.sub("", text) + end):
            if match := re.fullmatch(r"\x1b\[(\d+)F", part):
                self.at -= int(match[1])
                assert self.at >= 0
            elif part == "\x1b[J":
                del self.lines[self.at :]
                self.lines.append("")
            elif part == "\n":
                self.at += 1
                self.lines += [""] * (self.at + 1 - len(self.lines))
            else:
                self.lines[self.at] += part


ESCAPE_BUT_MOVES = re.compile(r"\x1b\[[\d;]*m|\x1b\]8;;.*?\x1b\\")


def test_on_a_terminal_a_table_takes_the_place_of_the_last(rows, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80"), monkeypatch.setenv("LINES", "30")
    pane = Pane()
    pane.write("before")
    screen = Screen(pane.write, terminal=True)
    screen.show(rows, note="page: x.html")
    screen.show(rows[:3])
    screen.show(rows)
    assert pane.lines == ["before", *ESCAPE.sub("", table(rows, width=80)).splitlines(), ""]


def test_on_a_low_terminal_the_sum_is_seen(rows, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80"), monkeypatch.setenv("LINES", "7")
    pane = Pane()
    screen = Screen(pane.write, terminal=True)
    for _ in range(3):
        screen.show(rows)
    assert len(pane.lines) == 7 and pane.lines[-2] == total(rows) and "more lines" in pane.lines[-3]


def test_elsewhere_it_is_printed_when_something_happened(rows, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    pane = Pane()
    screen = Screen(pane.write, terminal=False, every_s=1000)
    again = [*rows[:1], replace(rows[1], state="failed"), *rows[2:]]
    news = [screen.show(now) for now in (rows, rows, again, again)]
    assert news == [True, False, True, False] and len(pane.written) == 2
    assert not any("\x1b" in text for text in pane.written)
    row = rows[1]
    later = [replace(row, valid=1.0, best=1.0)]
    screen = Screen(pane.write, terminal=False, every_s=0.05)
    assert screen.show([row]) and not screen.show(later)  # too soon
    time.sleep(0.06)
    assert screen.show(later) and not screen.show(later)


class Main:
    """What the monitor asks of Dora's main."""

    def get_name_parts(self, xp):
        return xp.parts

    def get_xp_history(self, xp):
        return json.loads((xp.folder / "history.json").read_text())


def sheep(folder, cfg: dict, parts: dict, states: list[str]) -> SimpleNamespace:
    """A run whose queue says one state after the other, each for one look."""
    ahead = iter(states)
    now = []

    def is_done():
        now[:] = [next(ahead, states[-1])]
        return now[0] not in ("PENDING", "RUNNING")

    return SimpleNamespace(xp=SimpleNamespace(folder=folder, cfg=OmegaConf.create(cfg), parts=parts), log=None,
                           current_job_id="7", is_done=is_done, state=lambda: now[0] if now else states[0])


def arguments(**changes) -> SimpleNamespace:
    return SimpleNamespace(**({"monitor": True, "interval": 5, "trim": None, "trim_last": False, "jupyter": False}
                              | changes))


@pytest.fixture
def herd(tmp_path):
    return [sheep(make_run(tmp_path / "a", best=3.5), {"optim": {"lr": 0.1}}, {"solver": "x"}, ["COMPLETED"]),
            sheep(make_run(tmp_path / "b", best=3.0, state="stopped", done=50), {"optim": {"lr": 0.2}},
                  {"solver": "x", "optim.lr": 0.2}, ["PENDING", "PENDING", "RUNNING", "FAILED"])]


def test_the_monitor_watches_until_all_have_ended(herd, monkeypatch):
    monkeypatch.setattr(monitoring, "EVERY_S", 0.01)
    monkeypatch.setenv("COLUMNS", "100")
    pane = Pane()
    assert monitoring.monitor(arguments(), Main(), None, herd, pane.write)
    assert pane.written[0] == "all runs: solver=x"
    assert ["1 done, 1 waiting", "1 done, 1 running; about 50 s left", "1 done, 1 failed"] == [
        text.strip().splitlines()[-1] for text in pane.written[1:]]
    assert re.search(r"0 +0\.1 +done.*\n", pane.written[1])  # the default, from the config, where a run leaves it alone


def test_the_monitor_looks_once_if_asked_to(herd):
    pane = Pane()
    assert not monitoring.monitor(arguments(monitor=False), Main(), None, herd, pane.write)
    assert len(pane.written) == 2


def test_trim_compares_at_the_same_epoch(herd):
    pane = Pane()
    monitoring.monitor(arguments(monitor=False, trim_last=True), Main(), None, herd, pane.write)
    early = summary(herd[0].xp.folder, epochs=2).best
    assert f"{early:.3f}" in pane.written[1] and "3.500" not in pane.written[1]


@pytest.mark.parametrize("field, value, said", [("sort", "nothing", "--sort nothing"),
                                                ("html", "somebody.html", "is there and is no page of ours")])
def test_what_is_wrong_is_refused_first(field, value, said, herd, tmp_path, monkeypatch):
    (tmp_path / "somebody.html").write_text("mine")
    monkeypatch.setattr(OPTIONS, field, tmp_path / value if field == "html" else value)
    pane = Pane()
    with pytest.raises(UserError, match=said):
        monitoring.monitor(arguments(), Main(), None, herd, pane.write)
    assert pane.written == [] and (tmp_path / "somebody.html").read_text() == "mine"


def test_the_monitor_keeps_a_page(herd, tmp_path, monkeypatch):
    monkeypatch.setattr(monitoring, "EVERY_S", 0.01)
    monkeypatch.setattr(OPTIONS, "html", tmp_path / "new" / "page.html")
    monkeypatch.setattr(OPTIONS, "grid", "debug")
    pane = Pane()
    monitoring.monitor(arguments(), Main(), None, herd, pane.write)
    assert re.fullmatch(r"page: .*page\.html, 2 runs, 0 clips, 0\.0 MB", pane.written[-1])
    assert "1 done, 1 failed" in (tmp_path / "new" / "page.html").read_text("utf-8")


def test_a_disk_that_is_full_does_not_end_the_watch(herd, tmp_path, monkeypatch):
    monkeypatch.setattr(monitoring, "EVERY_S", 0.01)
    monkeypatch.setattr(OPTIONS, "html", tmp_path / "page.html")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(monitoring, "write_page", full)
    pane = Pane()
    assert monitoring.monitor(arguments(), Main(), None, herd, pane.write)
    assert pane.written[-1].endswith("was not written: No space left on device")
