//! Commands and their options.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::restore;
use crate::{applet, capture, doctor, net, plan, selftest, usage, worker};

/// Deploys disk images by multicast: the client side.
#[derive(Debug, Parser)]
#[command(name = "fos-agent", version, arg_required_else_help = true)]
#[command(
    after_help = "As the first process of a boot image (or through a link called init) it mounts \
    the system's file systems, loads drivers, and runs `fos-agent run`.\n\
    Exit status of run: 0 reboot, 10 power off, 11 done but the server has not taken the report, \
    20 failed and reported, 21 failed and not reported, 22 only a restart helps, 23 out of memory. Of deploy: 0 done, \
    11 as above, 1 failed. \
    Of plan: 0 there is a plan, 1 failed, 2 wrong usage, 3 a deploy would refuse this. \
    Of doctor: 0 no cause was found, 1 failed, 2 wrong usage, 3 causes were found. \
    Of selftest: 0 all works, 1 it could not look, 2 wrong usage, 3 something does not work. \
    Of the other commands: 0 done, 1 failed, 2 wrong usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Does what the kernel command line asks for: network, check-in, deploy, report
    Run(RunArgs),
    /// Deploys to a given disk or file; the network is up already
    Deploy(DeployArgs),
    /// Writes an image to a disk, a partition or a file, or only verifies it
    Restore(restore::RestoreArgs),
    /// Receives an image by multicast and writes it
    Receive(restore::ReceiveArgs),
    /// Makes an image of a disk, in a directory or on a server
    Capture(capture::CaptureArgs),
    /// Shows what a deploy of an image would do to a disk, and writes nothing
    Plan(plan::PlanArgs),
    /// Finds out what keeps this machine from being deployed: link, network, server, multicast, disks
    Doctor(doctor::DoctorArgs),
    /// Receives a test by multicast from `fos-server selftest`, and says what works and what does not
    Selftest(selftest::SelftestArgs),
    /// Reports to the server that this machine's task has failed
    ReportFailure(ReportArgs),
    /// Gets an address of one DHCP server and keeps it; `run` starts it where several answer
    #[command(hide = true, name = net::DHCP_COMMAND)]
    DhcpClient(DhcpArgs),
    /// Receives a multicast stream, as udpcast's program of this name; also by a link
    #[command(name = "udp-receiver", disable_help_flag = true)]
    UdpReceiver(AppletArgs),
    /// Sends a multicast stream, as udpcast's program of this name; also by a link
    #[command(name = "udp-sender", disable_help_flag = true)]
    UdpSender(AppletArgs),
    /// Writes a partclone image, as partclone's program of this name; also by a link
    #[command(name = "partclone.restore", disable_help_flag = true)]
    PartcloneRestore(AppletArgs),
    /// Shows what an image is, as partclone's program of this name; also by a link
    #[command(name = "partclone.info", disable_help_flag = true)]
    PartcloneInfo(AppletArgs),
    /// Verifies an image, as partclone's program of this name; also by a link
    #[command(name = "partclone.chkimg", disable_help_flag = true)]
    PartcloneChkimg(AppletArgs),
    /// Restores an image of partimage, as the program of this name; also by a link
    #[command(name = "partimage", disable_help_flag = true)]
    Partimage(AppletArgs),
    /// Decompresses, as the program of this name; also by a link, and as unzstd and zstdcat
    #[command(name = "zstd", disable_help_flag = true)]
    Zstd(AppletArgs),
}

#[derive(Debug, Args)]
struct AppletArgs {
    /// The options of that program; --help lists them
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    options: Vec<OsString>,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Kernel arguments to use instead of /proc/cmdline
    #[arg(long, value_name = "ARGUMENTS")]
    cmdline: Option<String>,
    /// Stop when the server is reached
    #[arg(long)]
    network_only: bool,
    /// Wait for Enter before each step
    #[arg(long)]
    step: bool,
    /// How long a failure is held on the screen if nothing was written; later the machine restarts. A disk that is
    /// partly written, or a failure that the server does not know of, is held until Enter in any case. Minutes,
    /// as the kernel argument foshold=MINUTES [default: 15]
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(0..=10080))]
    hold: Option<u32>,
}

#[derive(Debug, Args)]
struct DeployArgs {
    /// The job, as kernel arguments: "web=http://... mac=... type=down mc=yes port=... ..."
    #[arg(long, value_name = "ARGUMENTS")]
    cmdline: String,
    /// The disk to overwrite; a regular file must exist and have the size of the disk it stands for. Given
    /// several times for an image of several disks, in their order
    #[arg(long = "target", value_name = "DISK|FILE", required = true)]
    targets: Vec<PathBuf>,
    /// Network interface to receive on, by name or address (default: by the route to the sender)
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// Wait for Enter before each step. The others of a session wait, too
    #[arg(long)]
    step: bool,
    /// Where the image share of the server is mounted (the directory with .mntcheck); without it, the share that
    /// storage= names is mounted by NFS. Only for FOG's own servers
    #[arg(long, value_name = "DIRECTORY")]
    share: Option<PathBuf>,
    /// Run the post-init and post-download scripts of the share, as `run` does: they are root's, and change what they
    /// like on this machine
    #[arg(long)]
    scripts: bool,
    /// Do not reboot at the end. This is always so for this command; scripts may say it
    #[arg(long)]
    no_reboot: bool,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// What went wrong
    #[arg(long)]
    text: String,
    /// Kernel arguments to use instead of /proc/cmdline
    #[arg(long, value_name = "ARGUMENTS")]
    cmdline: Option<String>,
    /// Show it until Enter is pressed, and report until the server has stored it, as `run` does; ends
    /// with the exit status of `run`
    #[arg(long)]
    stay: bool,
    /// This is the end of a command that has failed: end with 1 in any case
    #[arg(long, hide = true, conflicts_with = "stay")]
    failed: bool,
}

#[derive(Debug, Args)]
struct DhcpArgs {
    /// The network card
    #[arg(long)]
    interface: String,
    /// Its address
    #[arg(long)]
    mac: fog::Mac,
    /// The only server whose answers count
    #[arg(long)]
    server: Ipv4Addr,
}

/// Runs the command that the name or the first argument chooses.
pub(crate) fn dispatch(args: &[OsString]) -> ExitCode {
    if let Some((applet, options)) = by_name(args) {
        return applet(options);
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" with code 0.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    match cli.command {
        Command::Run(args) => {
            let mut cmdline = args.cmdline.unwrap_or_else(worker::booted_cmdline);
            if let Some(minutes) = args.hold {
                // The last one counts.
                cmdline.push_str(&format!(" foshold={minutes}"));
            }
            let goal = if args.network_only {
                worker::Goal::Network
            } else {
                worker::Goal::Task
            };
            worker::run(&cmdline, goal, pace(args.step)).into()
        }
        Command::Restore(args) => restore::restore(args),
        Command::Receive(args) => restore::receive(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Deploy(args) => worker::deploy(
            &args.cmdline,
            worker::Given {
                targets: args.targets,
                interface: args.interface,
                share: args.share,
                runs_scripts: args.scripts,
                pace: pace(args.step),
            },
        ),
        Command::ReportFailure(args) => {
            let cmdline = args.cmdline.unwrap_or_else(worker::booted_cmdline);
            if args.failed {
                worker::end_failed(&cmdline, &args.text)
            } else if args.stay {
                worker::stay(&cmdline, &args.text).into()
            } else {
                worker::report_failure(&cmdline, &args.text)
            }
        }
        Command::DhcpClient(args) => {
            let Err(error) = net::serve_dhcp(&args.interface, args.mac, args.server);
            usage::complain(&format!("{}: DHCP cannot be used: {error}", args.interface));
            ExitCode::FAILURE
        }
        // Not reached by way of by_name(), but the definition above is what --help shows.
        Command::UdpReceiver(args) => applet::udp_receiver(&args.options),
        Command::UdpSender(args) => applet::udp_sender(&args.options),
        Command::PartcloneRestore(args) => applet::partclone_restore(&args.options),
        Command::PartcloneInfo(args) => applet::partclone_info(&args.options),
        Command::PartcloneChkimg(args) => applet::partclone_chkimg(&args.options),
        Command::Partimage(args) => applet::partimage(&args.options),
        Command::Zstd(args) => applet::zstd(&args.options),
    }
}

fn pace(is_stepped: bool) -> worker::Pace {
    if is_stepped {
        worker::Pace::Steps
    } else {
        worker::Pace::Steady
    }
}

type Applet = fn(&[OsString]) -> ExitCode;

/// Programs that this one stands in for. Their options are their own, `--help` too.
const APPLETS: [(&str, Applet); 9] = [
    ("udp-receiver", applet::udp_receiver),
    ("udp-sender", applet::udp_sender),
    ("partclone.restore", applet::partclone_restore),
    ("partclone.info", applet::partclone_info),
    ("partclone.chkimg", applet::partclone_chkimg),
    ("partimage", applet::partimage),
    ("unzstd", applet::unzstd),
    ("zstd", applet::zstd),
    ("zstdcat", applet::zstdcat),
];

/// partclone's programs for file systems, which restore with `-r` whatever the file system is.
const PARTCLONE_FILE_SYSTEMS: [&str; 24] = [
    "apfs", "btrfs", "exfat", "ext2", "ext3", "ext4", "ext4dev", "extfs", "f2fs", "fat", "fat12",
    "fat16", "fat32", "hfs+", "hfsp", "hfsplus", "imager", "jfs", "minix", "ntfs", "reiser4",
    "reiserfs", "vfat", "xfs",
];

/// The applet named by the program's own name (a link) or by the first argument, and its options.
fn by_name(args: &[OsString]) -> Option<(Applet, &[OsString])> {
    let find = |name: &std::ffi::OsStr| {
        let known = APPLETS.iter().find(|(known, _)| name == *known);
        known.map(|(_, applet)| *applet).or_else(|| {
            let kind = name.to_str()?.strip_prefix("partclone.")?;
            let is_known = PARTCLONE_FILE_SYSTEMS.contains(&kind);
            is_known.then_some(applet::partclone_filesystem as Applet)
        })
    };
    let (program, rest) = args.split_first()?;
    if let Some(applet) = Path::new(program).file_name().and_then(find) {
        return Some((applet, rest));
    }
    let (first, rest) = rest.split_first()?;
    Some((find(first)?, rest))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn documented_lines_parse() {
        for line in [
            &["fos-agent", "run"][..],
            &["fos-agent", "run", "--cmdline", "web=http://x/ type=down"],
            &["fos-agent", "run", "--step", "--hold", "0"],
            &[
                "fos-agent",
                "deploy",
                "--cmdline",
                "a=b",
                "--target",
                "/tmp/disk",
                "--no-reboot",
            ],
            &[
                "fos-agent",
                "deploy",
                "--cmdline",
                "a=b",
                "--target",
                "x",
                "--interface",
                "eth0",
                "--share",
                "/images",
            ],
            &[
                "fos-agent",
                "deploy",
                "--cmdline",
                "a=b",
                "--target",
                "x",
                "--target",
                "y",
            ],
            &["fos-agent", "plan", "/images/x", "--disk", "/dev/sda"],
            &["fos-agent", "plan", "x", "--disk", "a", "--disk", "b"],
            &[
                "fos-agent",
                "plan",
                "x",
                "--disk-size",
                "9",
                "--disk-size",
                "8",
            ],
            &[
                "fos-agent",
                "plan",
                "x",
                "--disk-size=64000000000",
                "--json",
            ],
            &["fos-agent", "capture", "/dev/sda", "/images/lab"],
            &["fos-agent", "capture", "a", "b", "c", "--type", "mpa"],
            &[
                "fos-agent",
                "capture",
                "/dev/sda",
                "--to",
                "http://x/fog/",
                "--image",
                "lab",
                "--token-file",
                "t",
            ],
            &["fos-agent", "doctor"],
            &[
                "fos-agent",
                "doctor",
                "--disk",
                "/dev/sda",
                "--disk",
                "/dev/sdb",
            ],
            &["fos-agent", "selftest"],
            &["fos-agent", "selftest", "10.0.0.5", "--port", "63100"],
            &["fos-agent", "report-failure", "--text", "it broke"],
            &[
                "fos-agent",
                "report-failure",
                "--stay",
                "--text",
                "it broke",
            ],
            &["fos-agent", "restore", "a.img", "a.img.001", "/dev/sda1"],
            &["fos-agent", "restore", "--check", "--json", "-"],
            &["fos-agent", "receive", "--rdv", "10.0.0.1", "/dev/sda1"],
            &["fos-agent", "receive", "--check", "-P", "9002"],
        ] {
            Cli::try_parse_from(line).unwrap();
        }
        for line in [
            &["fos-agent", "deploy", "--cmdline", "a=b"][..],
            &["fos-agent", "run", "--hold", "10081"],
            &["fos-agent", "capture"],
            &["fos-agent", "capture", "a", "b", "--zstd", "20"],
            &["fos-agent", "capture", "a", "--to", "http://x/"],
            &["fos-agent", "plan", "x"],
            &["fos-agent", "plan", "x", "--disk", "y", "--disk-size", "9"],
            &[
                "fos-agent",
                "plan",
                "x",
                "--disk",
                "y",
                "--sector-size",
                "512",
            ],
            &[
                "fos-agent",
                "plan",
                "x",
                "--disk-size",
                "9",
                "--sector-size",
                "1000",
            ],
            &[
                "fos-agent",
                "plan",
                "x",
                "--disk-size",
                "9",
                "--type",
                "raw",
            ],
            &[
                "fos-agent",
                "plan",
                "x",
                "--disk-size",
                "9",
                "--json",
                "--sfdisk",
            ],
            &["fos-agent", "doctor", "--patience", "601"],
            &["fos-agent", "selftest", "x", "y"],
            &["fos-agent", "selftest", "--port", "65535"],
            &["fos-agent", "restore"],
            &["fos-agent", "receive"],
            &["fos-agent", "receive", "--check", "/dev/sda1"],
        ] {
            Cli::try_parse_from(line).unwrap_err();
        }
    }

    #[test]
    fn applets_go_by_their_name_or_the_first_argument() {
        let options = |line: &[&str]| {
            let args: Vec<OsString> = line.iter().map(OsString::from).collect();
            by_name(&args).map(|(_, options)| options.to_vec())
        };
        assert_eq!(
            options(&["/bin/udp-receiver", "--nokbd"]).unwrap(),
            ["--nokbd"]
        );
        let found = options(&["fos-agent", "udp-sender", "--help"]).unwrap();
        assert_eq!(found, ["--help"]);
        let found = options(&["/sbin/partclone.hfs+", "-r"]).unwrap();
        assert_eq!(found, ["-r"]);
        assert!(options(&["partclone.info"]).is_some() && options(&["partimage"]).is_some());
        assert_eq!(options(&["partclone.dd"]), None);
        assert_eq!(options(&["fos-agent", "run"]), None);
        assert_eq!(options(&["fos-agent"]), None);
        assert_eq!(options(&[]), None);
    }
}
