"""How many cores there are, on systems that are not here."""

import os
import struct
import sys
from types import SimpleNamespace

import pytest

from audiocraft_ext.core import machine


@pytest.fixture()
def elsewhere(monkeypatch):
    """Not Linux, with eight logical cores."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    return monkeypatch


def test_linux_counts_two_threads_of_a_core_once(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 4, 5, 6}, raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    pairs = {0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5"}  # of 6 nothing is said

    def path(name: str):
        cpu = int(name.split("cpu/cpu")[1].split("/")[0])
        file = tmp_path / str(cpu)
        if cpu in pairs:
            file.write_text(pairs[cpu])
        return file

    monkeypatch.setattr(machine, "Path", path)
    assert machine.physical_cores() == 3
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    assert machine.physical_cores() == 2


@pytest.mark.parametrize(("says", "cores"), [(0, 4), (-1, 8)])
def test_macos_is_asked_for_physical_ones(elsewhere, says, cores):
    """-1: it does not know the name; then the logical ones count."""
    def ask(name, count, size, new, new_size):
        assert name == b"hw.physicalcpu" and size._obj.value == 4
        count._obj.value = 4
        return says

    elsewhere.setattr(sys, "platform", "darwin")
    elsewhere.setattr(machine.ctypes, "CDLL", lambda name: SimpleNamespace(sysctlbyname=ask))
    assert machine.physical_cores() == cores


def test_windows_has_a_record_for_each_core(elsewhere):
    """Records as the system writes them, one longer: its core is in two processor groups."""
    records = b"".join(struct.pack("<II", 0, size) + bytes(size - 8) for size in (48, 48, 64))

    def ask(relation, room, size):
        enough = room is not None and size._obj.value >= len(records)
        size._obj.value = len(records)
        if enough:
            room[: len(records)] = records
        return enough

    elsewhere.setattr(sys, "platform", "win32")
    kernel = SimpleNamespace(GetLogicalProcessorInformationEx=ask)
    elsewhere.setattr(machine.ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    assert machine.physical_cores() == 3


def test_records_that_are_none_count_logical_ones(elsewhere):
    elsewhere.setattr(sys, "platform", "win32")
    elsewhere.setattr(machine, "_windows_cores", lambda: bytes(16))
    assert machine.physical_cores() == 8


def test_another_system_counts_logical_ones(elsewhere):
    elsewhere.setattr(sys, "platform", "sunos5")
    assert machine.physical_cores() == 8


@pytest.mark.parametrize("files, cores", [
    ({}, 8), ({"/sys/fs/cgroup/cpu.max": "max 100000\n"}, 8), ({"/sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    ({"/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1), ({"/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
    ({"/proc/self/cgroup": "0::/a/b\n", "/sys/fs/cgroup/a/cpu.max": "300000 100000\n",
      "/sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 3),
    ({"/proc/self/cgroup": "4:cpu,cpuacct:/docker/1\n", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
      "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 4),
    ({"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 8)])
def test_a_containers_share_counts(files, cores, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "_text", lambda path: files.get(path, ""))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert machine.usable_cores() == cores >= machine.physical_cores()


def test_more_threads_than_cores_are_capped_and_it_is_said(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    said = []
    assert [machine.at_most_usable(n, "--threads", said.append) for n in (1, 2, 64)] == [1, 2, 2]
    assert said == ["note: --threads 64 is more than the 2 cores that this process may use, and would be slower; 2 it "
                    "is"]
