//! `group`.

use anyhow::Context as _;

use super::Places;
use super::client::Client;
use crate::api::{Api, GroupHosts, GroupRow};
use crate::domain::groups::GroupName;
use crate::output;

/// Groups of machines, as those of a room: deploy IMAGE @ROOM.
#[derive(Debug, clap::Subcommand)]
pub(super) enum GroupCommand {
    /// Put machines into a group, at its end; a group that is not there is made
    Add {
        /// Name, at most 40 letters, digits, blanks, or the signs . _ -
        group: GroupName,
        /// Machines, by name; @NAME stands for all machines of another group
        hosts: Vec<String>,
    },
    /// Take machines out of a group; without machines the whole group is removed, and its machines stay registered
    Remove {
        /// Name
        group: GroupName,
        /// Machines, by name
        hosts: Vec<String>,
    },
    /// List the groups
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the machines of a group, in its order
    Show {
        /// Name
        group: GroupName,
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
}

impl GroupCommand {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let done = self.ask(client.api()).await;
        client.close().await;
        output::result(&done?);
        Ok(true)
    }

    async fn ask(self, api: &dyn Api) -> anyhow::Result<String> {
        Ok(match self {
            Self::Add { group, hosts } => {
                let request = GroupHosts { hosts };
                let name = api.group_add(group.as_str(), request).await?.name;
                let row = find(api.group_list().await?, &name)?;
                format!("group {name}: {} machines", row.hosts.len())
            }
            Self::Remove { group, hosts } if hosts.is_empty() => {
                let name = api.group_remove(group.as_str()).await?.name;
                format!("group {name} is removed")
            }
            Self::Remove { group, hosts } => {
                let request = GroupHosts { hosts };
                let name = api.group_take(group.as_str(), request).await?.name;
                let row = find(api.group_list().await?, &name)?;
                format!("group {name}: {} machines", row.hosts.len())
            }
            Self::List { json } => {
                let groups = api.group_list().await?;
                if json {
                    return Ok(serde_json::to_string_pretty(&groups)?);
                }
                let row = |group: &GroupRow| {
                    let count = group.hosts.len().to_string();
                    vec![group.name.clone(), count, group.hosts.join(" ")]
                };
                let rows: Vec<_> = groups.iter().map(row).collect();
                output::table(&["GROUP", "MACHINES", "NAMES"], &rows)
            }
            Self::Show { group, json } => {
                let row = find(api.group_list().await?, group.as_str())?;
                match json {
                    true => serde_json::to_string_pretty(&row)?,
                    false => row.hosts.join("\n"),
                }
            }
        })
    }
}

fn find(groups: Vec<GroupRow>, name: &str) -> anyhow::Result<GroupRow> {
    let mut groups = groups.into_iter();
    let found = groups.find(|group| group.name.eq_ignore_ascii_case(name));
    found.with_context(|| format!("there is no group {name}; fos-server group list shows them"))
}
