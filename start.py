"""The only set-up there is: `python start.py demo|test|lab` (Linux, macOS, Windows).

Makes .venv beside this file, installs once, then runs the verb. It uses the standard library only, in syntax that an
old Python can parse, so that it can refuse with a clear message.
"""

import hashlib
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(HERE, ".venv")
PYTHON = os.path.join(VENV, "Scripts", "python.exe") if os.name == "nt" else os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "installed-for.txt")
EXTRAS = {"demo": "notebooks", "lab": "notebooks", "test": "test,browser", "setup": "notebooks"}
USAGE = "usage: python start.py demo|test|lab|setup [options of the verb]"


def wanted(extras):
    """The stamp of an installation with `extras`; it changes with the lists of dependencies."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints-v100.txt"):
        with open(os.path.join(HERE, name), "rb") as stream:
            digest.update(stream.read())
    return digest.hexdigest()[:16] + " " + extras


def installed(extras):
    """True if .venv holds these extras; those of the tests include those of the notebooks."""
    try:
        with open(STAMP) as stream:
            stamp = stream.read().strip()
    except OSError:
        return False
    return stamp in (wanted(extras), wanted(EXTRAS["test"])) and os.path.exists(PYTHON)


def nvidia_gpus():
    """The compute capabilities of the NVIDIA GPUs of this machine, such as ["7.0"]; empty if there is none."""
    try:
        command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
        return subprocess.check_output(command, stderr=subprocess.DEVNULL).decode().split()
    except (OSError, subprocess.CalledProcessError):
        return []


def install(extras):
    """Make .venv and install the package with `extras`. The stamp is written last, so it means that the installation is complete."""
    if os.path.exists(STAMP):
        os.remove(STAMP)
    arguments = ["-e", HERE + "[" + extras + "]"]
    gpus = nvidia_gpus()
    if "7.0" in gpus:
        print("found a Volta GPU: installing the versions of constraints-v100.txt")
        arguments += ["-c", os.path.join(HERE, "constraints-v100.txt")]
    print("installing into .venv; this happens once and takes minutes ...", flush=True)
    uv = shutil.which("uv")
    if uv:
        install_with_uv(uv, arguments, bool(gpus))
    else:
        subprocess.check_call([sys.executable, "-m", "venv", VENV])
        subprocess.check_call([PYTHON, "-m", "pip", "install", "-q"] + arguments)
    with open(STAMP, "w") as stream:
        stream.write(wanted(extras))


def install_with_uv(uv, arguments, has_gpu):
    """Install with uv. On Linux without a GPU this takes the CPU build of torch, which is far smaller, if its index answers.

    UV_TORCH_BACKEND, if set, decides the build instead.
    """
    environment = dict(os.environ, UV_COMPILE_BYTECODE="1")
    if not os.path.exists(PYTHON):
        subprocess.check_call([uv, "venv", "-q", "--allow-existing", "--python", sys.executable, VENV], env=environment)
    command = [uv, "pip", "install", "-q", "--python", PYTHON] + arguments
    if sys.platform.startswith("linux") and not has_gpu and "UV_TORCH_BACKEND" not in os.environ:
        if not subprocess.call(command, env=dict(environment, UV_TORCH_BACKEND="cpu"), stderr=subprocess.DEVNULL):
            return
        print("the CPU build of torch is not available: installing the default build, which is larger", flush=True)
    subprocess.check_call(command, env=environment)


def run(command, **options):
    """Run a command until it ends; returns its exit status. Ctrl-C reaches it too, and it may need time to save its work.

    Raises KeyboardInterrupt afterwards if it ended with an error.
    """
    process = subprocess.Popen(command, **options)
    interrupted = False
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            interrupted = True
    if interrupted and status:
        raise KeyboardInterrupt
    return status


def run_tests(options):
    """Lint, types, executed lessons, tests: all of them, even if one fails; returns 0 only if none fails.

    Up to four processes share lessons and tests, file by file, and divide the processor's cores among them.
    """
    cores = os.cpu_count() or 1
    processes = min(4, cores)
    pytest = ["-m", "pytest", "-n", str(processes), "--dist", "loadfile"]
    lessons = os.path.join(HERE, "notebooks")
    has_lessons = os.path.isdir(lessons) and any(name.endswith(".ipynb") for name in os.listdir(lessons))
    steps = [
        ("lint", ["-m", "ruff", "check", "."]),
        ("format", ["-m", "ruff", "format", "--check", "."]),
        ("types", ["-m", "mypy"]),
    ]
    if has_lessons:
        nbval = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=300", "notebooks"]
        steps.append(("lessons", pytest + nbval))
    steps.append(("tests", pytest + options))
    environment = dict(os.environ, REPRE_LITE_FAST="1", MPLBACKEND="agg")
    environment.setdefault("REPRE_LITE_THREADS", str(cores // processes))
    failed = []
    for name, command in steps:
        print("== " + name, flush=True)
        if run([PYTHON] + command, cwd=HERE, env=environment):
            failed.append(name)
    if failed:
        print("failed: " + ", ".join(failed))
    return 1 if failed else 0


def main(arguments):
    """Install if needed and run the verb; returns the exit status: 0, 2 for wrong usage, 1 if installing failed."""
    if sys.version_info < (3, 11):
        sys.stderr.write(
            "repre-lite needs Python 3.11 or newer, this is %d.%d; run start.py with a newer Python\n"
            % sys.version_info[:2]
        )
        return 2
    if not arguments or arguments[0] not in EXTRAS:
        asked = arguments and arguments[0] in ("-h", "--help")
        (sys.stdout if asked else sys.stderr).write(USAGE + "\n")
        return 0 if asked else 2
    verb, options = arguments[0], arguments[1:]
    try:
        if not installed(EXTRAS[verb]):
            install(EXTRAS[verb])
        if verb == "setup":
            return 0
        if verb == "test":
            return run_tests(options)
        return run([PYTHON, "-m", "repre_lite", verb] + options)
    except subprocess.CalledProcessError as error:
        print("start.py: installing failed (see above); run the same command again to retry: %s" % error)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
