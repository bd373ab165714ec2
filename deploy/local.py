"""`make deploy-local`: deploys the template, including its login, to an emulator of AWS."""

from __future__ import annotations

import signal
import sys

from emulator import DeployError, Emulator


def main() -> int:
    # A process that a shell starts in the background ignores SIGINT, and Python then sets no
    # handler for it. So this program sets a handler for both signals.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    try:
        with Emulator() as emulator:
            print("Deploying template.yaml to the emulator …", flush=True)
            stack = emulator.deploy()
            print("\nThe emulator does not support these parts of the template:")
            for dropped in stack.dropped:
                print(f"  {dropped}")
            client = f"{stack.outputs['ClientId']}:{stack.client_secret()}"
            print(
                f"""
The users API is deployed at {stack.users_url}

Get a token, which is valid for an hour:

  TOKEN=$(curl -s {stack.token_url} -u '{client}' \\
    -d grant_type=client_credentials -d 'scope=users/read users/write' |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')

and call the API with it:

  curl -i '{stack.users_url}' -H "Authorization: Bearer $TOKEN" \\
    -H 'Content-Type: application/json' -d '{{"username": "ada"}}'
  curl -i '{stack.users_url}?limit=10' -H "Authorization: Bearer $TOKEN"

Ctrl-C removes everything.
""",
                flush=True,
            )
            emulator.process.wait()
            print("make deploy-local: the emulator ended unexpectedly", file=sys.stderr)
            return 1
    except KeyboardInterrupt:
        return 0
    except DeployError as error:
        print(f"make deploy-local: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
