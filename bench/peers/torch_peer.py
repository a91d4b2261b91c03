"""transformers on torch's CPU: torch_peer.py FOLDER THREADS CONTEXT PICTURE_PX [bfloat16|float32]"""
import sys

import torch
from transformers import AutoModelForImageTextToText

from peer import Peer, Refused, serve, timed


class Transformers(Peer):
    def __init__(self, folder, threads, context, picture_px, dtype):
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, torch_dtype=dtype).eval()
        self.dtype = dtype
        self.core = self.model.model
        self.vocab = self.model.get_input_embeddings().weight.shape[0]
        generator = torch.Generator().manual_seed(7)
        self.pixels = (torch.rand((1, 1, 3, picture_px, picture_px), generator=generator) * 2 - 1).to(dtype)
        self.cache = None

    def seen(self):
        rows = self.core.get_image_features(self.pixels)
        return rows.reshape(1, -1, rows.shape[-1])

    def encode(self, pictures=1):
        if not hasattr(self.core, "get_image_features"):
            raise Refused("encode")
        return timed(lambda: [self.seen() for _ in range(pictures)])

    def run(self, embeds, past):
        out = self.core.text_model(
            inputs_embeds=embeds,
            past_key_values=self.cache if past else None,
            use_cache=True,
            position_ids=torch.arange(past, past + embeds.shape[1])[None],
        )
        self.cache = out.past_key_values
        logits = self.model.lm_head(out.last_hidden_state[:, -1:])
        assert bool(torch.isfinite(logits[0, 0, 0]))
        return logits

    def words(self, tokens, past):
        ids = torch.tensor([[(past + i) * 7919 % (self.vocab - 64) for i in range(tokens)]])
        return self.model.get_input_embeddings()(ids)

    def prefill(self, tokens=512):
        return timed(lambda: self.run(self.words(tokens, 0), 0))

    def decode(self, context=200, steps=16):
        self.run(self.words(context, 0), 0)
        self.run(self.words(1, context), context)
        return timed(lambda: [self.run(self.words(1, context + 1 + i), context + 1 + i) for i in range(steps)]) / steps

    def first(self):
        def work():
            words = self.words(20, 0)
            self.run(torch.cat([words[:, :4], self.seen(), words[:, 4:]], 1), 0)[0, -1].argmax().item()

        return timed(work)


if __name__ == "__main__":
    folder, threads, context, picture_px = sys.argv[1:5]
    kind = sys.argv[5] if len(sys.argv) > 5 else "bfloat16"
    serve(lambda: Transformers(folder, int(threads), int(context), int(picture_px), getattr(torch, kind)))
