//! The machine that this program runs on.

use crate::domain::node::NodeName;

/// Its name as it is.
pub(crate) fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// What a server is called that was given no name.
pub(crate) fn node_name() -> NodeName {
    host_name().parse().unwrap_or_default()
}
