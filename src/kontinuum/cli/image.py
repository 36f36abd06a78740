"""``kontinuum image``: what its subcommands are called with. Their work is in ``commands.image``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kontinuum.cli.options import DEFAULT_DATA_DIR, Config, DataDir, Output, OutputOption

app = typer.Typer(name="image", help="The images that pods of this machine start from.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A name like registry.example/app:1, or the beginning of an id.")]
PlatformOption = Annotated[
    str, typer.Option("--platform", metavar="OS/ARCH", help="Of several, the image for this. Default: this machine's.")
]
AllPlatforms = Annotated[bool, typer.Option("--all-platforms", help="Every image of an index, not one.")]
Pin = Annotated[
    bool, typer.Option("--pin/--no-pin", help="Never remove it to make room: it could not be pulled again.")
]
MaximumSize = Annotated[
    int, typer.Option("--max-size", metavar="GIB", min=1, help="Refuse what unpacks to more than this.")
]
Credentials = Annotated[
    str,
    typer.Option("--creds", metavar="USER[:PASSWORD]", help="For the registry. Default: ~/.docker/config.json."),
]
HostOption = Annotated[
    str,
    typer.Option("--host", metavar="NAME", help="One of several hosts on this machine, or * for all of them."),
]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="The registry speaks HTTP without TLS.")]


@app.command("list")
def list_(
    names: Annotated[list[str] | None, typer.Argument(help="Only names that contain one of these.")] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Names made by id and digest too.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    host: HostOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the images that are here, with digests and sizes."""
    from kontinuum.cli.commands import image

    image.run(
        image.list_images(names or [], everything=everything, as_json=output is Output.JSON), data_dir, config, host
    )


@app.command("import")
def import_(
    file: Annotated[str, typer.Argument(help="An OCI or `docker save` archive, compressed or not; - reads a pipe.")],
    name: Annotated[str, typer.Option("--name", "-n", help="Instead of the name that the archive gives.")] = "",
    platform: PlatformOption = "",
    all_platforms: AllPlatforms = False,
    pin: Pin = True,
    max_size: MaximumSize = 64,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    host: HostOption = "",
) -> None:
    """Take images from an archive, whole or not at all."""
    from kontinuum.cli.commands import image

    if file == "-" and host == image.ALL_HOSTS:
        raise image.BadOption("a pipe can be read only once: with --host '*' name a file")
    work = image.import_image(
        file, name=name, platform=platform, all_platforms=all_platforms, pin=pin, maximum=max_size << 30
    )
    image.run(work, data_dir, config, host)


@app.command()
def export(
    names: Annotated[list[str], typer.Argument(help="Which images.")],
    target: Annotated[Path, typer.Option("--to", "-o", metavar="FILE", help="The OCI archive to write.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    host: HostOption = "",
) -> None:
    """Write images into one OCI archive."""
    from kontinuum.cli.commands import image

    image.run(image.export_images(names, target.absolute()), data_dir, config, host)


@app.command()
def build(
    directory: Annotated[Path, typer.Argument(help="What becomes the root file system.")],
    tag: Annotated[str, typer.Option("--tag", "-t", metavar="NAME", help="The image's name.")],
    entrypoint: Annotated[str, typer.Option("--entrypoint", help="Words as in a shell, or a JSON list.")] = "",
    command: Annotated[str, typer.Option("--cmd", help="Likewise: what follows, unless the pod says args.")] = "",
    environment: Annotated[list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE")] = None,
    user: Annotated[str, typer.Option("--user", "-u", help="USER[:GROUP], by name or number.")] = "",
    workdir: Annotated[str, typer.Option("--workdir", "-w", help="The process's directory.")] = "/",
    label: Annotated[list[str] | None, typer.Option("--label", "-l", metavar="NAME=VALUE")] = None,
    annotation: Annotated[list[str] | None, typer.Option("--annotation", metavar="NAME=VALUE")] = None,
    port: Annotated[list[str] | None, typer.Option("--port", "-p", metavar="PORT[/tcp|/udp]")] = None,
    volume: Annotated[list[str] | None, typer.Option("--volume", metavar="PATH")] = None,
    stop_signal: Annotated[str, typer.Option("--stop-signal", help="For example SIGQUIT.")] = "",
    keep_owners: Annotated[
        bool, typer.Option("--keep-owners", help="Files keep their users and groups; by default all are root's.")
    ] = False,
    platform: PlatformOption = "",
    pin: Pin = True,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    host: HostOption = "",
) -> None:
    """Make a directory an image. The same directory gives the same digest."""
    from kontinuum.cli.commands import image

    made = image.image_config(
        entrypoint=entrypoint, command=command, environment=environment or [], user=user, workdir=workdir,
        labels=label or [], ports=port or [], volumes=volume or [], stop_signal=stop_signal,
    )  # fmt: skip
    work = image.build_image(
        directory, tag, made, annotations=annotation or [], platform=platform, keep_owners=keep_owners, pin=pin
    )
    image.run(work, data_dir, config, host)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="For example registry.example/app:1.")],
    platform: PlatformOption = "",
    all_platforms: AllPlatforms = False,
    credentials: Credentials = "",
    plain_http: PlainHttp = False,
    pin: Annotated[bool, typer.Option("--pin/--no-pin", help="Never remove it to make room.")] = False,
    max_size: MaximumSize = 64,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    host: HostOption = "",
) -> None:
    """Fetch an image from its registry."""
    from kontinuum.cli.commands import image

    access = image.Access(credentials, plain_http)
    work = image.pull_image(
        name, access, platform=platform, all_platforms=all_platforms, pin=pin, maximum=max_size << 30
    )
    image.run(work, data_dir, config, host)


@app.command()
def push(
    name: Name,
    target: Annotated[str, typer.Argument(help="Where to, if not where its name says.")] = "",
    credentials: Credentials = "",
    plain_http: PlainHttp = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    host: HostOption = "",
) -> None:
    """Bring an image to a registry."""
    from kontinuum.cli.commands import image

    image.run(image.push_image(name, target, image.Access(credentials, plain_http)), data_dir, config, host)


@app.command()
def inspect(name: Name, data_dir: DataDir = DEFAULT_DATA_DIR, config: Config = None, host: HostOption = "") -> None:
    """Say everything about one image, as JSON."""
    from kontinuum.cli.commands import image

    image.run(image.inspect_image(name), data_dir, config, host)


@app.command()
def remove(
    names: Annotated[list[str], typer.Argument(help="Which images.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    host: HostOption = "",
) -> None:
    """Take names away; content that no name keeps is gone. Running containers go on."""
    from kontinuum.cli.commands import image

    image.run(image.remove_images(names), data_dir, config, host)


@app.command()
def tag(
    name: Name,
    other: Annotated[str, typer.Argument(help="Another name for it.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    host: HostOption = "",
) -> None:
    """Give an image another name."""
    from kontinuum.cli.commands import image

    image.run(image.tag_image(name, other), data_dir, config, host)


@app.command()
def pin(
    name: Name,
    off: Annotated[bool, typer.Option("--off", help="It may go again.")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    host: HostOption = "",
) -> None:
    """Keep an image although nothing uses it and room is needed."""
    from kontinuum.cli.commands import image

    image.run(image.pin_image(name, off=off), data_dir, config, host)
