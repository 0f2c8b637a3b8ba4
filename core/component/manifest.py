"""What a component says of itself: what it takes, what it gives, what may be tuned, and how much it may use up.

The form is that of the source's `component_manifest.json` (V12), with a trigger and limits that may be left out. A manifest is read
from strangers: whatever it says is checked here, and a component is then held to every word of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from hashlib import sha256
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from core import canonical
from core.engine import Refused
from core.fields import INT_MAX, Frozen, Hash, privacy, words
from core.wire.errors import problem

SUBJECT = "job_uuid"
"""The input that names the run a component looks at."""
MANIFEST_BYTES_MAX = 65_536
ACCEPTED_CHARACTERS_MAX = 16_000
"""Of a user's, as it stands in a record."""
TEXT_MAX = 2_000
"""Characters of one text among inputs, variables and outputs."""
REAL_MAX = 1e300

ScalarType = Literal["int", "float", "bool", "string", "string:uuid"]
FileType = Literal["path:csv", "path:json", "path:h5"]
PortType = Literal["int", "float", "bool", "string", "string:uuid", "path:csv", "path:json", "path:h5"]
VariableType = Literal["int", "float", "bool", "string"]

Text = Annotated[str, Meta(max_length=TEXT_MAX), privacy("public")]
Title = Annotated[
    str,
    Meta(min_length=1, max_length=80, pattern=r"^[!-~]([ -~]*[!-~])?\Z"),
    privacy("public"),
    words("a name: 1 to 80 of the signs that ASCII can print, no space at either end"),
]
PortName = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}\Z"),
    privacy("public"),
    words("a name: 1 to 64 of letters, digits and _, a letter first"),
]
Version = Annotated[
    str,
    Meta(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6}){0,3}([-+.][A-Za-z0-9.-]{1,32})?\Z"),
    privacy("public"),
    words("a version, such as 1.0.0"),
]
FileName = Annotated[
    str,
    Meta(pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]{0,99})?\Z"),
    privacy("public"),
    words("the name of a file beside the manifest: letters, digits and . _ -, no directory"),
]
StoredName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,200}\Z")]
Whole = Annotated[int, Meta(ge=-INT_MAX, le=INT_MAX)]
Real = Annotated[float, Meta(ge=-INT_MAX, le=INT_MAX)]
Scalar = Whole | Real | bool | Text | None


class Struct(msgspec.Struct, metaclass=Frozen, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Port(Struct):
    """Something that goes in or comes out.

    name: its name
    type: int, float, bool, string, string:uuid, path:csv, path:json or path:h5
    description: what it is
    """

    name: PortName
    type: PortType
    description: Text = ""


class Variable(Struct):
    """Something that may be tuned.

    name: its name
    label: what it is called where people see it
    type: int, float, bool or string
    default: its value unless another is given
    min: the least value
    max: the largest value
    """

    name: PortName
    label: Text
    type: VariableType
    default: Whole | Real | bool | Text
    min: Whole | Real | None = None
    max: Whole | Real | None = None


class Limits(Struct):
    """What one run may use up.

    wall_s: seconds by the clock
    cpu_s: seconds of a processor
    memory_mb: memory
    output_mb: what it writes
    """

    wall_s: Annotated[float, Meta(gt=0, le=86_400)] = 60.0
    cpu_s: Annotated[float, Meta(gt=0, le=86_400)] = 60.0
    memory_mb: Annotated[int, Meta(ge=1, le=1_048_576)] = 1_024
    output_mb: Annotated[int, Meta(ge=0, le=1_048_576)] = 64


class Manifest(Struct):
    """A component.

    name: its name
    version: its version
    description: what it does
    script_to_run: the program, a file beside the manifest
    builtin: instead of that, the name of work that irer itself can do
    dependencies: what it needs: a file that says so, or names
    inputs: what it takes
    outputs: what it gives
    tunable_variables: what may be tuned
    trigger: manual, when somebody asks; or job, after each job of a hunt that is done
    limits: what one run may use up
    """

    name: Title
    version: Version
    description: Text = ""
    script_to_run: FileName = ""
    builtin: FileName = ""
    dependencies: FileName | Annotated[list[Text], Meta(max_length=64)] = ""
    inputs: Annotated[list[Port], Meta(max_length=32)] = []
    outputs: Annotated[list[Port], Meta(max_length=64)] = []
    tunable_variables: Annotated[list[Variable], Meta(max_length=32)] = []
    trigger: Literal["manual", "job"] = "manual"
    limits: Limits = Limits()


# --- reading one ------------------------------------------------------------------------------------------------------------


def parse(raw: bytes) -> Manifest:
    """A manifest as it stands in a file, or a refusal that names the member that is wrong."""
    if len(raw) > MANIFEST_BYTES_MAX:
        raise Refused("invalid-argument", f"the manifest has {len(raw):,} bytes; {MANIFEST_BYTES_MAX:,} are allowed. Shorten it")
    try:
        manifest = msgspec.json.decode(raw, type=Manifest, strict=True)
    except msgspec.ValidationError as wrong:
        path, text = problem(wrong, Manifest)
        _refuse(path or "manifest", text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("invalid-argument", "the manifest is no JSON. Check its commas, quotes and brackets") from None
    check(manifest)
    return manifest


def check(manifest: Manifest) -> None:
    """What the types alone do not say."""
    if bool(manifest.script_to_run) == bool(manifest.builtin):
        _refuse("script_to_run", "give script_to_run or builtin: one of them, and not both")
    _check_names("inputs and tunable_variables", [*manifest.inputs, *manifest.tunable_variables])
    _check_names("outputs", manifest.outputs)
    for variable in manifest.tunable_variables:
        path = f"tunable_variables.{variable.name}"
        bounded = variable.min is not None or variable.max is not None
        if bounded and variable.type not in ("int", "float"):
            _refuse(path, f"{variable.name} is a {variable.type}: only numbers have a min and a max. Leave them out")
        if variable.min is not None and variable.max is not None and variable.min > variable.max:
            _refuse(path, f"the min of {variable.name}, {variable.min}, is above its max, {variable.max}. Turn them round")
        _tuned(variable, variable.default, f"{path}.default")


def check_user(manifest: Manifest, taken: Iterable[str]) -> None:
    """What is asked of a component besides, that does not come with irer."""
    if manifest.builtin:
        _refuse("builtin", "work of irer itself is not for others to name. Give script_to_run instead")
    if manifest.name in taken:
        _refuse("name", f"{manifest.name} is the name of another component. Take one of its own")
    if not any(port.name == SUBJECT and port.type == "string:uuid" for port in manifest.inputs):
        _refuse("inputs", f"there is no input {SUBJECT} of type string:uuid, so it could not be told which run to look at. Add it")
    if len(text(manifest)) > ACCEPTED_CHARACTERS_MAX:
        _refuse("manifest", f"it says more than {ACCEPTED_CHARACTERS_MAX:,} characters can hold. Shorten its descriptions")


def asked_of(manifest: Manifest) -> Manifest:
    """The manifest without the inputs that irer fills in itself: files of the run that is looked at."""
    asked = [port for port in manifest.inputs if not (manifest.script_to_run and port.type.startswith("path:"))]
    return msgspec.structs.replace(manifest, inputs=asked)


def _check_names(where: str, ports: Sequence[Port | Variable]) -> None:
    seen: set[str] = set()
    for port in ports:
        if port.name in seen:
            _refuse(where, f"two of {where} are named {port.name}. Rename one")
        seen.add(port.name)


def digest(manifest: Manifest) -> str:
    """SHA-256 of its canonical JSON: what was left out and what was written as the default are one manifest."""
    return sha256(canonical.encode(_said(manifest))).hexdigest()


def whole_digest(manifest: Manifest, script_sha256: str) -> str:
    """Of a user's component: it changes with every byte of the manifest that means something, and with every byte of the script."""
    return sha256(f"irer component\0{digest(manifest)}\0{script_sha256}".encode()).hexdigest()


def text(manifest: Manifest) -> str:
    """The manifest as it stands in a record: `parse` makes the very same of it."""
    return canonical.encode(_said(manifest)).decode()


def _said(value: Any) -> Any:
    """Without what is as it would be if nothing were said, so that a member of a later version changes no digest."""
    if isinstance(value, list):
        return [_said(each) for each in value]
    if not isinstance(value, msgspec.Struct):
        return value
    found = {}
    for field in msgspec.structs.fields(type(value)):
        makes = field.default_factory
        own = getattr(value, field.name)
        if own != (field.default if makes is msgspec.NODEFAULT else makes()):
            found[field.name] = _said(own)
    return found


# --- holding a run to it ----------------------------------------------------------------------------------------------------


def inputs_of(manifest: Manifest, given: Mapping[str, Any]) -> dict[str, Any]:
    """Each declared input with its value, or a refusal."""
    declared = {port.name: port for port in manifest.inputs}
    for name in given:
        if name not in declared:
            _refuse(f"inputs.{name}", f"{manifest.name} has no input {name}. {_instead(name, declared)}")
    for name, port in declared.items():
        if name not in given:
            text = f"{manifest.name} needs the input {name} ({port.type})"
            _refuse(f"inputs.{name}", f"{text}: {port.description}" if port.description else text)
        if not _is(given[name], port.type):
            _refuse(f"inputs.{name}", f"the input {name} must be {SAID[port.type]}")
    return {name: given[name] for name in declared}


def variables_of(manifest: Manifest, given: Mapping[str, Any]) -> dict[str, Any]:
    """Each declared variable with its value, those not given by their defaults; or a refusal."""
    declared = {variable.name: variable for variable in manifest.tunable_variables}
    for name in given:
        if name not in declared:
            _refuse(f"variables.{name}", f"{manifest.name} has no variable {name}. {_instead(name, declared)}")
    return {name: _tuned(variable, given.get(name, variable.default), f"variables.{name}") for name, variable in declared.items()}


def outputs_of(manifest: Manifest, said: object) -> dict[str, Scalar] | None:
    """What a run said that it found: every scalar output by its name and type, or null where there is none; None for what this
    component cannot have said."""
    declared = {port.name: port for port in manifest.outputs if not port.type.startswith("path:")}
    if not isinstance(said, dict) or said.keys() != declared.keys():
        return None
    if not all(said[name] is None or _is(said[name], port.type) for name, port in declared.items()):
        return None
    return {name: _number(said[name], port.type) for name, port in declared.items()}


def files_of(manifest: Manifest, said: object) -> dict[str, tuple[str, str]] | None:
    """The files that a run left, each by its name and SHA-256: all that are promised and no other, or None."""
    wanted = {port.name for port in manifest.outputs if port.type.startswith("path:")}
    try:
        found = msgspec.convert(said, dict[PortName, tuple[StoredName, Hash]], strict=True)
    except msgspec.ValidationError:
        return None
    return found if found.keys() == wanted else None


def declared(ports: Sequence[Port | Variable], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values from the log, whose numbers are all floats, in the types that were declared."""
    whole = {port.name for port in ports if port.type == "int"}
    return {name: int(value) if name in whole and value is not None else value for name, value in values.items()}


SAID: dict[str, str] = {
    "int": "a whole number",
    "float": "a finite number",
    "bool": "true or false",
    "string": f"a text of at most {TEXT_MAX:,} characters",
    "string:uuid": "a UUID, such as 123e4567-e89b-42d3-a456-426614174000",
    "path:csv": "the name of a CSV file",
    "path:json": "the name of a JSON file",
    "path:h5": "the name of an HDF5 file",
}


def _is(value: object, kind: str) -> bool:
    match kind:
        case "int":
            return type(value) is int and abs(value) <= INT_MAX
        case "float":
            return (type(value) is int and abs(value) <= INT_MAX) or (type(value) is float and abs(value) <= REAL_MAX)
        case "bool":
            return type(value) is bool
        case "string:uuid":
            return isinstance(value, str) and _uuid(value)
    return isinstance(value, str) and len(value) <= TEXT_MAX and value.isprintable()


def _uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _number(value: Any, kind: str) -> Any:
    """A float stays one when it is whole, and has no negative zero: it comes back from the log as 0."""
    return float(value) + 0.0 if kind == "float" and value is not None else value


def _tuned(variable: Variable, value: Any, path: str) -> Any:
    if not _is(value, variable.type):
        _refuse(path, f"{variable.name} must be {SAID[variable.type]}")
    low, high = variable.min, variable.max
    if (low is not None and value < low) or (high is not None and value > high):
        between = f"{low if low is not None else 'any number'} to {high if high is not None else 'any number'}"
        _refuse(path, f"{variable.name} {value} is outside its bounds, {between}")
    return _number(value, variable.type)


def _refuse(path: str, text: str) -> Any:
    raise Refused("invalid-argument", f"{path}: {text}", fields=[(path, text)])


def _instead(name: str, known: Iterable[str]) -> str:
    names = list(known)
    if not names:
        return "It has none"
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else f"There are: {', '.join(names)}"
