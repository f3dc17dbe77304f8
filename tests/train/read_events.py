"""Reads the event files of a run with TensorBoard's own readers, and compares them with metrics.jsonl.

    pip install tensorboard
    python tests/train/read_events.py RUN_FOLDER

Says how many numbers were equal, or what differs.
"""

import json
import math
import pathlib
import struct
import sys

from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def expected(log):
    """(set, tag) -> {step: value} of the lines of a log; the later of two lines of a step counts."""
    curves = {}
    for line in map(json.loads, log.read_text().splitlines()):
        step, of_epoch = line.pop("step"), "epoch" in line
        for name, value in line.items():
            value = math.nan if value is None else struct.unpack("f", struct.pack("f", value))[0]
            prefix, _, rest = name.partition(" ")
            if prefix in ("train", "valid") and rest:
                curves.setdefault((prefix, rest), {})[step] = value
            elif not of_epoch:
                curves.setdefault(("train", f"step/{name}"), {})[step] = value
    return curves


def found(folder):
    """The same from event files, as read by both generations of TensorBoard's readers."""
    curves, histograms = {}, 0
    for name in ("train", "valid"):
        reader = EventAccumulator(str(folder / name), {"scalars": 0, "histograms": 0})
        reader.Reload()
        for tag in reader.Tags()["scalars"]:
            curves[name, tag] = {event.step: event.value for event in reader.Scalars(tag)}
        for tag in reader.Tags()["histograms"]:
            for event in reader.Histograms(tag):
                histogram = event.histogram_value
                assert sum(histogram.bucket) == histogram.num > 0, (tag, histogram)
                assert histogram.min <= histogram.sum / histogram.num <= histogram.max, tag
                histograms += 1
        newer = plugin_event_accumulator.EventAccumulator(str(folder / name), {"tensors": 0})
        newer.Reload()
        tags = set(newer.Tags()["tensors"])
        assert tags == {tag for of, tag in curves if of == name} | set(reader.Tags()["histograms"]), tags
        for tag in reader.Tags()["scalars"]:
            steps = {event.step for event in newer.Tensors(tag)}
            assert steps == set(curves[name, tag]), (tag, steps)
    return curves, histograms


def main():
    folder = pathlib.Path(sys.argv[1])
    wanted = expected(folder / "metrics.jsonl")
    got, histograms = found(folder / "tensorboard")
    assert wanted.keys() == got.keys(), wanted.keys() ^ got.keys()
    count = 0
    for key, curve in wanted.items():
        assert curve.keys() == got[key].keys(), (key, curve.keys() ^ got[key].keys())
        for step, value in curve.items():
            other = got[key][step]
            assert value == other or math.isnan(value) and math.isnan(other), (key, step, value, other)
            count += 1
    print(f"equal: {count} numbers of {len(wanted)} curves; histograms: {histograms}")


main()
