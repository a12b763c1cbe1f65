//! Application credentials by name, of a user and in a project.

use crate::{ProjectId, State, UserId, identity::ApplicationCredential, index::scoped, relation::relations};
use std::sync::Arc;

impl State {
    /// The application credential with this name of a user.
    pub fn application_credential_named(
        &self,
        user: UserId,
        name: &str,
    ) -> Option<&Arc<ApplicationCredential>> {
        let id = self.index.application_credential_names.get(&scoped(user, name))?;
        self.application_credentials.get(&id)
    }
}

relations! {
    /// The application credentials of a user.
    fn application_credentials_of_user(UserId) -> ApplicationCredential = user_application_credentials;
    /// The application credentials in a project.
    fn application_credentials_in_project(ProjectId) -> ApplicationCredential = project_application_credentials;
}
