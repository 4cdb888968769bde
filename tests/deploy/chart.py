"""Prints the variables that a release of the chart gives its container, as JSON.

Arguments are values, as after helm's `--set`.
"""

import base64
import json
import subprocess
import sys

import yaml
from conftest import EXAMPLES, helm_binary


def main() -> None:
    options = [part for value in sys.argv[1:] for part in ("--set", value)]
    command = [helm_binary(), "template", "berth", EXAMPLES / "helm/berth", *options]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {one["kind"]: one for one in yaml.safe_load_all(rendered) if one}
    [container] = found["Job"]["spec"]["template"]["spec"]["containers"]
    secrets = {
        name: base64.b64decode(value).decode() for name, value in found["Secret"]["data"].items()
    }
    json.dump(secrets | {one["name"]: one["value"] for one in container["env"]}, sys.stdout)


if __name__ == "__main__":
    main()
