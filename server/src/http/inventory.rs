//! `inventory.php`: a client describes its machine.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::error::HttpError;
use super::plain;
use super::request::Form;
use crate::ops::Ops;
use crate::store::inventory::{FIELDS, split_disk};

/// Stores the known fields, all in base64, and answers a word; the client only looks whether the
/// answer is empty.
pub(super) async fn store(State(ops): State<Arc<Ops>>, form: Form) -> Result<Response, HttpError> {
    let known = form.known(&ops).await?;
    let mut fields: Vec<(&'static str, String)> = FIELDS
        .iter()
        .filter_map(|(name, column)| Some((*column, form.base64(name)?)))
        .collect();
    if let Some(disk) = form.base64("hdinfo") {
        fields.extend(split_disk(&disk));
    }
    ops.inventory(&known, fields).await?;
    Ok(plain(fog::checkin::INVENTORY_DONE))
}
