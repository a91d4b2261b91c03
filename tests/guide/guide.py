"""The blocks of docs/guide/*.md, run and compared with what the page says.

    guide.py extract PAGE.md OUT.cpp|.c|.py     the page's ```cpp, ```c or ```python blocks as one program
    guide.py run PAGE.md [LANGUAGE PROGRAM…]    runs that program, and the `$` lines of ```console blocks

A ```text block after blocks of the program is what they print. In expected output … stands for any text; alone on a line, for any lines. Other
blocks (```sh, ```cmake) are not run.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARK = "\x1e"


def blocks(page):
    """[(language, first line's number, text)]"""
    found, language, start, lines = [], None, 0, []
    for number, line in enumerate(pathlib.Path(page).read_text().splitlines(), 1):
        if line.startswith("```"):
            if language is None:
                language, start, lines = line[3:].strip(), number + 1, []
            else:
                found.append((language, start, "\n".join(lines) + "\n"))
                language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"{page}: a block that begins at line {start - 1} does not end"
    return found


# How a program marks in its output that a block begins, and what it includes besides.
MARKS = {"cpp": f'  std::cout << "{MARK}%d\\n";\n', "c": f'  printf("{MARK}%d\\n");\n', "python": f'print("{MARK}%d")\n'}
HEADERS = {"cpp": ("cstdint", "iostream", "string", "thread", "vector"), "c": ("stdio.h",)}


def program_of(page, wanted):
    """One program: blocks with a main() become functions, the others run one after the other in one scope."""
    includes, functions, calls, steps = set(), [], [], []
    name = pathlib.Path(page).resolve().relative_to(ROOT)
    pieces = [(start, text) for language, start, text in blocks(page) if language == wanted]
    if wanted == "python":
        return "".join(MARKS[wanted] % start + text for start, text in pieces)
    for start, text in pieces:
        includes |= set(re.findall(r"^#include .*$", text, re.M))
        body = f'#line {start} "{name}"\n' + re.sub(r"^#include .*$", "", text, flags=re.M)
        mark = MARKS[wanted] % start
        if "int main(" in body:
            function = f"program_{start}"
            functions.append(body.replace("int main()", f"static void {function}()").replace("int main(void)", f"static int {function}(void)"))
            assert f" {function}(" in functions[-1], f"{page}:{start}: main must be `int main()` or `int main(void)`"
            calls.append(f"{mark}  {function}();\n")
        else:
            steps.append(mark + body)
    standard = "".join(f"#include <{header}>\n" for header in HEADERS[wanted])
    return ("\n".join(sorted(includes)) + "\n" + standard + "\n" + "".join(functions) + "\nint main(void) {\n" + "".join(calls) + "".join(steps) + "}\n")


def matches(expected, got):
    parts = [re.escape(line).replace("…", ".*") + "\n" for line in expected.splitlines()]
    pattern = "".join(r"(?:.*\n)*" if part == ".*\n" else part for part in parts)
    return re.fullmatch(pattern, got) is not None


def check(page, line, what, expected, got, failures):
    if not matches(expected, got):
        failures.append(f"{page}:{line}: {what}\n--- the page says\n{expected}--- it is\n{got}")


def run_program(page, wanted, program, folder, failures):
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=200)
    printed = dict(part.split("\n", 1) for part in done.stdout.split(MARK)[1:])
    expected, open_block, count = {}, None, 0
    for language, start, text in blocks(page):
        if language == wanted:
            expected[open_block := str(start)] = ""
        elif language == "text" and open_block:
            expected[open_block], open_block = text, None
            count += 1
        else:
            open_block = None
    for start, text in expected.items():
        check(page, start, "this block prints", text, printed.get(start, "(it was not reached)\n"), failures)
    if done.returncode != 0 or done.stderr:
        failures.append(f"{page}: the program: exit code {done.returncode}\n{done.stderr}")
    return count


def run_console(page, folder, failures):
    count = 0
    for language, start, text in blocks(page):
        if language != "console":
            continue
        steps = re.split(r"^\$ ", text, flags=re.M)
        assert steps[0] == "", f"{page}:{start}: a console block begins with a `$` line"
        for step in steps[1:]:
            command, expected = step.split("\n", 1)
            while command.endswith("\\"):
                more, expected = expected.split("\n", 1)
                command = command[:-1] + more
            done = subprocess.run(["bash", "-c", command], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100)
            check(page, start, f"$ {command}", expected, done.stdout, failures)
            count += 1
    return count


def run(page, wanted=None, *program):
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "data").symlink_to(ROOT / "data")
        for name in [name for name in os.environ if name.startswith(("HF_", "HUGGINGFACE_", "XDG_"))]:
            del os.environ[name]
        os.environ["HOME"] = folder  # nobody's hub cache
        count = run_console(page, folder, failures)
        if program:
            count += run_program(page, wanted, program, folder, failures)
    print("\n".join(failures) or f"{page}: {count} outputs are as the page says")
    return bool(failures) or count == 0


if __name__ == "__main__":
    if sys.argv[1] == "extract":
        out = pathlib.Path(sys.argv[3])
        out.write_text(program_of(sys.argv[2], {".py": "python"}.get(out.suffix, out.suffix[1:])))
    else:
        sys.exit(run(*sys.argv[2:]))
