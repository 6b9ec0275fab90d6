#!/usr/bin/env python3
"""The three networks of the demonstration, written again in numpy and double precision, from their papers' equations.

    pip install numpy==2.4.6 tokenizers==0.23.3
    python3 reference.py MODELS > golden.json

MODELS is the folder that scripts/fetch-models.py fills. Nothing here is shared with the Rust code: rotary positions are applied to
halves of a head after undoing GGUF's reordering (Rust: to neighbouring pairs), BERT runs one text at a time without padding,
convolutions keep the channels first and apply batch normalisation after the fact, the pickle is read by Python's own reader with all
imports replaced.
"""

import json
import pathlib
import pickle
import struct
import sys

import numpy as np
import tokenizers
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

TEXTS = [
    "A spiral galaxy seen from above.",
    "The Crab Nebula is what is left of a star that exploded in 1054.",
    "Überraschung: 3.14 — naïve café, 漢字!",
    "Workers lay the last rail of the line while photographers, politicians, and some of the investors look on from the platform.",
    "dog",
]
PROMPT = ("You are a helpful assistant.", "List the planets of the solar system in order.")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def safetensors(path):
    data = path.read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n])
    out = {}
    for name, info in header.items():
        if name != "__metadata__" and info["dtype"] == "F32":
            a, b = info["data_offsets"]
            out[name] = np.frombuffer(data[8 + n + a : 8 + n + b], "<f4").reshape(info["shape"]).astype(np.float64)
    return out


def erf(x):
    """Series near 0, continued fraction beyond; both to double precision."""
    out = np.empty_like(x)
    a = np.abs(x)
    near = a < 2.5
    z = a[near]
    term, total = z.copy(), z.copy()
    for k in range(1, 80):
        term = term * -(z * z) / k
        total = total + term / (2 * k + 1)
    out[near] = 2 / np.sqrt(np.pi) * total
    z = a[~near]
    f = z.copy()
    for k in range(120, 0, -1):
        f = z + (k / 2) / f
    out[~near] = 1 - np.exp(-z * z) / (f * np.sqrt(np.pi))
    return np.sign(x) * out


def minilm(folder):
    w = safetensors(folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()

    def norm(x, name):
        d = x - x.mean(-1, keepdims=True)
        return d / np.sqrt((d * d).mean(-1, keepdims=True) + 1e-12) * w[name + ".weight"] + w[name + ".bias"]

    def linear(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def encode(text):
        ids = tokenizer.encode(text).ids
        e = "embeddings."
        x = w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][: len(ids)] + w[e + "token_type_embeddings.weight"][0]
        x = norm(x, e + "LayerNorm")
        for i in range(6):
            p = f"encoder.layer.{i}."
            q, k, v = (linear(x, p + "attention.self." + n).reshape(-1, 12, 32) for n in ("query", "key", "value"))
            a = softmax(np.einsum("qhd,khd->hqk", q, k) / np.sqrt(32))
            x = norm(x + linear(np.einsum("hqk,khd->qhd", a, v).reshape(-1, 384), p + "attention.output.dense"), p + "attention.output.LayerNorm")
            y = linear(x, p + "intermediate.dense")
            y = y * 0.5 * (1 + erf(y / np.sqrt(2)))
            x = norm(x + linear(y, p + "output.dense"), p + "output.LayerNorm")
        m = x.mean(0)
        return m / np.linalg.norm(m)

    return encode


def gguf(path):
    data = path.read_bytes()
    at = 0

    def take(form):
        nonlocal at
        value = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return value if len(value) > 1 else value[0]

    def string():
        nonlocal at
        n = take("Q")
        at += n
        return data[at - n : at].decode()

    plain = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def value(kind):
        if kind == 8:
            return string()
        if kind == 9:
            inner, n = take("IQ")
            return [value(inner) for _ in range(n)]
        return take(plain[kind])

    _, _, tensors, settings = take("IIQQ")
    meta = {}
    for _ in range(settings):
        key = string()
        meta[key] = value(take("I"))
    infos = []
    for _ in range(tensors):
        name, n = string(), take("I")
        shape = [take("Q") for _ in range(n)][::-1]
        infos.append((name, shape, take("I"), take("Q")))
    start = (at + 31) // 32 * 32
    out = {}
    for name, shape, kind, offset in infos:
        n, raw = int(np.prod(shape)), data[start + offset :]
        if kind == 0:
            x = np.frombuffer(raw[: 4 * n], "<f4")
        elif kind == 3:
            block = np.frombuffer(raw[: n // 32 * 20], np.dtype([("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)]))
            q = np.concatenate([block["q"] & 15, block["q"] >> 4], 1)
            x = q * block["d"].astype(np.float64)[:, None] + block["m"].astype(np.float64)[:, None]
        elif kind == 8:
            block = np.frombuffer(raw[: n // 32 * 34], np.dtype([("d", "<f2"), ("q", "i1", 32)]))
            x = block["q"] * block["d"].astype(np.float64)[:, None]
        else:
            raise ValueError(kind)
        out[name] = x.astype(np.float64).reshape(shape)
    return meta, out


def smollm(path):
    meta, w = gguf(path)
    heads, kv, head = 9, 3, 64

    def unpermute(x, n):
        return x.reshape(n, head // 2, 2, -1).swapaxes(1, 2).reshape(n * head, -1)

    for i in range(30):
        w[f"blk.{i}.attn_q.weight"] = unpermute(w[f"blk.{i}.attn_q.weight"], heads)
        w[f"blk.{i}.attn_k.weight"] = unpermute(w[f"blk.{i}.attn_k.weight"], kv)
    tokens = meta["tokenizer.ggml.tokens"]
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t, k in zip(tokens, meta["tokenizer.ggml.token_type"]) if k == 3])

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w[name]

    def rope(x):
        angle = np.arange(x.shape[0])[:, None] * 100000.0 ** (-np.arange(head // 2) / (head // 2))
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        a, b = x[..., : head // 2], x[..., head // 2 :]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def logits(ids):
        x = w["token_embd.weight"][ids]
        n = len(ids)
        mask = np.where(np.tril(np.ones((n, n), bool)), 0.0, -np.inf)
        for i in range(30):
            p = f"blk.{i}."
            y = norm(x, p + "attn_norm.weight")
            q, k, v = (y @ w[f"{p}attn_{s}.weight"].T for s in "qkv")
            q, k = rope(q.reshape(n, heads, head)), rope(k.reshape(n, kv, head))
            k, v = (np.repeat(t.reshape(n, kv, head), heads // kv, 1) for t in (k, v))
            a = softmax(np.einsum("qhd,khd->hqk", q, k) / 8 + mask)
            x = x + np.einsum("hqk,khd->qhd", a, v).reshape(n, -1) @ w[p + "attn_output.weight"].T
            y = norm(x, p + "ffn_norm.weight")
            g = y @ w[p + "ffn_gate.weight"].T
            x = x + (g / (1 + np.exp(-g)) * (y @ w[p + "ffn_up.weight"].T)) @ w[p + "ffn_down.weight"].T
        return norm(x, "output_norm.weight") @ w["token_embd.weight"].T

    def score(text):
        ids = tokenizer.encode(text).ids
        if len(ids) < 2:
            return {"ids": ids, "surprisals": []}
        p = softmax(logits(ids[:-1]))
        return {"ids": ids, "surprisals": [-float(np.log(p[i, t])) for i, t in enumerate(ids[1:])]}

    def answer(system, user, n):
        ids = tokenizer.encode(f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n").ids
        out, gap = [], np.inf
        for _ in range(n):
            row = logits(ids)[-1]
            best = int(row.argmax())
            gap = min(gap, float(np.diff(np.sort(row)[-2:])[0]))
            if best == 2:
                break
            ids.append(best)
            out.append(best)
        return {"tokens": len(out), "text": "".join(tokens[t] for t in out).replace("Ġ", " ").strip(), "smallest_gap": gap}

    return score, answer


class State(dict):
    """A dictionary that takes attributes."""


class Inert(pickle.Unpickler):
    def find_class(self, module, name):
        return {"OrderedDict": State, "_rebuild_tensor_v2": lambda *a: a}.get(name, name)

    def persistent_load(self, pid):
        return pid


def pth(path):
    with open(path, "rb") as file:
        _, _, _, state, keys = (Inert(file).load() for _ in range(5))
        kinds = {v[0][2]: v[0][1] for v in state.values()}
        storages = {}
        for key in keys:
            (n,) = struct.unpack("<q", file.read(8))
            kind = "<f4" if kinds[key] == "FloatStorage" else "<i8"
            storages[key] = np.frombuffer(file.read(n * np.dtype(kind).itemsize), kind)
    strided = np.lib.stride_tricks.as_strided
    return {
        name: strided(storages[v[0][2]][v[1] :], v[2], [s * storages[v[0][2]].itemsize for s in v[3]]).astype(np.float64)
        for name, v in state.items()
    }


def pixel(channel, row, column):
    """An 8-bit test picture that is the same in every language."""
    return (row * (3 + channel) + column * (5 - channel) + (row * column) // 64 * (channel + 1)) % 256


def picture():
    return np.array([[[pixel(c, r, s) for s in range(224)] for r in range(224)] for c in range(3)], np.float64)


def efficientnet(path):
    w = pth(path)

    def norm(x, name):
        s = w[name + ".weight"] / np.sqrt(w[name + ".running_var"] + 1e-3)
        return x * s[:, None, None] + (w[name + ".bias"] - w[name + ".running_mean"] * s)[:, None, None]

    def conv(x, name, stride=1):
        k = w[name + ".weight"]
        size, n = k.shape[2], x.shape[1]
        out = -(-n // stride)
        pad = max((out - 1) * stride + size - n, 0)
        x = np.pad(x, ((0, 0), (pad // 2, pad - pad // 2), (pad // 2, pad - pad // 2)))
        y = 0
        for i in range(size):
            for j in range(size):
                part = x[:, i : i + (out - 1) * stride + 1 : stride, j : j + (out - 1) * stride + 1 : stride]
                depthwise = k.shape[1] == 1 and k.shape[0] == x.shape[0]
                y = y + (part * k[:, 0, i, j][:, None, None] if depthwise else np.tensordot(k[:, :, i, j], part, 1))
        return y

    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]

    def classify(x):
        x = np.clip(norm(conv((x - 127) / 128, "_conv_stem", 2), "_bn0"), 0, 6)
        for i, stride in enumerate(strides):
            p = f"_blocks.{i}."
            y = np.clip(norm(conv(x, p + "_expand_conv"), p + "_bn0"), 0, 6) if i else x
            y = np.clip(norm(conv(y, p + "_depthwise_conv", stride), p + "_bn1"), 0, 6)
            y = norm(conv(y, p + "_project_conv"), p + "_bn2")
            x = x + y if y.shape == x.shape else y
        f = np.clip(norm(conv(x, "_conv_head"), "_bn1"), 0, 6).mean((1, 2))
        p = softmax(w["_fc.weight"] @ f + w["_fc.bias"])
        return f / np.linalg.norm(f), p

    return classify


def rounded(x, digits):
    if isinstance(x, float):
        return float(f"{x:.{digits}g}")
    if isinstance(x, dict):
        return {k: rounded(v, digits) for k, v in x.items()}
    return [rounded(v, digits) for v in x] if isinstance(x, list) else x


def main():
    folder = pathlib.Path(sys.argv[1])
    encode = minilm(folder / "all-minilm-l6-v2")
    score, answer = smollm(next((folder / "smollm2-135m-instruct").glob("*.gguf")))
    features, p = efficientnet(next((folder / "efficientnet-lite0").glob("*.pth")))(picture())
    golden = {
        "tool": f"reference.py, Python {sys.version.split()[0]}, numpy {np.__version__}, tokenizers {tokenizers.__version__}",
        "texts": TEXTS,
        "minilm": [encode(text).tolist() for text in TEXTS],
        "smollm": [score(text) for text in TEXTS],
        "prompt": PROMPT,
        "answer": answer(*PROMPT, 16),
        "efficientnet": {"features": features.tolist(), "top": [[int(i), float(p[i])] for i in np.argsort(-p)[:5]]},
    }
    json.dump(rounded(golden, 8), sys.stdout, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
