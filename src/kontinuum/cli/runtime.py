"""``kontinuum runtime``: what its subcommands are called with. Their work is in ``commands.runtime``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="runtime", help="The microVM runtime on a containerd host of your own.", no_args_is_help=True)

Directory = Annotated[Path, typer.Option("--directory", help="Where programs, guest kernel and block images go.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
DEFAULT_DIRECTORY = Path("/opt/kontinuum")


@app.command()
def install(
    containerd_config: Annotated[
        Path, typer.Option("--containerd-config", metavar="PATH", help="containerd's configuration, version 2 or 3.")
    ] = Path("/etc/containerd/config.toml"),
    handler: Annotated[
        str, typer.Option("--handler", help="The handler's name, which the RuntimeClass says.")
    ] = "microvm",
    directory: Directory = DEFAULT_DIRECTORY,
    run_dir: Annotated[Path, typer.Option("--run-dir", help="Sockets and records of what runs, on a tmpfs.")] = Path(
        "/run/kontinuum-runtime"
    ),
    bin_dir: Annotated[
        Path, typer.Option("--bin-dir", help="On containerd's PATH: a link to the shim's client is made here.")
    ] = Path("/usr/local/bin"),
    assets: Annotated[Path | None, typer.Option("--assets", help="What `make assets` has made. Default: ours.")] = None,
    accelerator: Annotated[str, typer.Option("--accelerator", help="kvm or tcg. Default: what works.")] = "",
    systemd: Annotated[
        bool | None, typer.Option("--systemd/--no-systemd", help="A unit for the warm parent. Default: if it is here.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Restart containerd, so that it knows the handler.")
    ] = False,
    print_runtimeclass: Annotated[
        bool, typer.Option("--print-runtimeclass", help="Only print the RuntimeClass, for kubectl apply -f -.")
    ] = False,
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", metavar="FILE", help="Create the RuntimeClass in this cluster too.")
    ] = None,
    node_selector: Annotated[
        list[str] | None,
        typer.Option("--node-selector", metavar="NAME=VALUE", help="Labels of the nodes that have the runtime."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Put the shim, the guest and containerd's handler on this host."""
    from kontinuum.cli.commands import runtime

    chosen = runtime.Options(
        containerd=containerd_config.absolute(), handler=handler, directory=directory.absolute(),
        run=run_dir.absolute(), bin=bin_dir.absolute(), assets=assets, accelerator=accelerator, systemd=systemd,
    )  # fmt: skip
    manifest = runtime.runtime_class(handler, node_selector or [])
    if print_runtimeclass:
        runtime.print_manifest(manifest)
        return
    runtime.install(chosen, dry_run=dry_run, restart=restart)
    if kubeconfig is not None and not dry_run:
        runtime.apply(manifest, kubeconfig)


@app.command()
def uninstall(
    directory: Directory = DEFAULT_DIRECTORY,
    force: Annotated[bool, typer.Option("--force", help="Although pods run as machines here.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Restart containerd, so that it forgets the handler.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Take everything out again; containerd's configuration is as it was."""
    from kontinuum.cli.commands import runtime

    runtime.uninstall(directory.absolute(), force=force, dry_run=dry_run, restart=restart)
