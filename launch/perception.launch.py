"""Starts the perception node on a camera's topics, active, and RViz if wanted.

ros2 launch dvps_ros perception.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile

from dvps_ros import resources
from dvps_ros.launch_arguments import camera_info_beside, flag, number, profile_variables, require, view_frame
from launch import LaunchDescription

ARGUMENTS = {
    "model": ("", "Model folder, or pair; empty: what params_file or the node's default says."),
    "segmentation": ("", "With model pair: a panoptic network of transformers, folder or hub name."),
    "depth": ("", "With model pair: a metric depth network of transformers, folder or hub name."),
    "allow_programs": ("", "true: the model may be an exported program, which is code of whoever made it."),
    "image": ("image", "Topic of the camera's images."),
    "camera_info": ("", "Topic of the camera's calibration; empty: camera_info beside the image."),
    "device": ("", "auto, cpu, cuda or cuda:N; empty: what params_file or the node's default says."),
    "runtime": ("", "auto, torch, openvino, ...; empty: what params_file or the node's default says."),
    "camera_height": ("", "Metres of the camera above the ground; empty: what params_file or the node's default says."),
    "base_frame": ("", "Frame on the ground below the camera, z up; empty: what params_file says, or none."),
    "fixed_frame": ("", "Frame of odometry, such as odom; empty: what params_file says, or none."),
    "params_file": ("", "YAML file of parameters; empty: the package's config/perception.yaml."),
    "namespace": ("", "Namespace of the node."),
    "rviz": ("false", "Whether to start RViz: true or false (or another word that YAML takes for one)."),
    "frame": ("", "Fixed frame of RViz, z up; empty: one at the camera, from the frame of the first image."),
    "autostart": ("true", "Walk to active at once; false leaves that to a lifecycle manager."),
    "use_sim_time": ("", "true: take time from /clock; empty: what params_file says, or false."),
    "enclave": ("", "SROS 2 enclave of the node, such as /perception (see config/sros2); empty: none is named."),
    "dds_profile": ("config/fastdds.xml", "Fast DDS profile for large images; none: the environment's own."),
}
#: Arguments that are parameters of the node and, where they are empty, are left to params_file.
TEXTS = ("model", "segmentation", "depth", "device", "runtime", "base_frame", "fixed_frame")
#: What makes the profile work; see config/fastdds.xml. What the environment says already is left as it is.
ENVIRONMENT = {
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT",
    "RMW_FASTRTPS_PUBLICATION_MODE": "ASYNCHRONOUS",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "536870912",
}


def start(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    with_rviz = flag("rviz", given["rviz"])
    if with_rviz:
        require("rviz2", ", or rviz:=false")
    if given["params_file"] and not Path(given["params_file"]).is_file():
        raise RuntimeError(f"params_file: no such file: {given['params_file']}")
    overrides = {
        "autostart": flag("autostart", given["autostart"]),
        **{name: given[name] for name in TEXTS if given[name]},
        **({"camera_height": number("camera_height", given["camera_height"])} if given["camera_height"] else {}),
        **{name: flag(name, given[name]) for name in ("allow_programs", "use_sim_time") if given[name]},
    }
    camera_info = given["camera_info"] or camera_info_beside(given["image"])
    if with_rviz and not given["frame"]:
        overrides["view_frame"] = given["frame"] = view_frame(given["namespace"])
    parameters = given["params_file"] or str(resources.find("config/perception.yaml"))
    perception = Node(
        package="dvps_ros",
        executable="perception_node",
        namespace=given["namespace"],
        parameters=[ParameterFile(parameters), overrides],
        remappings=[("image", given["image"]), ("camera_info", camera_info)],
        ros_arguments=["--enclave", given["enclave"]] if given["enclave"] else [],
        output="screen",
    )
    wanted = [*environment(given["dds_profile"]), perception]
    return [*wanted, rviz(given["namespace"], given["frame"])] if with_rviz else wanted


def environment(profile):
    if profile in ("", "none"):
        return []
    name, other = profile_variables()  # a profile of the user's under either of them stays
    file = EnvironmentVariable(
        name, default_value=EnvironmentVariable(other, default_value=str(resources.find(profile)))
    )
    return [
        SetEnvironmentVariable(name, file),
        *(SetEnvironmentVariable(n, EnvironmentVariable(n, default_value=v)) for n, v in ENVIRONMENT.items()),
    ]


def rviz(namespace, frame):
    prefix = f"/{namespace.strip('/')}" if namespace.strip("/") else ""
    topics = ("points", "obstacles", "ground", "instances", "markers", "overlay", "depth", "camera_info", "confidence")
    return Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", str(resources.find("config/perception.rviz")), "-f", frame],
        remappings=[(f"/perception/{topic}", f"{prefix}/perception/{topic}") for topic in topics] if prefix else [],
    )


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])
