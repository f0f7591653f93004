//! The steps that bring a database to the tables of this version.
//!
//! They are listed here, and not found by the macro `sqlx::migrate!`: for a macro, the database driver and all that
//! it is made of would be compiled a second time.

use std::future;
use std::pin::Pin;

use sqlx::error::BoxDynError;
use sqlx::migrate::{Migration, MigrationSource, MigrationType};

/// All steps, for [`Migrator::new`](sqlx::migrate::Migrator::new).
#[derive(Debug)]
pub(super) struct Steps;

impl MigrationSource<'static> for Steps {
    fn resolve(
        self,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<Migration>, BoxDynError>> + Send + 'static>> {
        Box::pin(future::ready(Ok(migrations())))
    }
}

/// All steps in their order, which is that of their numbers.
pub(super) fn migrations() -> Vec<Migration> {
    let numbered = (1..).zip(STEPS);
    let steps = numbered.map(|(number, (name, sql))| {
        let (name, sql) = (name.into(), sql.into());
        Migration::new(number, name, MigrationType::Simple, sql, false)
    });
    steps.collect()
}

/// What each is for, and its statements: what a database has taken never changes.
const STEPS: [(&str, &str); 16] = [
    ("fog", include_str!("../../../migrations/0001_fog.sql")),
    ("fos", include_str!("../../../migrations/0002_fos.sql")),
    (
        "small file hashes",
        include_str!("../../../migrations/0003_small_file_hashes.sql"),
    ),
    (
        "reasons",
        include_str!("../../../migrations/0004_reasons.sql"),
    ),
    (
        "arguments",
        include_str!("../../../migrations/0005_arguments.sql"),
    ),
    (
        "decisive arguments",
        include_str!("../../../migrations/0006_decisive_arguments.sql"),
    ),
    (
        "handouts by mac",
        include_str!("../../../migrations/0007_handouts_by_mac.sql"),
    ),
    (
        "clients",
        include_str!("../../../migrations/0008_clients.sql"),
    ),
    (
        "image settings",
        include_str!("../../../migrations/0009_image_settings.sql"),
    ),
    (
        "beside fog",
        include_str!("../../../migrations/0010_beside_fog.sql"),
    ),
    (
        "accounts",
        include_str!("../../../migrations/0011_accounts.sql"),
    ),
    (
        "unicast",
        include_str!("../../../migrations/0012_unicast.sql"),
    ),
    (
        "pending",
        include_str!("../../../migrations/0013_pending.sql"),
    ),
    (
        "groups",
        include_str!("../../../migrations/0014_groups.sql"),
    ),
    (
        "schedules",
        include_str!("../../../migrations/0015_schedules.sql"),
    ),
    (
        "follow ups",
        include_str!("../../../migrations/0016_follow_ups.sql"),
    ),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn each_file_is_listed_as_sqlx_reads_it() {
        let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"));
        let facts = |steps: Vec<Migration>| -> Vec<_> {
            let steps = steps.into_iter();
            steps
                .map(|step| {
                    (
                        step.version,
                        step.description,
                        step.migration_type,
                        step.checksum,
                        step.no_tx,
                    )
                })
                .collect()
        };
        let mut found = facts(directory.resolve().await.unwrap());
        found.sort_by_key(|step| step.0);
        assert_eq!(facts(Steps.resolve().await.unwrap()), found);
    }
}
