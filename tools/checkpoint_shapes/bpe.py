"""A byte-level BPE of a given size whose merges are letters in the order of their frequency in English.

It is no good tokenizer, but it cuts English into pieces of two to four letters, decodes every id, and needs no corpus.
"""
from itertools import product

LETTERS = "etaoinshrdlcumwfgypbvkjxqz"
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SPACE = "Ġ"  # the space in the byte alphabet


def byte_alphabet():
    """The 256 characters that stand for bytes in byte-level BPE, in the order of GPT-2's vocabulary."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(b) for b in shown] + [chr(256 + i) for i in range(256 - len(shown))]


def by_frequency(*parts):
    """Pairs of the product of two lists, the most frequent first (both lists start with their most frequent)."""
    first, second = parts
    order = sorted(product(range(len(first)), range(len(second))), key=lambda ij: (ij[0] + ij[1], ij))
    return [(first[i], second[j]) for i, j in order]


def merges():
    """Endless enough for any vocabulary: about 475 000 pairs, each of parts that stand before it."""
    lower, upper = list(LETTERS), list(LETTERS.upper())
    yield from ((SPACE, c) for c in lower + upper)
    pairs = by_frequency(lower, lower)
    yield from pairs
    yield from by_frequency(upper, lower)
    pairs = [a + b for a, b in pairs]
    yield from by_frequency([SPACE + c for c in lower], pairs)
    yield from by_frequency(pairs, pairs)


def sentencepiece(size, head, added):
    """tokenizer.json in the dress of Gemma: blanks are U+2581, unknown characters fall back to bytes.

    `head`: the first entries in order, with (text, special) of those that are added tokens too, or text alone. `added`:
    id to (text, special) behind the `size` plain entries or among them.
    """
    blank, vocab, tokens = "\u2581", {}, dict(added)
    for entry in head:
        text = entry if isinstance(entry, str) else entry[0]
        if not isinstance(entry, str):
            tokens[len(vocab)] = entry
        vocab[text] = len(vocab)
    taken = {i for i in added if i < size}
    free = (i for i in range(len(vocab), size) if i not in taken)
    for i in taken:
        vocab[added[i][0]] = i
    for text in (blank, *(chr(c) for c in range(33, 127))):
        if text not in vocab:
            vocab[text] = next(free)
    rules = []
    for a, b in merges():
        a = a.replace(SPACE, blank)
        if a + b in vocab:
            continue
        i = next(free, None)
        if i is None:
            break
        vocab[a + b] = i
        rules.append([a, b])
    bos = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": special} for i, (text, special) in sorted(tokens.items())
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": blank},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": {
            "type": "TemplateProcessing", "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, bos, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}},
        },
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": blank}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])), "merges": rules},
    }


def tokenizer(size, added):
    """tokenizer.json with `size` plain entries and `added` special tokens (id to text) behind or among them."""
    vocab = {token: i for i, token in enumerate((*SPECIALS, *byte_alphabet()))}
    if size < len(vocab):
        raise ValueError(f"a vocabulary of {size} plain tokens, at least {len(vocab)} are needed")
    rules = []
    for a, b in merges():
        if len(vocab) == size:
            break
        vocab[a + b] = len(vocab)
        rules.append([a, b])
    specials = {**dict(enumerate(SPECIALS)), **added}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True} for i, text in sorted(specials.items())
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": rules},
    }
