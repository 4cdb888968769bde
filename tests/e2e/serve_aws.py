"""Serves AWS (moto) on a free port until standard input ends.

The first line on standard output is the port. Ending with standard input means that no stand-in
outlives the process that started it, however that process ends.
"""

import logging
import os
import sys
import threading
from pathlib import Path

# Without moto's own thousand images, whose snapshots it takes for those of every account.
os.environ.setdefault("MOTO_AMIS_PATH", str(Path(__file__).with_name("amis.json")))
# Certificates would be issued after a minute, in the middle of a test on a busy machine.
os.environ.setdefault("MOTO_ACM_VALIDATION_WAIT", "86400")

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class KeepAlive(WSGIRequestHandler):
    """Connections stay open, as AWS keeps them: hundreds of calls would run out of ports."""

    protocol_version = "HTTP/1.1"


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", port, application, threaded=True, request_handler=KeepAlive)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()
    # Connections that clients keep open would hold an orderly end up.
    os._exit(0)


if __name__ == "__main__":
    main()
