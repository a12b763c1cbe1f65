//! Groups by name, and who is in them.

use crate::{
    DomainId, State, UserId,
    identity::{Group, User},
    index::scoped,
    relation::relations,
};
use std::sync::Arc;

impl State {
    /// The group with this name in a domain.
    pub fn group_named(&self, domain: &DomainId, name: &str) -> Option<&Arc<Group>> {
        self.groups.get(&self.index.group_names.get(&scoped(domain, name))?)
    }
}

relations! {
    /// The groups of a user.
    fn groups_of_user(UserId) -> Group = user_groups;
    /// The users of a group.
    fn users_of_group(crate::GroupId) -> User = group_users;
}
