//! `host`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use fog::Mac;

use super::Places;
use super::client::Client;
use super::import;
use crate::api::{Api, HostAdd};
use crate::domain::host::{HostName, TargetDisk};
use crate::output;

/// Machines.
#[derive(Debug, clap::Subcommand)]
pub(super) enum HostCommand {
    /// Register a machine
    Add {
        /// Name, at most 15 letters, digits and hyphens
        name: HostName,
        /// MAC addresses, the first is the primary one
        #[arg(required = true)]
        macs: Vec<Mac>,
        /// Image of this machine, by name or number
        #[arg(long, value_name = "IMAGE")]
        image: Option<String>,
        /// Target disk: path, size in bytes, WWN, serial number, or UUID of the file system on the whole disk
        /// [default: the first fixed disk]
        #[arg(
            long,
            value_name = "FDRIVE",
            default_value = "",
            hide_default_value = true
        )]
        device: TargetDisk,
    },
    /// Register the machines of a file of comma separated values
    ///
    /// Its first line names the columns: name, mac (several are separated by blanks or |), and if wanted image and
    /// device. Nothing is registered if a line is not good.
    Import {
        /// The file; - for standard input
        file: PathBuf,
    },
    /// Change a machine; what is not given stays as it is
    Edit {
        /// Name until now
        host: String,
        /// Another name
        #[arg(long, value_name = "NAME")]
        name: Option<HostName>,
        /// Other MAC addresses in place of those that it has, the first is the primary one
        #[arg(long = "mac", value_name = "MAC")]
        macs: Vec<Mac>,
        /// Another image, by name or number; empty for none
        #[arg(long, value_name = "IMAGE")]
        image: Option<String>,
        /// Another target disk; empty for the first fixed disk
        #[arg(long, value_name = "FDRIVE")]
        device: Option<TargetDisk>,
    },
    /// List the machines
    List,
    /// List machines that asked and are not registered
    Pending,
    /// Remove a machine
    Remove {
        /// Name
        name: String,
    },
    /// Forget what a machine was told when it booted: only if all machines with its addresses are switched off
    ///
    /// A client keeps the kernel arguments that it booted with, so a machine that was booted for another image
    /// is told to restart, until it fetches a new boot script. If a restart does not help (the boot loader and
    /// Linux have different addresses, or many machines asked with this MAC address), switch the machine off,
    /// forget what it was told, and switch it on. One that still runs would write the wrong image.
    Forget {
        /// Name
        name: String,
    },
}

impl HostCommand {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = match self {
            Self::Add { .. } | Self::Import { .. } => Client::connect_or_create(places).await?,
            _ => Client::connect(places).await?,
        };
        let is_list = matches!(self, Self::List | Self::Pending);
        let done = self.ask(&client).await;
        if is_list {
            client.explain_if_idle();
        }
        client.close().await;
        output::result(&done?);
        Ok(true)
    }

    async fn ask(self, client: &Client) -> anyhow::Result<String> {
        let api = client.api();
        Ok(match self {
            Self::Add {
                name,
                macs,
                image,
                device,
            } => {
                let shown = name.to_string();
                let request = HostAdd {
                    name,
                    macs,
                    image,
                    device,
                };
                let id = api.host_add(request).await?.id;
                format!("host {id}: {shown}")
            }
            Self::Import { file } => {
                // It may be typed.
                let hosts = tokio::task::spawn_blocking(move || import::read(&file)).await??;
                let (mut done, mut failed) = (0, Vec::new());
                for host in hosts {
                    let name = host.name.to_string();
                    match api.host_add(host).await {
                        Ok(_) => done += 1,
                        Err(error) => failed.push(format!("{name}: {error}")),
                    }
                }
                if !failed.is_empty() {
                    let failed = failed.join("\n  ");
                    bail!("{done} hosts are registered, these are not:\n  {failed}");
                }
                format!("{done} hosts are registered")
            }
            Self::Edit {
                host,
                name,
                macs,
                image,
                device,
            } => {
                let hosts = api.host_list().await?;
                let mut found = hosts.into_iter();
                let found = found.find(|found| found.name.eq_ignore_ascii_case(&host));
                let found = found.with_context(|| {
                    format!("there is no host {host}; fos-server host list shows them")
                })?;
                let image = match image {
                    Some(image) => Some(image).filter(|image| !image.is_empty()),
                    None => match found.image {
                        // By its name: an image may be called like the number of another one.
                        Some(id) => Some(image_name(api, id).await?),
                        None => None,
                    },
                };
                let request = HostAdd {
                    name: match name {
                        Some(name) => name,
                        None => found.name.parse()?,
                    },
                    macs: if macs.is_empty() { found.macs } else { macs },
                    image,
                    device: match device {
                        Some(device) => device,
                        None => found.device.parse()?,
                    },
                };
                let name = api.host_edit(&host, request).await?.name;
                format!("host {name} is changed")
            }
            Self::List => {
                let mut rows = Vec::new();
                for host in api.host_list().await? {
                    let macs: Vec<String> = host.macs.iter().map(Mac::to_string).collect();
                    let deployed = host.last_deploy.unwrap_or_else(|| "never".to_owned());
                    let id = host.id.to_string();
                    rows.push(vec![id, host.name, macs.join(" "), deployed, host.state]);
                }
                let head = ["ID", "NAME", "MAC", "LAST DEPLOY (UTC)", "STATE"];
                output::table(&head, &rows)
            }
            Self::Pending => {
                let mut rows = Vec::new();
                for machine in api.host_pending().await? {
                    rows.push(vec![
                        machine.mac.to_string(),
                        machine.address.to_string(),
                        machine.first_at,
                        machine.last_at,
                    ]);
                }
                let head = ["MAC", "ADDRESS", "FIRST ASKED (UTC)", "LAST ASKED (UTC)"];
                let table = output::table(&head, &rows);
                match rows.is_empty() {
                    true => "no machine asked that is not registered".to_owned(),
                    false => format!("{table}\nRegister one with: fos-server host add NAME MAC"),
                }
            }
            Self::Forget { name } => {
                let name = api.host_forget(&name).await?.name;
                format!("what host {name} was told is forgotten; switch it on now")
            }
            Self::Remove { name } => {
                let name = api.host_remove(&name).await?.name;
                format!("host {name} is removed")
            }
        })
    }
}

async fn image_name(api: &dyn Api, id: i64) -> anyhow::Result<String> {
    let images = api.image_list().await?;
    let found = images.into_iter().find(|image| image.id == id);
    let found = found.with_context(|| {
        format!("the host's image {id} is gone; name another with --image, or none with --image ''")
    })?;
    Ok(found.name)
}
