"""A simulated camera that drives along streets, the perception node on its pictures, and RViz.

ros2 launch dvps_ros demo.launch.py
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from dvps_ros import resources
from dvps_ros.launch_arguments import flag
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
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(resources.find("launch/perception.launch.py"))),
        launch_arguments={name: given[name] for name in ("model", "device", "rviz")}.items(),
    )
    camera = Node(
        package="dvps_ros",
        executable="sim_camera_node",
        parameters=[{"seed": int(given["seed"]), "rate": float(given["rate"]), "frame_id": FRAME}],
        output="screen",
    )
    return [perception, camera, *([upright()] if flag("rviz", given["rviz"]) else [])]


def upright():
    """RViz shows z upwards; the optical frame has y downwards and z ahead (REP 103)."""
    turn = ("--roll", "-1.5708", "--yaw", "-1.5708")
    frames = ("--frame-id", "camera", "--child-frame-id", FRAME)
    return Node(package="tf2_ros", executable="static_transform_publisher", arguments=["--z", "1.5", *turn, *frames])


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
