"""What the launch files share: arguments come to them as text."""

from __future__ import annotations

import yaml


def flag(name: str, text: str) -> bool:
    """What YAML takes for true or false; ``RuntimeError`` for anything else, which launch prints as one line."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = None
    if not isinstance(value, bool):
        raise RuntimeError(f"{name}:={text}: must be true or false")
    return value


def camera_info_beside(image: str) -> str:
    """The topic on which image_transport has the calibration of the images of a topic, compressed or not."""
    base = image.removesuffix("/compressed")
    return f"{base.rpartition('/')[0]}/camera_info" if "/" in base else "camera_info"
