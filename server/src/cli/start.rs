//! `start`.

use super::Places;
use super::client::Client;
use crate::output;

/// A session that need not wait any longer.
#[derive(Debug, clap::Args)]
pub(super) struct Start {
    /// Number of the session
    #[arg(value_parser = super::session_number)]
    session: i64,
}

impl Start {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let done = client.api().start(self.session).await;
        client.close().await;
        output::result(&done?.text);
        Ok(true)
    }
}
