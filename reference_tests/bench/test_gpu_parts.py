"""The GPU's run keeps to its budget, records how every part ended, and goes on where an earlier run stopped."""

import dataclasses
import fcntl
import json
import os
import signal
import sys
import textwrap
import zipfile
from types import MappingProxyType

import numpy as np
import pytest

import nfnumpy as nf
from nfnumpy import backend as backends
from nfnumpy.bench import __main__ as command
from nfnumpy.bench.gpu import (
    cifar10,
    cifar10_data,
    command as gpu,
    parts as gpu_parts,
    peak_rates,
    plan as plans,
    property_tests,
    record,
    resume,
    runner,
    sanitizer,
    subprocesses,
    supervisor,
    worker,
)
from nfnumpy.bench.gpu.budget import Budget
from nfnumpy.bench.gpu.plan import Plan
from nfnumpy.bench.report import Report
from nfnumpy.models import registry
from reference_tests.helpers.command_line import expect_one_line, run_command

MACHINE = {"device": "H200", "cupy": "14.2.0", "torch": "2.13.0", "nfnumpy": None, "driver": None}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class FakePart(gpu_parts.Part):
    """A part that takes `arguments[0]` seconds of a Clock and then calls `arguments[2]`."""

    def measure(self, report, plan, allowance):
        seconds, clock, action = self.arguments
        with report.section(f"section {self.name}", self.name) as section:
            clock.now += seconds
            section.add(value=1)
            action(allowance)


def part(name, seconds, clock, least=None, action=lambda _: None, missing=None):
    return FakePart(name, name, "", seconds, seconds if least is None else least, (seconds, clock, action), missing)


def new_report(path=None):
    return Report(path, machine=MACHINE, options=dataclasses.asdict(Plan()), parts={})


def statuses(report):
    return {name: entry["status"] for name, entry in record.entries(report).items()}


@pytest.fixture(autouse=True)
def device_works(monkeypatch):
    monkeypatch.setattr(runner, "device_works", lambda: True)


# ---- the budget


def test_a_part_that_does_not_fit_is_left_out_and_a_later_one_is_not(capsys):
    clock = Clock()
    report = new_report()
    parts = [part("first", 30, clock), part("long", 90, clock, least=71), part("short", 50, clock),
             part("none", 1, clock, missing="no tool")]
    runner.run_parts(report, Plan(), parts, Budget(100, clock), "now")
    assert statuses(report) == {"first": "done", "long": "left out", "short": "done", "none": "left out"}
    assert record.entries(report)["long"]["why"] == "it takes 71 s or more, 70 s are left"
    assert record.entries(report)["none"]["why"] == "no tool"
    assert "left out: long: it takes 71 s or more, 70 s are left" in capsys.readouterr().out


def test_a_part_shortens_itself_at_the_end_of_the_budget():
    clock = Clock()
    budget = Budget(100, clock)
    allowance = budget.allowance(20)
    clock.now += 29
    assert allowance.lasts() and allowance.left() == 1 and allowance.timeout() == 50  # 1.5 and 2.5 times its estimate
    clock.now += 1
    assert not allowance.lasts()
    late = budget.allowance(1.0, is_last=True)
    assert late.timeout() == 70
    clock.now += 71
    assert not late.lasts() and late.timeout() == 1 and budget.left() == -1


def test_an_error_in_a_part_is_its_entry_and_the_next_part_follows():
    def fail(_):
        raise ValueError("broken")

    def stop(allowance):
        allowance.stop("killed")

    clock = Clock()
    report = new_report()
    runner.run_parts(report, Plan(), [part("bad", 1, clock, action=fail), part("slow", 1, clock, action=stop),
                                      part("good", 1, clock)], Budget(9, clock), "now")
    assert statuses(report) == {"bad": "failed", "slow": "stopped", "good": "done"}
    assert record.entries(report)["bad"]["why"] == "ValueError: broken"
    assert record.entries(report)["good"]["sections"] == ["section good"]


def test_a_lost_device_ends_the_process(monkeypatch):
    monkeypatch.setattr(runner, "device_works", lambda: False)
    clock = Clock()
    report = new_report()
    with pytest.raises(runner.DeviceLost, match="first"):
        runner.run_parts(report, Plan(), [part("first", 1, clock), part("second", 1, clock)], Budget(9, clock), "now")
    assert statuses(report) == {"first": "done"}


def test_the_file_names_the_part_that_runs(tmp_path):
    path = tmp_path / "gpu.json"
    seen = []
    clock = Clock()
    report = new_report(str(path))
    look = part("first", 1, clock, action=lambda _: seen.append(json.loads(path.read_text())["parts"]))
    runner.run_parts(report, Plan(), [look], Budget(9, clock), "now")
    assert seen[0]["first"]["status"] == "running"
    assert json.loads(path.read_text())["parts"]["first"]["status"] == "done"


# ---- the parts


def test_parts_have_names_of_their_own_and_fit_a_lease():
    parts = gpu_parts.parts_of(Plan(cifar="x"))
    assert len({part.name for part in parts}) == len(parts) and parts[0].name == "smoke"
    assert all(part.least <= part.seconds <= 120 for part in parts)
    quick = gpu_parts.parts_of(plans.QUICK)
    assert sum(part.seconds for part in quick) < sum(part.seconds for part in parts) / 5


@pytest.mark.parametrize("changes, names", [
    ({"tests": False}, {"tests", "sanitizer-memcheck", "sanitizer-racecheck"}), ({"cifar": None}, {"cifar10"}),
    ({"digits": False}, {"digits"})])
def test_what_a_plan_lacks_is_missing_with_a_reason(changes, names):
    missing = {part.name for part in gpu_parts.parts_of(dataclasses.replace(Plan(cifar="x"), **changes))
               if part.missing}
    assert names <= missing <= names | {"sanitizer-memcheck", "sanitizer-racecheck"}


def test_a_plan_goes_through_json():
    plan = Plan(models=("nfnet_f1",), cifar="x", batch_size=3)
    assert plans.from_json(json.loads(json.dumps(dataclasses.asdict(plan)))) == plan


def test_flags_change_the_plan_and_quick_changes_their_defaults():
    given = {"quick": False, "models": "nfnet_f1,nf_regnet_b0", "batch_size": 64, "tests": False}
    assert plans.plan_of(given) == Plan(models=("nfnet_f1", "nf_regnet_b0"), batch_size=64, tests=False)
    assert plans.plan_of({"quick": True, "repeats": 3}) == dataclasses.replace(plans.QUICK, repeats=3)


# ---- going on


def finished(path, **changes):
    """A report at `path` in which "smoke" is done and "peaks" was stopped."""
    report = new_report(str(path))
    report.facts.update(changes)
    for name, status in (("smoke", record.DONE), ("peaks", record.STOPPED)):
        entry = record.begin(report, name, "before")
        report.sections[name] = Report(None).sections.setdefault(name, _section(name))
        entry.update(status=status, sections=[name])
    report.write()
    return report


def _section(name):
    with Report(None).section(name, name) as section:
        section.add(rate=1.0, unit="GB/s")
    return section


def test_an_earlier_report_of_this_device_is_continued(tmp_path):
    path = tmp_path / "gpu.json"
    finished(path)
    report, why = resume.earlier(str(path), MACHINE, Plan(models=("nfnet_f1",), cifar="elsewhere"))
    assert why is None and report.rows("smoke", unit="GB/s") == [{"rate": 1.0, "unit": "GB/s"}]
    assert record.unfinished(report, ["smoke", "peaks", "update"]) == ["peaks", "update"]
    record.begin(report, "peaks", "now")
    assert "peaks" not in report.sections and "smoke" in report.sections
    assert record.untouched(report, ["smoke", "peaks", "update"], "now") == ["smoke", "update"]


@pytest.mark.parametrize("machine, plan, words", [
    ({**MACHINE, "device": "H100"}, Plan(), "its device was 'H200' and is 'H100'"),
    ({**MACHINE, "cupy": "15"}, Plan(), "its cupy was"),
    (MACHINE, Plan(batch_size=64), "its option batch_size was 128 and is 64")])
def test_an_earlier_report_of_something_else_is_begun_anew(tmp_path, machine, plan, words):
    path = tmp_path / "gpu.json"
    finished(path)
    report, why = resume.earlier(str(path), machine, plan)
    assert report is None and words in why


def test_a_rate_of_an_earlier_report_that_is_no_number_is_none(tmp_path):
    report = finished(tmp_path / "gpu.json")
    assert peak_rates.copy_rate(report) == 1.0
    for rate in ("fast", None, -1.0, []):
        report.sections["peaks"].rows[0]["rate"] = rate
        assert peak_rates.copy_rate(report) is None


def test_no_file_and_an_empty_file_are_new_reports(tmp_path):
    assert resume.earlier(str(tmp_path / "none.json"), MACHINE, Plan()) == (None, None)
    (tmp_path / "empty.json").touch()
    assert resume.earlier(str(tmp_path / "empty.json"), MACHINE, Plan()) == (None, None)


def damaged_reports():
    """Contents of files that are no reports."""
    whole = json.loads(json.dumps({**new_report().as_dict(), "sections": {"a": {
        "title": "", "rows": [], "notes": [], "failure": None, "seconds": 0.0}}, "parts": {"a": {
            "status": "done", "why": None, "seconds": 0.0, "sections": ["a"], "at": "x"}}}))
    yield b"\xff\x00", b"{", b"[]", b"[" * 100_000, b'{"format": 1}', b"1" * 5000
    changes = [("format", 9), ("format", "1"), ("machine", []), ("parts", {"a": 3}), ("sections", {"a": []}),
               ("sections", {"a": {**whole["sections"]["a"], "rows": [1]}}),
               ("sections", {"a": {**whole["sections"]["a"], "notes": [1]}}),
               ("parts", {"a": {**whole["parts"]["a"], "sections": [1]}}),
               ("parts", {"a": {**whole["parts"]["a"], "status": None}})]
    yield tuple(json.dumps({**whole, key: value}).encode() for key, value in changes)


@pytest.mark.parametrize("content", [content for group in damaged_reports() for content in group],
                         ids=lambda content: str(len(content)))
def test_a_file_that_is_no_report_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "gpu.json"
    path.write_bytes(content)
    with pytest.raises(nf.InputError, match="expected a report of this command"):
        resume.earlier(str(path), MACHINE, Plan())
    assert path.read_bytes() == content


def test_numbers_that_json_lacks_survive_another_run(tmp_path):
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps({**finished(path).as_dict(), "seconds": float("nan")}))
    resume.load(str(path)).write()
    assert json.loads(path.read_text())["seconds"] == "nan"


# ---- the process that measures

WORKER = """
import json, os, signal, sys
given = json.loads(sys.argv[1])
report = json.load(open(given["path"]))
def entry(status):
    return {"status": status, "why": None, "seconds": 0.0, "sections": [], "at": given["at"]}
def write():
    with open(given["path"] + ".new", "w") as file:
        json.dump(report, file)
    os.replace(given["path"] + ".new", given["path"])  # the supervisor may read at any moment
for name in given["parts"]:
    report["parts"][name] = entry("running")
    write()
    if name == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "hangs":
        signal.pause()
    report["parts"][name] = entry("done")
    write()
    if name == "loses the device":
        sys.exit(75)
"""


@pytest.fixture
def supervised(tmp_path, monkeypatch):
    """A function of the parts' names: their statuses after the supervisor has run them in WORKER."""
    monkeypatch.setattr(supervisor, "GRACE", 1.0)
    path = tmp_path / "gpu.json"
    new_report(str(path)).write()

    def run(*names, seconds=60.0, limits=MappingProxyType({})):
        report = supervisor.measure(str(path), {}, list(names), supervisor.time.perf_counter() + seconds, "now", limits,
                                    lambda given: [sys.executable, "-S", "-c", WORKER, json.dumps(given)])
        return {name: (entry["status"], entry["why"]) for name, entry in record.entries(report).items()}
    return run


def test_a_crash_costs_one_part_and_a_lost_device_none(supervised):
    assert supervised("a", "crashes", "loses the device", "b") == {
        "a": ("done", None), "crashes": ("failed", "its process ended with status -11"),
        "loses the device": ("done", None), "b": ("done", None)}


def test_a_part_that_hangs_ends_with_the_budget(supervised):
    assert supervised("a", "hangs", "b", seconds=0.0) == {
        "a": ("done", None), "hangs": ("stopped", "its time was up"), "b": ("left out", "no time was left")}


def test_a_part_that_hangs_does_not_cost_those_after_it(supervised, monkeypatch):
    monkeypatch.setattr(supervisor, "INTERVAL", 0.05)
    assert supervised("a", "hangs", "b", limits={"hangs": 0.2}) == {
        "a": ("done", None), "hangs": ("stopped", "it took more than 0 s"), "b": ("done", None)}


def test_a_process_that_never_begins_is_not_started_for_ever(supervised, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "WORKER", "raise SystemExit(1)")
    assert supervised("a", "b") == {"a": ("left out", "no time was left"), "b": ("left out", "no time was left")}


def test_a_worker_measures_what_it_is_given(tmp_path, monkeypatch, capsys):
    path = tmp_path / "gpu.json"
    new_report(str(path)).write()
    given = {"path": str(path), "plan": dataclasses.asdict(Plan(tests=False)), "parts": ["tests"], "seconds": 9.0,
             "at": "now"}
    assert worker.main(json.dumps(given)) == 0
    assert json.loads(path.read_text())["parts"]["tests"]["why"] == "--no-tests"

    def lose(*_):
        raise runner.DeviceLost

    monkeypatch.setattr(worker, "run_parts", lose)
    assert worker.main(json.dumps(given)) == worker.DEVICE_LOST


def test_a_worker_ends_with_its_supervisor(monkeypatch):
    """When the pipe closes: by a signal, and at once if the main thread does not react."""
    calls = []
    monkeypatch.setattr(worker.os, "read", lambda *_: b"")
    monkeypatch.setattr(worker.os, "kill", lambda process, number: calls.append(number))
    monkeypatch.setattr(worker.os, "_exit", calls.append)
    monkeypatch.setattr(worker, "FAREWELL", 0.0)
    worker.end_with_supervisor()
    assert calls == [signal.SIGTERM, worker.INTERRUPTED]


# ---- programs that a part starts


@pytest.mark.parametrize("code, status, text", [
    ("print('one'); print('== two ==')", 0, "two"), ("import sys; sys.exit('bad')", 1, "bad"),
    ("pass", 0, "no output")])
def test_a_program_is_its_status_and_its_last_line(tmp_path, code, status, text):
    ended = subprocesses.run([sys.executable, "-S", "-c", code], 60, tmp_path)
    assert (ended.status, ended.last_line) == (status, text)


def test_a_program_is_killed_with_what_it_started_and_its_words_are_kept(tmp_path):
    """Its child keeps the output open, so that waiting for the output's end would never end; and it has a lock."""
    code = """
        import fcntl, os, signal
        os.fork()
        file = open("lock", "w")
        fcntl.flock(file, fcntl.LOCK_SH)
        signal.signal(signal.SIGALRM, lambda *_: open("survived", "w"))
        signal.alarm(20)
        os.write(1, b"here\\n")
        signal.pause()
        """
    ended = subprocesses.run([sys.executable, "-S", "-c", textwrap.dedent(code)], 1.0, tmp_path)
    assert ended.status is None and ended.lines == ["here", "here"]
    with open(tmp_path / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # waits for both processes to end
    assert not (tmp_path / "survived").exists()


def measured(module, monkeypatch, status, text, *arguments):
    """(the row, why the part was stopped) of a module whose program ends so."""
    monkeypatch.setattr(subprocesses, "run", lambda *_: subprocesses.Ended(status, text))
    report = Report(None)
    allowance = Budget(9.0).allowance(9.0)
    module.measure(report, Plan(), allowance, *arguments)
    section, = report.sections.values()
    assert section.failure is None
    return section.rows[0], allowance.stopped


@pytest.mark.parametrize("status, text, passed, found, failed", [
    (0, "a::b PASSED\n== 1 passed in 0.1s ==", True, "1 passed in 0.1s", []),
    (1, "[gw0] [ 9%] FAILED a::b[x-1] \n= 1 failed, 2 passed in 9.05s =\nwarning", False, "1 failed, 2 passed in 9.05s",
     ["a::b[x-1]"]),
    (None, "a::b PASSED [1%]\na::c PASSED\na::d", None, "2 passed, 0 failed so far", []),
    (None, "a::b PASSED\na::c FAILED", False, "1 passed, 1 failed so far", ["a::c"]),
    (4, "ERROR: unknown option", False, "ERROR: unknown option", [])])
def test_pytests_counts_and_failed_tests_are_kept(monkeypatch, status, text, passed, found, failed):
    row, stopped = measured(property_tests, monkeypatch, status, text)
    assert (row["passed"], row["found"], row["failed"]) == (passed, found, failed)
    assert (stopped is None) is (status is not None)


@pytest.mark.parametrize("status, text, passed", [
    (0, "nfnet_8px {} loss 2.3\nERROR SUMMARY: 0 errors", True), (9, "ERROR SUMMARY: 2 errors", False),
    (None, "nfnet_8px {} loss 2.3", None), (None, "Invalid __global__ write of size 4", False)])
def test_the_sanitizers_verdict_is_kept(monkeypatch, status, text, passed):
    row, stopped = measured(sanitizer, monkeypatch, status, text, "racecheck")
    assert row["passed"] is passed and (stopped is None) is (status is not None)
    assert row["found"].endswith(f"({text.count(' loss ')} steps)")


def test_the_property_tests_of_this_clone_are_found():
    names = {os.path.basename(file) for file in property_tests.test_files()}
    assert "test_operations_on_cupy.py" in names and "test_gpu_run.py" not in names
    assert property_tests.has_tests()


def test_pytest_uses_its_own_options_alone(tmp_path):
    (tmp_path / "test_x.py").write_text("def test_a():\n    assert False\n\n\ndef test_b():\n    pass\n")
    arguments = list(property_tests.pytest_command([str(tmp_path / "test_x.py")]))
    ended = subprocesses.run([*arguments[:3], "-p", "no:xdist", *arguments[3:9], arguments[-1]], 60, tmp_path)
    assert property_tests.failed_names(ended.text) == ["test_x.py::test_a"]
    assert "1 failed, 1 passed" in property_tests._summary(ended) and not (tmp_path / ".pytest_cache").exists()


# ---- CIFAR-10


def pictures(folder, count=3):
    """Folders of PNG files of random pixels, two classes."""
    from PIL import Image
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


def test_cifar_comes_from_a_folder_a_zip_or_arrays(tmp_path):
    folder = pictures(tmp_path / "cifar")
    from_folder = cifar10_data.load(str(folder))
    with zipfile.ZipFile(tmp_path / "cifar.zip", "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(folder))
    from_zip = cifar10_data.load(str(tmp_path / "cifar.zip"))
    arrays = {f"{name}_{what}": value for name in ("train", "test") for what, value in (
        ("images", getattr(from_folder, name).images), ("labels", getattr(from_folder, name).labels))}
    np.savez(tmp_path / "cifar.npz", **arrays)
    from_arrays = cifar10_data.load(str(tmp_path / "cifar.npz"))
    for found in (from_zip, from_arrays):
        assert np.array_equal(found.train.images, from_folder.train.images) and len(found.test) == 6
        assert np.array_equal(found.test.labels, from_folder.test.labels)


@pytest.mark.parametrize("name, content, words", [
    ("x.zip", b"no zip", "expected a folder, a .zip or an .npz"), ("x.npz", b"no npz", "train_images"),
    ("x.npz", {"train_images": np.zeros((1, 32, 32, 3), np.uint8)}, "train_labels"),
    ("x.npz", {"train_images": np.array([None])}, "train_images"),
    ("x.npz", {name: np.zeros((1,) if "labels" in name else (1, 32, 32, 3), np.uint8) + 10 for name
               in cifar10_data.ARRAYS}, "labels 0..9")])
def test_other_files_than_cifar_are_one_line(tmp_path, name, content, words):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        np.savez(tmp_path / name, **content)
    with pytest.raises(nf.InputError) as error:
        cifar10_data.load(str(tmp_path / name))
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("left, epochs", [(1e9, 2), (0.0, 1)])
def test_cifar_trains_both_sides_as_long_as_there_is_time(tmp_path, monkeypatch, left, epochs):
    tiny = nf.models.NFNetConfig(widths=(8,), depths=(1,), strides=(2,), group_size=4, stem_widths=(4, 4),
                                 stem_strides=(2, 2), num_classes=10, train_size=32, test_size=32)
    monkeypatch.setitem(registry.VARIANTS, cifar10.MODEL, tiny)
    monkeypatch.setattr(cifar10, "TRIAL", 1)
    monkeypatch.setattr(cifar10, "WARM_UP", 1)
    plan = Plan(cifar=str(pictures(tmp_path / "cifar", 2)), cifar_epochs=2, cifar_batch=2, opponent="cpu")
    report = Report(None)
    cifar10.measure(report, plan, Budget(left).allowance(1e9))
    ours, theirs = report.rows("cifar10")
    assert ours["epochs"] == theirs["epochs"] == epochs and ours["failure"] is theirs["failure"] is None
    assert ours["implementation"] == "nfnumpy" and ours["images_per_second"] > 0
    assert len(ours["accuracies"]) == epochs and 0 <= theirs["accuracy"] <= 1


# ---- the command


def run(capsys, monkeypatch, *arguments):
    """(status, standard output, error stream) of the command."""
    return run_command(command.main, capsys, monkeypatch, "gpu", *arguments)


@pytest.fixture
def measures_nothing(monkeypatch):
    """The supervisor only says that every part is done; the names it was given are in the list."""
    given = []

    def measure(path, plan, names, end, at, limits):
        report = resume.load(path)
        given.append(names)
        for name in names:
            record.begin(report, name, at)["status"] = record.DONE
        report.write()
        return report

    monkeypatch.setattr(supervisor, "measure", measure)
    return given


def test_a_second_run_measures_what_the_first_left(capsys, monkeypatch, tmp_path, measures_nothing):
    path = tmp_path / "gpu.json"
    assert run(capsys, monkeypatch, "--quick", "--json", path, "--parts", "update,smoke")[0] == 0
    status, printed, _ = run(capsys, monkeypatch, "--quick", "--json", path, "--parts", "smoke,peaks")
    assert measures_nothing == [["smoke", "update"], ["peaks"]] and status == 0
    assert f"{path} has smoke" in printed
    assert set(json.loads(path.read_text())["parts"]) == {"smoke", "peaks", "update"}
    status, printed, _ = run(capsys, monkeypatch, "--quick", "--repeats", 7, "--json", path, "--parts", "smoke")
    assert "is begun anew: its option repeats was 2 and is 7" in printed and measures_nothing[2] == ["smoke"]


def test_without_a_file_the_targets_are_printed(capsys, monkeypatch, measures_nothing):
    status, printed, _ = run(capsys, monkeypatch, "--quick", "--parts", "smoke")
    assert status == 0 and "not measured" in printed


def test_a_failed_part_is_status_1(capsys, monkeypatch, tmp_path, measures_nothing):
    monkeypatch.setattr(record, "DONE", record.FAILED)
    assert run(capsys, monkeypatch, "--quick", "--parts", "smoke")[0] == 1


def test_the_list_needs_no_gpu(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    backends.get.cache_clear()
    status, printed, _ = run(capsys, monkeypatch, "--list")
    assert status == 0 and all(part.name in printed for part in gpu_parts.parts_of(Plan()))


@pytest.mark.parametrize("flags, words", [
    (["--batch-size", "0"], ["--batch-size 0"]), (["--repeats", "-1"], ["--repeats -1"]),
    (["--models", "nfnet_f0,resnet"], ["resnet", "did you mean"]),
    (["--models", "nfnet_f0,nfnet_f0"], ["named twice"]), (["--budget", "0"], ["--budget 0"]),
    (["--budget", "nan"], ["--budget nan"]), (["--cifar-epochs", "0"], ["--cifar-epochs 0"]),
    (["--cifar", "/nowhere/cifar.zip"], ["/nowhere/cifar.zip", "no such file"]),
    (["--parts", "smoke,speed"], ["--parts speed", "smoke", "peaks"]),
    (["--json", "/nowhere/gpu.json"], ["/nowhere/gpu.json", "folder"])])
def test_mistakes_are_one_line_and_status_2(capsys, monkeypatch, measures_nothing, flags, words):
    status, printed, error = run(capsys, monkeypatch, *flags)
    expect_one_line(status, error, *words)
    assert not printed


def test_another_file_is_not_overwritten(capsys, monkeypatch, tmp_path, measures_nothing):
    path = tmp_path / "cpu.json"
    path.write_text('{"format": 1, "sections": {}}')
    status, _, error = run(capsys, monkeypatch, "--quick", "--json", path)
    expect_one_line(status, error, path, "expected a report of this command")
    assert path.read_text() == '{"format": 1, "sections": {}}'


def test_without_cupy_a_line_says_how_to_install_it(capsys, monkeypatch):
    backends.get.cache_clear()
    monkeypatch.setitem(sys.modules, "cupy", None)
    status, printed, error = run(capsys, monkeypatch, "--quick")
    expect_one_line(status, error, "pip install")
    assert not printed


def test_outside_of_a_clone_the_tests_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(property_tests, "ROOT", tmp_path)
    part, = gpu_parts.named(gpu_parts.parts_of(Plan()), "tests")
    assert "not a clone" in part.missing


def test_the_budget_begins_with_the_command(monkeypatch, capsys, tmp_path):
    ends = []
    monkeypatch.setattr(gpu, "measure", lambda plan, parts, path, end: ends.append(end) or 0)
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: 1000.0)
    assert run(capsys, monkeypatch, "--quick", "--budget", "60")[0] == 0 and ends == [1060.0]
