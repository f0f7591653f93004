//! `cancel`.

use super::Places;
use super::client::Client;
use crate::output;

/// A session to be ended, or one host of it.
#[derive(Debug, clap::Args)]
pub(super) struct Cancel {
    /// Number of the session
    #[arg(value_parser = super::session_number, required_unless_present = "all")]
    session: Option<i64>,
    /// Only this host; the others go on
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Every active session, and whatever is sent
    #[arg(long, conflicts_with_all = ["session", "host"])]
    all: bool,
}

impl Cancel {
    /// Returns when it is stored and the sender has been told.
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let done = match self.session {
            Some(session) => client.api().cancel(session, self.host.as_deref()).await,
            None => client.api().cancel_all().await,
        };
        client.close().await;
        output::result(&done?.text);
        Ok(true)
    }
}
