"""llama.cpp, through llama-cpp-python's C bindings: llama_peer.py TEXT.gguf MMPROJ.gguf THREADS CONTEXT PICTURE_PX"""
import ctypes
import sys

import llama_cpp as lc
import llama_cpp.mtmd_cpp as mt
import numpy as np

from peer import Peer, serve, timed
from pictures import noise

CHUNK = 512
NO_CALLBACK = mt.mtmd_helper_post_decode_callback()


def tokenized(eye, bitmap):
    """The chunks of a prompt that is the picture alone."""
    text = mt.mtmd_input_text(b"<__media__>", 11, False, True)
    bitmaps = (ctypes.c_void_p * 1)(bitmap)
    chunks = mt.mtmd_input_chunks_init()
    if mt.mtmd_tokenize(eye, chunks, ctypes.byref(text), bitmaps, 1) != 0:
        raise RuntimeError("mtmd_tokenize failed")
    return chunks


def first_picture(chunks):
    """Where the projector adds an overview, it is left out."""
    for i in range(mt.mtmd_input_chunks_size(chunks)):
        chunk = mt.mtmd_input_chunks_get(chunks, i)
        if mt.mtmd_input_chunk_get_type(chunk) == mt.MTMD_INPUT_CHUNK_TYPE_IMAGE:
            return chunk
    raise RuntimeError("no picture among the chunks")


class Llama(Peer):
    def __init__(self, text, mmproj, threads, context, picture_px):
        quiet = lc.llama_log_callback(lambda level, words, data: None)
        self.keep = quiet
        lc.llama_log_set(quiet, ctypes.c_void_p())
        mt.mtmd_log_set(quiet, ctypes.c_void_p())
        mt.mtmd_helper_log_set(quiet, ctypes.c_void_p())
        lc.llama_backend_init()
        self.model = lc.llama_model_load_from_file(text.encode(), lc.llama_model_default_params())
        params = lc.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, CHUNK, CHUNK
        params.n_threads = params.n_threads_batch = threads
        params.n_seq_max = 64
        params.kv_unified = True
        self.context = lc.llama_init_from_model(self.model, params)
        self.threads = threads
        self.vocab = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(self.model))
        self.held = 0  # tokens of the first user that the cache has
        self.eye = None
        if mmproj:
            params = mt.mtmd_context_params_default()
            params.use_gpu, params.n_threads, params.warmup, params.print_timings = False, threads, False, False
            self.eye = mt.mtmd_init_from_file(mmproj.encode(), self.model, params)
            pixels = noise(picture_px).tobytes()
            buffer = (ctypes.c_uint8 * len(pixels)).from_buffer_copy(pixels)
            self.bitmap = mt.mtmd_bitmap_init(picture_px, picture_px, buffer)

    def encode(self, pictures=1):
        chunks = tokenized(self.eye, self.bitmap)
        chunk = first_picture(chunks)
        seconds = sum(timed(lambda: mt.mtmd_encode_chunk(self.eye, chunk)) for _ in range(pictures))
        mt.mtmd_input_chunks_free(chunks)
        return seconds

    def clear(self):
        lc.llama_memory_clear(lc.llama_get_memory(self.context), True)
        self.held = 0

    def fill(self, context):
        """Ids depend on their position only, so more than that many are cut."""
        memory = lc.llama_get_memory(self.context)
        if self.held < context or not lc.llama_memory_seq_rm(memory, 0, context, -1):
            self.clear()
            self.run(context, 0)
        self.held = context

    def run(self, tokens, past, users=1):
        """`tokens` more of each user; logits of the last."""
        while tokens > 0:
            count = min(tokens, CHUNK // users)
            batch = lc.llama_batch_init(count * users, 0, 1)
            batch.n_tokens = count * users
            for user in range(users):
                for i in range(count):
                    at = user * count + i
                    batch.token[at] = (user * 31 + (past + i) * 7919) % (self.vocab - 64)
                    batch.pos[at] = past + i
                    batch.n_seq_id[at] = 1
                    batch.seq_id[at][0] = user
                    batch.logits[at] = tokens == count and i == count - 1
            if lc.llama_decode(self.context, batch) != 0:
                raise RuntimeError("llama_decode failed")
            lc.llama_batch_free(batch)
            past += count
            tokens -= count
        if not np.isfinite(lc.llama_get_logits_ith(self.context, -1)[0]):
            raise RuntimeError("logits are not finite")

    def prefill(self, tokens=512):
        self.clear()
        seconds = timed(lambda: self.run(tokens, 0))
        self.held = tokens
        return seconds

    def decode(self, context=200, steps=16):
        self.fill(context)
        self.run(1, context)
        return timed(lambda: [self.run(1, context + 1 + i) for i in range(steps)]) / steps

    def batch(self, users=16, context=200):
        self.clear()
        self.run(context, 0, users)
        steps = 8
        return timed(lambda: [self.run(1, context + i, users) for i in range(steps)]) / steps

    def first(self):
        """A picture and 20 tokens of text, in the batches of mtmd_helper_eval_chunks: the picture, then the text."""
        self.clear()

        def work():
            chunks = tokenized(self.eye, self.bitmap)
            chunk, past = first_picture(chunks), ctypes.c_int(0)
            mt.mtmd_encode_chunk(self.eye, chunk)
            rows = mt.mtmd_get_output_embd(self.eye)
            if mt.mtmd_helper_decode_image_chunk(
                self.eye, self.context, chunk, rows, 0, 0, CHUNK, ctypes.byref(past), NO_CALLBACK, None
            ):
                raise RuntimeError("the picture was not read")
            self.run(20, past.value)
            int(np.argmax(np.ctypeslib.as_array(lc.llama_get_logits_ith(self.context, -1), (self.vocab,))))
            mt.mtmd_input_chunks_free(chunks)

        return timed(work)


if __name__ == "__main__":
    text, mmproj, threads, context, picture_px = sys.argv[1:6]
    serve(lambda: Llama(text, mmproj, int(threads), int(context), int(picture_px)))
