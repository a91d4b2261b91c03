"""OpenVINO, exported by optimum-intel: openvino_peer.py FOLDER THREADS CONTEXT PICTURE_PX"""
import sys

import numpy as np
import torch
from optimum.intel import OVModelForVisualCausalLM

from peer import Peer, serve, timed


class OpenVino(Peer):
    def __init__(self, folder, threads, context, picture_px):
        config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "KV_CACHE_PRECISION": "bf16"}
        self.model = OVModelForVisualCausalLM.from_pretrained(folder, ov_config=config, device="CPU")
        self.vocab = (getattr(self.model.config, "text_config", None) or self.model.config).vocab_size
        generator = torch.Generator().manual_seed(7)
        self.pixels = torch.rand((1, 1, 3, picture_px, picture_px), generator=generator) * 2 - 1
        self.past = None

    def encode(self, pictures=1):
        ids = torch.zeros((1, 2), dtype=torch.int64)
        return timed(lambda: [self.model.get_vision_embeddings(self.pixels, ids) for _ in range(pictures)])

    def run(self, tokens, past):
        ids = torch.tensor([[(past + i) * 7919 % (self.vocab - 64) for i in range(tokens)]])
        embeds = self.model.language_model.embed_tokens(ids)
        return self.rows(torch.from_numpy(np.asarray(embeds)), past)

    def rows(self, embeds, past):
        tokens = embeds.shape[1]
        out = self.model.language_model.forward(
            input_ids=None,
            inputs_embeds=embeds,
            attention_mask=torch.ones((1, past + tokens), dtype=torch.int64),
            position_ids=torch.arange(past, past + tokens)[None],
            past_key_values=((),) if past else None,
        )
        assert bool(torch.isfinite(out.logits[0, -1, 0]))
        return out.logits

    def prefill(self, tokens=512):
        return timed(lambda: self.run(tokens, 0))

    def decode(self, context=200, steps=16):
        self.run(context, 0)
        self.run(1, context)
        return timed(lambda: [self.run(1, context + 1 + i) for i in range(steps)]) / steps

    def first(self):
        """A tile and 20 tokens of text in one pass."""

        def work():
            seen = self.model.get_vision_embeddings(self.pixels, torch.zeros((1, 2), dtype=torch.int64))
            seen = torch.from_numpy(np.asarray(seen)).reshape(1, -1, np.asarray(seen).shape[-1])
            ids = torch.tensor([[i * 7919 % (self.vocab - 64) for i in range(20)]])
            words = torch.from_numpy(np.asarray(self.model.language_model.embed_tokens(ids)))
            self.rows(torch.cat([words[:, :4], seen, words[:, 4:]], 1), 0)[0, -1].argmax().item()

        return timed(work)


if __name__ == "__main__":
    folder, threads, context, picture_px = sys.argv[1:5]
    serve(lambda: OpenVino(folder, int(threads), int(context), int(picture_px)))
