//! `host`.

use anyhow::bail;
use fog::Mac;

use super::Places;
use crate::clock::Timestamp;
use crate::output;
use crate::store::hosts::{self, NewHost};
use crate::store::{images, session_hosts, tasks};

/// Machines.
#[derive(Debug, clap::Subcommand)]
pub(super) enum HostCommand {
    /// Register a machine
    Add {
        /// Name, at most 15 letters, digits and hyphens
        name: String,
        /// MAC addresses, the first is the primary one
        #[arg(required = true)]
        macs: Vec<Mac>,
        /// Image of this machine, by name or number
        #[arg(long, value_name = "IMAGE")]
        image: Option<String>,
        /// Target disk: path, size in bytes, WWN or serial number [default: the first fixed disk]
        #[arg(long, value_name = "FDRIVE", default_value = "")]
        device: String,
    },
    /// List the machines
    List,
    /// Remove a machine
    Remove {
        /// Name
        name: String,
    },
}

impl HostCommand {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let store = places.store().await?;
        match self {
            Self::Add {
                name,
                macs,
                image,
                device,
            } => {
                let mut conn = store.begin().await?;
                let image = match image {
                    Some(wanted) => match images::find(&mut conn, &wanted).await? {
                        Some(image) => Some(image.id),
                        None => {
                            bail!("there is no image {wanted}; fos-server image list shows them")
                        }
                    },
                    None => None,
                };
                let host = NewHost {
                    name: &name,
                    macs: &macs,
                    image,
                    device: &device,
                };
                let id = hosts::add(&mut conn, Timestamp::now(), &host).await?;
                conn.commit().await?;
                output::result(&format!("host {id}: {name}"));
            }
            Self::List => {
                let mut conn = store.conn().await?;
                let mut rows = Vec::new();
                for host in hosts::all(&mut conn).await? {
                    let macs = hosts::macs(&mut conn, host.id).await?;
                    let macs: Vec<String> = macs.iter().map(Mac::to_string).collect();
                    let task = tasks::active_of_host(&mut conn, host.id).await?;
                    let last = session_hosts::newest_of_host(&mut conn, host.id).await?;
                    let state = match (task, last) {
                        (Some(task), _) => format!("task {} {}", task.id, task.state),
                        (None, Some(last)) => format!("session {} {}", last.session, last.state),
                        (None, None) => "-".to_owned(),
                    };
                    let id = host.id.to_string();
                    rows.push(vec![id, host.name, macs.join(" "), host.last_deploy, state]);
                }
                let head = ["ID", "NAME", "MAC", "LAST DEPLOY (UTC)", "STATE"];
                output::result(&output::table(&head, &rows));
            }
            Self::Remove { name } => {
                let mut conn = store.begin().await?;
                let Some(host) = hosts::by_name(&mut conn, &name).await? else {
                    bail!("there is no host {name}; fos-server host list shows them");
                };
                if let Some(task) = tasks::active_of_host(&mut conn, host.id).await? {
                    let session = tasks::session_of(&mut conn, task.id).await?;
                    let hint = session.map(|id| format!("; cancel session {id} first"));
                    bail!("host {name} has an active task{}", hint.unwrap_or_default());
                }
                hosts::remove(&mut conn, host.id).await?;
                conn.commit().await?;
                output::result(&format!("host {name} is removed"));
            }
        }
        store.close().await;
        Ok(true)
    }
}
