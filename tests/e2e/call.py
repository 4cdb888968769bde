"""Makes one call to AWS (moto), as somebody who works in an account does, and prints the answer."""

import argparse
import json
import os
import sys

from seed import Account


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--accounts", required=True)
    parser.add_argument("region")
    parser.add_argument("service")
    parser.add_argument("method", help="as boto3 spells it (create_bucket)")
    parser.add_argument("parameters", type=json.loads)
    arguments = parser.parse_args()

    # Nothing of the machine's own AWS set-up may reach the stand-in.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    account = Account(arguments.endpoint, arguments.accounts)
    client = account.client(arguments.service, arguments.region)
    answer = getattr(client, arguments.method)(**arguments.parameters)
    json.dump(answer, sys.stdout, default=str)


if __name__ == "__main__":
    main()
