"""config/nav2: a costmap that obstacles mark and ground clears, simulated ray by ray as Nav2's layers do it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dvps_ros.config import PerceptionConfig
from dvps_ros.labels import CITYSCAPES
from dvps_ros.scene.clouds import ground_cloud, obstacle_cloud
from dvps_ros.structures import Intrinsics, Scene

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "config" / "nav2"
CAMERA = Intrinsics(160.0, 160.0, 159.5, 59.5, 320, 160)
HEIGHT = 1.5  # of the camera above the ground; it looks ahead
ROAD, SKY, CAR = (CITYSCAPES.index(name) for name in ("road", "sky", "car"))
#: Names that Nav2 reads, by the sources of Jazzy and main (August 2026).
COSTMAP = {
    *("global_frame", "robot_base_frame", "rolling_window", "width", "height", "resolution", "plugins"),
    *("update_frequency", "publish_frequency", "robot_radius"),
}
LAYERS = {
    "nav2_costmap_2d::ObstacleLayer": {"enabled", "min_obstacle_height", "max_obstacle_height", "observation_sources"},
    "nav2_costmap_2d::InflationLayer": {"cost_scaling_factor", "inflation_radius"},
    "semantic_segmentation_layer::SemanticSegmentationLayer": {
        *("enabled", "combination_method", "use_approximate_time_sync", "observation_sources"),
    },
}
LAYERS["nav2_costmap_2d::VoxelLayer"] = {
    *LAYERS["nav2_costmap_2d::ObstacleLayer"],
    *("origin_z", "z_resolution", "z_voxels", "mark_threshold"),
}
SOURCE = {
    *("topic", "data_type", "marking", "clearing", "min_obstacle_height", "max_obstacle_height"),
    *("obstacle_min_range", "obstacle_max_range", "raytrace_min_range", "raytrace_max_range", "expected_update_rate"),
}
SEMANTIC_SOURCE = {
    *("segmentation_topic", "confidence_topic", "labels_topic", "pointcloud_topic", "expected_update_rate"),
    *("min_obstacle_distance", "max_obstacle_distance", "tile_map_decay_time", "use_cost_selection", "class_types"),
}
SEMANTIC_CLASS = {"classes", "base_cost", "max_cost", "mark_confidence", "samples_to_max_cost", "dominant_priority"}


def costmap_of(name):
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["local_costmap"]["local_costmap"]["ros__parameters"]


def seen(box):
    """What a perfect model sees of an endless road with, or without, a box: (x, y, z) ranges ahead, left, up."""
    rows, columns = np.mgrid[: CAMERA.height, : CAMERA.width]
    left, up = -(columns - CAMERA.cx) / CAMERA.fx, -(rows - CAMERA.cy) / CAMERA.fy  # of a ray, per metre ahead
    depth = np.where(up < 0, HEIGHT / np.maximum(-up, 1e-9), np.inf)
    panoptic = np.where(np.isfinite(depth) & (depth < 1000), ROAD * 1000, SKY * 1000)
    if box is not None:
        front, sides, top = box
        hit = (left * front >= sides[0]) & (left * front <= sides[1]) & (HEIGHT + up * front <= top) & (depth > front)
        depth, panoptic = np.where(hit, front, depth), np.where(hit, CAR * 1000 + 1, panoptic)
    depth = torch.from_numpy(np.where(np.isfinite(depth), depth, 0)).float()
    return Scene(torch.from_numpy(panoptic).int(), depth, torch.ones_like(depth))


def on_the_ground(cloud):
    """Points in the optical frame as x ahead, y left, z above the ground."""
    xyz = cloud.xyz.numpy()
    return np.stack([xyz[:, 2], -xyz[:, 0], HEIGHT - xyz[:, 1]], 1).astype(np.float64)


class Grid:
    """What the obstacle layer and the voxel layer keep, around a robot that stands at the origin.

    The obstacle layer is one with a single voxel in each cell: its rays are drawn in two dimensions.
    """

    def __init__(self, settings):
        layer = settings["camera_layer"]
        self.layer, self.resolution = layer, settings["resolution"]
        self.cells = round(settings["width"] / self.resolution)
        self.flat = layer["plugin"].endswith("ObstacleLayer")
        self.bottom, self.step = (-1e6, 2e6) if self.flat else (layer["origin_z"], layer["z_resolution"])
        levels = 1 if self.flat else layer["z_voxels"]
        self.marked = np.zeros((self.cells, self.cells, levels), bool)

    def update(self, clouds):
        """Clear by every source that clears, then mark by every source that marks, as updateBounds does."""
        for purpose in ("clearing", "marking"):
            for name in self.layer["observation_sources"].split():
                source = self.layer[name]
                low, high = source["min_obstacle_height"], source["max_obstacle_height"]
                points = clouds[source["topic"].removeprefix("/perception/")]
                points = points[(points[:, 2] >= low) & (points[:, 2] <= high)]
                if source[purpose]:
                    getattr(self, f"_{purpose}")(points, source)

    def cost(self, x, y):
        """Whether the cell at a place is an obstacle."""
        column, row, _ = self._cell(np.array([[x, y, 0.0]]))[0].astype(int)
        return bool(self.marked[column, row].any())

    def obstacles(self):
        """How many cells are."""
        return int(self.marked.any(2).sum())

    def _cell(self, points):
        corner = np.array((-self.cells / 2 * self.resolution, -self.cells / 2 * self.resolution, self.bottom))
        return np.floor((points - corner) / (self.resolution, self.resolution, self.step))

    def _inside(self, cells):
        return ((cells >= 0) & (cells < self.marked.shape)).all(1)

    def _marking(self, points, source):
        z, distance = points[:, 2], np.hypot(points[:, 0], points[:, 1])
        high = (z >= self.layer["min_obstacle_height"]) & (z <= self.layer["max_obstacle_height"])
        near = (distance >= source["obstacle_min_range"]) & (distance <= source["obstacle_max_range"])
        cells = self._cell(points[high & near])
        self.marked[tuple(cells[self._inside(cells)].astype(int).T)] = True

    def _clearing(self, points, source):
        camera = np.array([0.0, 0.0, HEIGHT])
        for point in points:
            if not self.flat:  # the voxel layer ends a ray two cells before its point
                length = np.linalg.norm(point - camera)
                point = camera + (point - camera) * max(length - 2 * self.resolution, 0.0) / length
            reach = math.hypot(point[0], point[1])
            end = camera + (point - camera) * min(1.0, source["raytrace_max_range"] / reach)
            steps = np.linspace(0, 1, max(int(np.abs(end - camera).max() / self.resolution * 4), 1) + 1)
            cells = self._cell(camera + (end - camera) * steps[:, None])
            self.marked[tuple(cells[self._inside(cells)].astype(int).T)] = False


def drive_away(settings, sources):
    """The grid of a robot before which a car stands, drives away, and has left."""
    grid = Grid(settings)
    grid.layer = {**settings["camera_layer"], "observation_sources": sources}
    limits = {"max_depth": PerceptionConfig().max_depth, "stride": 2}
    for front in (4.0, 5.5, 7.0, None):
        scene = seen(None if front is None else (front, (-0.9, 0.9), 1.4))
        image = np.zeros((*scene.depth.shape, 3), np.uint8)
        made = {"obstacles": obstacle_cloud, "ground": ground_cloud}
        voxel = PerceptionConfig().voxel_size
        grid.update({n: on_the_ground(f(scene, image, CAMERA, CITYSCAPES, voxel, **limits)) for n, f in made.items()})
        if front is not None:
            assert all(grid.cost(front, y) for y in np.arange(-0.8, 0.85, settings["resolution"])), front
    return grid


@pytest.mark.parametrize("name", ["obstacle_layer", "voxel_layer"])
def test_ground_clears_what_a_car_leaves_behind_and_obstacles_alone_do_not(name):
    settings = costmap_of(name)
    assert drive_away(settings, "obstacles ground").obstacles() == 0
    assert drive_away(settings, "obstacles").obstacles() > 30  # three cars' fronts
    # not even where obstacles are told to clear, as a laser scanner's points do: nothing stands behind the last place
    settings["camera_layer"]["obstacles"]["clearing"] = True
    settings["camera_layer"]["obstacles"]["raytrace_max_range"] = 9.0
    settings["camera_layer"]["obstacles"]["raytrace_min_range"] = 0.0
    assert drive_away(settings, "obstacles").cost(7.0, 0.0)


def test_the_voxel_layer_keeps_what_is_marked_above_the_camera():
    settings = costmap_of("voxel_layer")
    layer = settings["camera_layer"]
    assert layer["max_obstacle_height"] < HEIGHT
    for part in (layer, layer["obstacles"]):
        part["max_obstacle_height"] = 2.0
    grid = Grid(settings)
    bus = np.array([[4.0, 0.0, 1.9]])
    scene = seen(None)
    image = np.zeros((*scene.depth.shape, 3), np.uint8)
    ground = on_the_ground(ground_cloud(scene, image, CAMERA, CITYSCAPES, 0.1, max_depth=80.0, stride=2))
    grid.update({"obstacles": bus, "ground": ground})
    grid.update({"obstacles": bus[:0], "ground": ground})
    assert grid.cost(4.0, 0.0)


# --- the files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["obstacle_layer", "voxel_layer", "semantic_layer"])
def test_every_name_is_one_that_nav2_reads(name):
    settings = costmap_of(name)
    assert settings.keys() - settings["plugins"] <= COSTMAP
    for plugin in settings["plugins"]:
        layer = dict(settings[plugin])
        kind = layer.pop("plugin")
        sources = layer.get("observation_sources", "").split()
        assert layer.keys() - sources <= LAYERS[kind], plugin
        for source in sources:
            names = layer[source].keys()
            if "Semantic" not in kind:
                assert names <= SOURCE
                continue
            types = layer[source]["class_types"]
            assert names - types <= SEMANTIC_SOURCE
            assert all(layer[source][one].keys() == SEMANTIC_CLASS for one in types)


def test_the_lifecycle_manager_waits_for_no_bond():
    [settings] = yaml.safe_load((FOLDER / "lifecycle_manager.yaml").read_text()).values()
    assert settings["ros__parameters"] == {"autostart": True, "bond_timeout": 0.0, "node_names": ["perception"]}


@pytest.mark.parametrize("name", ["obstacle_layer", "voxel_layer"])
def test_ranges_heights_and_grids_fit_each_other(name):
    settings = costmap_of(name)
    layer = settings["camera_layer"]
    marks, clears = layer["obstacles"], layer["ground"]
    assert settings["resolution"] >= PerceptionConfig().voxel_size
    assert clears["raytrace_max_range"] > marks["obstacle_max_range"]
    assert clears["min_obstacle_height"] < 0 < clears["max_obstacle_height"]
    assert (marks["marking"], marks["clearing"], clears["marking"], clears["clearing"]) == (True, False, False, True)
    assert 2 * clears["raytrace_max_range"] <= settings["width"]
    if name == "voxel_layer":
        assert layer["origin_z"] + layer["z_resolution"] * layer["z_voxels"] > HEIGHT
        assert layer["z_voxels"] <= 16


def test_every_class_but_the_sky_has_a_cost():
    source = costmap_of("semantic_layer")["semantic_layer"]["camera"]
    named = [name for kind in source["class_types"] for name in source[kind]["classes"]]
    assert sorted(named) == sorted(set(CITYSCAPES.names) - {"sky"})
    assert set(source["free"]["classes"]) == {CITYSCAPES.names[index] for index in CITYSCAPES.drivable}
