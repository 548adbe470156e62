"""The command `regatta`: reads the command line, starts the node, turns errors into exit codes."""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from regatta import __version__
from regatta.config import FLAGS
from regatta.config import Settings
from regatta.config import load
from regatta.config_file import find_file
from regatta.config_file import read_file
from regatta.environment import read_environment
from regatta.errors import StartError
from regatta.flags import Source

# Exit codes.
FINE, FAILED, WRONG_USAGE = 0, 1, 2

USAGE = """\
Regatta is a read-optimised key-value store: gRPC and REST on one port.

Usage:
  regatta [flags]   start a node; it runs until SIGINT or SIGTERM
  regatta version   print the version
  regatta help      print this

To try it: regatta --dev-mode --api.reflection-api

Flags are written --flag=value or --flag value; a bool flag alone means true. Lists repeat the flag
or separate with commas. Durations are written like 300ms, 10s or 1m30s.

A flag counts more than the environment (REGATTA_RAFT_ADDRESS or RAFT_ADDRESS for --raft.address),
and that more than the file: --config, or else the first config.yaml, .yml, .json, .toml,
.properties, .ini or .env in /etc/regatta, /config, $HOME/.regatta and the current directory.

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; a user's mistake is told in two lines at most."""
    open_standard_streams()
    try:
        return run(sys.argv[1:] if arguments is None else arguments)
    except StartError as error:
        complain(error)
        return WRONG_USAGE if error.usage else FAILED
    except KeyboardInterrupt:
        return FINE  # the signal came before the node was there to stop


def run(arguments: Sequence[str]) -> int:
    """Do what *arguments* ask for and return the exit code; StartError tells what is wrong."""
    given, words = FLAGS.read(arguments)
    if "help" in given or words == ["help"]:
        return say(USAGE + FLAGS.help())
    if words == ["version"]:
        return say(version())
    if words:
        # Of key=value the value stays unsaid: it may be a password.
        shown = words[0].partition("=")[0]
        raise StartError(f'unexpected argument: "{shown}"', remedy_for(words[0]), usage=True)
    settings, path = gather(given, os.environ)
    return start(settings, path)


def gather(given: Source, environment: Mapping[str, str]) -> tuple[Settings, Path | None]:
    """Return the settings that command line, environment and file make, in this order of weight.

    The path is that of the file, None if there is none. StartError tells what is wrong in any.
    """
    variables, warnings = read_environment(FLAGS, environment)
    path = named_file(given, variables) or find_file(environment)
    if path is None:
        return load(given, variables, warnings=warnings), None
    file, more_warnings = read_file(FLAGS, path)
    return load(given, variables, file, warnings=[*warnings, *more_warnings]), path


def named_file(*sources: Source) -> Path | None:
    """Return the configuration file that the first of *sources* to name one names."""
    given = next((source["config"] for source in sources if "config" in source), None)
    if given is None:
        return None
    if not given.texts[-1]:
        remedy = "Name a file, or leave it out to have one searched for."
        raise StartError(f"{given.place} must not be empty", remedy, usage=True)
    return Path(given.texts[-1])


def start(settings: Settings, config_path: Path | None) -> int:
    """Run a node until it is told to stop, and return its exit code."""
    # Imported here, so that help, version and mistakes don't wait for them.
    import uvloop

    from regatta import certificate
    from regatta import logs
    from regatta.server import serve

    log = logs.configure(settings.log_level, dev_mode=settings.dev_mode)
    if config_path is not None:
        log.info("settings read from %s", config_path)
    for warning in settings.warnings:
        log.warning(warning)
    try:
        if settings.api.address.encrypted:
            certificate.prepare(settings.api, log, dev_mode=settings.dev_mode)
        return uvloop.run(serve(settings, log))
    except (StartError, KeyboardInterrupt):
        raise
    except Exception:
        log.exception("the node failed")
        return FAILED


def remedy_for(word: str) -> str:
    """Return what to do about an argument that is no flag and no command."""
    if word in ("true", "false"):
        return f"A bool flag takes its value with an equals sign: --flag={word}."
    return "Flags begin with --; see `regatta --help`."


def version() -> str:
    """Return what `regatta version` prints."""
    system, machine = platform.system().lower(), platform.machine()
    return (
        "Copyright the Regatta authors, Apache License 2.0\n"
        "\n"
        "Regatta\n"
        f"Version: {__version__}\n"
        f"Python: {platform.python_version()} ({system}/{machine})"
    )


def say(text: str) -> int:
    """Print *text* and return the exit code; a reader that has gone is not an error."""
    try:
        print(text, flush=True)
    except OSError:
        # Python would try once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FINE


def complain(error: StartError) -> None:
    """Print what is wrong and, where there is one, the remedy on standard error."""
    lines = [f"regatta: {error}", error.remedy]
    try:
        print("\n".join(filter(None, lines)), file=sys.stderr, flush=True)
    except OSError:
        return  # nobody listens; the exit code tells


def open_standard_streams() -> None:
    """Open whichever of the three standard descriptors was closed by the caller.

    Otherwise a database file or a socket would get its number, and a message meant for standard
    error would be written into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
