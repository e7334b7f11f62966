#!/usr/bin/env python3
"""Writes tests/report/data/events.bin: what TensorBoard's own writer (PyPI's tensorboard) makes of
tests/report/data/metrics.csv, for a run that began anew and for one that goes on after step 600.

    python3 tools/record_events.py            writes it
    python3 tools/record_events.py FOLDER     prints what TensorBoard reads in a run's folder
"""
import csv
import io
import os
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

DATA = os.path.join(os.path.dirname(__file__), "..", "tests", "report", "data")
NOW = 1700000000


def tag_of(column):
    for part in ("train", "val", "test"):
        if column.startswith(part + "_"):
            return f"{column[len(part) + 1:]}/{part}"
    return column


def record(writer, after):
    writer.write(Event(wall_time=NOW, file_version="brain.Event:2").SerializeToString())
    if after:
        log = SessionLog(status=SessionLog.START)
        writer.write(Event(wall_time=NOW, step=after + 1, session_log=log).SerializeToString())
    with open(os.path.join(DATA, "metrics.csv")) as table:
        for row in csv.DictReader(table):
            for column, value in row.items():
                if column in ("epoch", "step", "seconds") or not value or int(row["step"]) <= after:
                    continue
                scalar = Summary.Value(tag=tag_of(column), simple_value=float(value))
                event = Event(wall_time=NOW + float(row["seconds"]), step=int(row["step"]),
                              summary=Summary(value=[scalar]))
                writer.write(event.SerializeToString())


def main():
    if len(sys.argv) > 1:
        events = EventAccumulator(sys.argv[1])
        events.Reload()
        for tag in events.Tags()["scalars"]:
            print(tag, [(e.step, round(e.value, 6)) for e in events.Scalars(tag)])
        return
    with open(os.path.join(DATA, "events.bin"), "wb") as file:
        for after in (0, 600):
            buffer = io.BytesIO()
            record(RecordWriter(buffer), after)
            file.write(buffer.getvalue())


main()
