#!/usr/bin/env python3
"""Prints the Markdown table of kernel-bench results, or takes medians of repeated runs of one token:

    kernel-table.py RESULTS.json …
    kernel-table.py --medians OUT.json RUN.json …

Runs whose memory reads more than 45 GB/s are taken apart from the others.
"""

import json
import statistics
import sys


def main(paths):
    for path in paths:
        with open(path) as file:
            records = json.load(file)
        ceilings = {r["metric"]: r["value"] for r in records if r["metric"] != "multiplySeconds"}
        threads = records[0]["conditions"]["threads"]
        print(
            f"**{threads} thread(s)**: reads {ceilings['readBytesPerSecond'] / 1e9:.1f} GB/s; "
            f"vpdpbusd {ceilings['vnniMultiplyAddsPerSecond'] / 1e9:.0f}, "
            f"AMX {ceilings['amxMultiplyAddsPerSecond'] / 1e9:.0f}, "
            f"float {ceilings['floatMultiplyAddsPerSecond'] / 1e9:.0f} GMAC/s; hand-over "
            f"{ceilings['handOverSeconds'] * 1e6:.1f} µs.\n")
        print("| shape | format | 1 token, GB/s (of bound) | 8 tokens, GMAC/s (× 1 token) "
              "| 512 tokens VNNI, GMAC/s (of bound) | 512 tokens AMX, GMAC/s (of VNNI peak) |")
        print("|---|---|---|---|---|---|")
        table = {}
        for r in records:
            if r["metric"] != "multiplySeconds":
                continue
            c = r["conditions"]
            key = (c["shape"], c["format"])
            # The first of two is what the kernels choose by themselves.
            table.setdefault(key, {}).setdefault((c["instructionSet"], c["tokens"]), r["reference"])
        def share(cell):
            """Of the bound beside it, where a file has that; of the run's best, in older ones."""
            return 100 * cell.get("pairedShare", cell["share"])

        for (shape, name), cells in table.items():
            one = cells[("avx512vnni", "1")]
            eight = cells[("avx512vnni", "8")]
            vnni = cells[("avx512vnni", "512")]
            amx = cells.get(("avx512amx", "512"))
            faster = eight["multiplyAddsPerSecond"] / one["multiplyAddsPerSecond"]
            print(
                f"| {shape} | {name} "
                f"| {one['bytesPerSecond'] / 1e9:.1f} ({share(one):.0f} %) "
                f"| {eight['multiplyAddsPerSecond'] / 1e9:.0f} ({faster:.1f}) "
                f"| {vnni['multiplyAddsPerSecond'] / 1e9:.0f} ({share(vnni):.0f} %) "
                + ("| – |" if name == "f16" or not amx else
                   f"| {amx['multiplyAddsPerSecond'] / 1e9:.0f} ({share(amx):.0f} %) |"))
        print()


def medians(out, paths):
    groups = {False: ([], {}), True: ([], {})}
    for path in paths:
        with open(path) as file:
            records = json.load(file)
        read = next(r["value"] for r in records if r["metric"] == "readBytesPerSecond")
        reads, shares = groups[read > 45e9]
        reads.append(read)
        for r in records:
            c = r["conditions"]
            if r["metric"] == "multiplySeconds" and c.get("lookupTables") != "true":
                key = (c["format"], c["shape"], c["instructionSet"], c["kernelBuild"], c["threads"], c["tokens"])
                shares.setdefault(key, []).append(r["reference"]["pairedShare"])
    names = ["format", "shape", "instructionSet", "kernelBuild", "threads", "tokens"]
    result = [
        {"metric": "shareOfPlainRead", "value": statistics.median(values), "unit": "1",
         "conditions": {**dict(zip(names, key)), "runs": str(len(values))},
         "reference": {"lowest": min(values), "highest": max(values),
                       "medianReadBytesPerSecond": statistics.median(reads)}}
        for reads, shares in groups.values() for key, values in shares.items()]
    with open(out, "w") as file:
        file.write(json.dumps(result, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--medians"]:
        medians(sys.argv[2], sys.argv[3:])
    else:
        main(sys.argv[1:])
