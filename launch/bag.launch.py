"""Plays a recording through the perception node, on the recording's clock.

ros2 launch dvps_ros bag.launch.py bag:=drive.mcap image:=/camera/image_raw camera_info:=/camera/camera_info
"""

import shutil

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from dvps_ros import resources
from dvps_ros.launch_arguments import camera_info_beside, flag
from launch import LaunchDescription

ARGUMENTS = {
    "bag": (None, "Recording: an mcap file or a rosbag2 folder."),
    "image": ("image", "Topic of the images in it."),
    "camera_info": ("", "Topic of the calibration in it; empty: camera_info beside the image."),
    "model": ("", "Model folder; empty: the node's default."),
    "device": ("", "auto, cpu, cuda or cuda:N; empty: the node's default."),
    "camera_height": ("", "Metres of the camera above the ground; empty: the node's default."),
    "base_frame": ("", "Frame on the ground below the camera, z up; empty: the node's default."),
    "fixed_frame": ("", "Frame of odometry, such as odom; empty: the node's default."),
    "params_file": ("", "YAML file of parameters; empty: the package's config/perception.yaml."),
    "namespace": ("", "Namespace of the node."),
    "rate": ("1.0", "Speed of playing."),
    "loop": ("false", "Whether to start again at the end: true or false."),
    "delay": ("5", "Seconds that the player waits for the model to load."),
    "rviz": ("false", "Whether to start RViz: true or false."),
    "frame": ("", "Fixed frame of RViz."),
}
FORWARDED = (
    "image",
    "camera_info",
    "model",
    "device",
    "camera_height",
    "base_frame",
    "fixed_frame",
    "params_file",
    "namespace",
    "rviz",
    "frame",
)


def start(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    # topics of the recording, which a namespace does not change
    given["image"] = f"/{given['image'].lstrip('/')}"
    given["camera_info"] = f"/{(given['camera_info'] or camera_info_beside(given['image'])).lstrip('/')}"
    forwarded = {**{name: given[name] for name in FORWARDED}, "use_sim_time": "true"}
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(resources.find("launch/perception.launch.py"))),
        launch_arguments=forwarded.items(),
    )
    if shutil.which("ros2") is None:
        raise RuntimeError("the command ros2 is not on PATH: source ROS 2's setup file first")
    # the camera's topics alone: a recording of an earlier run holds answers and diagnostics, which would look live
    topics = ["--topics", given["image"], given["camera_info"], "/tf", "/tf_static"]
    command = ["ros2", "bag", "play", given["bag"], "--clock", "--rate", given["rate"], "--delay", given["delay"]]
    command += topics
    if flag("loop", given["loop"]):
        command.append("--loop")
    player = ExecuteProcess(cmd=command, output="screen")
    over = RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[Shutdown(reason="the recording is over")]))
    return [perception, player, over]


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
