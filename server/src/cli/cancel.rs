//! `cancel`.

use super::Places;
use super::client::Client;
use crate::output;

/// A session to be ended, or one host of it, or the task of a host that is deployed alone.
#[derive(Debug, clap::Args)]
pub(super) struct Cancel {
    /// Number of the session
    #[arg(value_parser = super::session_number, required_unless_present_any = ["all", "task"])]
    session: Option<i64>,
    /// Only this host; the others go on
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Every active session, every task of a host that is deployed alone, and whatever is sent
    #[arg(long, conflicts_with_all = ["session", "host", "task"])]
    all: bool,
    /// The task with this number, of a host that is deployed alone
    #[arg(long, value_name = "TASK", value_parser = super::task_number, conflicts_with_all = ["session", "host"])]
    task: Option<i64>,
}

impl Cancel {
    /// Returns when it is stored and the sender has been told.
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let api = client.api();
        let done = match (self.session, self.task) {
            (Some(session), _) => api.cancel(session, self.host.as_deref()).await,
            (None, Some(task)) => api.cancel_task(task).await,
            (None, None) => api.cancel_all().await,
        };
        client.close().await;
        output::result(&done?.text);
        Ok(true)
    }
}
