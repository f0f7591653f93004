//! Where an image comes from.

use readable::Size;

use super::{count, foreign};
use crate::domain::capture::Origin;

/// What it was captured from, and when.
#[must_use]
pub fn origin(origin: &Origin) -> String {
    let who = match (origin.host.as_str(), origin.account.as_str()) {
        ("", "") => "a machine".to_owned(),
        ("", account) => format!(
            "a machine at {} ({})",
            foreign(&origin.address),
            foreign(account)
        ),
        (host, _) => format!("{} ({})", foreign(host), foreign(&origin.address)),
    };
    let mut text = format!("captured from {who}, {} (UTC)", origin.began_at);
    if !origin.system.is_empty() {
        text.push_str(&format!("; {}", foreign(&origin.system)));
    }
    for disk in &origin.disks {
        let model = match disk.model.as_str() {
            "" => "a disk".to_owned(),
            model => foreign(model),
        };
        text.push_str(&format!("; {model} of {}", Size(disk.size)));
    }
    if !origin.unreadable.is_empty() {
        let places = count(origin.unreadable.len(), "place", "places");
        text.push_str(&format!(
            "; {places} of it could not be read and are zero in the image"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use fos_api::capture::CapturedDisk;

    use super::*;
    use crate::domain::Timestamp;

    #[test]
    fn an_image_says_what_it_was_captured_from() {
        let disk = CapturedDisk {
            size: 500_107_862_016,
            sector_size: 512,
            model: "Samsung SSD 860".into(),
            serial: String::new(),
        };
        let by_task = Origin {
            host: "LAB-01".into(),
            address: "10.0.0.1".into(),
            system: "Debian 13".into(),
            disks: vec![disk],
            began_at: Timestamp(1_790_000_000),
            ..Origin::default()
        };
        let text = origin(&by_task);
        assert!(
            text.starts_with("captured from LAB-01 (10.0.0.1), 2026-09-21 "),
            "{text}"
        );
        assert!(text.contains("; Debian 13; Samsung SSD 860 of "), "{text}");
        let by_hand = Origin {
            account: "token desk".into(),
            host: String::new(),
            ..by_task
        };
        assert!(origin(&by_hand).contains("a machine at 10.0.0.1 (token desk)"));
    }
}
