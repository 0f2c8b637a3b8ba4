"""A component of your own: reads the fields of one run, prints what it found as one JSON object, and leaves one CSV file."""

import argparse
import csv
import json

import h5py
import numpy as np

words = argparse.ArgumentParser()
words.add_argument("--job_uuid", required=True)
words.add_argument("--fields", required=True)
words.add_argument("--first", type=int, default=1)
asked = words.parse_args()

with h5py.File(asked.fields, "r") as file:
    field = file["A"][...]
    length = float(file["settings"].attrs["l"])

points, dimensions = field.shape[0], field.ndim
power = np.abs(np.fft.fftn(np.abs(field) ** 2)) ** 2
modes = np.meshgrid(*[np.fft.fftfreq(points, 1 / points)] * dimensions, indexing="ij")
ring = np.rint(np.sqrt(sum(mode**2 for mode in modes))).astype(int)
totals = np.bincount(ring.ravel(), power.ravel())
totals[: asked.first] = 0

with open("rings.csv", "w", newline="", encoding="utf-8") as left:
    rows = csv.writer(left)
    rows.writerow(["k", "power"])
    rows.writerows([2 * np.pi * number / length, total] for number, total in enumerate(totals))

strongest, whole = int(np.argmax(totals)), float(totals.sum())
flat = whole <= 1e-20 * float(power.flat[0])
print(
    json.dumps(
        {
            "radius": None if flat else 2 * np.pi * strongest / length,
            "share": None if flat else float(totals[strongest]) / whole,
        }
    )
)
