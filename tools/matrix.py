"""Checks and renders tests/matrix/: what tools/matrix.sh calls. Python's standard library alone."""
import datetime
import getpass
import json
import os
import re
import socket
import sys

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "matrix")
OTHERS = ("schema.json", "known_bad.json", "compiled.json")
MODELS = ("lenet", "mnist_cnn", "digits_cnn", "alexnet", "monkeypox_bn")
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}


def write(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def fit(value, schema, place):
    """What of the value does not fit the schema, of the few keywords that schema.json uses."""
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{place} is {value!r}, not one of {schema['enum']}"]
    if value is None and schema.get("nullable"):
        return []
    wanted = schema.get("type")
    if not isinstance(value, TYPES[wanted]) or isinstance(value, bool):
        return [f"{place} is {value!r}, not of type {wanted}"]
    wrong = []
    if wanted == "string" and not re.search(schema.get("pattern", ""), value):
        wrong.append(f"{place} is {value!r}, which does not match {schema['pattern']}")
    if "minimum" in schema and not value >= schema["minimum"]:
        wrong.append(f"{place} is {value}, below {schema['minimum']}")
    for key in schema.get("required", []):
        if key not in value:
            wrong.append(f"{place} lacks {key}")
    if wanted == "object":
        for key, inner in value.items():
            if key in schema["properties"]:
                wrong += fit(inner, schema["properties"][key], f"{place}.{key}")
            else:
                wrong.append(f"{place} has {key}, which nobody asked for")
    if wanted == "array":
        for i, inner in enumerate(value):
            wrong += fit(inner, schema["items"], f"{place}[{i}]")
    return wrong


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


def personal(value):
    """Paths, addresses, and the names of this machine and its user."""
    names = [name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 3]
    wrong = []
    for text in strings(value):
        if re.search(r"(^|[\s\"'(=])(/[\w.+-]+){2,}|[A-Za-z]:\\|\w@\w", text):
            wrong.append(f"{text!r} holds a path or an address")
        wrong += [f"{text!r} holds {name!r}" for name in names if re.search(rf"\b{re.escape(name)}\b", text)]
    return wrong


def check(path):
    try:
        row = load(path)
    except (OSError, ValueError) as error:
        return [str(error)]
    wrong = fit(row, load(os.path.join(FOLDER, "schema.json")), "it")
    if wrong:
        return wrong
    wrong = personal(row)
    parts = row["parts"]
    if (sum(part["cases"] for part in parts), sum(part["passed"] for part in parts)) != (row["cases"], row["passed"]):
        wrong.append("cases and passed are not the sums of its parts")
    for part in parts:
        if (part["passed"] < part["cases"]) != bool(part["failures"]):
            wrong.append(f"{part['name']}: {part['passed']} of {part['cases']} passed, with {len(part['failures'])} failures told")
    return wrong


def name_of(row):
    """Device, driver and version, in letters that any file system takes."""
    device = row["device"]
    words = "-".join((device["platform"], device["name"], device["driver"], row["convoy"]))
    return re.sub(r"[^A-Za-z0-9.]+", "_", words).strip("_").lower() + ".json"


def with_rates_of(row, other):
    """What was timed while others used the machine tells nothing: a row has the benches of no run or of another one."""
    row["parts"] = [part for part in row["parts"] if not part["name"].startswith("bench:")]
    row["parts"] += [part for part in other["parts"] if part["name"].startswith("bench:")]
    row["images_per_second"] = other["images_per_second"]
    row["cases"] = sum(part["cases"] for part in row["parts"])
    row["passed"] = sum(part["passed"] for part in row["parts"])
    return row


def rows():
    names = sorted(name for name in os.listdir(FOLDER) if name.endswith(".json") and name not in OTHERS)
    return [(name, load(os.path.join(FOLDER, name))) for name in names]


def cell(text):
    return str(text).replace("|", "/").replace("\n", " ")


def device_line(row):
    device, rates = row["device"], row["images_per_second"]
    good = row["passed"] == row["cases"]
    worst = "" if row["worst_error"] is None else f"{row['worst_error']:.1e}"
    return "| " + " | ".join(
        [cell(f"{device['name']} ({device['platform']})"), cell(device["driver"]), row["level"],
         f"{'' if good else '**RED** '}{row['passed']} of {row['cases']}", worst,
         *(f"{rates[model]:,.0f}" if model in rates else "" for model in MODELS), row["convoy"], row["date"]]) + " |"


def red_cells(row):
    device = row["device"]
    for part in row["parts"]:
        if part["failures"]:
            first = part["failures"][0]
            yield (f"- **{cell(device['name'])} ({cell(device['platform'])})**, `{part['name']}`: {part['passed']} of "
                   f"{part['cases']} passed; first `{cell(first['case'])}`: {cell(first['reason'])}")


def known_bad(all_rows):
    """Variants of ops that computed wrong values, or took their process along, on a device."""
    bad = []
    for _, row in all_rows:
        for part in row["parts"]:
            op, _, variant = part["name"].partition(":")
            # One that was only too slow may have had a slow compiler.
            wrong = [failure for failure in part["failures"] if not failure["reason"].startswith("took more than")]
            if wrong and op in ("conv2d", "gemm"):
                bad.append({"platform": row["device"]["platform"], "device": row["device"]["name"],
                            "driver": row["device"]["driver"], "op": op, "variant": variant,
                            "reason": f"{part['passed']} of {part['cases']} cases of `convoy selftest` passed"})
    return bad


def explain(row):
    """Where no file compiles, it is the compiler that cannot."""
    reason = row.get("reason", "").split(";")[0]
    return reason if row["failed"] and not row["passed"] else ", ".join(row["failed"]) + f" ({reason})"


def take_compiled(lines):
    """The rows of targets from what tools/matrix.sh says of each: its compiler, then its files, with exit codes."""
    path = os.path.join(FOLDER, "compiled.json")
    compilers, taken = {}, {}
    for line in lines:
        target, what, *rest = line.rstrip("\n").split(" ", 3)
        if not what.startswith("kernels/"):
            compilers[target] = " ".join([what, *rest])
            continue
        row = taken.setdefault(target, {"target": target, "compiler": compilers[target], "files": 0, "passed": 0, "failed": [],
                                        "reason": "", "date": f"{datetime.date.today()}"})
        row["files"] += 1
        row["passed"] += rest[0] == "0"
        if rest[0] != "0":
            row["failed"].append(what)
            row["reason"] = row["reason"] or (rest + [""])[1]
    kept = [row for row in load(path) if row["target"] not in taken] if os.path.exists(path) else []
    for row in taken.values():
        row["failed"].sort()
        print(f"{row['target']}: {row['passed']} of {row['files']} kernel files compile")
    write(path, sorted(kept + list(taken.values()), key=lambda row: row["target"]))
    return 0


def compiled_lines():
    path = os.path.join(FOLDER, "compiled.json")
    if not os.path.exists(path):
        return
    yield "\n## Compiled only\n\nKernel files that compile and link for devices that were not at hand (`tools/compile_offline.sh`).\n"
    yield "| target | compiler | files | date |\n|---|---|---|---|"
    for row in load(path):
        good = row["passed"] == row["files"]
        yield (f"| {row['target']} | {cell(row['compiler'])} | {'' if good else '**RED** '}{row['passed']} of {row['files']}"
               f"{'' if good else ': ' + cell(explain(row))} | {row['date']} |")


def page():
    all_rows = rows()
    red = [line for _, row in all_rows for line in red_cells(row)]
    lines = ["<!-- Written by `tools/matrix.sh page`. -->", "# Devices and drivers\n",
             "What `convoy selftest` found, a row for each device, driver and version: cases that passed (`quick`: a few shapes"
             " of each kernel; `normal`: all shapes of the tests; `full`: also the variants for other kinds of devices), the"
             " largest error relative to the largest value that is right, and training images per second, each network at its"
             " recipe's batch size (empty: not timed, as simulators are not, nor machines that do other things).\n",
             "| device | driver | level | passed | worst error | " + " | ".join(MODELS) + " | Convoy | date |",
             "|---|---|---|---|---|" + "---|" * len(MODELS) + "---|---|",
             *(device_line(row) for _, row in all_rows)]
    if red:
        lines += ["\n## Red cells\n", *red]
    lines += compiled_lines()
    lines += ["\n## To add a row\n", "On a machine with Debian, from a clone, as root or with sudo:\n",
              "```\ntools/install_packages.sh build\ntools/matrix.sh run\n```\n",
              "Where Convoy is installed: `convoy selftest --submit`, then the issue form \"Device result\"; or"
              " `convoy selftest --json FILE`, then `tools/matrix.sh add FILE` in a clone."]
    with open(os.path.join(FOLDER, "README.md"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    write(os.path.join(FOLDER, "known_bad.json"), known_bad(all_rows))
    return 0


def add(given, how):
    wrong = check(given)
    if wrong:
        print("\n".join(wrong))
        return 1
    row = load(given)
    path = os.path.join(FOLDER, name_of(row))
    there = load(path) if os.path.exists(path) else None
    if how == "--without-rates":
        row = with_rates_of(row, there or {"parts": [], "images_per_second": {}})
    elif how == "--rates" and not there:
        print(f"{given}: tests/matrix/ has no row {os.path.basename(path)} to add its images per second to")
        return 1
    elif how == "--rates":
        row = with_rates_of(there, row)
    write(path, row)
    print(os.path.relpath(path))
    return page()


def main(arguments):
    if arguments[:1] == ["check"] and len(arguments) > 1:
        wrong = [f"{path}: {line}" for path in arguments[1:] for line in check(path)]
        print("\n".join(wrong) if wrong else "right")
        return 1 if wrong else 0
    if arguments[:1] == ["add"] and (len(arguments) == 2 or arguments[1:-1] in (["--without-rates"], ["--rates"])):
        return add(arguments[-1], arguments[1])
    if arguments == ["compiled"]:
        return take_compiled(sys.stdin)
    if arguments == ["page"]:
        return page()
    print("matrix.py: check FILE..., add [--without-rates | --rates] FILE, compiled or page", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
