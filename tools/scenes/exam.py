"""The exam of the nano model: questions about 300 scenes it never saw, asked through the command line of tapetum.

Scenes, questions and scoring are those of the reference figures (reference_accuracy.txt, measured in f32 with greedy
decoding), so that a share may be compared with the figure of the same line.
"""
from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from pictures import scene

FIRST_SEED = 77_000_000
KIND_CYCLE = ["shapes", "outdoor", "outdoor", "chart", "screen", "document"]
QUESTIONS_A_SCENE = 4
REFERENCE = Path(__file__).with_name("reference_accuracy.txt")
REFERENCE_SCENES = 300
LEAST_COMPARED = 40    # questions; a share of fewer says too little
MAX_TOKENS = 90
ANSWER_LIMIT_S = 60

CLICK_TOLERANCE_Y, CLICK_TOLERANCE_X = 60, 120    # in 1024ths of the picture
TOPICS = [    # the first that matches the question
    ("detect", "^[dD]etect"), ("click", "^[cC]lick"), ("count", "^How many"), ("color", "^What color"),
    ("where", "^Where"), ("there", "^Is there"), ("safety", "policy|dangerous"),
    ("describe", "Describe|describe|caption|What is in the image"), ("ocr", "Read|ocr|text say|first line"),
    ("chart", "bar|value"), ("on", "^What is (on|in) the")]


class ExamError(Exception):
    """The exam cannot go on; the message is for the user."""


@dataclass
class Answer:
    group: str       # "outdoor/detect": kind of scene and topic of the question
    seed: int
    question: str
    wanted: str
    got: str
    score: float     # 0 to 1


@dataclass(frozen=True)
class Engine:
    """The program that is examined, and how."""
    program: str
    dtype: str
    model: str | None = None

    def ask(self, picture: Path, question: str) -> str:
        command = [self.program, str(picture), question, "--json", "--dtype", self.dtype, "--threads", "1",
                   "--max-tokens", str(MAX_TOKENS), "--temperature", "0"]
        command += ["-m", self.model] if self.model else []
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_LIMIT_S)
        except OSError as error:
            raise ExamError(f"{self.program}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise ExamError(f"no answer to {question!r} within {ANSWER_LIMIT_S} s") from None
        if run.returncode != 0:
            said = run.stderr.strip().splitlines() or ["nothing on stderr"]
            raise ExamError(f"{self.program} left with {run.returncode} on {question!r}: {said[-1]}")
        try:
            return json.loads(run.stdout)["text"].strip()
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ExamError(f"{self.program} --json gave no \"text\": {run.stdout[:200]!r}") from None

    def version(self) -> str:
        try:
            run = subprocess.run([self.program, "--version"], capture_output=True, text=True, timeout=ANSWER_LIMIT_S)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return (run.stdout.splitlines() or [""])[0]


def topic(question: str) -> str:
    return next((name for name, pattern in TOPICS if re.search(pattern, question)), "other")


def score(asked: str, wanted: str, got: str) -> float:
    """How right an answer is, 0 to 1; `asked` is the question's topic."""
    if asked == "detect" and wanted != "none":
        true, claimed = boxes(wanted), boxes(got)
        return sum(any(overlap(t, c) > 0.5 for c in claimed) for t in true) / len(true)
    if asked == "click":
        (y, x), claimed = numbers(wanted)[:2], numbers(got)
        return float(len(claimed) >= 2 and abs(y - claimed[0]) < CLICK_TOLERANCE_Y
                     and abs(x - claimed[1]) < CLICK_TOLERANCE_X)
    if asked == "describe":
        true, claimed = set(re.findall(r"\w+", wanted.lower())), set(re.findall(r"\w+", got.lower()))
        return len(true & claimed) / len(true | claimed)
    return float(got.lower() == wanted.lower())


def numbers(text: str) -> list[int]:
    return [int(v) for v in re.findall(r"loc(\d{4})", text)]


def boxes(text: str) -> list[tuple[int, ...]]:
    """The boxes (y1, x1, y2, x2) of an answer: every run of four location tokens."""
    return [tuple(map(int, four)) for four in re.findall(r"<loc(\d{4})>" * 4, text)]


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Area of the intersection over area of the union."""
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0, height) * max(0, width)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union else 0.0


def examine_scene(engine: Engine, number: int, folder: Path) -> list[Answer]:
    """Draws one scene and asks up to four of its questions."""
    kind, seed = KIND_CYCLE[number % len(KIND_CYCLE)], FIRST_SEED + number
    drawn = scene(seed, kind)
    picture = folder / f"{seed}.png"
    Image.fromarray(drawn.image).save(picture)
    answers = []
    for question, wanted in random.Random(number).sample(drawn.questions, min(QUESTIONS_A_SCENE, len(drawn.questions))):
        got, asked = engine.ask(picture, question), topic(question)
        answers.append(Answer(f"{kind}/{asked}", seed, question, wanted, got, score(asked, wanted, got)))
    picture.unlink()
    return answers


def examine(engine: Engine, scenes: int, jobs: int) -> list[Answer]:
    """The answers to all questions, in order; progress goes to stderr."""
    start, told, answers = time.monotonic(), 0.0, []
    with tempfile.TemporaryDirectory(prefix="tapetum-exam-") as folder, ThreadPoolExecutor(jobs) as workers:
        waiting = [workers.submit(examine_scene, engine, i, Path(folder)) for i in range(scenes)]
        try:
            for done, future in enumerate(waiting, 1):
                answers += future.result()
                passed = time.monotonic() - start
                if passed - told >= 5 or done == scenes:
                    print(f"scene {done} of {scenes}, {len(answers)} answers, {passed:.0f} s", file=sys.stderr)
                    told = passed
        except BaseException:
            workers.shutdown(cancel_futures=True)
            raise
    return answers


def shares(answers: list[Answer]) -> dict[str, tuple[float, int]]:
    """Mean score and number of questions by group, sorted by name."""
    scores: dict[str, list[float]] = defaultdict(list)
    for a in answers:
        scores[a.group].append(a.score)
    return {group: (sum(s) / len(s), len(s)) for group, s in sorted(scores.items())}


def read_reference(path: Path = REFERENCE) -> dict[str, tuple[float, int]]:
    """Share and number of questions by group; a line is "outdoor/detect   0.93  (115)"."""
    rows = (re.fullmatch(r"(\S+)\s+([\d.]+)\s+\((\d+)\)", line) for line in path.read_text().splitlines())
    return {row[1]: (float(row[2]), int(row[3])) for row in rows if row}


def compare(measured: dict[str, tuple[float, int]], reference: dict[str, tuple[float, int]],
            tolerance: float) -> list[str]:
    """Prints the table and returns what is wrong with it."""
    wrong = []
    print(f"{'kind':18} {'share':>6} {'n':>5} {'reference':>10} {'difference':>11}")
    for group in sorted(measured.keys() | reference.keys()):
        if measured.get(group, (0, 0))[1] != reference.get(group, (0, 0))[1]:
            wrong.append(f"{group}: {measured.get(group, (0, 0))[1]} questions, "
                         f"the reference asks {reference.get(group, (0, 0))[1]}")
            continue
        (share, n), (expected, _) = measured[group], reference[group]
        print(f"{group:18} {share:6.2f} {n:5} {expected:10.2f} {share - expected:+11.3f}")
        if n >= LEAST_COMPARED and abs(share - expected) > tolerance:
            wrong.append(f"{group}: {share:.3f} differs from {expected:.2f} by more than {tolerance}")
    return wrong


def read_answers(report: Path) -> dict[tuple[int, str], str]:
    """What a report's program answered, by seed and question."""
    try:
        return {(a["seed"], a["question"]): a["got"] for a in json.loads(report.read_text())["answers"]}
    except OSError as error:
        raise ExamError(f"{report}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ExamError(f"{report}: not a report of this exam") from None


def agreement(answers: list[Answer], other: dict[tuple[int, str], str]) -> str:
    """How many answers are the same, letter by letter, as in another report."""
    shared = [(a.got, other[a.seed, a.question]) for a in answers if (a.seed, a.question) in other]
    same = sum(got == before for got, before in shared)
    return f"{same} of {len(shared)} answers are the same as in the other report"


def run_exam(engine: Engine, scenes: int, jobs: int, tolerance: float, report: Path | None,
             against: Path | None) -> int:
    """Holds the exam; 0 when every share with enough questions is within tolerance of its reference, else 1."""
    other = read_answers(against) if against else None
    answers = examine(engine, scenes, jobs)
    measured = shares(answers)
    if report:
        report.write_text(json.dumps({
            "program": engine.version(), "dtype": engine.dtype, "scenes": scenes,
            "shares": {group: {"share": round(share, 4), "n": n} for group, (share, n) in measured.items()},
            "answers": [asdict(a) for a in answers]}, indent=1) + "\n")
    wrong = []
    if scenes == REFERENCE_SCENES:
        wrong = compare(measured, read_reference(), tolerance)
    else:
        for group, (share, n) in measured.items():
            print(f"{group:18} {share:6.2f} {n:5}")
        print(f"not compared: the reference figures are of {REFERENCE_SCENES} scenes")
    mean = sum(a.score for a in answers) / max(1, len(answers))
    print(f"{'all':18} {mean:6.2f} {len(answers):5}")
    if other is not None:
        print(agreement(answers, other))
    for line in wrong:
        print(f"scenes exam: {line}", file=sys.stderr)
    return 1 if wrong else 0
