"""The command `sisrbench`: the list of commands, the exit status, errors and warnings in a line.

The files of the commands import the measuring code only inside the commands. So help, errors of
usage and `check` load neither torch nor pandas.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from bench.cli import catalogue, measure, sets, stored, train, upscale
from bench.cli.terminal import say
from bench.progress import tell_warnings
from zoo.errors import MORE_MEMORY, InputError, one_line

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # from glibc's malloc.h


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def main() -> None:
    """Run the command; exit status 0: done, 1: a check failed, 2: wrong usage or input."""
    keep_freed_memory()
    tell_warnings()
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(status(sys.argv[1:]))


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next tensor; only glibc has this setting.

    By default glibc maps and unmaps memory for every large tensor, and clearing the new pages takes
    longer than the arithmetic of many layers. SRCNN 9-1-5 at 1280x720 ran 2.7 times faster with
    this setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_ARENA_MAX, 1)):
            mallopt(option, value)


def status(arguments: Sequence[str]) -> int:
    """The exit status of the command with these arguments; an error is printed as a single line."""
    called = shlex.join(["sisrbench", *arguments])
    try:
        code = command.main(
            list(arguments), prog_name="sisrbench", standalone_mode=False, obj=called
        )
        return int(code or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else "sisrbench"
        text = " ".join(error.format_message().split()).removesuffix(".")
        say(f"Error: {text}; see {where} --help", error=True)
        return 2
    except click.ClickException as error:
        say(f"Error: {error.format_message()}", error=True)
        return 2
    except InputError as error:
        say(f"Error: {' '.join(str(error).split())}", error=True)
        return 2
    except MemoryError as error:
        say(f"Error: out of memory ({one_line(error)}); {MORE_MEMORY}", error=True)
        return 2
    except (OSError, UnicodeError) as error:  # a full disk, say; no fault of the code
        say(f"Error: {one_line(error)}", error=True)
        return 2
    except click.Abort as error:
        if isinstance(error.__cause__, Terminated):
            say(
                "Terminated; finished work is stored, the same command continues. No page was "
                "written; `sisrbench report` writes it from the results in the store.",
                error=True,
            )
            return 128 + signal.SIGTERM  # as shells do
        say("Interrupted; finished work is stored, the same command continues.", error=True)
        return 128 + signal.SIGINT
    except (Exception, SystemExit) as error:  # a method, say, that ends the process
        from bench.engine import TRACEBACK

        if TRACEBACK in os.environ:
            raise
        say(
            f"Error: unexpected {one_line(error, 300)}; set {TRACEBACK}=1 to see where, and report "
            "it unless it is raised by a method of yours",
            error=True,
        )
        return 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sisrbench")
def command() -> None:
    """Measure super-resolution methods by the rules of the papers, and check the papers' numbers.

    \b
    sisrbench run                            the demo, on installed photographs
    sisrbench reproduce srcnn2014_set5       re-measure a paper's table, cell by cell
    sisrbench run -m srcnn-9-5-5 -d set5 -s 3
    sisrbench check baseline.csv             has a number changed since?
    sisrbench train a-plus -s 3              learn a method's weights by its recipe
    sisrbench cost edsr-baseline vdsr        what methods cost, without images
    sisrbench show edsr                      a method's card, layers and claims
    sisrbench list                           methods, datasets, tables, ...

    Results are stored in --out. Run the same command again to continue. A command that is complete
    computes nothing.
    """  # noqa: D301


for each in (
    measure.run,
    measure.score,
    sets.lr,
    sets.pin,
    measure.reproduce,
    measure.cost,
    stored.report,
    stored.check,
    train.train,
    catalogue.show,
    catalogue.list_,
    catalogue.fetch,
    upscale.upscale,
):
    command.add_command(each)
