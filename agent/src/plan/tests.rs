//! The command on directories.
