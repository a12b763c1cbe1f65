//! Reads of State: the relations between records, and the record that has a name or an address. One file for each
//! noun.
//!
//! Secondary indexes answer all of these reads. No code outside this crate reads an index.

mod access_rule;
mod application_credential;
mod catalog;
mod disk;
mod floating_ip;
mod grant;
mod group;
mod host;
mod host_rule;
mod identity;
mod image;
mod network;
mod plan;
mod port;
mod probe;
mod qos_policy;
mod rbac_policy;
mod router;
mod scoped;
mod security_group;
mod server;
mod subnet;
mod trunk;
mod trust;

pub use scoped::{Owned, Scoped};

/// Methods of State. Each walks one index and yields the records in it.
macro_rules! relations {
    ($($(#[$doc:meta])* fn $name:ident($of:ty) -> $record:ty = $($index:ident).+;)*) => {
        impl $crate::State {
            $(
                $(#[$doc])*
                pub fn $name(&self, of: $of) -> impl Iterator<Item = &std::sync::Arc<$record>> {
                    self.index.$($index).+.of(of).filter_map(|id| self.get::<$record>(&id))
                }
            )*
        }
    };
}
use relations;
