//! Groups of hosts, and the hosts that people name.

use std::sync::Arc;

use super::Ops;
use crate::domain::groups::{Group, GroupChange, GroupName, Named};
use crate::domain::host::Host;
use crate::store::{GroupError, StoreError};

/// Why names are not those of hosts.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// No such host.
    #[error("there is no host {0}; fos-server host list shows them")]
    NoHost(String),
    /// No such group.
    #[error("there is no group {0}; fos-server group list shows them")]
    NoGroup(String),
    /// Nobody is in it.
    #[error("no host is in group {0}; fos-server group add {0} HOST puts one in")]
    Empty(GroupName),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a group is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeGroupError {
    /// No such host.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It cannot be so.
    #[error(transparent)]
    Group(#[from] GroupError),
}

/// What is to become of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// The named hosts are put in.
    Add,
    /// They are taken out.
    Take,
}

impl Ops {
    /// All groups with their hosts, by name.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn groups(&self) -> Result<Vec<(GroupName, Vec<Arc<Host>>)>, StoreError> {
        let groups = self.store.groups().await?.into_iter();
        let hosts = |group: &Group| self.members(group);
        Ok(groups
            .map(|group| (group.name.clone(), hosts(&group)))
            .collect())
    }

    fn members(&self, group: &Group) -> Vec<Arc<Host>> {
        let hosts = group.hosts.iter();
        hosts
            .filter_map(|host| self.directory.host(*host))
            .collect()
    }

    /// Puts hosts into a group, which is made if it is not there, or takes them out.
    ///
    /// # Errors
    /// If a name is wrong, or the group cannot be so.
    pub async fn change_members(
        &self,
        group: GroupName,
        what: Membership,
        names: &[String],
    ) -> Result<(), ChangeGroupError> {
        let hosts = self.named_hosts(names).await?;
        let hosts = hosts.iter().map(|host| host.id).collect();
        let change = match what {
            Membership::Add => GroupChange::Add(hosts),
            Membership::Take => GroupChange::Take(hosts),
        };
        Ok(self.store.change_group(group, change).await?)
    }

    /// Removes a group; its hosts stay.
    ///
    /// # Errors
    /// If there is none of this name.
    pub async fn remove_group(&self, group: GroupName) -> Result<(), GroupError> {
        self.store.change_group(group, GroupChange::Remove).await
    }

    /// The hosts that people name, each once: by their names, or by those of groups (`@room101`), in this order.
    ///
    /// # Errors
    /// With the first name that is wrong.
    pub(super) async fn named_hosts(&self, names: &[String]) -> Result<Vec<Arc<Host>>, NameError> {
        let shown = |name: &str| fog::encoding::printable(name, 60);
        let mut groups = None;
        let mut found: Vec<Arc<Host>> = Vec::new();
        for name in names {
            let hosts = match Named::of(name) {
                Named::Host(name) => {
                    let host = self.directory.by_name(name);
                    vec![host.ok_or_else(|| NameError::NoHost(shown(name)))?]
                }
                Named::Group(name) => {
                    // Read once for all of them.
                    let groups = match &mut groups {
                        Some(groups) => groups,
                        none => none.insert(self.store.groups().await?),
                    };
                    let is_meant = |group: &&Group| group.name.as_str().eq_ignore_ascii_case(name);
                    let group = groups.iter().find(is_meant);
                    let group = group.ok_or_else(|| NameError::NoGroup(shown(name)))?;
                    let hosts = self.members(group);
                    if hosts.is_empty() {
                        return Err(NameError::Empty(group.name.clone()));
                    }
                    hosts
                }
            };
            for host in hosts {
                if !found.iter().any(|other| other.id == host.id) {
                    found.push(host);
                }
            }
        }
        Ok(found)
    }
}
