"""Tells what a JSON Schema finds wrong with documents.

Reads `{"schema": ..., "documents": [...]}`, and prints a list with a text or null for each document.
"""

import json
import sys

from jsonschema.validators import validator_for


def main() -> None:
    given = json.load(sys.stdin)
    validator = validator_for(given["schema"])
    validator.check_schema(given["schema"])
    schema = validator(given["schema"])
    errors = (next(schema.iter_errors(document), None) for document in given["documents"])
    print(json.dumps([error and f"at {error.json_path}: {error.message}" for error in errors]))


if __name__ == "__main__":
    main()
