"""Frame indices that the references take out of videos: tests/data/frames.json.

    python tools/goldens/make_frames.py > tests/data/frames.json     (needs torch, torchvision, transformers)

SmolVLM2 by transformers' own SmolVLMVideoProcessor; Qwen2.5-VL as qwen-vl-utils 0.0.14 does in smart_nframes and
_read_video_*: clamp to [4, 768] and the frames there are, floor to even, torch.linspace rounded.
"""
import json
import math
import random

import torch
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor
from transformers.video_utils import VideoMetadata


def qwen(total, video_fps, fps):
    least, most = math.ceil(4 / 2) * 2, math.floor(min(768, total) / 2) * 2
    count = total / video_fps * fps
    count = math.floor(min(min(max(count, least), most), total) / 2) * 2
    if count < 2:
        return None
    return torch.linspace(0, total - 1, count).round().long().tolist(), count / max(total, 1e-6) * video_fps


rng = random.Random(7)
smol = SmolVLMVideoProcessor(video_sampling={"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 512}})
cases = []
for i in range(120):
    total = rng.choice([1, 2, 3, 5, rng.randint(4, 200), rng.randint(200, 5000), rng.randint(5000, 300000)])
    video_fps = rng.choice([24.0, 25.0, 30.0, 30000 / 1001, 60.0, 10.0, 0.5, rng.uniform(1, 120)])
    fps = rng.choice([2, 1, 0.5, 4, 8])
    metadata = VideoMetadata(total_num_frames=total, fps=video_fps, duration=total / video_fps)
    case = {"frames": total, "video_fps": video_fps, "fps": fps, "smolvlm2": smol.sample_frames(metadata, num_frames=64, fps=1).tolist()}
    chosen = qwen(total, video_fps, fps)
    if chosen:
        case["qwen"], case["qwen_fps"] = chosen
    cases.append(case)
print(json.dumps({"cases": cases}, separators=(",", ":")).replace("},{", "},\n{"))
