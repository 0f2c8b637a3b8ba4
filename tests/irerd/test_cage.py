"""A user's component in its cage: whatever it tries, it is ended within its limits and the reason has a name (row H14).

Real processes under the real kernel; where that cannot confine them, this is counted as skipped.
"""

import json
import os
import select
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from irerd import sandbox
from irerd.cage import HDF5, clear

pytestmark = pytest.mark.skipif(not sandbox.report().whole, reason=f"NOT TESTED: this kernel confines nobody: {sandbox.report()}")


def caged(place: Path, text: str, **changed: Any) -> dict[str, Any]:
    (place / "script.py").write_text(text)
    (place / "run.h5").write_bytes(HDF5 + b"fields")
    request = {
        "script": str(place / "script.py"),
        "script_sha256": sha256(text.encode()).hexdigest(),
        "dependencies": [],
        "unconfined": False,
        "place": str(place / "own"),
        "artefact": str(place / "run.h5"),
        "readable": [str(place / "run.h5")],
        "arguments": [["job_uuid", "one"]],
        "files": [],
        "wall_s": 10.0,
        "cpu_s": 10.0,
        "memory_bytes": 128 << 20,
        "output_bytes": 1 << 20,
        **changed,
    }
    with begun(request) as cage:
        assert cage.stdout is not None
        said = cage.stdout.read()
        assert cage.wait(30) == 0
    return dict(json.loads(said))


def begun(request: dict[str, Any]) -> subprocess.Popen[bytes]:
    """As irerd begins it: its standard input stays open."""
    raw = json.dumps(request).encode()
    cage = subprocess.Popen(
        [sys.executable, "-P", "-m", "irerd.cage"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert cage.stdin is not None
    cage.stdin.write(len(raw).to_bytes(4, "big") + raw)
    cage.stdin.flush()
    return cage


def test_what_it_prints_and_leaves_is_brought_back_with_the_hash_of_the_file_it_read(tmp_path):
    script = (
        "import json, os, sys\n"
        "open('rows.csv', 'w').write('a,b')\nopen('tmp/scratch', 'w').write('x')\n"
        "print(json.dumps({'words': sys.argv[1:], 'environment': sorted(os.environ), "
        "'length': len(open(sys.argv[4], 'rb').read())}))"
    )
    arguments = [["job_uuid", "one"], ["fields", str(tmp_path / "run.h5")]]
    found = caged(tmp_path, script, files=[["rows", "path:csv"]], arguments=arguments)
    assert found["ok"] and found["files"] == {"rows": ["rows.csv", sha256(b"a,b").hexdigest()]}
    assert found["artefact_sha256"] == sha256(HDF5 + b"fields").hexdigest()
    assert found["outputs"]["words"] == ["--job_uuid", "one", "--fields", str(tmp_path / "run.h5")]
    assert found["outputs"]["length"] == len(HDF5) + 6 and not {"USER", "SHELL", "PYTHONPATH"} & set(
        found["outputs"]["environment"]
    )


FOREVER = "while True: pass"
ATTACKS = {
    "an endless loop": ("cpu", FOREVER, {"cpu_s": 1.0, "wall_s": 60.0}),
    "sleep": ("timeout", "import time; time.sleep(60)", {"wall_s": 0.4}),
    "a fork bomb": ("forbidden", "import os\nwhile True: os.fork()", {}),
    "another program": ("forbidden", "import subprocess; subprocess.run(['/bin/true'])", {}),
    "very many threads": (
        "timeout",
        "import threading, time\nwhile True:\n"
        "  try: threading.Thread(target=time.sleep, args=(60,)).start()\n  except RuntimeError: 1",
        {"wall_s": 0.6},
    ),
    "memory": ("memory", "kept = []\nwhile True: kept.append(bytearray(1 << 22))", {}),
    "memory that is shared": (
        "memory",
        "import mmap, time\nkept = mmap.mmap(-1, 1 << 29)\nfor at in range(0, 1 << 29, 4096): kept[at] = 1\ntime.sleep(60)",
        {},
    ),
    "a large file": ("too-much-output", "file = open('tmp/x', 'wb')\nwhile True: file.write(bytes(1 << 20))", {}),
    "many large files": (
        "too-much-output",
        "import time\nfor at in range(9): open(f'tmp/{at}', 'wb').write(bytes(900_000))\ntime.sleep(60)",
        {},
    ),
    "many small files": ("too-much-output", "import time\nfor at in range(2_000): open(f'tmp/{at}', 'w')\ntime.sleep(60)", {}),
    "files that it keeps open without a name": (
        "too-much-output",
        "import os, time\nkept = [open(f'tmp/{at}', 'wb') for at in range(9)]\n"
        "for at, file in enumerate(kept): os.unlink(f'tmp/{at}'); file.write(bytes(900_000)); file.flush()\ntime.sleep(60)",
        {},
    ),
    "files that it keeps in memory without a name": (
        "too-much-output",
        "import mmap, os, time\nkept = []\nfor at in range(9):\n  with open('tmp/x', 'w+b') as file:\n"
        "    file.truncate(900_000); kept.append(mmap.mmap(file.fileno(), 0)); kept[-1][:] = b'x' * 900_000\n  os.unlink('tmp/x')\n"
        "time.sleep(60)",
        {},
    ),
    "folders without end": (
        "too-much-output",
        "import os\nos.chdir('tmp')\nfor at in range(3_000): os.mkdir('a'); os.chdir('a')\nimport time; time.sleep(60)",
        {},
    ),
    "a folder that nobody may look into": (
        "forbidden",
        "import os\nos.mkdir('tmp/x', 0o300)\nopen('tmp/x/y', 'wb').write(bytes(9))",
        {},
    ),
    "not to hear that its time is over": (
        "cpu",
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        {"cpu_s": 1.0, "wall_s": 60.0},
    ),
    "to hide from its guard": (
        "forbidden",
        "import ctypes, os\ncall = ctypes.CDLL(None, use_errno=True).prctl\n"
        "if call(4, 0, 0, 0, 0): raise PermissionError(ctypes.get_errno())",
        {},
    ),
    "to watch the folders of others": (
        "forbidden",
        "import ctypes\nif ctypes.CDLL(None, use_errno=True).inotify_init1(0) < 0: raise PermissionError(ctypes.get_errno())",
        {},
    ),
    "to make others wait for the fields": (
        "forbidden",
        "import fcntl, os, sys\nfd = os.open('../run.h5', os.O_RDONLY)\nfcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)",
        {},
    ),
    "a flood of words": ("too-much-output", "while True: print('x' * 4096)", {}),
    "a file elsewhere": ("forbidden", "open('../elsewhere', 'w')", {}),
    "somebody's secrets": ("forbidden", "open('/etc/passwd').read()", {}),
    "to change the fields": ("forbidden", "open('../run.h5', 'ab').write(b'x')", {}),
    "to open the fields to all": ("forbidden", "import os; os.chmod('../run.h5', 0o777)", {}),
    "to cut the fields": ("forbidden", "import os; os.truncate('../run.h5', 0)", {}),
    "a link out": ("forbidden", "import os; os.symlink('/etc/passwd', 'rows.csv')", {"files": [["rows", "path:csv"]]}),
    "a hard link in": ("forbidden", "import os; os.link('../run.h5', 'rows.csv')", {"files": [["rows", "path:csv"]]}),
    "a pipe for a file": ("forbidden", "import os; os.mkfifo('rows.csv')", {"files": [["rows", "path:csv"]]}),
    "the network": ("forbidden", "import socket; socket.socket()", {}),
    "to end its guard": ("forbidden", "import os; os.kill(os.getppid(), 9)", {}),
    "to leave its guard": ("forbidden", "import os; os.setsid()", {}),
    "garbage": ("bad-output", "print('garbage')", {}),
    "a list": ("bad-output", "print([1])", {}),
    "no number": ("bad-output", "print('{\"a\": NaN}')", {}),
    "depth": ("bad-output", "print('[' * 60000)", {}),
    "an undeclared file": ("undeclared-output", "open('more.csv', 'w')", {}),
    "a declared file that is missing": ("bad-output", "pass", {"files": [["rows", "path:csv"]]}),
    "a directory for a file": ("bad-output", "import os; os.mkdir('rows.csv')", {"files": [["rows", "path:csv"]]}),
    "a file that is none of its kind": ("bad-output", "open('rows.h5', 'w').write('x')", {"files": [["rows", "path:h5"]]}),
    "an error": ("crashed", "raise ValueError('no \\x1b[31m good')", {}),
    "a death": ("crashed", "import os; os.abort()", {}),
    "what is not installed": ("not-installed", "pass", {"dependencies": ["# words", "numpy>=1", "no-such-library-at-all >= 2"]}),
    "another script than was accepted": ("changed", "pass", {"script_sha256": "0" * 64}),
    "no script": ("no-script", "pass", {"script": "/nowhere/script.py"}),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_whatever_it_tries_it_is_ended_and_the_reason_has_a_name(tmp_path, attack):
    code, script, changed = ATTACKS[attack]
    found = caged(tmp_path, script, **changed)
    assert (found["ok"], found["code"]) == (False, code), found
    assert found.get("detail", "").isprintable()
    assert (tmp_path / "run.h5").read_bytes() == HDF5 + b"fields" and not (tmp_path / "elsewhere").exists()
    assert (tmp_path / "run.h5").stat().st_mode & 0o777 != 0o777


def test_whatever_it_left_is_taken_away(tmp_path):
    """Thousands of folders within each other are too deep for paths and for calls; one that nobody may look into is looked into."""
    place, top = tmp_path / "own", os.open(tmp_path, os.O_RDONLY)
    os.mkdir("own", dir_fd=top)
    at = os.open("own", os.O_RDONLY, dir_fd=top)
    for _ in range(3_000):
        os.mkdir("a", 0o700, dir_fd=at)
        down = os.open("a", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = down
    os.close(os.open("deep", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    (place / "shut").mkdir()
    (place / "shut/file").write_bytes(b"x")
    (place / "shut").chmod(0)
    (place / "link").symlink_to(tmp_path)
    clear(place)
    assert list(tmp_path.iterdir()) == []
    os.close(at)
    os.close(top)


def test_nothing_of_it_outlives_irerd(tmp_path):
    """The end of standard input is the end of irerd."""
    (tmp_path / "script.py").write_text("import os, time\nopen('tmp/pid', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    (tmp_path / "run.h5").write_bytes(HDF5)
    script = (tmp_path / "script.py").read_bytes()
    request = {
        **{
            "script": str(tmp_path / "script.py"),
            "script_sha256": sha256(script).hexdigest(),
            "dependencies": [],
            "unconfined": False,
        },
        **{"place": str(tmp_path / "own"), "artefact": str(tmp_path / "run.h5"), "readable": [], "arguments": [], "files": []},
        **{"wall_s": 60.0, "cpu_s": 60.0, "memory_bytes": 1 << 27, "output_bytes": 1 << 20},
    }
    cage = begun(request)
    assert cage.stdin is not None
    place = tmp_path / "own/tmp/pid"
    while not (place.exists() and place.read_text()):
        assert cage.poll() is None
    watched = os.pidfd_open(int(place.read_text()))
    cage.stdin.close()
    assert cage.wait(20) == 3
    assert select.select([watched], [], [], 20)[0], "it lives on"
    os.close(watched)


def test_where_the_kernel_confines_nobody_nothing_runs_unless_somebody_said_so(tmp_path, monkeypatch):
    from irerd import cage

    weak = sandbox.Report("not enforced: this kernel has no Landlock", "seccomp", "seccomp")
    monkeypatch.setattr(sandbox, "report", lambda: weak)
    (tmp_path / "script.py").write_text("print('{}')")
    request = {
        **{"script": str(tmp_path / "script.py"), "script_sha256": sha256(b"print('{}')").hexdigest(), "dependencies": []},
        **{"unconfined": False, "place": str(tmp_path / "own")},
    }
    with pytest.raises(cage.Ended) as ended:
        cage.run(request)
    assert (ended.value.code, ended.value.detail) == ("no-sandbox", weak.files) and not (tmp_path / "own").exists()


def test_every_machine_that_is_known_has_a_filter_that_can_be_loaded():
    for calls in sandbox.CALLS.values():
        assert len(set(calls.denied)) == len(calls.denied) and not {calls.clone, calls.prctl, calls.fcntl, *calls.signals} & set(
            calls.denied
        )
        assert len(sandbox.program(calls, 7)) % 8 == 0 and len(sandbox.program(calls, 7)) // 8 < 4_096
