"""Installs the build into a scratch prefix and uses it as a stranger would: the program, the library by CMake and by pkg-config, then all
of it moved elsewhere.  install_test.py BUILD_FOLDER LIBTAPETUM.SO"""

import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD, SHARED_LIBRARY = (pathlib.Path(os.path.abspath(sys.argv.pop(1))) for _ in range(2))
PICTURE, QUESTION, ANSWER = ROOT / "data/samples/roof.png", "What is on the roof?", "A white bird\n"


def run(*command, env=None, cwd=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TAPETUM", "PKG_CONFIG", "CMAKE_PREFIX", "LD_LIBRARY", "DESTDIR"))}
    done = subprocess.run([os.fspath(part) for part in command], env={**clean, **(env or {})}, cwd=cwd, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def source_files():
    """Of the source tree, without what builds and Python leave."""
    return [name for name in files_of(ROOT / "include") + files_of(ROOT / "examples") + files_of(ROOT / "data") if "__pycache__" not in name]


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.scratch.name)
        cls.source_before = source_files()
        cls.prefix = cls.folder / "prefix"
        run("cmake", "--install", BUILD, "--prefix", cls.prefix)
        cls.library = next(path.parent for path in cls.prefix.rglob("libtapetum.*") if path.suffix in (".a", ".so"))
        cls.shared = not (cls.library / "libtapetum.a").exists()

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def build_with_cmake(self, prefix, name):
        build = self.folder / name
        run("cmake", "-S", ROOT / "examples/look", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_INSTALL_PREFIX={prefix}",
            "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS=-std=c++20 -Wall -Wextra -Wshadow -Wconversion -Werror -fvisibility=hidden")
        run("cmake", "--build", build)
        return build

    def pkg_config(self, library, *options):
        return run("pkg-config", *([] if self.shared else ["--static"]), *options, "tapetum", env={"PKG_CONFIG_PATH": str(library / "pkgconfig")}).split()

    def test_1_everything_is_where_it_belongs(self):
        names = files_of(self.prefix)
        for name in ("bin/tapetum", "include/tapetum.h", "include/tapetum/tapetum.h", "include/tapetum/model.h", "share/tapetum/nano/model.safetensors",
                     "share/tapetum/nano/README.md", "share/doc/tapetum/LICENSE"):
            self.assertIn(name, names)
        for ending in ("cmake/tapetum/tapetumConfig.cmake", "cmake/tapetum/tapetumConfigVersion.cmake", "pkgconfig/tapetum.pc"):
            self.assertTrue(any(name.endswith(ending) for name in names), ending)
        for name in ("share/bash-completion/completions/tapetum", "share/zsh/site-functions/_tapetum", "share/fish/vendor_completions.d/tapetum.fish",
                     "share/man/man1/tapetum.1", "share/man/man1/tapetum-detect.1"):
            self.assertIn(name, names)
            self.assertGreater((self.prefix / name).stat().st_size, 300, name)
        # Nothing installed names the build or the source.
        for name in names:
            if name.endswith((".cmake", ".pc", ".h", ".1", ".fish", "_tapetum")):
                text = (self.prefix / name).read_text()
                self.assertNotIn(str(ROOT), text, name)
                self.assertNotIn(str(self.prefix), text, name)

    def test_2_the_installed_program_answers(self):
        self.assertEqual(run(self.prefix / "bin/tapetum", PICTURE, QUESTION), ANSWER)

    def test_3_a_program_is_built_with_cmake_and_answers(self):
        build = self.build_with_cmake(self.prefix, "look")
        # A static library leaves it to the program where nano lies, unless the program is installed beside it.
        self.assertEqual(run(build / "look", PICTURE, QUESTION, env={"TAPETUM_DATA": str(self.prefix / "share/tapetum")}), ANSWER)
        if self.shared:
            self.assertEqual(run(build / "look", PICTURE, QUESTION), ANSWER)
        run("cmake", "--install", build)
        self.assertEqual(run(self.prefix / "bin/look", PICTURE, QUESTION, env=self.library_path(self.library)), ANSWER)

    def test_4_a_program_is_built_with_pkg_config_and_answers(self):
        program = self.prefix / "bin/look_pc"
        compiler = os.environ.get("CXX", "g++")
        run(compiler, "-std=c++20", ROOT / "examples/look/main.cpp", "-o", program, *self.pkg_config(self.library, "--cflags", "--libs"))
        self.assertEqual(run(program, PICTURE, QUESTION, env=self.library_path(self.library)), ANSWER)
        version = run("pkg-config", "--modversion", "tapetum", env={"PKG_CONFIG_PATH": str(self.library / "pkgconfig")}).strip()
        self.assertEqual(run(self.prefix / "bin/tapetum", "--version").split()[1], version)

    def test_5_the_prefix_can_be_moved(self):
        moved = self.folder / "moved elsewhere"
        shutil.copytree(self.prefix, moved, symlinks=True)
        hidden = self.folder / "hidden"
        self.prefix.rename(hidden)
        try:
            library = moved / self.library.relative_to(self.prefix)
            self.assertEqual(run(moved / "bin/tapetum", PICTURE, QUESTION), ANSWER)
            self.assertEqual(run(moved / "bin/look", PICTURE, QUESTION, env=self.library_path(library)), ANSWER)
            build = self.build_with_cmake(moved, "look again")
            self.assertEqual(run(build / "look", PICTURE, QUESTION, env={"TAPETUM_DATA": str(moved / "share/tapetum")}), ANSWER)
            self.assertIn(f"-I{moved}/include".replace(" ", "\\ "), " ".join(self.pkg_config(library, "--cflags")).replace("lib/pkgconfig/../../", ""))
        finally:
            hidden.rename(self.prefix)

    def test_6_destdir_is_honoured_and_the_source_is_left_alone(self):
        stage = self.folder / "stage"
        run("cmake", "--install", BUILD, "--prefix", "/usr", env={"DESTDIR": str(stage)})
        staged = files_of(stage / "usr")
        installed = [name for name in files_of(self.prefix) if name not in ("bin/look", "bin/look_pc")]
        self.assertEqual(staged, installed)
        self.assertEqual([path.name for path in stage.iterdir()], ["usr"])
        self.assertEqual(source_files(), self.source_before)

    def test_7_a_shared_library_shows_public_names_only(self):
        names = [line.split()[-1] for line in run("nm", "-D", "--defined-only", SHARED_LIBRARY).splitlines() if line.strip()]
        self.assertGreater(len(names), 30)
        self.assertEqual([name for name in names if not re.match(r"(_Z(N|NK|T[ISV]N)3tap2v1|tapetum_)", name)], [])

    def test_8_errors_cross_a_shared_library_and_nano_lies_beside_it(self):
        source = self.folder / "errors.cpp"
        source.write_text("""
#include <iostream>
#include <tapetum/tapetum.h>
int main(int, char** argv) {
  try { tap::Model::load("/nowhere"); } catch (const tap::Error& error) { std::cout << name(error.code()) << "\\n"; }
  std::cout << tap::Model::load().ask(tap::Image::load(argv[1]), argv[2]).text << "\\n";
}
""")
        library = SHARED_LIBRARY.parent
        run(os.environ.get("CXX", "g++"), "-std=c++20", "-fvisibility=hidden", source, "-o", self.folder / "errors", "-I", ROOT / "include", SHARED_LIBRARY)
        self.assertEqual(run(self.folder / "errors", PICTURE, QUESTION, env={"LD_LIBRARY_PATH": str(library)}), "not_found\n" + ANSWER)

    def test_9_debian_packages_hold_all_of_it(self):
        names = ["usr/" + name for name in files_of(self.prefix) if name not in ("bin/look", "bin/look_pc")]
        claimed = {name: [] for name in names}
        for listing in [*sorted((ROOT / "debian").glob("*.install")), ROOT / "debian/not-installed"]:
            for line in listing.read_text().splitlines():
                pattern = line.split()[0]
                # Debian's folder of libraries has the machine's name in it; here it may have none.
                found = [name for name in names for form in (pattern, pattern.replace("usr/lib/*/", "usr/lib/"))
                         if fnmatch.fnmatchcase(name, form) or fnmatch.fnmatchcase(name, form + "/*")]
                self.assertTrue(found, f"debian/{listing.name}: {line} names nothing that is installed")
                for name in set(found):
                    claimed[name].append(listing.name)
        self.assertEqual({name: lists for name, lists in claimed.items() if len(lists) != 1}, {})

    def test_9_versions_and_dependencies_of_the_packages_agree_with_the_build(self):
        version = run("pkg-config", "--modversion", "tapetum", env={"PKG_CONFIG_PATH": str(self.library / "pkgconfig")}).strip()
        self.assertEqual(re.match(r"tapetum \((.*?)\)", (ROOT / "debian/changelog").read_text()).group(1), version)
        self.assertEqual(re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M).group(1), version)
        control = (ROOT / "debian/control").read_text()
        needed = re.search(r"^Build-Depends:(.*?)^\S*$", control, re.M | re.S).group(1)
        listed = re.sub(r"#.*", "", (ROOT / "tools/deps/apt-build.txt").read_text()).split()
        not_for_building = {"g++", "fonts-dejavu-core"}  # build-essential has the one, and the program needs the other
        self.assertEqual(set(re.findall(r"[a-z0-9.+-]+(?=[ ,\n])", re.sub(r"\(.*?\)", "", needed))) - {"debhelper-compat"}, set(listed) - not_for_building)

    def library_path(self, library):
        return {"LD_LIBRARY_PATH": str(library)} if self.shared else {}


if __name__ == "__main__":
    unittest.main()
