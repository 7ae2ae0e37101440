#!/usr/bin/env python3
"""Prints the Markdown table of kernel-bench results: kernel-table.py RESULTS.json …"""

import json
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


if __name__ == "__main__":
    main(sys.argv[1:])
