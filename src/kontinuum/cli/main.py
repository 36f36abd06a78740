"""The ``kontinuum`` command. Each subcommand's work is in a module of ``commands``, imported when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kontinuum.cli import image, runtime
from kontinuum.cli.exits import Exit, code_of
from kontinuum.cli.options import DEFAULT_DATA_DIR, Config, DataDir, Output, OutputOption
from kontinuum.foundation.errors import KontinuumError

if TYPE_CHECKING:
    from kontinuum.cli.settings import Settings

app = typer.Typer(
    name="kontinuum",
    help="One Kubernetes API for every isolation class: containers and microVMs behind one field.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(image.app)
app.add_typer(runtime.app)

Listen = Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where the API server listens.")]
StoreOption = Annotated[
    str, typer.Option("--store", metavar="ADDRESS", help="sqlite:///PATH or etcd://HOST:PORT,HOST:PORT.")
]
KubeconfigOption = Annotated[
    Path | None, typer.Option("--kubeconfig", metavar="FILE", help="Another API server, and our credentials for it.")
]
ContextOption = Annotated[str, typer.Option("--context", help="Which of the kubeconfig's contexts.")]
ElectOption = Annotated[
    bool | None, typer.Option("--elect/--no-elect", help="Work only while holding the Lease. The default is yes.")
]
IdentityOption = Annotated[str, typer.Option("--identity", help="Our name in the Lease. Default: host and chance.")]


@app.command()
def up(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    listen: Listen = "",
    store: StoreOption = "",
    config: Config = None,
    nodes: Annotated[
        int, typer.Option("--nodes", min=0, help="So many hosts on this machine, for development. Default: itself.")
    ] = 0,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything is ready.")] = False,
) -> None:
    """Run everything of one machine under one supervisor."""
    from kontinuum.cli.commands.up import up

    up(data_dir=data_dir, listen=listen, store=store, config=config, nodes=nodes, detach=detach)


@app.command()
def down(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    leave_pods: Annotated[
        bool, typer.Option("--leave-pods", help="Stop our processes only; pods run on until the next `up`.")
    ] = False,
    drain: Annotated[
        bool, typer.Option("--drain", help="First end the pods in order, by priority, each in its own time.")
    ] = False,
) -> None:
    """Stop everything, pods and VMs included. The data stays."""
    from kontinuum.cli.commands.down import down

    down(data_dir=data_dir, leave_pods=leave_pods, drain=drain)


@app.command()
def reset(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop everything and remove the data."""
    from kontinuum.cli.commands.reset import reset

    reset(data_dir=data_dir, yes=yes)


@app.command()
def status(data_dir: DataDir = DEFAULT_DATA_DIR, output: OutputOption = Output.TABLE) -> None:
    """Say what runs, since when, with how much memory and on which ports."""
    from kontinuum.cli.commands.status import status

    status(data_dir=data_dir, as_json=output is Output.JSON)


@app.command()
def doctor(data_dir: DataDir = DEFAULT_DATA_DIR, config: Config = None, output: OutputOption = Output.TABLE) -> None:
    """Say what this host can run, how that was found out, and what to install or change."""
    from kontinuum.cli.commands.doctor import doctor

    doctor(data_dir=data_dir, config=config, as_json=output is Output.JSON)


@app.command()
def server(
    data_dir: DataDir = DEFAULT_DATA_DIR, listen: Listen = "", store: StoreOption = "", config: Config = None
) -> None:
    """Run the API server alone, in the foreground."""
    from kontinuum.cli.commands.part import run_part

    run_part("server", data_dir=data_dir, listen=listen, store=store, config=config)


@app.command()
def controllers(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    chosen: Annotated[
        str, typer.Option("--controllers", metavar="NAMES", help="Which run: names, -NAME, or * for all others.")
    ] = "",
    elect: ElectOption = None,
    identity: IdentityOption = "",
) -> None:
    """Run the controllers in the foreground: beside any API server, or with our own installation's scheduler."""
    from kontinuum.cli.commands.part import run_attached, run_part

    if kubeconfig is None:
        _only_attached({"--context": context, "--controllers": chosen, "--elect": elect, "--identity": identity})
        run_part("controllers", data_dir=data_dir, config=config)
        return
    told = _electing(elect, identity) | ({"enabled": [one.strip() for one in chosen.split(",")]} if chosen else {})
    overrides = {"controllers": told, "context": context}
    run_attached("manager", kubeconfig=kubeconfig, config=config, overrides=overrides)


@app.command()
def scheduler(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    elect: ElectOption = None,
    identity: IdentityOption = "",
) -> None:
    """Run the scheduler alone in the foreground: beside any API server, or beside our own installation's."""
    from kontinuum.cli.commands.part import run_attached, run_part

    if kubeconfig is None:
        _only_attached({"--context": context, "--elect": elect, "--identity": identity})
        run_part("scheduler", data_dir=data_dir, config=config)
        return
    overrides = {"scheduler": _electing(elect, identity), "context": context}
    run_attached("scheduler", kubeconfig=kubeconfig, config=config, overrides=overrides)


@app.command()
def schedule(
    pod: Annotated[str, typer.Option("--explain", metavar="POD", help="The pod whose placement is explained.")],
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="The pod's namespace. Default: the kubeconfig's.")
    ] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Say for each node which filter refuses a pod and how its score arises. Nothing is changed."""
    from kontinuum.cli.commands.schedule import explain

    explain(
        pod,
        namespace=namespace,
        data_dir=data_dir,
        config=config,
        kubeconfig=kubeconfig,
        context=context,
        as_json=output is Output.JSON,
    )


@app.command()
def node(
    server: Annotated[
        str, typer.Option("--server", metavar="URL", help="The API server whose cluster this machine joins.")
    ] = "",
    token: Annotated[
        str, typer.Option("--token", envvar="KONTINUUM_TOKEN", help="What `kontinuum token create` printed there.")
    ] = "",
    ca_hash: Annotated[
        list[str] | None,
        typer.Option("--ca-hash", metavar="sha256:HEX", help="The cluster's authority must have this hash."),
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when everything is ready.")] = False,
) -> None:
    """Join a cluster as one of its nodes, and run what a node needs; later starts need neither address nor token."""
    from kontinuum.cli.commands.node import node

    node(data_dir=data_dir, config=config, server=server, token=token, hashes=ca_hash or (), detach=detach)


host_app = typer.Typer(help="The hosts that `kontinuum up --nodes N` makes on this machine.", no_args_is_help=True)
app.add_typer(host_app, name="host")
HostName = Annotated[str, typer.Argument(help="As `kontinuum host list` says it.", show_default=False)]


@host_app.command("list")
def host_list(data_dir: DataDir = DEFAULT_DATA_DIR, output: OutputOption = Output.TABLE) -> None:
    """Print which hosts there are, and what has become of them."""
    from kontinuum.cli.commands import host

    _run(host.print_list(data_dir, as_json=output is Output.JSON))


@host_app.command("stop")
def host_stop(name: HostName, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Switch a host off, as a power cut does."""
    from kontinuum.cli.commands import host

    _run(host.stop(data_dir, name))


@host_app.command("pause")
def host_pause(name: HostName, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Freeze every process of a host."""
    from kontinuum.cli.commands import host

    _run(host.pause(data_dir, name))


@host_app.command("cut")
def host_cut(name: HostName, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Cut a host off from the network."""
    from kontinuum.cli.commands import host

    _run(host.cut(data_dir, name))


@host_app.command("heal")
def host_heal(name: HostName, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Undo what was done to a host; returns when what runs on it is ready."""
    from kontinuum.cli.commands import host

    _run(host.heal(data_dir, name))


token_app = typer.Typer(help="The tokens by which other machines join.", no_args_is_help=True)
app.add_typer(token_app, name="token")


@token_app.command("create")
def token_create(
    token: Annotated[str, typer.Argument(help="The token itself. Default: chance decides.", show_default=False)] = "",
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is good: 24h, 90m; 0 means for ever.")] = "24h",
    description: Annotated[str, typer.Option("--description", help="What it is for.")] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a token, and print the command by which a machine joins with it."""
    from kontinuum.cli.commands import token as tokens
    from kontinuum.foundation.clock import RealClock

    settings = tokens.running_settings(data_dir)
    seconds = tokens.seconds_of(ttl)

    async def work() -> None:
        made = await tokens.create(settings, RealClock(), ttl=seconds, description=description, token=token)
        tokens.print_created(made, as_json=output is Output.JSON)

    _run(work())


@token_app.command("list")
def token_list(data_dir: DataDir = DEFAULT_DATA_DIR, output: OutputOption = Output.TABLE) -> None:
    """Print the tokens that are good, and how long still."""
    from kontinuum.cli.commands import token as tokens
    from kontinuum.foundation.clock import RealClock

    settings = tokens.running_settings(data_dir)

    async def work() -> None:
        tokens.print_list(await tokens.list_tokens(settings, RealClock()), as_json=output is Output.JSON)

    _run(work())


@token_app.command("delete")
def token_delete(
    token: Annotated[str, typer.Argument(help="The token, or its first half.", show_default=False)],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Take a token back. Machines that have joined with it stay members."""
    from kontinuum.cli.commands import token as tokens

    settings = tokens.running_settings(data_dir)
    _run(tokens.delete(settings, token))


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to write.", show_default=False)],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    store: StoreOption = "",
    config: Config = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write everything that is stored into one file. Servers go on working."""
    from kontinuum.cli.commands.backup import backup
    from kontinuum.foundation.clock import RealClock

    settings = _settings(data_dir=data_dir, store=store, config=config)
    _run(backup(settings, file.absolute(), force=force, clock=RealClock()))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `kontinuum backup` wrote.", show_default=False)],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    store: StoreOption = "",
    config: Config = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is stored now.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only look whether the backup is whole.")] = False,
) -> None:
    """Put what is in a backup into the store."""
    from kontinuum.cli.commands import restore
    from kontinuum.foundation.clock import RealClock

    if check:
        restore.check(file)
        return
    settings = _settings(data_dir=data_dir, store=store, config=config)
    _run(restore.restore(settings, file.absolute(), force=force, clock=RealClock()))


@app.command()
def copy(
    source: Annotated[str, typer.Option("--from", metavar="ADDRESS", help="The store to read; it stays as it is.")],
    target: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="The store to fill.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is stored there now.")] = False,
) -> None:
    """Copy everything from one store to another. Stop the servers first."""
    from kontinuum.cli.commands.copy import copy
    from kontinuum.foundation.clock import RealClock

    settings = _settings(data_dir=data_dir, config=config)
    _run(copy(settings, source=source, target=target, force=force, clock=RealClock()))


@app.command()
def settings(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Config = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Describe every setting, as docs/how-to/settings.md.")
    ] = False,
) -> None:
    """Print the settings that are in force, or describe every setting there is."""
    from kontinuum.cli.commands.settings import describe_settings, print_settings

    if markdown:
        describe_settings()
    else:
        print_settings(data_dir=data_dir, config=config)


@app.command()
def demo(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    manifest: Annotated[Path, typer.Option("--manifest", help="What to apply.")] = Path("examples/one-api"),
) -> None:
    """Apply one manifest to a running platform: every isolation class, one table."""
    import asyncio

    from rich.console import Console

    from kontinuum.cli.commands.demo import run
    from kontinuum.cli.installation import Installation

    # A pipe or a log has no width; the rows must not be cut to that of an old terminal.
    console = Console(width=None if sys.stdout.isatty() else 120)
    asyncio.run(run(installation=Installation.at(data_dir), manifest=manifest, console=console))


@app.command()
def simulate(
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Hollow nodes.")] = 1000,
    pods: Annotated[int, typer.Option("--pods", min=1, help="Pods, at last.")] = 10_000,
    replicas: Annotated[int, typer.Option("--replicas", min=1, help="Pods of each Deployment.")] = 500,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Points of the curve; each has twice the pods.")] = 4,
    ready_seconds: Annotated[
        float, typer.Option("--ready-seconds", min=0, help="From a pod's binding to its report of running.")
    ] = 0.0,
    heartbeat_seconds: Annotated[
        float, typer.Option("--heartbeat-seconds", min=0.1, help="Between two renewals of a node's Lease.")
    ] = 10.0,
    settle_seconds: Annotated[
        float, typer.Option("--settle-seconds", min=0, help="Measure for so long what idling costs, at the end.")
    ] = 0.0,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    store: StoreOption = "",
    keep: Annotated[Path | None, typer.Option("--keep", help="Where data and logs stay. Default: nowhere.")] = None,
    virtual: Annotated[
        bool, typer.Option("--virtual", help="All in one process and in virtual time: waiting takes none.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="With --virtual: the same seed, the same life.")] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Drive API server, controllers and scheduler with nodes that only say they run pods, and print what it costs."""
    from kontinuum.cli.commands import simulate as command
    from kontinuum.cli.simulation.drive import Plan
    from kontinuum.foundation.telemetry import configure_logs

    configure_logs(component="simulate", format="json", level="warning")
    plan = Plan(
        nodes=nodes, pods=pods, replicas=replicas, steps=steps, ready_seconds=ready_seconds,
        heartbeat_seconds=heartbeat_seconds, settle_seconds=settle_seconds,
    )  # fmt: skip
    as_json = output is Output.JSON
    if virtual:
        _only_real({"--kubeconfig": kubeconfig, "--context": context, "--store": store, "--keep": keep})
        command.run_virtual(plan, seed=seed, as_json=as_json)
    else:
        command.run_real(plan, kubeconfig=kubeconfig, context=context, store=store, keep=keep, as_json=as_json)


@app.command()
def version() -> None:
    """Print which Kontinuum this is."""
    from kontinuum.cli.version import version

    print(version())


def _settings(*, data_dir: Path, config: Path | None, store: str = "") -> Settings:
    from kontinuum.cli.settings import environment, load

    return load(data_dir=data_dir, store=store, config=config, environment=environment())


def _electing(elect: bool | None, identity: str) -> dict[str, Any]:
    return ({} if elect is None else {"elect": elect}) | ({"identity": identity} if identity else {})


def _only_attached(options: Mapping[str, object]) -> None:
    """Settings say it for an installation of our own; said here it would be lost."""
    from kontinuum.foundation.errors import Refused

    if given := [name for name, value in options.items() if value not in ("", None)]:
        raise Refused(f"{', '.join(given)}: only with --kubeconfig; an installation's settings.yaml says it otherwise")


def _only_real(options: Mapping[str, object]) -> None:
    from kontinuum.foundation.errors import Refused

    if given := [name for name, value in options.items() if value not in ("", None)]:
        raise Refused(f"{', '.join(given)}: not with --virtual, which has everything in its own process and memory")


def _run(command: Coroutine[Any, Any, None]) -> None:
    from kontinuum.cli.interruption import run

    run(command)


def main() -> None:
    """Run the command; errors become one line on standard error and an exit code."""
    try:
        app()
    except KontinuumError as error:
        print(f"kontinuum: {error}", file=sys.stderr)
        sys.exit(code_of(error))
    except PermissionError as error:
        print(f"kontinuum: {error}; run as root", file=sys.stderr)
        sys.exit(Exit.BROKEN)
    except OSError as error:
        # A disk that is full, read-only or gone: the data directory cannot be prepared.
        print(f"kontinuum: {error}", file=sys.stderr)
        sys.exit(Exit.BROKEN)
