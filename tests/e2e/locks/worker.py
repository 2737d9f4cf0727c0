"""Takes and gives back locks as it is told: a line in, an errno out. Arguments: the files."""

import errno
import fcntl
import os
import signal
import struct
import sys


class Struck(Exception):
    """A signal with a handler came."""


def strike(*_):
    raise Struck


def record(command, file, kind, start, length):
    # struct flock
    fcntl.fcntl(file, command, struct.pack("@hhqqi4x", kind, os.SEEK_SET, start, length, 0))


signal.signal(signal.SIGUSR1, strike)
files = [os.open(name, os.O_RDWR) for name in sys.argv[1:]]
print("ready", flush=True)
while line := sys.stdin.readline():
    what, number, *more = line.split()
    file, more = files[int(number)], [int(word) for word in more]
    said = 0
    try:
        if what == "flock":
            fcntl.flock(file, more[0])
        elif what == "close":
            os.close(os.open(sys.argv[1 + int(number)], os.O_RDONLY))
        else:
            record(int(what), file, *more)
    except OSError as error:
        said = error.errno
    except Struck:
        said = errno.EINTR
    print(said, flush=True)
