#!/usr/bin/env python3
"""Do the times of operators add up to those of whole passes? Profiles the bundled model afresh, plans
for three sizes by layer and by output feature, executes every plan, and records predicted and measured times.

    python3 Scripts/times.py [--plan .build/release/plan] [--profiles 3] [--out Results/times]

Writes results.json and README.md. Run it while nothing else keeps the machine busy. Needs nothing but
Python's library.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "Tests/Fixtures/docs-llama/model.safetensors"
PASSES = [
    ("decode", "decodeSecondsPerToken", "decodeSlowdown", "s/token"),
    ("prefill of 128", "prefillSeconds", "prefillSlowdown", "s")]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--plan", default=ROOT / ".build/release/plan", type=pathlib.Path)
    parser.add_argument("--profiles", default=3, type=int)
    parser.add_argument("--out", default=ROOT / "Results/times", type=pathlib.Path)
    options = parser.parse_args()
    plan = options.plan.resolve()
    records, rows, within = [], [], {label: [] for label, *_ in PASSES}

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)

        def run(*arguments, ok=(0,)):
            environment = dict(os.environ, BITPLAN_HOME=str(folder / "home"))
            done = subprocess.run(
                [str(plan), *map(str, arguments), "--quiet"], cwd=folder, env=environment, capture_output=True, text=True)
            if done.returncode not in ok:
                sys.exit(f"plan {' '.join(map(str, arguments))}\n{done.stderr}")
            return done.stdout

        run("measure", MODEL, "--out", "s.json")
        for index in range(1, options.profiles + 1):
            begin = time.monotonic()
            run("profile", "--for", MODEL, "--refresh")
            seconds = time.monotonic() - begin
            key = json.loads(next((folder / "home/Profiles").glob("*.json")).read_text())["key"]
            machine = {"cpu": key["cpuModel"], "instructionSet": key["instructionSet"], "threads": key["threadCount"],
                       "kernelBuild": key["kernelBuild"], "model": "docs-llama"}
            records.append({"metric": "profile", "value": seconds, "unit": "s", "conditions": machine, "reference": {}})
            for budget in ["3.5", "4.2", "5.0"]:
                for granularity in ["layer", "feature"]:
                    run("search", MODEL, "--budget", f"{budget}bits", "--granularity", granularity, "--sensitivity", "s.json",
                        "--no-check", "--out", "p.json")
                    result = json.loads(run(
                        "validate", MODEL, "--plan", "p.json", "--windows", 1, "--no-uniform", "--json", ok=(0, 4)))
                    cells = []
                    for label, time_key, slowdown_key, unit in PASSES:
                        predicted, measured = result["predicted"][time_key], result["measured"][time_key]
                        slowdown = result["measured"][slowdown_key]
                        deviation = measured / slowdown / predicted - 1
                        within[label].append(abs(deviation) <= 0.1)
                        cells += [f"{predicted * 1e3:.3g} ms", f"{measured * 1e3:.3g} ms", f"{(slowdown - 1) * 100:+.0f} %",
                                  f"{deviation * 100:+.1f} %"]
                        records.append({
                            "metric": label, "value": measured, "unit": unit,
                            "conditions": {**machine, "profile": index, "budget": f"{budget}bits", "granularity": granularity},
                            "reference": {"predicted": predicted, "slowdown": slowdown}})
                    rows.append([str(index), f"{budget} bits, per {granularity}", *cells])
                    print(" | ".join(rows[-1]), flush=True)

    head = ["profile", "plan"]
    for label, *_ in PASSES:
        head += [f"{label}: predicted", "measured", "machine slower by", "off at the profile's speed"]
    lines = [
        "# Operators' times and whole passes", "", "    python3 Scripts/times.py", "",
        f"CPU: {machine['cpu']}, {machine['instructionSet']} kernels of build {machine['kernelBuild']}, {machine['threads']} threads; "
        "`docs-llama`. A profile is made afresh, and every plan executed right after it was made. Beside each pass its operators are timed "
        "alone: *machine slower by* is how much longer the pass took than at the speed of the profile, as they tell, *off at the profile's speed* what is left of the difference "
        "between measured and predicted without that ([decision 18](../../Documentation/Decisions/0018-times-beside-times.md)).", ""]
    for label, *_ in PASSES:
        lines += [f"- {label}: {sum(within[label])} of {len(within[label])} plans within 10 %."]
    lines += ["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(row) + " |" for row in rows]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(records, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    (options.out / "README.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines[:10]))


if __name__ == "__main__":
    main()
