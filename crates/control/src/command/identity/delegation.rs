//! Shared by what hands roles on, application credentials and trusts: which roles, and by which tokens.

use crate::command::identity::govern;
use lenticular_model::{
    RoleId, State,
    error::{Error, Result},
    identity::{Proof, Role},
};
use std::sync::Arc;

/// A role in a request.
#[derive(Debug, Clone)]
pub enum AskedRole {
    /// By its id.
    Id(RoleId),
    /// By its name.
    Name(String),
}

/// Refuses a token of a restricted application credential, or of a trust: a leaked secret must not make others.
pub fn check_unrestricted(state: &State, proof: Proof) -> Result<()> {
    let method = match proof {
        Proof::Own => return Ok(()),
        Proof::ApplicationCredential(id)
            if state.application_credentials.get(&id).is_some_and(|credential| credential.unrestricted) =>
        {
            return Ok(());
        }
        Proof::ApplicationCredential(_) => "application_credential",
        Proof::Trust(_) => "trust",
    };
    Err(Error::forbidden(format!(
        "You are not authorized to perform the requested action: Using method '{method}' is not allowed for managing \
         additional application credentials or trusts."
    )))
}

/// The ids of the roles that are asked for.
///
/// # Errors
/// A role does not exist, or is not one of `own`.
pub(super) fn pick(state: &State, own: &[Arc<Role>], asked: Vec<AskedRole>) -> Result<Vec<RoleId>> {
    let mut found = Vec::new();
    for role in asked {
        let id = match role {
            AskedRole::Id(id) => govern::role(state, id)?.id,
            AskedRole::Name(name) => match state.role_named(None, &name) {
                Some(role) => role.id,
                None => return Err(govern::missing("role", name)),
            },
        };
        if !own.iter().any(|role| role.id == id) {
            return Err(Error::invalid(format!(
                "Cannot hand on an unassigned role: you do not have the role {id} in this project."
            )));
        }
        if !found.contains(&id) {
            found.push(id);
        }
    }
    Ok(found)
}
