//! RBAC policies by what they say.

use crate::{
    network::rbac_policy::{RbacAction, RbacObject, RbacPolicy, RbacTarget},
    State,
};
use std::sync::Arc;

impl State {
    /// The policy that says this; no two say the same.
    pub fn rbac_policy(
        &self,
        object: RbacObject,
        action: RbacAction,
        target: RbacTarget,
    ) -> Option<&Arc<RbacPolicy>> {
        self.rbac_policies.get(self.index.net.rbac.get(&(object, action, target))?)
    }

    /// The policies about an object.
    pub fn rbac_policies_of(&self, object: RbacObject) -> impl Iterator<Item = &Arc<RbacPolicy>> {
        // The first of each, in the order of their variants.
        let from = (object, RbacAction::AccessAsShared, RbacTarget::Everyone);
        let policies = self.index.net.rbac.range(from..).take_while(move |((of, ..), _)| *of == object);
        policies.filter_map(|(_, id)| self.rbac_policies.get(id))
    }
}
