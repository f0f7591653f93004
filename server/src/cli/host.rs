//! `host`.

use fog::Mac;

use super::Places;
use super::client::Client;
use crate::api::{HostAdd, Named, Nothing};
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
            Self::Add { .. } => Client::connect_or_create(places).await?,
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
                let id = api.host_add(request).await?;
                format!("host {id}: {shown}")
            }
            Self::List => {
                let mut rows = Vec::new();
                for host in api.host_list(Nothing {}).await? {
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
                for machine in api.host_pending(Nothing {}).await? {
                    rows.push(vec![
                        machine.mac.to_string(),
                        machine.address.to_string(),
                        machine.first_at.to_string(),
                        machine.last_at.to_string(),
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
                let name = api.host_forget(Named { name }).await?;
                format!("what host {name} was told is forgotten; switch it on now")
            }
            Self::Remove { name } => {
                let name = api.host_remove(Named { name }).await?;
                format!("host {name} is removed")
            }
        })
    }
}
