//! Bodies of the fuzz targets: one per parser and state machine. Plain functions of bytes, so that the
//! committed corpus runs as an ordinary test too. They return nothing and panic when something is
//! wrong.

#![expect(
    clippy::missing_panics_doc,
    reason = "panicking is how these report what they find"
)]

mod captures;
mod contract;
mod dhcp;
mod fec;
mod feed;
mod firmware;
mod images;
mod mend;
mod native;
mod packets;
mod packs;
mod pair;
mod plans;
mod rooms;
mod tables;
mod udpcast;
mod volumes;

pub use captures::captured_disk;
pub use contract::{contract, hostinfo, http_form, native_json};
pub use dhcp::dhcp;
pub use fec::udpcast_fec;
pub use firmware::firmware;
pub use images::{image, image_recipe, peek, wrapper};
pub use native::native_wire;
pub use packets::packets;
pub use packs::{pack_keys, pack_manifest};
pub use pair::udpcast_pair;
pub use plans::deploy_plan;
pub use rooms::{native_receiver, native_sender};
pub use tables::{partition_dump, partition_plan, partition_table};
pub use udpcast::{udpcast_receiver, udpcast_sender, udpcast_wire};
pub use volumes::volume_group;

/// A target's body.
pub type Body = fn(&[u8]);

/// Every target: its name, which is that of its corpus, and its body.
pub const TARGETS: &[(&str, Body)] = &[
    ("captured_disk", captured_disk),
    ("contract", contract),
    ("deploy_plan", deploy_plan),
    ("dhcp", dhcp),
    ("firmware", firmware),
    ("hostinfo", hostinfo),
    ("http_form", http_form),
    ("image", image),
    ("image_recipe", image_recipe),
    ("native_json", native_json),
    ("native_receiver", native_receiver),
    ("native_sender", native_sender),
    ("native_wire", native_wire),
    ("pack_keys", pack_keys),
    ("pack_manifest", pack_manifest),
    ("packets", packets),
    ("partition_dump", partition_dump),
    ("partition_plan", partition_plan),
    ("partition_table", partition_table),
    ("peek", peek),
    ("udpcast_fec", udpcast_fec),
    ("udpcast_pair", udpcast_pair),
    ("udpcast_receiver", udpcast_receiver),
    ("udpcast_sender", udpcast_sender),
    ("udpcast_wire", udpcast_wire),
    ("volume_group", volume_group),
    ("wrapper", wrapper),
];
