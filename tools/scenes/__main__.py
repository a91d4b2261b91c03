"""python3 tools/scenes: draws scenes with known answers, and examines the nano model with them."""
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

try:
    import numpy  # noqa: F401: named here so that its absence is told in plain words
    from exam import REFERENCE_SCENES, Engine, ExamError, run_exam
    from pictures import DRAWERS, drawing, missing_fonts, scene, why_inexact
    from PIL import Image
    from samples import redraw_samples
except ImportError as error:
    sys.exit(f"scenes: needs Pillow and numpy ({error}): python3 -m pip install pillow numpy")

SCENE_PX = 256
LABELS_SEED = 88_200_000  # seen neither in training nor in the exam
LABELLED_KINDS = ("outdoor", "shapes")


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scenes", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    draw = commands.add_parser("draw", help="draw one scene; its questions and answers go to stdout as JSON")
    draw.add_argument("picture", type=Path, help="the PNG to write")
    draw.add_argument("--seed", type=int, required=True)
    draw.add_argument("--kind", choices=list(DRAWERS), required=True)
    draw.add_argument("--size", type=int, help="pixels a side, a multiple of 256 up to 4096, drawn clean "
                      "(default: 256 with blur and noise, as in training and in the exam)")

    samples = commands.add_parser("samples", help="draw the sample pictures again from their seeds")
    samples.add_argument("folder", type=Path, help="where truth.json is")
    samples.add_argument("--check", action="store_true", help="write nothing; leave with 1 when a picture differs")

    labels = commands.add_parser("labels", help="draw scenes, and a labels.csv of those that are dangerous, for tapetum guard calibrate")
    labels.add_argument("folder", type=Path, help="made if absent")
    labels.add_argument("--from", dest="seed", type=int, default=LABELS_SEED, help="the first seed (default: %(default)s)")
    labels.add_argument("--scenes", type=int, default=400, help="how many yards, and how many of shapes (default: %(default)s)")

    exam = commands.add_parser("exam", help="ask about scenes the model never saw and compare with the reference")
    exam.add_argument("--tapetum", default="build/release/bin/tapetum", help="the program (default: %(default)s)")
    exam.add_argument("-m", "--model", help="the model to ask (default: the program's own)")
    exam.add_argument("--scenes", type=int, default=REFERENCE_SCENES, help="how many (default: %(default)s)")
    exam.add_argument("--dtype", choices=["f32", "bf16", "q8", "q4"], default="f32")
    exam.add_argument("--tolerance", type=float, default=0.03, help="from a reference share (default: %(default)s)")
    exam.add_argument("--jobs", type=int, choices=[1, 2], default=2, help="programs at a time (default: %(default)s)")
    exam.add_argument("--against", type=Path, help="another report: also count the answers that are the same")
    exam.add_argument("-o", "--report", type=Path, help="write shares and every answer as JSON")
    return parser


def draw_one(picture: Path, seed: int, kind: str, size: int | None) -> None:
    if picture.suffix.lower() != ".png":
        raise SystemExit(f"scenes: {picture}: pictures are written as .png")
    if size is None:
        drawn = scene(seed, kind)
        image, questions = Image.fromarray(drawn.image), drawn.questions
    elif size % SCENE_PX or not SCENE_PX <= size <= 4096:
        raise SystemExit(f"scenes: --size is {size}: must be a multiple of {SCENE_PX} from {SCENE_PX} to 4096")
    else:
        image, questions = drawing(seed, kind, size // SCENE_PX)
    image.save(picture)
    print(json.dumps([q._asdict() for q in questions], indent=1))


def draw_labelled(folder: Path, seed: int, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,policy,violates"]
    for kind in LABELLED_KINDS:
        for at in range(seed, seed + count):
            drawn = scene(at, kind)
            answers = [a for q, a in (question[:2] for question in drawn.questions) if "dangerous" in q]
            if answers:
                name = f"{kind}{at}.png"
                Image.fromarray(drawn.image).save(folder / name)
                lines.append(f"{name},dangerous,{answers[0]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    print(f"{len(lines) - 1} scenes, {sum(line.endswith('Yes') for line in lines)} of them dangerous")


def main() -> int:
    options = command_line().parse_args()
    if missing := missing_fonts():
        raise SystemExit(f"scenes: no font {missing[0]}: apt install fonts-dejavu-core fonts-liberation")
    if reason := why_inexact():
        print(f"scenes: some pictures will differ from the right ones: {reason}", file=sys.stderr)
    try:
        if options.command == "draw":
            draw_one(options.picture, options.seed, options.kind, options.size)
            return 0
        if options.command == "samples":
            differ = redraw_samples(options.folder, options.check)
            return 1 if options.check and differ else 0
        if options.scenes < 1:
            raise SystemExit(f"scenes: --scenes is {options.scenes}: must be at least 1")
        if options.command == "labels":
            draw_labelled(options.folder, options.seed, options.scenes)
            return 0
        return run_exam(Engine(options.tapetum, options.dtype, options.model), options.scenes, options.jobs,
                        options.tolerance, options.report, options.against)
    except (ExamError, OSError) as error:
        raise SystemExit(f"scenes: {error}") from None
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
