//! `schedule`.

use super::Places;
use super::client::Client;
use crate::api::{Api, ScheduleRow};
use crate::output;

/// Deploys that begin later (deploy --at, deploy --cron).
#[derive(Debug, clap::Subcommand)]
pub(super) enum ScheduleCommand {
    /// List them, with what became of the last start
    ///
    /// A start that is up to 15 minutes late, as the server did not run, is done; one that is later is skipped.
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove one; sessions that it has made go on
    Remove {
        /// Number
        #[arg(value_parser = super::session_number)]
        schedule: i64,
    },
}

impl ScheduleCommand {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let is_list = matches!(self, Self::List { .. });
        let done = self.ask(client.api()).await;
        if is_list {
            client.explain_if_idle();
        }
        client.close().await;
        output::result(&done?);
        Ok(true)
    }

    async fn ask(self, api: &dyn Api) -> anyhow::Result<String> {
        Ok(match self {
            Self::List { json: true } => serde_json::to_string_pretty(&api.schedule_list().await?)?,
            Self::List { json: false } => table(&api.schedule_list().await?),
            Self::Remove { schedule } => api.schedule_remove(schedule).await?.text,
        })
    }
}

fn table(schedules: &[ScheduleRow]) -> String {
    let rows = schedules.iter().map(|schedule| {
        vec![
            schedule.id.to_string(),
            schedule.image.clone(),
            schedule.hosts.join(" "),
            schedule.when.clone(),
            schedule.next_at.clone().unwrap_or_else(|| "-".to_owned()),
            schedule.last.clone(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    let head = ["ID", "IMAGE", "HOSTS", "WHEN", "NEXT (UTC)", "LAST (UTC)"];
    output::table(&head, &rows)
}
