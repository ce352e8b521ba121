"""Scenes of made-up ground, whose depth is calculated ray by ray."""

import math

import numpy as np
import torch

from dvps_ros.labels import CITYSCAPES, DIVISOR
from dvps_ros.scene.rays import rays
from dvps_ros.structures import Intrinsics, Scene, Segment

ROAD, SIDEWALK, WALL = (CITYSCAPES.index(name) * DIVISOR for name in ("road", "sidewalk", "wall"))
CAMERA = Intrinsics(150.0, 150.0, 127.5, 63.5, 256, 128)
#: Farther than this many metres the ground is not labelled as such.
SIGHT = 40.0


def up_of(pitch=0.0, roll=0.0):
    """Up in the optical frame of a camera that looks down by ``pitch`` and leans right by ``roll``, in degrees."""
    p, r = math.radians(pitch), math.radians(roll)
    return (-math.sin(r) * math.cos(p), -math.cos(r) * math.cos(p), -math.sin(p))


def flat(height=1.65, pitch=0.0, roll=0.0, camera=CAMERA, scale=1.0, label=ROAD):
    """Level ground under a camera, a wall behind it; depth is ``scale`` times the true one."""
    down = -torch.tensor(up_of(pitch, roll), dtype=torch.float64)
    along = rays(camera).double() @ down
    depth = height / along
    ground = (along > 0) & (depth < SIGHT)
    return scene(torch.where(ground, depth, SIGHT) * scale, torch.where(ground, label, WALL))


def terrain(elevation, height=1.65, camera=CAMERA, scale=1.0):
    """Ground of the given elevation in metres at each distance ahead, seen by a level camera; all of it is road."""
    distance = np.linspace(0.5, SIGHT, 20000)
    ground = height - np.array([elevation(z) for z in distance])  # how far it lies below the camera
    rows = (np.arange(camera.height) - camera.cy) / camera.fy
    reached = rows[:, None] * distance >= ground  # (H, Z): the ray has come down to the ground
    hit = reached.any(1)
    depth = torch.from_numpy(np.where(hit, distance[reached.argmax(1)], SIGHT))
    labels = torch.from_numpy(np.where(hit & (depth.numpy() < SIGHT), ROAD, WALL))
    return scene(*(rows[:, None].expand(camera.height, camera.width) for rows in (depth * scale, labels)))


def scene(depth, panoptic, metric=True):
    """The scene of a depth map and a label map (H, W), with a segment that tells the road's median depth."""
    panoptic, depth = panoptic.int().contiguous(), depth.float().contiguous()
    road = depth[panoptic == ROAD]
    segments = (Segment(ROAD, ROAD // DIVISOR, 0, 0.9, road.numel(), float(road.median())),) if road.numel() else ()
    return Scene(panoptic, depth, torch.ones_like(depth), segments, metric, 0.1 * depth)
