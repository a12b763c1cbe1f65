//! Keystone's resources.

use crate::{
    cloud::credentials,
    snapshot::{Shown, UNVERSIONED, assert_answer, show},
    world::World,
};
use axum::http::Method;

const SHOWN: &[Shown<'_>] = &[
    ("versions", "/identity", UNVERSIONED),
    ("version", "/identity/v3", UNVERSIONED),
    ("catalog", "/identity/v3/auth/catalog", UNVERSIONED),
    ("scopes-projects", "/identity/v3/auth/projects", UNVERSIONED),
    ("scopes-domains", "/identity/v3/auth/domains", UNVERSIONED),
    ("scopes-system", "/identity/v3/auth/system", UNVERSIONED),
    ("domain", "/identity/v3/domains/{domain}", UNVERSIONED),
    ("domains", "/identity/v3/domains?name=research", UNVERSIONED),
    ("project", "/identity/v3/projects/{project}", UNVERSIONED),
    ("projects", "/identity/v3/projects?name=lab", UNVERSIONED),
    ("user", "/identity/v3/users/{user}", UNVERSIONED),
    ("users", "/identity/v3/users?name=ada", UNVERSIONED),
    ("user-projects", "/identity/v3/users/{user}/projects", UNVERSIONED),
    ("role", "/identity/v3/roles/{role}", UNVERSIONED),
    ("roles", "/identity/v3/roles?name=member", UNVERSIONED),
    ("role-inferences", "/identity/v3/role_inferences", UNVERSIONED),
    ("role-assignments", "/identity/v3/role_assignments?user.id={user}", UNVERSIONED),
    ("role-assignments-named", "/identity/v3/role_assignments?user.id={user}&include_names", UNVERSIONED),
    ("roles-on-project", "/identity/v3/projects/{project}/users/{user}/roles", UNVERSIONED),
    ("services", "/identity/v3/services?type=compute", UNVERSIONED),
    ("endpoints", "/identity/v3/endpoints?interface=public", UNVERSIONED),
    ("regions", "/identity/v3/regions", UNVERSIONED),
    ("limits", "/identity/v3/limits", UNVERSIONED),
];

#[tokio::test]
async fn resources_are_as_reviewed() {
    show(&World::new().await, "identity", SHOWN).await;
}

#[tokio::test]
async fn a_token_is_as_reviewed() {
    let world = World::new().await;
    let path = "/identity/v3/auth/tokens";
    let answer = world.cloud.call(Method::POST, path).token("").json(&credentials("ada", "lab")).send().await;
    assert_answer("identity", "token", &format!("POST {path}"), &answer);
}
