"""transformers on torch's CPU: torch_peer.py FOLDER THREADS CONTEXT PICTURE_PX [bfloat16|float32]"""
import sys

import torch
from transformers import AutoModelForImageTextToText

from peer import Peer, serve, timed
from pictures import noise, picture_tokens, vision_inputs


class Transformers(Peer):
    def __init__(self, folder, threads, context, picture_px, dtype):
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.model = AutoModelForImageTextToText.from_pretrained(folder, torch_dtype=dtype).eval()
        self.dtype = dtype
        self.decoder = self.model.get_decoder()
        self.vocab = self.model.get_input_embeddings().weight.shape[0]
        self.picture = noise(picture_px)
        config = self.model.config
        self.image = getattr(config, "image_token_id", None) or config.image_token_index
        self.picture_tokens = picture_tokens(config, picture_px)
        self.cache = None

    def inputs(self, pictures=1):
        inputs = vision_inputs(self.model.config, self.picture, pictures)
        return inputs | {"pixel_values": inputs["pixel_values"].to(self.dtype)}

    def encode(self, pictures=1):
        inputs = self.inputs(pictures)
        return timed(lambda: self.model.get_image_features(**inputs))

    def run(self, embeds, past):
        out = self.decoder(
            inputs_embeds=embeds,
            past_key_values=self.cache if past else None,
            use_cache=True,
            position_ids=torch.arange(past, past + embeds.shape[1])[None],
        )
        self.cache = out.past_key_values
        logits = self.model.lm_head(out.last_hidden_state[:, -1:])
        assert bool(torch.isfinite(logits[0, 0, 0]))
        return logits

    def ids(self, tokens, past):
        return torch.tensor([[(past + i) * 7919 % (self.vocab - 64) for i in range(tokens)]])

    def words(self, tokens, past):
        return self.model.get_input_embeddings()(self.ids(tokens, past))

    def prefill(self, tokens=512):
        return timed(lambda: self.run(self.words(tokens, 0), 0))

    def decode(self, context=200, steps=16):
        self.run(self.words(context, 0), 0)
        self.run(self.words(1, context), context)
        return timed(lambda: [self.run(self.words(1, context + 1 + i), context + 1 + i) for i in range(steps)]) / steps

    def first(self):
        """The model's own forward: a picture among 20 tokens of text."""
        words, inputs = self.ids(20, 0), self.inputs()
        if hasattr(self.model.config, "vision_start_token_id"):
            words[0, 3] = self.model.config.vision_start_token_id
        picture = torch.full((1, self.picture_tokens), self.image)
        ids = torch.cat([words[:, :4], picture, words[:, 4:]], 1)
        if self.model.config.model_type == "gemma3":
            inputs["token_type_ids"] = (ids == self.image).long()
        return timed(lambda: self.model(input_ids=ids, logits_to_keep=1, **inputs).logits[0, -1].argmax().item())


if __name__ == "__main__":
    folder, threads, context, picture_px = sys.argv[1:5]
    kind = sys.argv[5] if len(sys.argv) > 5 else "bfloat16"
    serve(lambda: Transformers(folder, int(threads), int(context), int(picture_px), getattr(torch, kind)))
