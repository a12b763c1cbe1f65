//! The access rules of a user, and of an application credential.

use crate::{
    State, UserId,
    identity::{AccessRule, ApplicationCredential},
    relation::relations,
};
use std::sync::Arc;

impl State {
    /// The access rules of an application credential.
    pub fn access_rules_of(&self, credential: &ApplicationCredential) -> Vec<Arc<AccessRule>> {
        credential.access_rule_ids.iter().filter_map(|id| self.access_rules.get(id).cloned()).collect()
    }
}

relations! {
    /// The access rules of a user.
    fn access_rules_of_user(UserId) -> AccessRule = user_access_rules;
}
