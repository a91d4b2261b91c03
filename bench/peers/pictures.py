"""A picture as the modules of transformers take it, by family, without a processor: no resize, one tile."""
import numpy as np
import torch

MEAN_STD = {"qwen2_5_vl": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])}


def mean_std(model_type):
    return MEAN_STD.get(model_type, ([0.5] * 3, [0.5] * 3))


def noise(edge_px):
    return np.random.default_rng(7).integers(0, 256, (edge_px, edge_px, 3), np.uint8)


def patches(pixels, patch, merge, frames):
    """[3, h, w] to [patches, 3 * frames * patch * patch] in blocks of merge x merge, every frame the same."""
    rows, columns = pixels.shape[1] // patch, pixels.shape[2] // patch
    blocks = pixels.reshape(3, rows // merge, merge, patch, columns // merge, merge, patch)
    blocks = blocks.permute(1, 4, 2, 5, 0, 3, 6)  # block row, block column, row, column, channel, y, x
    return blocks[..., None, :, :].expand(*blocks.shape[:5], frames, patch, patch).reshape(rows * columns, -1)


def vision_inputs(config, picture, count=1):
    """`count` times the uint8 picture [h, w, 3], as arguments of get_image_features."""
    mean, std = (torch.tensor(values)[:, None, None] for values in mean_std(config.model_type))
    pixels = (torch.from_numpy(picture).permute(2, 0, 1) / 255 - mean) / std
    vision = config.vision_config
    if config.model_type == "qwen2_5_vl":
        grid = [1, pixels.shape[1] // vision.patch_size, pixels.shape[2] // vision.patch_size]
        rows = patches(pixels, vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        return {"pixel_values": rows.repeat(count, 1), "image_grid_thw": torch.tensor([grid] * count)}
    many = pixels.repeat(count, 1, 1, 1)
    return {"pixel_values": many[None] if config.model_type in ("idefics3", "smolvlm") else many}


def picture_tokens(config, edge_px):
    vision = config.vision_config
    if config.model_type == "gemma3":
        return config.mm_tokens_per_image
    merge = vision.spatial_merge_size if config.model_type == "qwen2_5_vl" else config.scale_factor
    return (edge_px // vision.patch_size // merge) ** 2


def picture_rows(features):
    """[1, rows, width] of what get_image_features returns."""
    if isinstance(features, (list, tuple)):
        features = torch.cat(list(features))
    return features.reshape(1, -1, features.shape[-1])
