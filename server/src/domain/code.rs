//! Codes with details, as they are stored.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Code and details (JSON, empty if there are none) of an enum that is tagged so.
pub(super) fn to_parts(coded: &impl Serialize) -> (String, String) {
    let value = serde_json::to_value(coded).unwrap_or_default();
    let code = value.get("code").and_then(Value::as_str);
    let details = value.get("details").map(ToString::to_string);
    (
        code.unwrap_or_default().to_owned(),
        details.unwrap_or_default(),
    )
}

/// What they stand for; `None` for a code of another version, or details that do not belong to it.
pub(super) fn from_parts<T: DeserializeOwned>(code: &str, details: &str) -> Option<T> {
    let mut whole = Map::new();
    whole.insert("code".into(), code.into());
    if let Ok(details) = serde_json::from_str::<Value>(details) {
        whole.insert("details".into(), details);
    }
    serde_json::from_value(whole.into()).ok()
}
