"""Available memory is the least of what the system and the control groups have left."""

import pytest

from nfnumpy.backend import host_memory

MEMINFO = "MemTotal: 4000 kB\nMemFree: 100 kB\nMemAvailable: 2000 kB\n"
VERSION_1 = {"memory/box/memory.limit_in_bytes": "1000000\n", "memory/box/memory.usage_in_bytes": "300000\n",
             "memory/box/memory.stat": "cache 5\ntotal_inactive_file 200000\n"}
CASES = [  # (what /proc/self/cgroup says, files of the control groups, meminfo, bytes)
    ("0::/", {}, MEMINFO, 2048000),
    ("0::/box", {"box/memory.max": "max\n"}, MEMINFO, 2048000),
    ("0::/box", {"box/memory.max": "900000\n", "box/memory.current": "500000", "box/memory.stat": "inactive_file 1"},
     MEMINFO, 400001),
    ("0::/box/inner", {"box/memory.max": "900000", "box/memory.current": "950000", "box/memory.stat": ""}, MEMINFO, 0),
    ("4:memory:/box", VERSION_1, MEMINFO, 900000),
    ("4:cpu:/box", VERSION_1, MEMINFO, 2048000),
    ("4:memory:/box", {**VERSION_1, "memory/box/memory.limit_in_bytes": "9223372036854771712"}, MEMINFO, 2048000),
    ("nonsense", {"memory.max": "words"}, MEMINFO, 2048000),
    ("0::/", {"memory.max": "words", "memory.current": "1"}, MEMINFO, 2048000),
]


@pytest.mark.parametrize("membership, files, meminfo, expected", CASES)
def test_available_memory_is_the_least(tmp_path, membership, files, meminfo, expected):
    for name, content in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "cgroup").write_text(membership)
    (tmp_path / "meminfo").write_text(meminfo)
    assert host_memory.available(*(str(tmp_path / name) for name in ("meminfo", "cgroup", "groups"))) == expected


@pytest.mark.parametrize("content", ["", "MemAvailable:", "MemAvailable: many kB"])
def test_without_linuxs_file_the_system_is_asked_for_its_pages(tmp_path, monkeypatch, content):
    (tmp_path / "meminfo").write_text(content)
    monkeypatch.setattr(host_memory.os, "sysconf",
                        {"SC_AVPHYS_PAGES": -1, "SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert host_memory.available(str(tmp_path / "meminfo"), str(tmp_path / "none")) == 4096000


def test_a_system_that_tells_nothing_is_unknown(tmp_path, monkeypatch):
    def refuse(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(host_memory.os, "sysconf", refuse)
    assert host_memory.available(str(tmp_path / "none"), str(tmp_path / "none")) is None
