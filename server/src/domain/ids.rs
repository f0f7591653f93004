//! FOG's numbers.

macro_rules! id {
    ($(#[$doc:meta] $name:ident),* $(,)?) => {$(
        #[$doc]
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

id! {
    /// `hosts.hostID`.
    HostId,
    /// `images.imageID`.
    ImageId,
    /// `tasks.taskID`.
    TaskId,
    /// `multicastSessions.msID`.
    SessionId,
    /// `nfsGroupMembers.ngmID`.
    NodeId,
    /// `fos_schedules.id`.
    ScheduleId,
}
