"""OpenVINO, exported by optimum-intel: openvino_peer.py FOLDER THREADS CONTEXT PICTURE_PX"""
import sys

import numpy as np
import torch
from optimum.intel import OVModelForVisualCausalLM

from peer import Peer, serve, timed
from pictures import noise, picture_rows, vision_inputs


class OpenVino(Peer):
    def __init__(self, folder, threads, context, picture_px):
        config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "KV_CACHE_PRECISION": "bf16"}
        self.model = OVModelForVisualCausalLM.from_pretrained(folder, ov_config=config, device="CPU")
        self.vocab = (getattr(self.model.config, "text_config", None) or self.model.config).vocab_size
        self.picture = noise(picture_px)

    def seen(self, inputs):
        """The rows of get_vision_embeddings, whose second argument is a grid, or ids of which only the shape counts."""
        second = inputs.get("image_grid_thw", torch.zeros((1, 2), dtype=torch.int64))
        rows = self.model.get_vision_embeddings(inputs["pixel_values"], second)
        return picture_rows(torch.from_numpy(np.asarray(rows)))

    def encode(self, pictures=1):
        inputs = vision_inputs(self.model.config, self.picture, pictures)
        return timed(lambda: self.seen(inputs))

    def run(self, tokens, past):
        ids = torch.tensor([[(past + i) * 7919 % (self.vocab - 64) for i in range(tokens)]])
        embeds = self.model.language_model.embed_tokens(ids)
        return self.rows(torch.from_numpy(np.asarray(embeds)), past)

    def rows(self, embeds, past, kinds=None):
        """Positions count up in a picture too: where they should not, it takes the same time."""
        tokens = embeds.shape[1]
        out = self.model.language_model.forward(
            input_ids=None,
            inputs_embeds=embeds,
            attention_mask=torch.ones((1, past + tokens), dtype=torch.int64),
            position_ids=torch.arange(past, past + tokens)[None],
            past_key_values=((),) if past else None,
            token_type_ids=kinds,
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
        """A picture among 20 tokens of text, in one pass."""
        inputs = vision_inputs(self.model.config, self.picture)

        def work():
            seen = self.seen(inputs)
            ids = torch.tensor([[i * 7919 % (self.vocab - 64) for i in range(20)]])
            words = torch.from_numpy(np.asarray(self.model.language_model.embed_tokens(ids)))
            kinds = np.zeros((1, 20 + seen.shape[1]), np.int64)
            kinds[:, 4 : 4 + seen.shape[1]] = 1
            self.rows(torch.cat([words[:, :4], seen, words[:, 4:]], 1), 0, kinds)[0, -1].argmax().item()

        return timed(work)


if __name__ == "__main__":
    folder, threads, context, picture_px = sys.argv[1:5]
    serve(lambda: OpenVino(folder, int(threads), int(context), int(picture_px)))
