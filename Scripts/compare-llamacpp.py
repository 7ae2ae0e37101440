#!/usr/bin/env python3
"""Compares the accuracy of Bitplan's plans with llama.cpp's quantization types at equal file sizes.

    python3 -m venv VENV && VENV/bin/pip install llama-cpp-python gguf safetensors tokenizers numpy
    VENV/bin/python Scripts/compare-llamacpp.py [--plan .build/release/plan] [--out Results/peers-accuracy]

llama.cpp is the one inside the package `llama-cpp-python`: its own `llama_model_quantize` chooses the
type of every tensor and writes the GGUF file, with an importance matrix (mean squares of every
linear layer's inputs) from calibration.txt alone. The dequantized weights are read back, written as a
float checkpoint, and scored by `plan compare` on the windows that our own packed plans are scored on.
Each plan is searched so that its packed file, tokenizer and metadata included, is no larger than the
GGUF file. Writes results.json and README.md.
"""
import argparse
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

# Two BLAS threads gain little on matrices this small, and spin where others need the processor.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gguf
import llama_cpp
import numpy
import safetensors
import safetensors.numpy
import tokenizers

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "Tests/Fixtures/docs-llama"
TYPES = ["IQ2_S", "Q2_K", "IQ3_XXS", "IQ3_S", "Q3_K_S", "Q3_K_M", "Q3_K_L", "IQ4_XS", "IQ4_NL", "Q4_0",
         "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0"]
# Linear layers of a Llama block: GGUF's name, the checkpoint's name, whose input it reads.
LINEAR = [("attn_q", "self_attn.q_proj", "attention"), ("attn_k", "self_attn.k_proj", "attention"),
          ("attn_v", "self_attn.v_proj", "attention"), ("attn_output", "self_attn.o_proj", "mixed"),
          ("ffn_gate", "mlp.gate_proj", "feedForward"), ("ffn_up", "mlp.up_proj", "feedForward"),
          ("ffn_down", "mlp.down_proj", "gated")]
NORMS = [("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")]


def read_floats(path):
    """All tensors as float32; BF16 is widened by hand, which numpy does not know."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            values = (numpy.frombuffer(raw[begin:end], "<u2").astype("<u4") << 16).view("<f4")
        elif entry["dtype"] in ("F32", "F16"):
            values = numpy.frombuffer(raw[begin:end], {"F32": "<f4", "F16": "<f2"}[entry["dtype"]]).astype("<f4")
        else:
            sys.exit(f"{name} is {entry['dtype']}; this script reads F32, F16 and BF16.")
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def permuted(weights, heads):
    """Rows of a head from halves (Hugging Face) to pairs (llama.cpp's RoPE)."""
    rows, columns = weights.shape
    return weights.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def unpermuted(weights, heads):
    rows, columns = weights.shape
    return weights.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


class Model:
    """The float checkpoint, with both programs' names for its tensors."""

    def __init__(self, folder):
        self.folder = folder
        self.config = json.loads((folder / "config.json").read_text())
        self.tensors = read_floats(folder / "model.safetensors")
        self.layers = self.config["num_hidden_layers"]
        self.heads = self.config["num_attention_heads"]
        self.kv_heads = self.config["num_key_value_heads"]
        self.base = (self.config.get("rope_parameters") or self.config).get("rope_theta", 10000.0)
        self.names = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
                      "output.weight": "lm_head.weight"}
        for layer in range(self.layers):
            for short, long in [(a, b) for a, b, _ in LINEAR] + NORMS:
                self.names[f"blk.{layer}.{short}.weight"] = f"model.layers.{layer}.{long}.weight"
        self.weight_count = sum(t.size for t in self.tensors.values() if t.ndim == 2)

    def rotary_heads(self, name):
        return {"attn_q": self.heads, "attn_k": self.kv_heads}.get(name.split(".")[-2])

    def write_gguf(self, path):
        """The float model as llama.cpp's converter lays it out, tokenizer included."""
        c = self.config
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_name(self.folder.name)
        writer.add_context_length(c["max_position_embeddings"])
        writer.add_embedding_length(c["hidden_size"])
        writer.add_block_count(self.layers)
        writer.add_feed_forward_length(c["intermediate_size"])
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.kv_heads)
        writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
        writer.add_rope_freq_base(self.base)
        writer.add_rope_dimension_count(c["head_dim"])
        writer.add_vocab_size(c["vocab_size"])
        writer.add_file_type(0)
        tokenizer = json.loads((self.folder / "tokenizer.json").read_text())
        tokens = [None] * c["vocab_size"]
        for token, index in tokenizer["model"]["vocab"].items():
            tokens[index] = token
        special = {token["id"] for token in tokenizer["added_tokens"]}
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types([3 if i in special else 1 for i in range(len(tokens))])
        writer.add_token_merges(merges)
        writer.add_bos_token_id(c["bos_token_id"])
        writer.add_eos_token_id(c["eos_token_id"])
        for name, long in self.names.items():
            values, heads = self.tensors[long], self.rotary_heads(name)
            writer.add_tensor(name, numpy.ascontiguousarray(permuted(values, heads) if heads else values))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def write_float_checkpoint(self, gguf_file, folder):
        """The dequantized weights of a GGUF file as a float32 checkpoint; returns (tensor bytes, types)."""
        reader = gguf.GGUFReader(gguf_file)
        tensors, types, size = {}, {}, 0
        for tensor in reader.tensors:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            long, heads = self.names[tensor.name], self.rotary_heads(tensor.name)
            values = values.reshape(self.tensors[long].shape)
            tensors[long] = numpy.ascontiguousarray(unpermuted(values, heads) if heads else values, dtype="<f4")
            types.setdefault(tensor.tensor_type.name, []).append(tensor.name)
            size += int(tensor.n_bytes)
        if set(tensors) != set(self.names.values()):
            sys.exit(f"{gguf_file.name} lacks {sorted(set(self.names.values()) - set(tensors))}.")
        folder.mkdir(exist_ok=True)
        safetensors.numpy.save_file(tensors, folder / "model.safetensors")
        for name in ["config.json", "tokenizer.json"]:
            shutil.copy(self.folder / name, folder / name)
        return size, types

    def mean_squares(self, windows):
        """E[x²] of every linear layer's input, by GGUF name, over windows of token ids."""
        c, epsilon, size = self.config, self.config["rms_norm_eps"], self.config["head_dim"]
        sums, count = {}, 0

        def see(name, x):
            sums[name] = sums.get(name, 0) + (x.astype("f8") ** 2).sum(axis=0)

        def norm(x, name):
            return x / numpy.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * self.tensors[name]

        def rotated(x, cosine, sine):
            half = size // 2
            a, b = x[..., :half], x[..., half:]
            return numpy.concatenate([a * cosine - b * sine, b * cosine + a * sine], -1)

        for window in windows:
            length = len(window)
            angles = numpy.outer(numpy.arange(length), self.base ** (-numpy.arange(0, size, 2) / size))
            cosine, sine = (f(angles).astype("f4")[:, None, :] for f in (numpy.cos, numpy.sin))
            mask = numpy.triu(numpy.full((length, length), -numpy.inf, "f4"), 1)
            x = self.tensors["model.embed_tokens.weight"][window]
            for layer in range(self.layers):
                p = f"model.layers.{layer}."
                w = {short: self.tensors[f"{p}{long}.weight"] for short, long, _ in LINEAR}
                h = norm(x, p + "input_layernorm.weight")
                see((layer, "attention"), h)
                q = rotated((h @ w["attn_q"].T).reshape(length, self.heads, size), cosine, sine)
                k = rotated((h @ w["attn_k"].T).reshape(length, self.kv_heads, size), cosine, sine)
                v = (h @ w["attn_v"].T).reshape(length, self.kv_heads, size)
                k, v = (numpy.repeat(t, self.heads // self.kv_heads, 1).swapaxes(0, 1) for t in (k, v))
                scores = q.swapaxes(0, 1) @ k.swapaxes(1, 2) / numpy.float32(size ** 0.5) + mask
                scores = numpy.exp(scores - scores.max(-1, keepdims=True))
                mixed = (scores / scores.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(length, -1)
                see((layer, "mixed"), mixed)
                x = x + mixed @ w["attn_output"].T
                h = norm(x, p + "post_attention_layernorm.weight")
                see((layer, "feedForward"), h)
                gate = h @ w["ffn_gate"].T
                gated = gate / (1 + numpy.exp(-gate)) * (h @ w["ffn_up"].T)
                see((layer, "gated"), gated)
                x = x + gated @ w["ffn_down"].T
            see("head", norm(x, "model.norm.weight"))
            count += length
        means = {"output.weight": sums["head"] / count}
        for layer in range(self.layers):
            for short, _, source in LINEAR:
                means[f"blk.{layer}.{short}.weight"] = sums[(layer, source)] / count
        return {name: values.astype("<f4") for name, values in means.items()}


def quantize(source, target, name, means):
    """llama.cpp's own quantizer with its own choice of types."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}")
    parameters.nthread = os.cpu_count()
    entries = (llama_cpp.llama_model_imatrix_data * (len(means) + 1))()  # the last one's name is null
    for entry, (tensor, values) in zip(entries, means.items()):
        entry.name, entry.size = tensor.encode(), values.size
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    parameters.imatrix = entries
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters)) != 0:
        sys.exit(f"llama.cpp could not quantize to {name}.")


class Plan:
    """The `plan` program in a folder of its own."""

    def __init__(self, program, folder, model, extra):
        self.program, self.folder, self.model, self.extra = program, folder, model, extra
        self.environment = dict(os.environ, BITPLAN_HOME=str(folder / "home"))

    def run(self, *arguments):
        done = subprocess.run([str(self.program), *map(str, arguments)], cwd=self.folder, env=self.environment,
                              capture_output=True, text=True)
        if done.returncode not in (0, 2):
            sys.exit(f"plan {' '.join(map(str, arguments))}\n{done.stderr}")
        return done

    def compare(self, checkpoint, *more):
        done = self.run("compare", self.model, checkpoint, "--json", "--quiet", *more)
        return json.loads(done.stdout)

    def packed_below(self, limit):
        """The best plan whose packed file is at most `limit` bytes; None where there is none."""
        overhead, best = limit // 20, None
        for _ in range(5):
            found = self.run("search", self.model, "--budget", f"{(limit - overhead) / 1e3:.3f}KB",
                             "--out", "p.json", "--json", "--quiet", *self.extra)
            if found.returncode == 2:
                return best
            packed = json.loads(self.run("pack", self.model, "--plan", "p.json", "--out", "packed.safetensors",
                                         "--json", "--quiet").stdout)
            plan = json.loads((self.folder / "p.json").read_text())
            if packed["fileBytes"] <= limit and (best is None or packed["fileBytes"] > best["fileBytes"]):
                best = dict(packed, predicted=plan["predicted"])
                os.replace(self.folder / "packed.safetensors", self.folder / "best.safetensors")
            if 0 <= limit - packed["fileBytes"] < limit / 1000:
                break
            overhead = max(0, packed["fileBytes"] - packed["storedBytes"] + limit // 4000)
        return best


def cell(value, form=".4f"):
    return "–" if value is None else format(value, form)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--plan", default=ROOT / ".build/release/plan", type=pathlib.Path)
    parser.add_argument("--out", default=ROOT / "Results/peers-accuracy", type=pathlib.Path)
    parser.add_argument("--types", default=",".join(TYPES), help="llama.cpp's types, separated by commas")
    parser.add_argument("--imatrix-windows", default=64, type=int,
                        help="windows of 512 calibration tokens, spread over the text")
    parser.add_argument("--windows", default=16, type=int, help="held-out windows of 512 tokens")
    parser.add_argument("--work", type=pathlib.Path, help="folder to keep files in (default: a temporary one)")
    parser.add_argument("--sensitivity", type=pathlib.Path, help="sensitivity file to plan from (default: measured)")
    parser.add_argument("--search-options", default="", help="further options of 'plan search'")
    parser.add_argument("--without-plans", action="store_true", help="score llama.cpp's types alone")
    options = parser.parse_args()
    if not hasattr(llama_cpp, "llama_model_imatrix_data"):
        sys.exit("This llama-cpp-python has no importance matrix in its quantizer; install a newer one.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work or pathlib.Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        compare(options, folder)


def compare(options, folder):
    model = Model(MODEL)
    plan = Plan(options.plan.resolve(), folder, MODEL, options.search_options.split())
    if options.sensitivity:
        shutil.copy(options.sensitivity, folder / f"{MODEL.name}.sensitivity.json")
    log = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(log, None)

    ids = tokenizers.Tokenizer.from_file(str(MODEL / "tokenizer.json")).encode(
        (MODEL / "calibration.txt").read_text(), add_special_tokens=False).ids
    available = len(ids) // 512
    taken = min(options.imatrix_windows, available)
    starts = [i * available // taken * 512 for i in range(taken)]
    means = model.mean_squares([numpy.array(ids[start:start + 512]) for start in starts])
    source = folder / "float.gguf"
    model.write_gguf(source)
    print(f"importance matrix from {taken} windows; {model.weight_count} weights", file=sys.stderr)

    windows = ["--windows", options.windows]
    rows = []
    for name in options.types.split(","):
        begin = time.monotonic()
        row = None
        # llama-imatrix leaves the head out by default; with it is sometimes better. The better one counts.
        for head in (False, True):
            target = folder / f"{name}{'-head' if head else ''}.gguf"
            quantize(source, target, name, {k: v for k, v in means.items() if head or k != "output.weight"})
            size, types = model.write_float_checkpoint(target, folder / "dequantized")
            score = plan.compare(folder / "dequantized", *windows)
            if row is None or score["klDivergenceNatsPerToken"] < row["score"]["klDivergenceNatsPerToken"]:
                row = {"type": name, "fileBytes": target.stat().st_size, "tensorBytes": size, "score": score,
                       "headInImatrix": head, "tensorTypes": {k: len(v) for k, v in sorted(types.items())}}
            target.unlink()
        shutil.rmtree(folder / "dequantized")
        best = None if options.without_plans else plan.packed_below(row["fileBytes"])
        if best:
            row["plan"] = dict(best, score=plan.compare("best.safetensors", *windows),
                               floatActivations=plan.compare("best.safetensors", "--float-activations", *windows))
        rows.append(row)
        print(f"{name}: {row['score']['klDivergenceNatsPerToken']:.5f} in {row['fileBytes']} bytes; plan "
              f"{cell(best and row['plan']['score']['klDivergenceNatsPerToken'], '.5f')} in "
              f"{best and best['fileBytes']} ({time.monotonic() - begin:.0f} s)", file=sys.stderr)
    write(options, model, taken, sorted(rows, key=lambda row: row["fileBytes"]))


def write(options, model, taken, rows):
    package = f"llama-cpp-python {llama_cpp.__version__}"
    score = rows[0]["score"]
    conditions = {"model": "docs-llama", "evaluation": score["evaluation"], "windows": score["windowCount"],
                  "windowTokens": score["windowTokens"], "evaluationSHA256": score["evaluationSHA256"]}
    records, lines = [], [
        "# Accuracy against llama.cpp at equal file sizes", "",
        "    VENV/bin/pip install llama-cpp-python gguf safetensors tokenizers numpy",
        "    VENV/bin/python Scripts/compare-llamacpp.py", "",
        f"`docs-llama`, KL(float model ‖ quantized) in nats per token on the first {score['windowCount']} windows of "
        f"{score['windowTokens']} tokens of `{score['evaluation']}`, all scored by `plan compare`; the float model's "
        f"perplexity is {score['referencePerplexity']:.3f}. llama.cpp: {package}, its own `llama_model_quantize`, "
        f"importance matrix from {taken} windows of 512 tokens of `calibration.txt` (with or without the head's, whichever "
        "lost less). Its dequantized weights are scored with float activations; plans run as packed, with 8-bit activations, "
        "and once more with float ones. Sizes are whole files, tokenizer and metadata included; a plan's file is never "
        "larger than the GGUF file of its row. Bits are of the whole file for each weight of embedding, head and layers. "
        "\"Best type\" is the least loss of all llama.cpp types that are not larger.", "",
        "| llama.cpp type | file bytes | bits/weight | KL | perplexity | plan's file bytes | bits/weight | KL | KL, float activations "
        "| perplexity | plan ÷ type | plan ÷ best type |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|"]

    def record(metric, value, unit, more, reference=None):
        records.append({"metric": metric, "value": value, "unit": unit, "conditions": {**conditions, **more},
                        "reference": reference or {}})

    best = None
    for row in rows:
        theirs = row["score"]
        kl = theirs["klDivergenceNatsPerToken"]
        best = min(kl, best or kl)
        bits = row["fileBytes"] * 8 / model.weight_count
        more = {"program": package, "type": row["type"], "fileBytes": row["fileBytes"], "tensorBytes": row["tensorBytes"],
                "fileBitsPerWeight": bits, "headInImportanceMatrix": row["headInImatrix"], "tensorTypes": row["tensorTypes"]}
        record("KL", kl, "nats/token", more, {"standardError": theirs["klDivergenceStandardError"],
                                             "perplexity": theirs["perplexity"]})
        cells = [row["type"], f"{row['fileBytes']:,}", f"{bits:.3f}", f"{kl:.5f}", f"{theirs['perplexity']:.3f}"]
        plan = row.get("plan")
        if plan:
            ours = plan["score"]["klDivergenceNatsPerToken"]
            bits = plan["fileBytes"] * 8 / model.weight_count
            record("KL", ours, "nats/token",
                   {"program": "plan", "fileBytes": plan["fileBytes"], "storedBytes": plan["storedBytes"],
                    "fileBitsPerWeight": bits, "atMostAsLargeAs": row["type"]},
                   {"standardError": plan["score"]["klDivergenceStandardError"], "perplexity": plan["score"]["perplexity"],
                    "predicted": plan["predicted"].get("klDivergenceNatsPerToken"),
                    "floatActivations": plan["floatActivations"]["klDivergenceNatsPerToken"],
                    "ratioToType": ours / kl, "ratioToBestTypeNotLarger": ours / best})
            cells += [f"{plan['fileBytes']:,}", f"{bits:.3f}", f"**{ours:.5f}**",
                      f"{plan['floatActivations']['klDivergenceNatsPerToken']:.5f}", f"{plan['score']['perplexity']:.3f}",
                      f"{ours / kl:.2f}", f"{ours / best:.2f}"]
        else:
            cells += ["none that small"] + [""] * 6
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "The types that llama.cpp gave the tensors of each file are in `results.json`."]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(
        json.dumps(records, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    (options.out / "README.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
