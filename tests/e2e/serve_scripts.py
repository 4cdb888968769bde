"""Runs the scripts beside it in forks of a process that has boto3 loaded.

Starting Python, importing boto3 and reading botocore's models takes longer than what most of the
scripts do, and the tests run hundreds of them.

The first line on standard output is a port. A connection sends one line, the script's name and its
arguments as JSON, and gets one: the exit code and what the script printed. Ending with standard input
means that the process does not outlive the one that started it.
"""

import contextlib
import io
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import traceback
from pathlib import Path

import boto3
import botocore.session

FOLDER = Path(__file__).parent
# What nearly every script asks.
USUAL = ["sts", "s3", "ec2", "ecs"]


def share_models() -> None:
    """Lets all sessions read models through one loader, which keeps them, and reads the usual ones."""
    loader = botocore.session.get_session().get_component("data_loader")
    botocore.session.create_loader = lambda *_: loader
    for service in USUAL:
        boto3.Session().client(
            service,
            region_name="us-east-1",
            endpoint_url="http://127.0.0.1",
            aws_access_key_id="unused",
            aws_secret_access_key="unused",
        )


def run(script: str, arguments: list[str]) -> dict:
    """Runs a script as its own program, and tells how it ended."""
    sys.argv = [script, *arguments]
    out, error = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            runpy.run_path(str(FOLDER / script), run_name="__main__")
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
    return {"code": code, "stdout": out.getvalue(), "stderr": error.getvalue()}


def answer(connection: socket.socket) -> None:
    with connection.makefile("r") as lines:
        script, *arguments = json.loads(lines.readline())
    connection.sendall(json.dumps(run(script, arguments)).encode() + b"\n")


def main() -> None:
    sys.path.insert(0, str(FOLDER))
    share_models()
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    # Nobody waits for the forks.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    events = selectors.DefaultSelector()
    events.register(listener, selectors.EVENT_READ)
    events.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in events.select():
            if key.fileobj is sys.stdin:
                if not os.read(sys.stdin.fileno(), 4096):
                    return
                continue
            connection, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                answer(connection)
                os._exit(0)
            connection.close()


if __name__ == "__main__":
    main()
