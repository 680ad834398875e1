"""python watched.py FOLDER COMMAND…: become a command that does not outlive whoever asked for it. A program, no module.

Standard input is a pipe, whose other end the asker alone holds open and nobody writes to. When it ends, because the
asker was killed, say, a watcher kills the command with its whole process group and removes the folder, where all its
files are. The asker, in turn, is rid of the watcher when it kills the group.
"""

import os
import signal
import sys
import time

PATIENCE_S = 10
"""For how long a killed process may still be about to make a file."""


def main(folder: str, command: list[str]) -> None:
    """Leave a watcher behind, and become the command."""
    if os.fork() == 0:
        if os.fork() == 0:  # not a child of the command: there are some that wait for all they have
            watch(folder)
        os._exit(0)
    os.wait()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and a command inherits that
    os.execv(command[0], command)


def watch(folder: str) -> None:
    """Wait for the end of the pipe; then let nothing be left of this process group and of the folder."""
    import shutil  # not at the top: the command need not wait for it

    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)  # the asker reads until all have closed their output
    os.dup2(nothing, 2)
    os.read(0, 1)
    group = os.getpgrp()
    os.setpgid(0, 0)  # we outlive the group
    os.killpg(group, signal.SIGKILL)
    end = time.monotonic() + PATIENCE_S
    while os.path.lexists(folder) and time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
