"""The C interface through ctypes and the shared library; its answers are those of the Python package."""

import ctypes
import os
import pathlib
import re
import subprocess
import unittest

from support import ON_ROOF, ROOF, ROOT, nano


class Answer(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char_p), ("finish_reason", ctypes.c_char_p), ("prompt_tokens", ctypes.c_int64),
                ("image_tokens", ctypes.c_int64), ("cached_tokens", ctypes.c_int64), ("output_tokens", ctypes.c_int64),
                ("first_token_ms", ctypes.c_double), ("total_ms", ctypes.c_double)]


class Vector(ctypes.Structure):
    _fields_ = [("count", ctypes.c_size_t), ("values", ctypes.POINTER(ctypes.c_float))]


def library():
    lib = ctypes.CDLL(os.environ["TAPETUM_SHARED"])
    pointer, error = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
    for name, result, arguments in (
            ("version", ctypes.c_char_p, []), ("error_code", ctypes.c_char_p, [pointer]), ("error_message", ctypes.c_char_p, [pointer]),
            ("error_free", None, [pointer]), ("image_load", pointer, [ctypes.c_char_p, error]), ("image_free", None, [pointer]),
            ("model_load", pointer, [ctypes.c_char_p, pointer, error]), ("model_free", None, [pointer]),
            ("ask", ctypes.POINTER(Answer), [pointer, ctypes.POINTER(pointer), ctypes.c_size_t, ctypes.c_char_p, pointer, error]),
            ("answer_free", None, [ctypes.POINTER(Answer)]), ("embed", ctypes.POINTER(Vector), [pointer, pointer, ctypes.c_char_p, error]),
            ("vector_free", None, [ctypes.POINTER(Vector)])):
        function = getattr(lib, f"tapetum_{name}")
        function.restype, function.argtypes = result, arguments
    return lib


class CInterface(unittest.TestCase):
    def test_ctypes_gets_the_answers_of_the_package(self):
        lib, error = library(), ctypes.c_void_p()
        model = lib.tapetum_model_load(str(ROOT / "data/nano").encode(), None, ctypes.byref(error))
        image = lib.tapetum_image_load(str(ROOF).encode(), ctypes.byref(error))
        self.assertTrue(model and image and not error)
        answer = lib.tapetum_ask(model, ctypes.byref(ctypes.c_void_p(image)), 1, ON_ROOF.encode(), None, ctypes.byref(error))
        mine = nano().chat(ROOF, ON_ROOF)
        self.assertEqual(answer.contents.text.decode(), mine.text)
        self.assertEqual(answer.contents.prompt_tokens, mine.prompt_tokens)
        vector = lib.tapetum_embed(model, image, None, ctypes.byref(error))
        self.assertEqual(vector.contents.count, len(nano().embed(ROOF)))
        for free, what in ((lib.tapetum_answer_free, answer), (lib.tapetum_vector_free, vector), (lib.tapetum_image_free, image),
                           (lib.tapetum_model_free, model)):
            free(what)
        self.assertFalse(lib.tapetum_model_load(b"/nowhere", None, ctypes.byref(error)))
        self.assertEqual(lib.tapetum_error_code(error), b"not_found")
        self.assertIn(b"/nowhere", lib.tapetum_error_message(error))
        lib.tapetum_error_free(error)

    def test_the_shared_library_has_every_function_of_the_header(self):
        header = (ROOT / "include/tapetum.h").read_text()
        declared = set(re.findall(r"\b(tapetum_\w+)\(", re.sub(r"/\*.*?\*/", "", header, flags=re.S)))
        self.assertGreater(len(declared), 40)
        shown = subprocess.run(["nm", "-D", "--defined-only", os.environ["TAPETUM_SHARED"]], capture_output=True, text=True, check=True).stdout
        self.assertEqual(declared, set(re.findall(r" T (tapetum_\w+)", shown)))

    def test_the_header_is_c11_and_cpp(self):
        for compiler, flags in (("cc", ["-x", "c", "-std=c11"]), ("c++", ["-x", "c++", "-std=c++11"])):
            done = subprocess.run([compiler, *flags, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-"], capture_output=True, text=True,
                                  input=f'#include "{pathlib.Path(ROOT / "include/tapetum.h")}"\n#include "{ROOT / "include/tapetum.h"}"\n')
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
