"""A simulated camera that drives along streets, the perception node on its pictures, and RViz.

ros2 launch dvps_ros demo.launch.py
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from dvps_ros import resources
from dvps_ros.launch_arguments import BASE_FRAME, CAMERA_HEIGHT, node_finds, require
from launch import LaunchDescription

FRAME = "sim_camera_optical_frame"
ARGUMENTS = {
    "seed": ("1", "Which street."),
    "rate": ("5.0", "Frames per second of the camera."),
    "model": ("models/street", "Model folder."),
    "device": ("auto", "auto, cpu, cuda or cuda:N."),
    "rviz": ("true", "Whether to start RViz: true or false."),
}


def start(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if not node_finds("sim_camera_node", "mujoco"):
        raise RuntimeError("the simulated street needs MuJoCo: pip install mujoco matplotlib")
    require("tf2_ros")
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(resources.find("launch/perception.launch.py"))),
        launch_arguments={**{name: given[name] for name in ("model", "device", "rviz")}, "frame": BASE_FRAME}.items(),
    )
    camera = Node(
        package="dvps_ros",
        executable="sim_camera_node",
        parameters=[{"seed": int(given["seed"]), "rate": float(given["rate"]), "frame_id": FRAME}],
        output="screen",
    )
    return [perception, camera, mount()]


def mount():
    """The camera above the ground, looking ahead: its optical frame has x right, y down and z ahead (REP 103)."""
    turn = ("--qx", "-0.5", "--qy", "0.5", "--qz", "-0.5", "--qw", "0.5")
    place = ("--z", str(CAMERA_HEIGHT), "--frame-id", BASE_FRAME, "--child-frame-id", FRAME)
    return Node(package="tf2_ros", executable="static_transform_publisher", arguments=[*place, *turn])


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
