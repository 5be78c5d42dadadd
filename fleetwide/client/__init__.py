"""A typed client of the HTTP API, for programs and for the command line.

    with Client("http://127.0.0.1:8300") as client:
        operation = client.tasks.run(spec)
        print(client.tasks.get(operation.id).state)

Every method raises the classes of ``fleetwide.errors``: what the API answered as a problem comes
back as the error that it was.
"""

from fleetwide.client.client import Client

__all__ = ["Client"]
