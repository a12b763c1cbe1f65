//! Groups of users, and who is in them.

use crate::{DomainId, GroupId, MembershipId, UserId, record};

record! {
    /// A group of users. Roles of the group are roles of each of its users.
    pub struct Group: GroupId {
        /// Its domain.
        pub domain_id: DomainId,
        /// Unique in its domain.
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
    }
}

record! {
    /// The record that a user is in a group.
    pub struct Membership: MembershipId {
        /// The group.
        pub group_id: GroupId,
        /// The user.
        pub user_id: UserId,
    }
}

impl MembershipId {
    /// The id of a user's membership in a group.
    pub fn of(group: GroupId, user: UserId) -> Self {
        format!("{group}/{user}").as_str().into()
    }
}
