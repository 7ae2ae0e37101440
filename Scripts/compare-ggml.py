#!/usr/bin/env python3
"""Times ggml's mul_mat and Bitplan's kernels in turns, on the same shapes and equally cold weights.

    python3 -m venv VENV && VENV/bin/pip install llama-cpp-python gguf numpy
    swift build -c release --package-path Benchmarks
    VENV/bin/python Scripts/compare-ggml.py [--threads 1,2] [--rounds 3] [--out Results/peers-speed]

ggml is the one inside the package `llama-cpp-python`, called through its shared libraries, or with
`--libraries FOLDER --label NAME` another build of it, such as ik_llama.cpp's (whose weights are also
repacked by `iqk_repack_tensor`). Its weights
lie where llama.cpp puts them: in plain memory, and in every extra buffer type of its CPU backend that
takes the type and shape (CPU_REPACK, AMX; a type in which ggml crashes is left out and named: gcc 12
compiles ggml's AMX code wrongly, so build the package with `CC=clang CXX=clang++`). Both programs rotate through the same number of bytes of
distinct weights, both include the quantization of activations, and every round times each of them
once. Writes results.json and README.md. Run it while nothing else keeps the machine busy.
"""
import argparse
import ctypes
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import gguf
import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCH = ROOT / "Benchmarks/.build/release/kernel-bench"
# ggml's types and our formats of the nearest stored bits per weight.
PAIRS = [("Q8_0", ["int8_g32", "int8_g128"]), ("Q6_K", ["int6_g128"]), ("Q5_K", ["int5_g128"]),
         ("Q4_0", ["int4_g32", "int4_g128"]), ("Q4_K", ["int4_g32", "int4_g128"]),
         ("IQ4_NL", ["nl4_g32", "nl4_g128"]), ("Q3_K", ["int3_g128"]), ("Q2_K", ["int2_g128"])]
MEMORY = 768 << 20  # bytes that kernel-bench rotates through
SAMPLE_BYTES = 16 << 20  # ggml's graphs read about this much before the clock is looked at
pointer, size, integer = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


class InitParameters(ctypes.Structure):
    _fields_ = [("mem_size", size), ("mem_buffer", pointer), ("no_alloc", ctypes.c_bool)]


class TensorHead(ctypes.Structure):
    """The first members of ggml_tensor, for the one that ggml has no function to set."""
    _fields_ = [("type", integer), ("buffer", pointer)]


class GGML:
    """The functions of ggml that are used here."""
    FUNCTIONS = {
        "ggml_init": (pointer, [InitParameters]), "ggml_free": (None, [pointer]),
        "ggml_new_tensor_2d": (pointer, [pointer, integer, ctypes.c_int64, ctypes.c_int64]),
        "ggml_mul_mat": (pointer, [pointer, pointer, pointer]), "ggml_nbytes": (size, [pointer]),
        "ggml_new_graph_custom": (pointer, [pointer, size, ctypes.c_bool]),
        "ggml_build_forward_expand": (None, [pointer, pointer]),
        "ggml_tensor_overhead": (size, []), "ggml_graph_overhead_custom": (size, [size, ctypes.c_bool]),
        # ik_llama.cpp's takes one pointer more, which the others do not look at.
        "ggml_quantize_chunk": (size, [integer, pointer, pointer] + [ctypes.c_int64] * 3 + [pointer] * 2),
        "ggml_backend_alloc_ctx_tensors_from_buft": (pointer, [pointer, pointer]),
        "ggml_backend_buffer_free": (None, [pointer]),
        "ggml_backend_buffer_set_usage": (None, [pointer, integer]),
        "ggml_backend_buft_name": (ctypes.c_char_p, [pointer]),
        "ggml_backend_buft_alloc_buffer": (pointer, [pointer, size]),
        "ggml_log_set": (None, [pointer, pointer]), "ggml_get_data": (pointer, [pointer]),
        "ggml_backend_tensor_alloc": (integer, [pointer, pointer, pointer]),
        "ggml_backend_tensor_set": (None, [pointer, pointer, size, size]),
        "ggml_backend_tensor_get": (None, [pointer, pointer, size, size]),
        "ggml_backend_graph_compute": (integer, [pointer, pointer]),
        "ggml_backend_dev_supports_op": (ctypes.c_bool, [pointer, pointer]),
        "ggml_backend_reg_dev_get": (pointer, [pointer, size]),
        "ggml_backend_reg_get_proc_address": (pointer, [pointer, ctypes.c_char_p]),
        "ggml_backend_cpu_init": (pointer, []), "ggml_backend_cpu_reg": (pointer, []),
        "ggml_backend_cpu_buffer_type": (pointer, []),
        "ggml_backend_cpu_set_n_threads": (None, [pointer, integer]),
        "iqk_repack_tensor": (None, [pointer]),
    }
    WEIGHTS = 1  # GGML_BACKEND_BUFFER_USAGE_WEIGHTS
    # ik_llama.cpp branched off before the functions that these ask with.
    OPTIONAL = {"ggml_backend_dev_supports_op", "ggml_backend_reg_dev_get", "ggml_backend_reg_get_proc_address",
                "ggml_backend_cpu_reg", "ggml_log_set", "iqk_repack_tensor"}

    def __init__(self, folder=None):
        if not folder:
            import llama_cpp
            folder = pathlib.Path(llama_cpp.__file__).parent / "lib"
        names = ["libggml-base.so", "libggml-cpu.so", "libggml.so"]
        libraries = [ctypes.CDLL(str(folder / name)) for name in names if (folder / name).exists()]
        for name, (result, arguments) in self.FUNCTIONS.items():
            function = next((getattr(library, name) for library in libraries if hasattr(library, name)), None)
            if function:
                function.restype, function.argtypes = result, arguments
            elif name not in self.OPTIONAL:
                sys.exit(f"The libraries in {folder} lack {name}.")
            setattr(self, name.removeprefix("ggml_"), function)
        self.silence = ctypes.CFUNCTYPE(None, integer, ctypes.c_char_p, pointer)(lambda level, text, data: None)
        if self.log_set:
            self.log_set(self.silence, None)
        self.cpu = self.backend_cpu_init()
        self.buffer_types = {"plain": self.backend_cpu_buffer_type()}
        if not self.backend_cpu_reg:
            return
        registry = self.backend_cpu_reg()
        self.device = self.backend_reg_dev_get(registry, 0)
        address = self.backend_reg_get_proc_address(registry, b"ggml_backend_dev_get_extra_bufts")
        extra = ctypes.CFUNCTYPE(ctypes.POINTER(pointer), pointer)(address)(self.device) if address else []
        index = 0
        while extra and extra[index]:
            self.buffer_types[self.backend_buft_name(extra[index]).decode()] = extra[index]
            index += 1

    def context(self, tensors, graphs=0, graph_nodes=0):
        need = (tensors + 8) * self.tensor_overhead()
        if graphs:
            need += graphs * self.graph_overhead_custom(graph_nodes, False)
        return self.init(InitParameters(need, None, True))

    def takes(self, buffer_type, kind, rows, columns):
        """Whether llama.cpp would put such a weight there: it asks the same way."""
        context = self.context(3)
        weight = self.new_tensor_2d(context, kind, columns, rows)
        product = self.mul_mat(context, weight, self.new_tensor_2d(context, 0, columns, 512))
        buffer = self.backend_buft_alloc_buffer(buffer_type, 0)
        TensorHead.from_address(weight).buffer = buffer
        answer = self.backend_dev_supports_op(self.device, product)
        self.backend_buffer_free(buffer)
        self.free(context)
        return answer


class Weights:
    """Copies of one quantized matrix in one buffer type."""

    def __init__(self, ggml, buffer_type, kind, rows, columns, packed, copies, repacked=False):
        self.ggml, self.rows, self.columns, self.bytes = ggml, rows, columns, packed.nbytes
        self.context = ggml.context(copies)
        self.tensors = [ggml.new_tensor_2d(self.context, kind, columns, rows) for _ in range(copies)]
        self.buffer = ggml.backend_alloc_ctx_tensors_from_buft(self.context, buffer_type)
        if not self.buffer:
            sys.exit(f"ggml could not allocate {copies} × {packed.nbytes} bytes.")
        ggml.backend_buffer_set_usage(self.buffer, GGML.WEIGHTS)
        for tensor in self.tensors:
            ggml.backend_tensor_set(tensor, packed.ctypes.data, 0, packed.nbytes)
            if repacked:
                ggml.iqk_repack_tensor(tensor)

    def prepared(self, activations):
        return Product(self, activations)

    def free(self):
        self.ggml.backend_buffer_free(self.buffer)
        self.ggml.free(self.context)


class Product:
    """Graphs that multiply all copies by the same activations, a few copies a graph."""

    def __init__(self, weights, activations):
        ggml, self.weights = weights.ggml, weights
        tokens = activations.shape[0]
        chunk = max(1, min(len(weights.tensors), SAMPLE_BYTES // weights.bytes)) if tokens <= 16 else 1
        self.context = ggml.context(1 + chunk)
        x = ggml.new_tensor_2d(self.context, 0, weights.columns, tokens)
        self.y = [ggml.new_tensor_2d(self.context, 0, weights.rows, tokens) for _ in range(chunk)]
        self.buffer = ggml.backend_alloc_ctx_tensors_from_buft(self.context, ggml.buffer_types["plain"])
        ggml.backend_tensor_set(x, activations.ctypes.data, 0, activations.nbytes)
        self.graphs = []
        # One context for all graphs: older versions of ggml, and ik_llama.cpp's, have 64 in all.
        begins, nodes = range(0, len(weights.tensors) - chunk + 1, chunk), 2 * chunk + 8
        context = ggml.context(chunk * len(begins), len(begins), nodes)
        self.contexts = [context]
        for begin in begins:
            graph = ggml.new_graph_custom(context, nodes, False)
            for tensor, y in zip(weights.tensors[begin:begin + chunk], self.y):
                product = ggml.mul_mat(context, tensor, x)
                ggml.backend_tensor_alloc(self.buffer, product, ggml.get_data(y))
                ggml.build_forward_expand(graph, product)
            self.graphs.append((graph, chunk))
        self.next = 0

    def seconds(self, count):
        """Seconds a multiplication, for `count` graphs one after the other."""
        result = []
        for _ in range(count):
            graph, chunk = self.graphs[self.next]
            self.next = (self.next + 1) % len(self.graphs)
            begin = time.perf_counter()
            if self.weights.ggml.backend_graph_compute(self.weights.ggml.cpu, graph) != 0:
                sys.exit("ggml refused to multiply.")
            result.append((time.perf_counter() - begin) / chunk)
        return result

    def first_output(self, tokens):
        values = numpy.empty((tokens, self.weights.rows), "<f4")
        self.weights.ggml.backend_tensor_get(self.y[0], values.ctypes.data, 0, values.nbytes)
        return values

    def free(self):
        self.weights.ggml.backend_buffer_free(self.buffer)
        for context in self.contexts + [self.context]:
            self.weights.ggml.free(context)


def quantized(ggml, kind, rows, columns):
    """Random weights in ggml's type: some rows quantized, the others repeat them."""
    distinct = min(rows, 64)
    floats = numpy.random.default_rng(1).normal(size=(distinct, columns)).astype("<f4")
    block, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
    packed = numpy.empty((distinct, columns // block * block_bytes), "u1")
    ggml.quantize_chunk(kind, floats.ctypes.data, packed.ctypes.data, 0, distinct, columns, None, None)
    return numpy.ascontiguousarray(numpy.tile(packed, (rows // distinct, 1)))


def check(product, packed, kind, activations):
    """The product must be that of the dequantized weights up to ggml's 8-bit activations."""
    tokens, rows = activations.shape[0], min(64, packed.shape[0])
    expected = activations @ gguf.dequantize(packed[:rows], gguf.GGMLQuantizationType(kind)).T
    error = numpy.abs(product.first_output(tokens)[:, :rows] - expected).max() / numpy.abs(expected).max()
    # 8-bit codes err by at most 1/254 of a block's largest activation, far less on average; a wrong
    # layout errs by about 1.
    if not error < 0.03:
        sys.exit(f"ggml's product is wrong by {error:.3f}: this script misreads its buffers.")


def probe(name):
    """Multiplies in one buffer type and checks the product; run in a process of its own, as it may crash."""
    ggml = GGML()
    kind = int(gguf.GGMLQuantizationType.Q4_0)
    packed = quantized(ggml, kind, 1024, 1024)
    if not ggml.takes(ggml.buffer_types[name], kind, 1024, 1024):
        return
    weights = Weights(ggml, ggml.buffer_types[name], kind, 1024, 1024, packed, 1)
    x = numpy.random.default_rng(2).normal(size=(64, 1024)).astype("<f4")
    product = weights.prepared(x)
    product.seconds(1)
    check(product, packed, kind, x)


class Kernels:
    """kernel-bench, waiting for requests."""

    def __init__(self, repeats):
        self.process = subprocess.Popen([str(BENCH), "--mode", "requests", "--repeats", str(repeats)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def time(self, name, shape, tokens, threads, instruction_set):
        self.process.stdin.write(f"{name} {shape[0]}x{shape[1]} {tokens} {threads} {instruction_set}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"kernel-bench does not know {name} on {instruction_set}.")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=ROOT / "Results/peers-speed", type=pathlib.Path)
    parser.add_argument("--threads", default=f"1,{os.cpu_count()}")
    parser.add_argument("--shapes", default="4096x4096,14336x4096")
    parser.add_argument("--tokens", default="1,8,512")
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--types", default="", help="ggml's types, separated by commas (default: all pairs)")
    parser.add_argument("--instruction-sets", default="best", help="ours, separated by commas: best, avx512vnni, …")
    parser.add_argument("--libraries", type=pathlib.Path, help="folder of another build of ggml")
    parser.add_argument("--label", help="what to call that build")
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    parser.add_argument("--memory", default=MEMORY >> 20, type=int, help="MiB of ggml's weights to rotate through")
    options = parser.parse_args()
    if options.probe:
        return probe(options.probe)
    if not BENCH.exists():
        sys.exit("kernel-bench is not built: swift build -c release --package-path Benchmarks")
    numbers = lambda text: [int(part) for part in text.split(",")]
    shapes = [tuple(int(part) for part in shape.split("x")) for shape in options.shapes.split(",")]
    wanted = [name.upper() for name in options.types.split(",") if name]
    unknown = set(wanted) - {name for name, _ in PAIRS}
    if unknown:
        sys.exit(f"There is no pair for {', '.join(sorted(unknown))}. Choose of: {', '.join(n for n, _ in PAIRS)}.")
    pairs = [pair for pair in PAIRS if not wanted or pair[0] in wanted]
    ggml = GGML(options.libraries)
    if options.libraries:
        options.package = options.label or "another build of ggml"
    else:
        import llama_cpp
        options.package = f"llama-cpp-python {llama_cpp.__version__}"
    options.crashing = [
        name for name in ggml.buffer_types
        if not options.libraries and subprocess.run([sys.executable, __file__, "--probe", name], capture_output=True).returncode != 0]
    for name in options.crashing:
        del ggml.buffer_types[name]
        print(f"ggml crashes in {name}, as this package was compiled: left out", file=sys.stderr)
    kernels = Kernels(repeats=3)
    records, begin = [], time.monotonic()
    for shape in shapes:
        for name, formats in pairs:
            records += measure(ggml, kernels, options, shape, name, formats, numbers(options.threads), numbers(options.tokens))
            print(f"{name} {shape[0]}×{shape[1]}: {time.monotonic() - begin:.0f} s so far", file=sys.stderr)
    kernels.close()
    write(options, records, time.monotonic() - begin)


def measure(ggml, kernels, options, shape, name, formats, threads, tokens):
    """All token counts and thread counts of one type on one shape, in rounds."""
    rows, columns = shape
    kind = int(gguf.GGMLQuantizationType[name])
    packed = quantized(ggml, kind, rows, columns)
    copies = max(1, (options.memory << 20) // packed.nbytes)
    places = {place: Weights(ggml, buffer_type, kind, rows, columns, packed, copies)
              for place, buffer_type in ggml.buffer_types.items()
              if place == "plain" or ggml.takes(buffer_type, kind, rows, columns)}
    if ggml.iqk_repack_tensor:
        places["repacked"] = Weights(ggml, ggml.buffer_types["plain"], kind, rows, columns, packed, copies, True)
    records = []
    for count in threads:
        ggml.backend_cpu_set_n_threads(ggml.cpu, count)
        for batch in tokens:
            x = numpy.random.default_rng(2).normal(size=(batch, columns)).astype("<f4")
            products = {place: weights.prepared(x) for place, weights in places.items()}
            for product in products.values():
                product.seconds(1)
                check(product, packed, kind, x)
            theirs = {place: [] for place in places}
            ours, answers = {}, {}
            for _ in range(options.rounds):
                for place, product in products.items():
                    time.sleep(0.02)
                    theirs[place].append(statistics.median(product.seconds(1 if batch > 16 else len(product.graphs))))
                for format_name in formats:
                    for instruction_set in options.instruction_sets.split(","):
                        time.sleep(0.02)
                        key = (format_name, instruction_set)
                        answers[key] = kernels.time(format_name, shape, batch, count, instruction_set)
                        ours.setdefault(key, []).append(statistics.median(answers[key]["seconds"]))
            for product in products.values():
                product.free()
            place = min(theirs, key=lambda key: statistics.median(theirs[key]))
            seconds = statistics.median(theirs[place])
            for (format_name, instruction_set), rounds in ours.items():
                mine, answer = statistics.median(rounds), answers[(format_name, instruction_set)]
                records.append({
                    "metric": "speedup", "value": seconds / mine, "unit": "1",
                    "conditions": {
                        "shape": f"{rows}x{columns}", "tokens": batch, "threads": count, "type": name, "format": format_name,
                        "instructionSet": answer["instructionSet"], "kernelBuild": answer["kernelBuild"],
                        "ggmlBitsPerWeight": packed.nbytes * 8 / (rows * columns),
                        "bitsPerWeight": answer["storedBytes"] * 8 / (rows * columns), "rounds": options.rounds,
                        "coldWeightBytes": copies * packed.nbytes, "ggmlBuffer": place, "cpuModel": cpu_model(),
                        "package": options.package},
                    "reference": {
                        "seconds": mine, "ggmlSeconds": seconds, "roundSeconds": rounds,
                        "ggmlRoundSeconds": theirs, "bytesPerSecond": answer["storedBytes"] / mine,
                        "ggmlBytesPerSecond": packed.nbytes / seconds,
                        "multiplyAddsPerSecond": rows * columns * batch / mine,
                        "ggmlMultiplyAddsPerSecond": rows * columns * batch / seconds}})
    for weights in places.values():
        weights.free()
    return records


def write(options, records, seconds):
    built = " (`--libraries FOLDER --label NAME`)" if options.libraries else ""
    lines = [
        f"# Kernel speed against {options.label or 'llama.cpp'}'s ggml, in turns", "",
        "    VENV/bin/pip install llama-cpp-python gguf numpy",
        "    swift build -c release --package-path Benchmarks",
        "    VENV/bin/python Scripts/compare-ggml.py", "",
        f"CPU: {records[0]['conditions']['cpuModel']}; {records[0]['conditions']['package']}{built}. ggml's weights lie in the "
        "buffer type in which it was fastest (\"buffer\"), of plain memory, CPU_REPACK and AMX. Both programs take turns in "
        f"one run, {options.rounds} rounds, medians; activation quantization is included on both sides. Every multiplication "
        f"of up to 16 tokens reads weights that it has not read for {options.memory} MiB (ours: {MEMORY >> 20} MiB). The run "
        f"took {seconds / 60:.0f} minutes."]
    if options.crashing:
        lines += ["", f"Left out, as ggml crashed in it when compiled as this package was: {', '.join(options.crashing)}."]
    keys = sorted({(r["conditions"]["threads"], r["conditions"]["shape"]) for r in records}, reverse=True)
    for threads, shape in keys:
        lines += ["", f"## {shape.replace('x', '×')}, {threads} thread{'s' if threads > 1 else ''}", "",
                  "| ggml type (bits) | our format (bits) | tokens | kernels | buffer | ggml ms | ours ms | ggml GB/s or GMAC/s "
                  "| ours | speedup |", "|---|---|---|---|---|---|---|---|---|---|"]
        for r in records:
            c, ref = r["conditions"], r["reference"]
            if (c["threads"], c["shape"]) != (threads, shape):
                continue
            key, unit = ("ytesPerSecond", "GB/s") if c["tokens"] == 1 else ("ultiplyAddsPerSecond", "GMAC/s")
            ours = ref[("b" if key[0] == "y" else "m") + key]
            theirs = ref["ggml" + ("B" if key[0] == "y" else "M") + key]
            lines.append(
                f"| {c['type']} ({c['ggmlBitsPerWeight']:.2f}) | {c['format']} ({c['bitsPerWeight']:.2f}) | {c['tokens']} "
                f"| {c['instructionSet']} | {c['ggmlBuffer']} | {ref['ggmlSeconds'] * 1e3:.3f} | {ref['seconds'] * 1e3:.3f} "
                f"| {theirs / 1e9:.1f} {unit} | {ours / 1e9:.1f} {unit} | **{r['value']:.2f}** |")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(
        json.dumps(records, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    (options.out / "README.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
