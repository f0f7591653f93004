//! `getversion.php`: version, and capabilities with `?caps=1`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use fog::checkin::caps;

use super::plain;
use super::request::Form;
use crate::config::StreamRecords;
use crate::ops::Ops;

/// Answers the version, or the capabilities as words.
///
/// `mcstreamid` promises a record in front of every stream to every client, so it is only
/// announced when that is so whoever takes part.
pub(super) async fn version(State(ops): State<Arc<Ops>>, form: Form) -> Response {
    if form.get("caps") != "1" {
        return plain(concat!("fos-server ", env!("CARGO_PKG_VERSION")));
    }
    // Volumes are sent one by one, in the order of their sidecar.
    let mut words = vec![fos_api::CAPABILITY, caps::LVM];
    if ops.config().stream_records == StreamRecords::Always {
        words.push(caps::STREAM_RECORD);
    }
    plain(words.join(" "))
}
