//! `host`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use fog::Mac;

use super::Places;
use super::client::Client;
use super::import;
use crate::api::{Api, GroupHosts, HostAccept, HostAdd, PendingHost};
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
    /// Its first line names the columns: name, mac (several are separated by blanks or |), and if wanted image, device
    /// and groups (separated by |). FOG's export of hosts is taken, too: name, primac, and the groups of its
    /// associations; other columns are named and left out. Nothing is registered if a line is not good.
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
    /// Give a machine another name
    Rename {
        /// Name until now
        host: String,
        /// Name from now on
        name: HostName,
    },
    /// List the machines
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// List machines that asked and are not registered
    ///
    /// Those of which somebody at the machine wants that they are registered (the key r in the boot menu) are first.
    Pending {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
        /// Forget the one with this address, or all of them; one that asks again is listed again. Pending hosts of FOG's
        /// own are only forgotten by their addresses
        #[arg(long, value_name = "MAC", num_args = 0..=1, conflicts_with = "json")]
        forget: Option<Option<Mac>>,
    },
    /// Register a machine that asked
    Accept {
        /// One of its MAC addresses
        mac: Mac,
        /// Name, at most 15 letters, digits and hyphens [default: what host pending proposes]
        name: Option<HostName>,
        /// Image of this machine, by name or number
        #[arg(long, value_name = "IMAGE")]
        image: Option<String>,
        /// Target disk, as of host add [default: the first fixed disk]
        #[arg(
            long,
            value_name = "FDRIVE",
            default_value = "",
            hide_default_value = true
        )]
        device: TargetDisk,
    },
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
        let is_list = matches!(self, Self::List { .. } | Self::Pending { forget: None, .. });
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
                let imported = tokio::task::spawn_blocking(move || import::read(&file)).await??;
                let (mut done, mut failed) = (0, Vec::new());
                for host in imported.hosts {
                    let name = host.name.to_string();
                    match api.host_add(host).await {
                        Ok(_) => done += 1,
                        Err(error) => failed.push(format!("{name}: {error}")),
                    }
                }
                for (group, hosts) in imported.groups {
                    let request = GroupHosts { hosts };
                    if let Err(error) = api.group_add(group.as_str(), request).await {
                        failed.push(format!("group {group}: {error}"));
                    }
                }
                if !imported.left_out.is_empty() {
                    let columns = imported.left_out.join(", ");
                    output::explain(&format!("not taken: the columns {columns}"));
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
                let changes = Changes {
                    name,
                    macs,
                    image,
                    device,
                };
                let name = changes.make(api, &host).await?;
                format!("host {name} is changed")
            }
            Self::Rename { host, name } => {
                let changes = Changes {
                    name: Some(name),
                    ..Changes::default()
                };
                let name = changes.make(api, &host).await?;
                format!("host {host} is called {name} now")
            }
            Self::Accept {
                mac,
                name,
                image,
                device,
            } => {
                let request = HostAccept {
                    name,
                    image,
                    device,
                };
                let name = api.host_accept(mac, request).await?.name;
                format!("host {name} is registered")
            }
            Self::List { json: true } => serde_json::to_string_pretty(&api.host_list().await?)?,
            Self::List { json: false } => {
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
            Self::Pending {
                forget: Some(mac), ..
            } => api.pending_forget(mac).await?.text,
            Self::Pending {
                json: true,
                forget: None,
            } => serde_json::to_string_pretty(&api.host_pending().await?)?,
            Self::Pending {
                json: false,
                forget: None,
            } => pending(&api.host_pending().await?),
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

fn pending(machines: &[PendingHost]) -> String {
    let rows = machines.iter().map(|machine| {
        let address = machine.address.map(|address| address.to_string());
        let wish = if machine.is_wish { "yes" } else { "" };
        vec![
            machine.mac.to_string(),
            address.unwrap_or_default(),
            machine.last_at.clone(),
            wish.to_owned(),
            machine.proposal.clone(),
            machine.about.clone(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let head = [
        "MAC",
        "ADDRESS",
        "LAST ASKED (UTC)",
        "WANTS IT",
        "NAME",
        "MACHINE",
    ];
    let table = output::table(&head, &rows);
    match rows.is_empty() {
        true => "no machine asked that is not registered".to_owned(),
        false => format!("{table}\nRegister one with: fos-server host accept MAC NAME"),
    }
}

/// What changes of a host; the rest stays as it is.
#[derive(Debug, Default)]
struct Changes {
    name: Option<HostName>,
    macs: Vec<Mac>,
    image: Option<String>,
    device: Option<TargetDisk>,
}

impl Changes {
    /// Makes them; the name of the host from now on.
    async fn make(self, api: &dyn Api, host: &str) -> anyhow::Result<String> {
        let hosts = api.host_list().await?;
        let mut found = hosts.into_iter();
        let found = found.find(|found| found.name.eq_ignore_ascii_case(host));
        let found = found
            .with_context(|| format!("there is no host {host}; fos-server host list shows them"))?;
        let image = match self.image {
            Some(image) => Some(image).filter(|image| !image.is_empty()),
            None => match found.image {
                // By its name: an image may be called like the number of another one.
                Some(id) => Some(image_name(api, id).await?),
                None => None,
            },
        };
        let request = HostAdd {
            name: match self.name {
                Some(name) => name,
                None => found.name.parse()?,
            },
            macs: if self.macs.is_empty() {
                found.macs
            } else {
                self.macs
            },
            image,
            device: match self.device {
                Some(device) => device,
                None => found.device.parse()?,
            },
        };
        Ok(api.host_edit(host, request).await?.name)
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
