"""Pictures as Python has them."""

import base64
import http.server
import pathlib
import tempfile
import threading
import unittest

import numpy
import PIL.Image
import tapetum
from support import ON_ROOF, ROOF, nano


class Pictures(unittest.TestCase):
    def test_paths_bytes_urls_pil_and_arrays_are_one_picture(self):
        data = ROOF.read_bytes()
        pil = PIL.Image.open(ROOF).convert("RGB")
        array = numpy.asarray(pil)
        expected = numpy.asarray(tapetum.picture(ROOF))
        self.assertTrue(numpy.array_equal(expected, array))
        sources = [str(ROOF), data, bytearray(data), memoryview(data), "data:image/png;base64," + base64.b64encode(data).decode(), pil, array,
                   numpy.asfortranarray(array), pil.convert("RGBA"), tapetum.picture(ROOF)]
        for source in sources:
            self.assertTrue(numpy.array_equal(numpy.asarray(tapetum.picture(source)), expected), type(source))
        self.assertEqual(nano().chat([pil], ON_ROOF).text, "A white bird")
        self.assertEqual(tapetum.picture(ROOF).size, (768, 768))

    def test_transparency_grey_and_orientation_are_as_in_a_file(self):
        clear = numpy.zeros((4, 6, 4), numpy.uint8)
        clear[0, 0] = (10, 20, 30, 128)
        for source in (clear, PIL.Image.fromarray(clear)):
            pixels = numpy.asarray(tapetum.picture(source))
            self.assertEqual(pixels[1, 1].tolist(), [255, 255, 255])
            self.assertLess(abs(int(pixels[0, 0, 0]) - 132), 3)
        self.assertEqual(numpy.asarray(tapetum.picture(numpy.full((2, 3), 7, numpy.uint8))).tolist(), [[[7, 7, 7]] * 3] * 2)
        turned = PIL.Image.new("RGB", (8, 4))
        turned.getexif()[0x0112] = 6
        self.assertEqual(tapetum.picture(turned).size, (4, 8))
        deep = PIL.Image.fromarray(numpy.full((2, 2), 0x4000, numpy.uint16))
        self.assertEqual(numpy.asarray(tapetum.picture(deep))[0, 0].tolist(), [64, 64, 64])

    def test_what_is_no_picture_is_refused(self):
        for wrong, words in ((numpy.zeros((4, 4, 3)), "float64"), (numpy.zeros((4, 4, 2), numpy.uint8), "4, 4, 2"), (7, "a picture is a int"),
                             (numpy.zeros((0, 4, 3), numpy.uint8), "at least 1"), (PIL.Image.new("F", (2, 2)), "mode F")):
            with self.assertRaisesRegex(tapetum.UsageError, words):
                tapetum.picture(wrong)

    def test_an_array_of_a_picture_keeps_its_memory(self):
        array = numpy.asarray(tapetum.picture(ROOF))
        view = tapetum.picture(ROOF)._core.pixels()
        self.assertFalse(view.flags.writeable)
        again = view.copy()
        for _ in range(20):  # what was freed would be overwritten
            tapetum.picture(numpy.full((768, 768, 3), 9, numpy.uint8))
        self.assertTrue(numpy.array_equal(view, again) and numpy.array_equal(array, again))
        with tempfile.TemporaryDirectory() as folder:
            tapetum.picture(ROOF).save(pathlib.Path(folder) / "copy.png")
            self.assertTrue(numpy.array_equal(numpy.asarray(PIL.Image.open(pathlib.Path(folder) / "copy.png")), array))

    def test_a_private_address_is_refused(self):
        server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with self.assertRaises(tapetum.BadInputError):
            tapetum.picture(f"http://127.0.0.1:{server.server_port}/roof.png")
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    unittest.main()
