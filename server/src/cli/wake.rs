//! `wake`.

use super::Places;
use super::client::Client;
use crate::api::GroupHosts;
use crate::output;

/// Machines that are to be switched on.
#[derive(Debug, clap::Args)]
pub(super) struct Wake {
    /// Machines, by name; @NAME stands for all machines of a group
    #[arg(required = true)]
    hosts: Vec<String>,
}

impl Wake {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let request = GroupHosts { hosts: self.hosts };
        let done = client.api().wake(request).await;
        client.close().await;
        output::result(&done?.text);
        Ok(true)
    }
}
