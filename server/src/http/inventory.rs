//! `inventory.php`: a client describes its machine.

use axum::extract::State;
use axum::response::Response;

use super::request::Form;
use super::{App, Failure, plain};
use crate::clock::Timestamp;
use crate::store::inventory::{self, FIELDS};

/// Stores the known fields, all in base64, and answers a word; the client only looks whether the
/// answer is empty.
pub(super) async fn store(State(app): State<App>, form: Form) -> Result<Response, Failure> {
    let known = match app.host(form).await? {
        Ok(known) => known,
        Err(text) => return Ok(plain(text)),
    };
    let mut fields: Vec<(&'static str, String)> = FIELDS
        .iter()
        .filter_map(|(name, column)| Some((*column, known.form.base64(name)?)))
        .collect();
    if let Some(disk) = known.form.base64("hdinfo") {
        fields.extend(inventory::split_disk(&disk));
    }
    let mut conn = app.store.begin().await?;
    inventory::store(&mut conn, Timestamp::now(), known.host.id, &fields).await?;
    conn.commit().await?;
    Ok(plain("Done"))
}
