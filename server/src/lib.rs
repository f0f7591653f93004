//! Parts of `fos-server`, a deploy server that speaks FOG's protocols.
//!
//! From the bottom: [`domain`] knows and decides, without clock, socket or database; [`store`] is the
//! database, [`imagestore`] the images' files, [`sender`] the network; [`session`] runs the sessions;
//! [`ops`] is everything that can be asked of the server, by clients over [`http`] and by people over
//! [`cli`]; [`text`] makes the words.

#![allow(
    clippy::disallowed_methods,
    reason = "only `domain` must not read a clock; it denies them again"
)]

pub mod api;
mod brief;
pub mod cli;
pub mod clock;
pub mod config;
mod doctor;
pub mod domain;
pub mod http;
pub mod https;
pub mod imagestore;
mod keys;
pub mod logs;
mod machine;
pub mod notify;
pub mod ops;
pub mod output;
mod peer_client;
mod private;
mod processes;
pub mod proxy_dhcp;
pub mod repeats;
pub mod runfile;
pub mod selftest;
pub mod sender;
pub mod served;
pub mod session;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
pub mod tty;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// Only the store knows what database it is.
    #[test]
    fn only_the_store_knows_the_database() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut above = vec![source.clone()];
        let mut users: Vec<PathBuf> = Vec::new();
        while let Some(directory) = above.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    above.push(path);
                } else if std::fs::read_to_string(&path).is_ok_and(|text| text.contains("sqlx::")) {
                    users.push(path.strip_prefix(&source).unwrap().to_owned());
                }
            }
        }
        assert!(!users.is_empty());
        for path in users {
            let is_store = path.starts_with("store/sqlite") || path.starts_with("store/mariadb");
            // What tests look up by themselves, and this one.
            let is_test = ["testing.rs", "lib.rs"]
                .iter()
                .any(|name| path == Path::new(name));
            assert!(is_store || is_test, "{} uses sqlx", path.display());
        }
    }
}
