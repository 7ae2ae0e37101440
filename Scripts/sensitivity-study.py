#!/usr/bin/env python3
"""Compares sensitivity methods on one model and records the study.

    python3 Scripts/sensitivity-study.py [--plan .build/release/plan] [--model MODEL] [--random 50]
        [--budgets 3.0,3.5,4.2,5.0] [--formats LIST] [--methods LIST] [--out Results/sensitivity]

For every method: its seconds, its rank correlation (Spearman) with the true KL divergence of one
operator quantized at a time ('swap'), and the KL divergence on held-out text of the plans that it
leads to. For the default method also the rank correlation between predicted and measured KL over
random plans. Writes results.json, a list of {metric, value, unit, conditions, reference}, and
README.md. Run it while nothing else keeps the machine busy. Needs nothing but Python's library.
"""
import argparse
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "Tests/Fixtures/docs-llama/model.safetensors"
# One format a width, and a second at the widths that plans use most: 'swap' takes a pass for each.
FORMATS = "int2_g128,int3_g128,int4_g128,int4_g64,int5_g128,int6_g128,int8_g128s,f16"
METHODS = "salience,masks,plain-masks,pd-quant,swap"
TITLES = {
    "salience": "gradients, corrected by masked passes",
    "masks": "masked passes alone: random formats",
    "plain-masks": "OHQ's masks: weights set to zero",
    "pd-quant": "PD-Quant's prediction difference: one at a time, a format a width",
    "swap": "one at a time, every format",
    "self": "as salience, on text that the model wrote itself",
}


def run(plan, folder, *arguments, ok=(0, 4)):
    environment = dict(os.environ, BITPLAN_HOME=str(folder / "home"))
    begin = time.monotonic()
    done = subprocess.run(
        [str(plan), *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode not in ok:
        sys.exit(f"plan {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout, time.monotonic() - begin


def ranks(values):
    """Ranks from 1, ties sharing their mean."""
    order = sorted(range(len(values)), key=values.__getitem__)
    result, begin = [0.0] * len(values), 0
    while begin < len(order):
        end = begin
        while end + 1 < len(order) and values[order[end + 1]] == values[order[begin]]:
            end += 1
        for place in order[begin:end + 1]:
            result[place] = (begin + end) / 2 + 1
        begin = end + 1
    return result


def spearman(a, b):
    """Pearson's correlation of the ranks; None where one side does not vary."""
    a, b = ranks(a), ranks(b)
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
    spread = (sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)) ** 0.5
    return covariance / spread if spread else None


def values(table):
    """Predicted loss of every (operator, format)."""
    return {
        (row["operatorDescription"]["name"], entry["format"]): entry["value"]
        for row in table["rows"] for entry in row["entries"] if entry.get("value") is not None}


def loss(costs):
    return costs.get("klDivergenceNatsPerToken", costs.get("cosineDistance"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--plan", default=ROOT / ".build/release/plan", type=pathlib.Path)
    parser.add_argument("--model", default=MODEL, type=pathlib.Path)
    parser.add_argument("--budgets", default="3.0,3.5,4.2,5.0")
    parser.add_argument("--formats", default=FORMATS)
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--random", default=50, type=int, help="random plans")
    parser.add_argument("--windows", default=16, type=int, help="held-out windows")
    parser.add_argument("--no-self", action="store_true", help="leave the model's own text out")
    parser.add_argument("--out", default=ROOT / "Results/sensitivity", type=pathlib.Path)
    options = parser.parse_args()
    plan, model = options.plan.resolve(), options.model.resolve()
    budgets, methods = options.budgets.split(","), options.methods.split(",")
    records, lines = [], []

    def record(metric, value, unit, conditions, reference=None):
        records.append({
            "metric": metric, "value": value, "unit": unit, "conditions": conditions,
            "reference": reference or {}})

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)

        def search(sensitivity, out, *more):
            run(plan, folder, "search", model, "--sensitivity", sensitivity, "--out", out, "--quiet",
                "--formats", options.formats, *more)

        def measured(file):
            text, _ = run(
                plan, folder, "validate", model, "--plan", file, "--json", "--quiet", "--no-uniform",
                "--windows", options.windows)
            result = json.loads(text)
            return loss(result["predicted"]), loss(result["measured"])

        tables, rows = {}, []
        jobs = [(method, method, []) for method in methods]
        if not options.no_self:
            jobs.append(("self", "salience", ["--calibration", "self"]))
        for label, method, more in jobs:
            file = f"{label}.sensitivity.json"
            _, seconds = run(
                plan, folder, "measure", model, "--method", method, "--formats", options.formats,
                "--out", file, "--quiet", *more)
            tables[label] = json.loads((folder / file).read_text())
            record("measure", seconds, "s", {"method": label})
        truth = values(tables["swap"]) if "swap" in tables else {}
        # f16 loses next to nothing: its rank is rounding noise.
        truth = {key: value for key, value in truth.items() if key[1] != "f16"}
        for label, _, _ in jobs:
            seconds = next(
                r["value"] for r in records
                if r["metric"] == "measure" and r["conditions"]["method"] == label)
            table = values(tables[label])
            keys = [key for key in truth if key in table]
            correlation = spearman([truth[k] for k in keys], [table[k] for k in keys]) if keys else None
            record("rank correlation with swap", correlation, "1",
                   {"method": label, "pairs": len(keys)})
            cells = []
            for budget in budgets:
                out = f"{label}.{budget}.plan.json"
                search(f"{label}.sensitivity.json", out, "--budget", f"{budget}bits", "--no-check",
                       "--granularity", "layer")
                predicted, value = measured(out)
                record("held-out loss of the plan", value, "nats/token",
                       {"method": label, "budget": f"{budget}bits", "granularity": "layer"},
                       {"predicted": predicted})
                cells.append(value)
            rows.append((label, seconds, correlation, cells))
        feature, checked = [], []
        if "salience" in tables:
            for budget in budgets:
                for more, target, check in (["--no-check"], feature, False), ([], checked, True):
                    out = f"feature.{budget}.{check}.plan.json"
                    search("salience.sensitivity.json", out, "--budget", f"{budget}bits", *more)
                    predicted, value = measured(out)
                    record("held-out loss of the plan", value, "nats/token",
                           {"method": "salience", "budget": f"{budget}bits",
                            "granularity": "feature", "check": check}, {"predicted": predicted})
                    target.append((predicted, value))
        pairs = []
        if "salience" in tables:
            for seed in range(options.random):
                out = "random.plan.json"
                search("salience.sensitivity.json", out, "--assign", f"random:{seed}")
                pairs.append(measured(out))
                record("random plan", pairs[-1][1], "nats/token", {"seed": seed},
                       {"predicted": pairs[-1][0]})
        random_correlation = spearman(*map(list, zip(*pairs))) if len(pairs) > 2 else None
        if random_correlation is not None:
            record("rank correlation over random plans", random_correlation, "1",
                   {"plans": len(pairs), "method": "salience"})

    def figure(value, digits=4):
        return "–" if value is None else f"{value:.{digits}f}"

    shown = os.path.relpath(model, ROOT) if model.is_relative_to(ROOT) else model.name
    command = ["python3", "Scripts/sensitivity-study.py"]
    for key, value in (("--random", options.random), ("--windows", options.windows),
                       ("--budgets", options.budgets), ("--formats", options.formats),
                       ("--methods", options.methods)):
        if value != parser.get_default(key[2:]):
            command += [key, str(value)]
    lines += [
        "# Sensitivity methods compared", "", f"    {shlex.join(command)}", "",
        f"Model: `{shown}`. Formats: {options.formats.replace(',', ', ')}. Losses are KL divergences from the "
        f"float model in nats per token on {options.windows} held-out windows of 512 tokens; plans give each "
        f"operator one format and are not corrected by a check. CPU threads: {os.cpu_count()}; "
        f"{platform.machine()}.", "",
        "| method | seconds | Spearman with swap | " + " | ".join(f"{b} bits" for b in budgets) + " |",
        "|---|---|---|" + "---|" * len(budgets)]
    for label, seconds, correlation, cells in rows:
        lines.append(
            f"| `{label}`: {TITLES[label]} | {seconds:.1f} | {figure(correlation, 3)} | "
            + " | ".join(map(figure, cells)) + " |")
    if feature:
        lines += ["", "## Rows of one operator in several formats", "",
                  "The default method, `salience`, with `--granularity feature`; predicted / measured.", "",
                  "| | " + " | ".join(f"{b} bits" for b in budgets) + " |",
                  "|---|" + "---|" * len(budgets)]
        for title, cells in ("without a check", feature), ("checked and corrected", checked):
            lines.append(f"| {title} | "
                         + " | ".join(f"{figure(p)} / {figure(m)}" for p, m in cells) + " |")
    if random_correlation is not None:
        ratios = sorted(m / p for p, m in pairs if p)
        lines += ["", "## Random plans", "",
                  f"{len(pairs)} plans with random formats between two random widths: Spearman between "
                  f"predicted and measured {random_correlation:.3f}; measured ÷ predicted: median "
                  f"{ratios[len(ratios) // 2]:.2f}, from {ratios[0]:.2f} to {ratios[-1]:.2f}."]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n")
    (options.out / "README.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
