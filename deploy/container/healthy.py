"""Exits with 0 while the hub in this container answers: the image has no curl. $HEALTH_URL says where, if elsewhere."""

import http.client
import os
import ssl
import sys
from urllib.parse import urlsplit

URL = "http://127.0.0.1:8765/healthz"
PATIENCE = 4.0


def main(url: str) -> int:
    """0 if there is a hub, 1 if not."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # Over loopback, and to ask whether it is there: its certificate has another name.
        context = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(parts.netloc, timeout=PATIENCE, context=context)
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    try:
        connection.request("GET", parts.path)
        return int(connection.getresponse().status != 200)
    except (OSError, http.client.HTTPException) as problem:
        sys.stderr.write(f"{url}: {problem}\n")
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(os.environ.get("HEALTH_URL", URL)))
