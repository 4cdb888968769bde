"""What a Berth plugin in Python is written with: the contract (``wit/plugin.wit``) on one side, the
plugin's own mapping on the other.

- A resource whose mapping raises becomes an entry of ``errors``; the others of its batch are mapped.
- What is printed arrives in Berth's log. The clock is that of the batch, and random numbers are always the
  same; what the mapping makes must not depend on them.
- There is no network and no file. Import modules at the top of yours: later there are no files to import
  from.
"""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.mapper import Context, Output
from wit_world.imports import log as _log

__all__ = [
    "Context",
    "Document",
    "Kind",
    "Refused",
    "Resource",
    "dropping_unknown",
    "keeping_unknown",
    "list_of",
    "log",
    "object_of",
    "plugin",
    "time",
]

# Nothing is lost of a mapping that crashes.
sys.stdout.reconfigure(line_buffering=True)

# Read while the component is built.
_MANIFEST = (Path(__file__).parent.parent / "manifest.json").read_bytes()


class log:
    """Lines for the host's log."""

    @staticmethod
    def debug(message: object) -> None:
        _log.log(_log.Level.DEBUG, str(message))

    @staticmethod
    def info(message: object) -> None:
        _log.log(_log.Level.INFO, str(message))

    @staticmethod
    def warn(message: object) -> None:
        _log.log(_log.Level.WARN, str(message))

    @staticmethod
    def error(message: object) -> None:
        _log.log(_log.Level.ERROR, str(message))


class Refused(Exception):
    """Why a resource cannot be mapped, in words for whoever runs the sync."""

    def __init__(self, reason: str, resource: str | None = None) -> None:
        super().__init__(reason)
        self.resource = resource


@dataclass(slots=True)
class Resource:
    """An element of a batch."""

    item: Any
    steps: dict[str, Any]
    parents: dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """How the resources of a kind become entities and documents.

    Both functions return one, or a list of what they make; a list may be empty.
    """

    kind: str
    entities: Callable[[Resource, Context], dict | list[dict]]
    documents: Callable[[Resource, Context], "Document | list[Document]"]


def plugin(*kinds: Kind) -> type:
    """A plugin of one or several kinds. The result must be called ``Mapper``."""
    by_name = {kind.kind: kind for kind in kinds}

    class Mapper(exports.Mapper):
        def manifest(self) -> bytes:
            return _MANIFEST

        def map_batch(self, context: Context, resources: bytes) -> bytes:
            kind = by_name.get(context.kind)
            if kind is None:
                raise Err(f"this plugin does not map `{context.kind}`; it maps {', '.join(by_name)}")
            return _map_batch(kind, context, resources)

    return Mapper


def _map_batch(kind: Kind, context: Context, batch: bytes) -> bytes:
    try:
        resources = json.loads(batch)
    except ValueError as error:
        raise Err(f"the batch is not JSON in UTF-8: {error}") from None
    if not isinstance(resources, list):
        raise Err("the batch is not a JSON array")
    documents = context.output is Output.DOCUMENTS
    made: list[str] = []
    errors: list[dict] = []
    for index, resource in enumerate(resources):
        try:
            known = object_of(resource)
            if "item" not in known:
                raise Refused("it has no `item`")
            known = Resource(known["item"], known.get("steps", {}), known.get("parents", {}))
            output = (kind.documents if documents else kind.entities)(known, context)
            if output is None:
                raise TypeError("the mapping returned nothing; return [] where there is none")
            outputs = output if isinstance(output, list) else [output]
            # All of a resource or nothing: hence first here, then there.
            texts = [_text(_document(one) if documents else _entity(one)) for one in outputs]
            made.extend(texts)
        except Exception as error:  # Whatever it is, it is this resource's.
            name = error.resource if isinstance(error, Refused) else None
            name = name or _name(resource) or f"#{index}"
            errors.append({"index": index, "resource": name, "reason": _reason(error)})
    label = "documents" if documents else "entities"
    return f'{{"{label}":[{",".join(made)}],"errors":{_text(errors)}}}'.encode()


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _reason(error: Exception) -> str:
    """A refusal in its own words; anything else with its name and where it comes from."""
    if isinstance(error, Refused):
        return str(error)
    at = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename != __file__:
            at = f" ({Path(code.co_filename).name}:{trace.tb_lineno} in {code.co_name})"
        trace = trace.tb_next
    return f"the mapping raised {type(error).__name__}: {error}{at}"


def _name(resource: object) -> str | None:
    """The item if it is a text, else its first member that ends in ``Arn``, then ``Id``, then ``Name``."""
    item = resource.get("item") if isinstance(resource, dict) else None
    if isinstance(item, str):
        return item
    if isinstance(item, dict):
        for ending in ("arn", "id", "name"):
            for name, value in item.items():
                if name.lower().endswith(ending) and isinstance(value, str) and value:
                    return value
    return None


def object_of(value: Any) -> dict[str, Any]:
    """The value, if it is an object; raises if it is not."""
    if not isinstance(value, dict):
        raise _is_no(value, "an object")
    return value


def list_of(value: Any) -> list[Any]:
    """The value, if it is a list; raises if it is not."""
    if not isinstance(value, list):
        raise _is_no(value, "a list")
    return value


def _is_no(value: object, expected: str) -> Refused:
    return Refused(f"`{json.dumps(value, default=repr)[:40]}` stands where {expected} is expected")


_ENTITY = ("blueprint", "identifier", "title", "icon", "team", "properties", "relations")


def _entity(made: Any) -> dict:
    unknown = next((name for name in object_of(made) if name not in _ENTITY), None)
    if unknown is not None:
        raise TypeError(f"an entity has no `{unknown}`, only {', '.join(_ENTITY)}")
    blueprint, identifier = made.get("blueprint"), made.get("identifier")
    if not isinstance(blueprint, str) or not blueprint:
        raise TypeError("the entity has no blueprint")
    if not isinstance(identifier, str) or not identifier:
        raise Refused(f"it has no identifier for the blueprint `{blueprint}`")
    for part in ("properties", "relations"):
        object_of(made.get(part, {}))
    return made


@dataclass(frozen=True)
class _Properties:
    listed: dict[str, dict]
    keep_unknown: bool

    def find(self, member: str) -> str | None:
        for name, form in self.listed.items():
            if member == name or member == form.get("source", name[:1].lower() + name[1:]):
                return name
        return None


def keeping_unknown(listed: dict[str, dict]) -> _Properties:
    """The properties of a kind's documents that are not kept as they are, by name.

    Members that are not listed are kept. A property is read from the member of its name, with a
    capital or a small first letter, or from ``source``. Forms:

    - ``{"required": True}``: without it there is no document. For what identifies the resource.
    - ``{"time": True}``, ``{"int": True}``, ``{"bool": True}``: a time, see :func:`time`; a number or a
      truth value in quotes.
    - ``{"times": ["AttachTime"]}``: members of these names below are times.
    """
    return _Properties(listed, True)


def dropping_unknown(listed: dict[str, dict]) -> _Properties:
    """As :func:`keeping_unknown`, but members that are not listed are left out."""
    return _Properties(listed, False)


class Document:
    """A document: what users' own JQ mappings see."""

    def __init__(self, context: Context, properties: _Properties) -> None:
        self._context = context
        self._properties = properties
        self._entries: dict[str, Any] = {}
        self._by_name: set[str] = set()
        self._extra: dict[str, Any] = {}

    def merge(self, members: Any) -> "Document":
        """Takes over the members of an object. What is merged later wins."""
        for member, value in object_of(members).items():
            name = self._properties.find(member)
            if name is not None:
                if member == name or name not in self._by_name:
                    self._put(name, _formed(value, self._properties.listed[name]), member == name)
            elif self._properties.keep_unknown:
                self._put(member, value, True)
        return self

    def set(self, name: str, value: Any) -> "Document":
        """Sets a property, whatever was merged under its name."""
        self._put(name, value, True)
        return self

    def context(self, name: str, value: Any) -> "Document":
        """Adds a member to ``__ExtraContext``."""
        self._extra[name] = value
        return self

    def origin(self) -> "Document":
        """Adds ``AccountId`` and, for a kind that is regional, ``Region`` to ``__ExtraContext``."""
        self.context("AccountId", self._context.account_id)
        return self if self._context.region is None else self.context("Region", self._context.region)

    def _put(self, name: str, value: Any, by_name: bool) -> None:
        self._entries[name] = value
        if by_name:
            self._by_name.add(name)

    def _whole(self) -> dict:
        for name, form in self._properties.listed.items():
            if form.get("required") and self._entries.get(name) is None:
                raise Refused(f"it has no `{name}`")
        whole: dict[str, Any] = {"Type": self._context.kind, "Properties": self._entries}
        if self._extra:
            whole["__ExtraContext"] = self._extra
        whole["__AccountId"] = self._context.account_id
        if self._context.region is not None:
            whole["__Region"] = self._context.region
        return whole


def _document(made: Any) -> dict:
    if not isinstance(made, Document):
        raise TypeError("`documents` returned something that is no Document")
    return made._whole()


def _formed(value: Any, form: dict) -> Any:
    if form.get("time"):
        return time(value)
    if "times" in form:
        return _times(value, form["times"], False)
    if form.get("int") and isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        return int(value)
    if form.get("bool") and value in ("true", "false"):
        return value == "true"
    return value


def _times(value: Any, names: list[str], is_time: bool) -> Any:
    if isinstance(value, str):
        return time(value) if is_time else value
    if isinstance(value, list):
        return [_times(element, names, is_time) for element in value]
    if isinstance(value, dict):
        return {name: _times(member, names, name in names) for name, member in value.items()}
    return value


_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]*))?"
    r"(?:Z|([+-])([0-9]{2}):?([0-9]{2}))"
)


def time(value: Any) -> Any:
    """A time as documents have it: UTC with ``Z``, no fraction where it is zero, else six digits.

    What is no ISO 8601 time with an offset stays as it is.
    """
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    minute, second, fraction, sign, hours, minutes = found.groups()
    hours, minutes = int(hours or 0), int(minutes or 0)
    if hours > 23 or minutes > 59:
        return value
    offset = timedelta(hours=hours, minutes=minutes)
    try:
        at = datetime.fromisoformat(minute)
        at = at + offset if sign == "-" else at - offset
    except (ValueError, OverflowError):  # No such day, or before the first one.
        return value
    micros = (fraction or "")[:6].ljust(6, "0")
    return f"{at.isoformat()[:16]}:{second}{'' if micros == '000000' else '.' + micros}Z"
