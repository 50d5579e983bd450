"""What is written survives kills, signals and full disks: old or new, and where it is both, the next reader is told."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_cli import pnp
from test_imports import MODULES

from pnp import __main__ as command
from pnp import interrupts
from pnp.files import atomic, formats, pictures
from pnp.files.atomic import WriteError
from pnp.files.pictures import PictureError
from pnp.jobs import Job, checkpoint, report, settle
from pnp.priors import TV
from pnp.samples import photograph

FAST = ["--op", "identity", "--prior", "tv", "--lam", "10", "--sigma", "0.05", "--iterations", "2"]
DIP = ["--op", "identity", "--prior", "dip:width=8,depth=2", "--sigma", "0.02"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pictures.write("a.png", photograph("camera")[..., 100:132, 200:232])
    return tmp_path


def listened(*arguments: str) -> int:
    """The command in this process, as its console script runs it: with its own answer to signals."""
    before, sys.argv = sys.argv, ["pnp", *arguments]
    try:
        command.main()
    except SystemExit as leave:
        return int(leave.code or 0)
    finally:
        sys.argv = before
    return 0


# One file


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("fsync"), fsync(fd))[1])
    size = lambda path: Path(path).stat().st_size  # noqa: E731
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(f"replace {size(a)}"), replace(a, b))[1])
    atomic.write(tmp_path / "a", "12345")
    assert done == ["fsync", "replace 5", "fsync"]  # the file, its name, the folder


def test_a_file_keeps_the_mode_of_the_one_that_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for mode in (0o600, 0o664):
        path.touch()
        path.chmod(mode)
        atomic.write(path, "new")
        assert path.stat().st_mode & 0o777 == mode and path.read_text() == "new"


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/target").write_text("old")
    (tmp_path / "link").symlink_to("far/target")
    with atomic.atomic(tmp_path / "link") as file:
        file.write(b"new")
        assert len(list((tmp_path / "far").glob(".pnp-*.tmp"))) == 1 == len(list(tmp_path.rglob(".pnp-*.tmp")))
    assert (tmp_path / "link").is_symlink() and (tmp_path / "far/target").read_text() == "new"


@pytest.mark.parametrize("write", [lambda p: atomic.write(p, "x"), pictures.check_target])
def test_what_is_no_file_is_refused_in_one_line(tmp_path: Path, write: Callable[[Path], object]) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    for path, says in (
        (tmp_path / "dangling", "it is a link to nowhere, which does not exist"),
        (tmp_path, "it is a folder"),
        (Path(os.devnull), "it is a device"),
    ):
        with pytest.raises((WriteError, PictureError), match=rf"cannot write {re.escape(str(path))}: {says}"):
            write(path)
    assert os.listdir(tmp_path) == ["dangling"] and not Path(os.devnull).is_file()


def test_a_dangling_link_as_output_is_refused_before_the_solve(folder: Path, capsys: pytest.CaptureFixture) -> None:
    Path("o.png").symlink_to("nowhere.png")
    Path("r").symlink_to("no-folder")
    for arguments in (["-o", "o.png"], ["--report", "r"]):
        assert pnp("solve", "a.png", *FAST, *arguments) == 2
        assert "does not exist" in capsys.readouterr().err.splitlines()[-1]
    assert sorted(os.listdir()) == ["a.png", "o.png", "r"]


def test_only_what_dead_runs_have_left_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here, elsewhere = atomic._machine(), "0" * 8
    left = {name: f".pnp-{name}-{'f' * 12}.tmp" for name in (
        f"{here}-{dead.pid}", f"{here}-{os.getpid()}", f"{here}-1", f"{elsewhere}-{dead.pid}", f"{elsewhere}-1"
    )}  # fmt: skip
    kept = [".pnp-notes.tmp", ".pnp-.tmp", "a.tmp"]
    for name in (*left.values(), *kept):
        (tmp_path / name).touch()
    day_ago = time.time() - atomic.STALE - 60
    os.utime(tmp_path / left[f"{elsewhere}-1"], (day_ago, day_ago))
    os.utime(tmp_path / kept[0], (day_ago, day_ago))
    atomic.write(tmp_path / "a", "x")
    gone = {left[f"{here}-{dead.pid}"], left[f"{elsewhere}-1"]}
    assert set(os.listdir(tmp_path)) == {"a", *kept, *left.values()} - gone


# Several files


def test_files_that_are_written_together_come_together_or_not_at_all(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("old")
    with pytest.raises(RuntimeError), atomic.together():
        atomic.write(one, "new")
        atomic.write(two, "new")
        assert one.read_text() == "old" and not two.exists()
        raise RuntimeError
    assert os.listdir(tmp_path) == ["one"] and one.read_text() == "old"
    with atomic.together():
        atomic.write(one, "new")
        atomic.write(two, "new")
    assert sorted(os.listdir(tmp_path)) == ["one", "two"] and one.read_text() == two.read_text() == "new"
    atomic.write(one, "newer")  # nothing waits for anybody afterwards
    assert one.read_text() == "newer"


# A result is written over an older one, and at one of the system calls that touch its folder something happens: the
# process is killed, or the disk is full.  Each time in a fork, whose hook sees every opening, renaming and removing.
AT_EVERY_CALL = """
import errno, json, os, resource, shutil, signal, sys
from pathlib import Path
import pnp.cli.solve
from pnp.files import atomic, pictures
from pnp.jobs import report
from pnp.jobs import Job, run
from pnp.samples import photograph

command = sys.modules["pnp.cli.solve"]  # the package has the command itself by this name
what = sys.argv[1]
x = photograph("camera")[..., 100:132, 200:232]
plan = command.Plan(Path("a.png"), Path("out/o.png").absolute(), Path("out/report").absolute())
report.write_figure = lambda path, done, title: atomic.write(path, f"figure {done.record.job['lam']}")
report.write_page = lambda folder, record, seen: atomic.write(folder / "report.html", f"page {record['job']['lam']}")
jobs = {name: Job("identity", "tv", lam=lam, sigma=0.1, simulate=True, iterations=1, seed=int(lam))
        for name, lam in (("old", 5.0), ("new", 80.0))}
done = {name: run(job, x) for name, job in jobs.items()}
write = lambda name: command._write(jobs[name], plan, None, done[name], None, {}, [])
names = ["o.png", "report/result.json", "report/report.html", "report/figure.png", "report/residual.png",
         "report/degraded.png"]
read = lambda: [Path("out", n).read_bytes() if Path("out", n).exists() else None for n in names]
write("new"); new = read()
shutil.rmtree("out"); write("old"); old = read()
shutil.copytree("out", "before")
assert all(a != b for a, b in zip(old, new))

def once(n, first):
    "The error's line or the signal, None for none, of writing where the n-th call, or a file of n bytes, goes wrong."
    shutil.rmtree("out")
    os.mkdir("out") if first else shutil.copytree("before", "out")
    atomic.sweep.cache_clear()
    into, out_of = os.pipe()
    if (child := os.fork()) == 0:
        calls = 0
        def hook(event, arguments):
            nonlocal calls
            if event.startswith(("open", "os.")) and str(arguments[0]).startswith(str(plan.output.parent)):
                calls += 1
                if calls == n and what == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if calls == n and what == "full":
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if what == "large":
            resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))
        sys.addaudithook(hook)
        try:
            write("new")
            code = 0
        except (pictures.PictureError, atomic.WriteError) as error:
            os.write(out_of, str(error).encode())
            code = 2
        os.write(out_of, b"" if code or calls >= n else b"all calls done")
        os._exit(code)
    os.close(out_of)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    says = os.read(into, 10000).decode(); os.close(into)
    return status, says

rows, sizes = [], sorted({len(part) for part in new})
for first in (False, True):
    for n in [size + d for size in sizes for d in (-1, -size // 2)] if what == "large" else range(1, 150):
        status, says = once(n, first)
        if says == "all calls done":
            break
        ages = ["new" if now == b else "old" if now == a else "none" if now is None else "half"
                for now, a, b in zip(read(), old, new)]
        try:
            report.check(plan.report)
            told = ""
        except pictures.PictureError as error:
            told = str(error)
        left = len(list(Path("out").rglob(".pnp-*.tmp")))
        atomic.sweep.cache_clear(); write("new")
        whole = read() == new and not list(Path("out").rglob(".pnp-*.tmp"))
        rows.append(dict(n=n, first=first, status=status, says=says, ages=ages, told=told, left=left, whole=whole))
print(json.dumps(rows))
"""


def at_every_call(what: str) -> list[dict]:
    done = subprocess.run([sys.executable, "-c", AT_EVERY_CALL, what], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert rows and not any("half" in row["ages"] for row in rows)
    assert all(row["whole"] for row in rows)  # the next run repairs it, and sweeps up
    return rows


def test_after_a_kill_a_reader_can_tell_whether_picture_and_report_belong_together(folder: Path) -> None:
    rows = at_every_call("kill")
    assert all(row["status"] == -signal.SIGKILL for row in rows)
    seen = {tuple(row["ages"]) for row in rows}
    assert {("old",) * 6, ("none",) * 6, ("old", "new", *("old",) * 4), ("new",) * 6} <= seen  # each kind was met
    for row in rows:
        ages = set(row["ages"])
        assert bool(row["told"]) == (len(ages) > 1 or ages == {"none"}), row
        picture, record = row["ages"][:2]
        assert record != "none" or picture == "none", row  # no picture without its report
        if (picture, record) == ("old", "new"):
            assert "is not the one of" in row["told"] and "Run it again." in row["told"]
    assert max(row["left"] for row in rows) == 6  # which the next run has swept up


@pytest.mark.parametrize("what", ["full", "large"])
def test_on_a_full_disk_everything_stays_or_the_line_says_what_was_replaced(folder: Path, what: str) -> None:
    rows = at_every_call(what)
    assert {row["status"] for row in rows} >= {2}
    for row in rows:
        assert row["left"] == 0
        ages = set(row["ages"])
        if row["status"] == 0:  # a call that may fail: to wait for the folder
            assert ages == {"new"}
            continue
        reason = "No space left on device" if what == "full" else "File too large"
        assert re.match(rf"cannot write \S+: {reason}\.", row["says"]) and "\n" not in row["says"]
        replaced = row["says"].partition("Already replaced: ")[2].removesuffix(". Run it again.").split(", ")
        names = ("o.png", "result.json", "report.html", "figure.png", "residual.png", "degraded.png")
        new = {name for name, age in zip(names, row["ages"], strict=True) if age == "new"}
        assert {Path(path).name for path in replaced if path} == new
        assert what == "full" or ages in ({"old"}, {"none"})
        assert row["ages"][1] != "none" or row["ages"][0] == "none"
    assert what == "large" or any("Already replaced" in row["says"] for row in rows)


def test_pnp_check_and_resume_tell_that_a_picture_is_not_of_its_report(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    once = ("solve", "a.png", *DIP, "--iterations", "3", "-o", "out/o.png")
    assert pnp(*once) == 0 and pnp(*once, "--resume") == 0
    assert "killed" not in capsys.readouterr().err
    assert pnp("check", "out/o-report") == 0 and "come from the same run" in capsys.readouterr().out
    Path("out").rename("moved")
    assert pnp("check", "moved/o-report") == 0
    Path("moved").rename("out")
    pictures.write("out/o.png", pictures.read("a.png").pixels)
    capsys.readouterr()
    says = "o.png is not the one of out/o-report/result.json: a run was killed while it wrote"
    assert pnp("check", "out/o-report") == 2
    assert says in capsys.readouterr().err
    assert pnp(*once, "--resume") == 0
    assert f"note: {says}" in capsys.readouterr().err
    assert pnp("check", "out/o-report") == 0
    Path("out/o.png").unlink()
    assert pnp("check", "out/o-report") == 2 and pnp("check", "nowhere") == 2
    assert "result.json names" in capsys.readouterr().err


def test_a_disk_without_room_for_a_checkpoint_costs_no_picture(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    Path("a-restored-report/checkpoint.pt").mkdir(parents=True)
    monkeypatch.setattr(pictures, "check_target", lambda *_: None)
    assert pnp("solve", "a.png", *DIP, "--iterations", "3") == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2 and "The solve goes on" in notes[0] and "--resume cannot" in notes[1]
    assert pnp("check", "a-restored-report") == 0


# Signals


def started(*arguments: str, every: float = 0.0) -> subprocess.Popen[str]:
    """The command in a process of its own, with a checkpoint after so many seconds."""
    code = f"from pnp.jobs import checkpoint\ncheckpoint.EVERY = {every}\nfrom pnp.__main__ import main\nmain()"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not Path("a-restored-report/checkpoint.pt").exists():
        time.sleep(0.02)
    return process


LONG = ("solve", "a.png", *DIP, "--iterations", "1000000", "--stop", "wmv:fit=1e-9")


def test_sigterm_writes_the_best_so_far_and_kill_leaves_a_checkpoint(folder: Path) -> None:
    killed = started(*LONG)
    killed.kill()
    killed.wait()
    assert sorted(os.listdir()) == ["a-restored-report", "a.png"]  # not a result, but something to go on from
    saved = Path("a-restored-report/checkpoint.pt")
    before = saved.read_bytes()
    process = started(*LONG, "--resume")
    while process.poll() is None and saved.read_bytes() == before:
        time.sleep(0.02)
    process.terminate()
    _, said = process.communicate()
    assert process.returncode == 143 and said.splitlines()[-1] == "terminated", said
    record = json.loads(Path("a-restored-report/result.json").read_text())
    assert record["status"] == ["interrupted"] and record["iterations"][0] > 0
    report.check(Path("a-restored-report"))
    assert pictures.read("a-restored.png").pixels.shape == pictures.read("a.png").pixels.shape


def test_a_running_solve_leaves_what_it_would_leave_at_its_end() -> None:
    from pnp.core.loop import solve
    from pnp.core.problem import Problem
    from pnp.operators import Identity
    from pnp.priors import parse
    from pnp.solvers import Descent

    y = photograph("camera")[..., 100:124, 200:224]
    kept = []
    prior = parse(DIP[3], shape=(1, 24, 24))
    descent = Descent(optimizer="Adam", lr=0.01, iterations=4)
    whole = solve(Problem(Identity(), y, prior, sigma=0.02), descent, callbacks=[lambda now: kept.append(now.memory())])
    shorter = solve(Problem(Identity(), y, prior, sigma=0.02), descent, iterations=2)
    for memory, result in ((kept[3], whole), (kept[1], shorter)):
        assert memory.learned.keys() == result.memory.learned.keys()
        assert all(torch.equal(v, result.memory.learned[k]) for k, v in memory.learned.items())
    assert any(not torch.equal(v, kept[3].learned[k]) for k, v in kept[1].learned.items())


def test_the_checkpoint_of_a_running_solve_comes_once_a_minute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = [0.0], []
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(checkpoint, "write", lambda *_: written.append(clock[0]))
    job = Job("identity", DIP[3])
    keep = checkpoint.keeper(folder / "c.pt", job, torch.zeros(1, 1, 4, 4))
    now = type("Now", (), {"memory": staticmethod(lambda: None)})()
    for clock[0] in (1.0, 59.0, 61.0, 62.0, 120.0, 121.5):
        keep(now)  # type: ignore[arg-type]
    assert written == [61.0, 121.5]


TWICE = """
import sys
from pnp import interrupts
interrupts.ECHO = float(sys.argv[1])
with interrupts.listening():
    try:
        print("ready", flush=True)
        sys.stdin.readline()
    except KeyboardInterrupt:
        print("caught", flush=True)
        sys.stdin.readline()
"""


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("echo", [3600.0, 0.0])
def test_a_second_signal_ends_at_once_unless_it_is_the_first_once_more(which: signal.Signals, echo: float) -> None:
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", TWICE, str(echo)], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    assert process.stdin and process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(which)
    assert process.stdout.readline() == "caught\n"
    process.send_signal(which)
    if echo:
        _, said = process.communicate("go on\n")
        assert process.returncode == 128 + which and said == f"{'interrupted' if which == 2 else 'terminated'}\n"
    else:
        assert process.wait() == -which
        process.communicate()


def test_an_interrupt_is_forgotten_when_the_command_has_ended() -> None:
    with pytest.raises(SystemExit) as left, interrupts.listening():
        signal.raise_signal(signal.SIGTERM)
    assert left.value.code == 143 and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    interrupts.check()
    assert not interrupts.lost()


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup, or a shell's background, has it
    try:
        with interrupts.listening():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


ON_IMPORT = """
import os, signal, sys
from pnp.__main__ import main
def hook(event, arguments):
    global wanted
    if event == "import" and arguments[0] == wanted:
        wanted = ""
        os.kill(os.getpid(), signal.SIGINT)
wanted = sys.argv.pop(1)
sys.addaudithook(hook)
main()
"""


@pytest.mark.parametrize("module", ["click", "numpy", "torch", "torch._C", "imagecodecs", "matplotlib.figure"])
def test_ctrl_c_during_an_import_is_an_interrupt(folder: Path, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_IMPORT, module, "solve", "a.png", *FAST], capture_output=True, text=True
    )
    assert done.returncode == 130 and done.stderr.splitlines()[-1] == "interrupted", done.stderr
    assert "error" not in done.stderr and "Traceback" not in done.stderr
    if module in ("imagecodecs", "matplotlib.figure"):  # while the result is written, which takes a moment
        report.check(folder / "a-restored-report")
    else:
        assert os.listdir() == ["a.png"]


def interrupt_that_becomes(error: type[Exception] | None, work: Callable) -> Callable:
    """Work in whose middle Ctrl-C comes, and library code makes another error of it, or forgets it."""

    def wrapped(*arguments: object, **options: object) -> object:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if error is not None:
                raise error("numpy failed to import") from None
        return work(*arguments, **options)

    return wrapped


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("error", [ImportError, SystemError])
def test_an_interrupt_that_became_an_error_is_still_an_interrupt(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, error: type[Exception], many: bool
) -> None:
    Path("b.png").write_bytes(Path("a.png").read_bytes())
    monkeypatch.setattr(formats, "decode", interrupt_that_becomes(error, formats.decode))
    assert listened("solve", *(["a.png", "b.png"] if many else ["a.png"]), *FAST) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "interrupted" and not any("error" in line for line in said)
    assert sorted(os.listdir()) == ["a.png", "b.png"]


def test_an_interrupt_that_was_forgotten_ends_the_command_at_its_next_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(formats, "decode", interrupt_that_becomes(None, formats.decode))
        assert listened("solve", "a.png", *FAST) == 130 and os.listdir() == ["a.png"]
    monkeypatch.setattr(TV, "prox", interrupt_that_becomes(None, TV.prox))
    assert listened("solve", "a.png", *FAST) == 130
    record = json.loads(Path("a-restored-report/result.json").read_text())
    assert record["status"] == ["interrupted"] and record["iterations"] == [1]


def test_ctrl_c_while_lam_is_chosen_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def chosen(*arguments: object, **options: object) -> object:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(settle, "fit_lam", chosen)
    assert listened("solve", "a.png", "--op", "identity", "--prior", "tv") == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted" and os.listdir() == ["a.png"]


def test_ctrl_c_while_a_result_is_written_waits_for_it_and_stops_before_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    Path("b.png").write_bytes(Path("a.png").read_bytes())
    monkeypatch.setattr(report, "write_figure", interrupt_that_becomes(None, report.write_figure))
    assert listened("solve", "a.png", "b.png", *FAST) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted"
    report.check(folder / "a-restored-report")
    assert not Path("b-restored.png").exists()


def test_an_error_after_ctrl_c_is_told_and_ends_the_whole_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        raise WriteError("cannot write x: No space left on device.")

    Path("b.png").write_bytes(Path("a.png").read_bytes())
    monkeypatch.setattr(report, "write_figure", full)
    assert listened("solve", "a.png", "b.png", *FAST) == 130
    said = capsys.readouterr().err
    assert "a.png: error: cannot write x: No space left" in said and "b.png" not in said


def test_in_a_script_an_interrupt_is_never_a_picture_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swallowed(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ImportError("numpy failed to import")  # noqa: B904

    with monkeypatch.context() as patch:
        patch.setattr(formats, "decode", swallowed)
        with pytest.raises(KeyboardInterrupt):
            pictures.read("a.png")
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:  # planted: an error of its own while an interrupt is being handled
        with pytest.raises(PictureError, match="no-folder"):
            pictures.write("no-folder/a.png", torch.rand(3, 4, 4))


# Nobody writes beside pnp/files/atomic.py

APPENDED = {"pnp.benchmark.run": "a+b", "pnp.training.run": "a"}  # lines that are added
WRITES = {"write_text", "write_bytes", "touch", "tofile", "rename", "replace", "mkstemp", "copyfile", "move"}
SAVES = {"save", "savefig", "imwrite", "savez", "savetxt", "save_file"}


def writers(source: str) -> list[str]:
    """The calls that write to a path, and not to a file that `atomic` opened or to memory."""
    tree = ast.parse(source)
    walk = list(ast.walk(tree))
    own = {a.asname or a.name for n in walk if isinstance(n, ast.ImportFrom) and n.level for a in n.names}
    files = {
        item.optional_vars.id
        for n in walk if isinstance(n, ast.With) for item in n.items
        if isinstance(item.optional_vars, ast.Name) and re.match(r"(atomic\.)?atomic\(", ast.unparse(item.context_expr))
    }  # fmt: skip
    files |= {
        target.id
        for n in walk if isinstance(n, ast.Assign) and ast.unparse(n.value) in ("io.BytesIO()", "BytesIO()")
        for target in n.targets if isinstance(target, ast.Name)
    }  # fmt: skip
    arguments = [n for n in walk if isinstance(n, ast.arg) and n.annotation]
    files |= {n.arg for n in arguments if ast.unparse(n.annotation) == "BinaryIO"}
    found = []
    for call in (n for n in walk if isinstance(n, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        given = [*call.args, *(k.value for k in call.keywords)]
        if name == "open":
            modes = [str(a.value) for a in given if isinstance(a, ast.Constant)]
            found += [mode for mode in modes if re.fullmatch(r"[rwaxbt+]+", mode) and set(mode) & set("wax+")]
        elif name in WRITES and (name not in ("replace", "rename") or owner in ("os", "path", "temporary")):
            found.append(ast.unparse(call))
        elif name in SAVES and owner not in own:
            in_memory = name == "save" and not owner  # safetensors.torch.save gives bytes
            if not in_memory and not any(isinstance(a, ast.Name) and a.id in files for a in given):
                found.append(ast.unparse(call))
    return found


def test_nobody_writes_but_the_one_writer() -> None:
    for name, path in MODULES.items():
        found = writers(path.read_text(encoding="utf-8"))
        if name == "pnp.files.atomic":
            assert "x+b" in found and any("os.replace" in call for call in found)
        else:
            assert found == ([APPENDED[name]] if name in APPENDED else []), name


@pytest.mark.parametrize(
    "line",
    [
        "path.write_text('x')",
        "(folder / name).write_bytes(b)",
        "open(path, 'w')",
        "path.open(mode='x+b')",
        "figure.savefig(path)",
        "np.save(path, array)",
        "torch.save(state, temporary)",
        "image.save('a.png')",
        "os.replace(a, b)",
        "save_file(tensors, path)",
    ],
)
def test_the_search_for_writers_finds_each_way(line: str) -> None:
    assert len(writers(f"from .x import y\nwith atomic(p) as file:\n    file.write(b'')\n{line}")) == 1


def test_the_search_for_writers_passes_what_goes_through_the_one() -> None:
    source = "import io\nfrom ..files import figures, atomic\nb = io.BytesIO()\nnp.save(b, a)\nfigures.save(f, path)\n"
    source += "with atomic.atomic(p) as file:\n    figure.savefig(file)\nopen(p)\nopen(p, 'rb')\ntext.replace('a', 'b')"
    assert writers(source) == []
