//! Keystone's resources.

use crate::{
    cloud::{TestCloud, credentials},
    snapshot::{Shown, UNVERSIONED, assert_answer, show},
    world::World,
};
use axum::http::Method;
use serde_json::{Value, json};

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
    ("project-tags", "/identity/v3/projects/{project}/tags", UNVERSIONED),
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
    ("role-assignments-effective", "/identity/v3/role_assignments?user.id={user}&effective", UNVERSIONED),
    (
        "role-assignments-of-group",
        "/identity/v3/role_assignments?group.id={group}&include_names",
        UNVERSIONED,
    ),
    ("roles-of-group", "/identity/v3/projects/{project}/groups/{group}/roles", UNVERSIONED),
    ("role-inference", "/identity/v3/roles/{custom}/implies/{reader}", UNVERSIONED),
    ("roles-implied", "/identity/v3/roles/{custom}/implies", UNVERSIONED),
    ("group", "/identity/v3/groups/{group}", UNVERSIONED),
    ("groups", "/identity/v3/groups?name=staff", UNVERSIONED),
    ("group-users", "/identity/v3/groups/{group}/users", UNVERSIONED),
    ("user-groups", "/identity/v3/users/{user}/groups", UNVERSIONED),
    (
        "application-credential",
        "/identity/v3/users/{user}/application_credentials/{application-credential}",
        UNVERSIONED,
    ),
    ("application-credentials", "/identity/v3/users/{user}/application_credentials?name=ci", UNVERSIONED),
    ("access-rule", "/identity/v3/users/{user}/access_rules/{access-rule}", UNVERSIONED),
    ("access-rules", "/identity/v3/users/{user}/access_rules", UNVERSIONED),
    ("service", "/identity/v3/services/{service}", UNVERSIONED),
    ("services", "/identity/v3/services?type=compute", UNVERSIONED),
    ("endpoint", "/identity/v3/endpoints/{endpoint}", UNVERSIONED),
    ("endpoints", "/identity/v3/endpoints?interface=public", UNVERSIONED),
    ("region", "/identity/v3/regions/north", UNVERSIONED),
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

/// The answer to a log-in with an application credential.
async fn login(cloud: &TestCloud, method: Value, scope: Option<Value>) -> crate::cloud::Answer {
    let mut auth =
        json!({"identity": {"methods": ["application_credential"], "application_credential": method}});
    if let Some(scope) = scope {
        auth["scope"] = scope;
    }
    cloud.call(Method::POST, "/identity/v3/auth/tokens").token("").json(&json!({ "auth": auth })).send().await
}

#[tokio::test]
async fn an_application_credential_logs_in_for_what_it_allows() {
    let world = World::new().await;
    let (cloud, id) = (&world.cloud, world.id("application-credential"));
    let by_id = json!({"id": id, "secret": "s3cret"});
    let answer = login(cloud, by_id.clone(), None).await;
    assert_answer("identity", "token-of-application-credential", "POST /identity/v3/auth/tokens", &answer);
    let user = json!({"name": "ada", "domain": {"id": "default"}});
    let by_name = login(cloud, json!({"name": "ci", "user": user, "secret": "s3cret"}), None).await;
    assert_eq!(by_name.status, 201);
    let token = answer.token();
    let server = world.path("/compute/v2.1/servers/{server}");
    for (method, path, status) in [
        // It is another project's server, so the rule lets the request through, and the service finds nothing.
        (Method::GET, server.as_str(), 404),
        (Method::DELETE, &server, 401),
        (Method::GET, "/compute/v2.1/servers", 401),
        (Method::GET, "/image/v2/images", 401),
        (Method::GET, "/network/v2.0/networks", 401),
        (Method::GET, "/placement/resource_providers", 401),
        (Method::GET, "/identity/v3/auth/projects", 401),
        (Method::GET, "/operator/v1/hosts", 401),
    ] {
        let answer = cloud.call(method.clone(), path).token(&token).send().await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    // A scope, another token for the token, and any wrong part are refused, all in the same words.
    let scope = json!({"project": {"id": world.id("project")}});
    assert_eq!(login(cloud, by_id, Some(scope)).await.status, 401);
    let again = json!({"auth": {"identity": {"methods": ["token"], "token": {"id": token}}}});
    let call = cloud.call(Method::POST, "/identity/v3/auth/tokens").token("");
    assert_eq!(call.json(&again).send().await.status, 403);
    let wrong = login(cloud, json!({"id": id, "secret": "S3cret"}), None).await;
    let unknown = login(cloud, json!({"id": world.id("user"), "secret": "s3cret"}), None).await;
    assert_eq!((wrong.status, &wrong.body), (401, &unknown.body));
}

#[tokio::test]
async fn tokens_end_with_their_application_credential() {
    let world = World::new().await;
    let (cloud, user) = (&world.cloud, world.id("user"));
    let path = format!("/identity/v3/users/{user}/application_credentials");
    let body = json!({"application_credential": {"name": "all"}});
    let made = cloud.call(Method::POST, &path).token(&world.member).json(&body).succeeds().await;
    let made = &made["application_credential"];
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    assert_eq!(secret.len(), 86);
    let one = format!("{path}/{}", made["id"].as_str().expect("an id"));
    let shown = cloud.call(Method::GET, &one).token(&world.member).succeeds().await;
    assert_eq!(shown["application_credential"].get("secret"), None, "a secret is shown once");
    let token = login(cloud, json!({"id": made["id"], "secret": secret}), None).await.token();
    let servers = || cloud.get("/compute/v2.1/servers").token(&token);
    servers().succeeds().await;
    let more =
        cloud.call(Method::POST, &path).token(&token).json(&json!({"application_credential": {"name": "b"}}));
    assert_eq!(more.send().await.status, 403, "a restricted credential makes no others");
    assert_eq!(cloud.call(Method::DELETE, &one).token(&token).send().await.status, 403);
    cloud.call(Method::DELETE, &one).token(&world.member).succeeds().await;
    assert_eq!(servers().send().await.status, 401);
}

#[tokio::test]
async fn the_catalog_follows_its_records() {
    let world = World::new().await;
    let endpoint = world.path("/identity/v3/endpoints/{endpoint}");
    let urls = async || {
        let catalog = world.cloud.get("/identity/v3/auth/catalog").token(&world.member).succeeds().await;
        let all = catalog["catalog"].as_array().cloned().unwrap_or_default();
        let dns = all.into_iter().find(|service| service["type"] == "dns").expect("the service");
        dns["endpoints"].as_array().expect("endpoints").iter().map(|e| e["url"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(urls().await, [json!(format!("http://dns.example/v2/{}", world.id("project")))]);
    let off = json!({"endpoint": {"enabled": false}});
    world.cloud.call(Method::PATCH, &endpoint).json(&off).succeeds().await;
    assert!(urls().await.is_empty());
    let region = world.cloud.call(Method::DELETE, "/identity/v3/regions/RegionOne").send().await;
    assert_eq!(region.status, 403, "a region with endpoints stays");
}

#[tokio::test]
async fn a_trustee_acts_for_its_trustor_until_the_trust_ends() {
    let world = World::new().await;
    let (cloud, trustor) = (&world.cloud, world.id("user"));
    let body = json!({"user": {"name": "bob", "password": crate::cloud::PASSWORD}});
    let bob = cloud.call(Method::POST, "/identity/v3/users").json(&body).succeeds().await;
    let trust = json!({"trust": {
        "trustor_user_id": trustor, "trustee_user_id": bob["user"]["id"], "project_id": world.id("project"),
        "impersonation": true, "roles": [{"name": "member"}], "expires_at": "2026-01-01T00:30:00Z",
    }});
    let path = "/identity/v3/OS-TRUST/trusts";
    let answer = cloud.call(Method::POST, path).token(&world.member).json(&trust).send().await;
    assert_answer("identity", "trust", &format!("POST {path}"), &answer);
    let one = format!("{path}/{}", answer.body["trust"]["id"].as_str().expect("an id"));
    let act = async |user: &str| {
        let mut body = credentials(user, "lab");
        body["auth"]["scope"] = json!({"OS-TRUST:trust": {"id": answer.body["trust"]["id"]}});
        cloud.call(Method::POST, "/identity/v3/auth/tokens").token("").json(&body).send().await
    };
    assert_eq!(act("ada").await.status, 401, "the trustor is not the trustee");
    let answer = act("bob").await;
    assert_answer("identity", "token-of-trust", "POST /identity/v3/auth/tokens", &answer);
    let token = answer.token();
    cloud.get("/network/v2.0/networks").token(&token).succeeds().await;
    let again = json!({"auth": {"identity": {"methods": ["token"], "token": {"id": token}}}});
    let call = cloud.call(Method::POST, "/identity/v3/auth/tokens").token("");
    assert_eq!(call.json(&again).send().await.status, 403, "no other token for a trust's token");
    let mine = format!("{path}?trustor_user_id={trustor}");
    let listed = cloud.get(&mine).token(&world.member).succeeds().await;
    assert_eq!(listed["trusts"].as_array().map(Vec::len), Some(1));
    assert_eq!(cloud.get(path).token(&world.member).send().await.status, 403);
    cloud.call(Method::DELETE, &one).token(&world.member).succeeds().await;
    assert_eq!(cloud.get("/network/v2.0/networks").token(&token).send().await.status, 401);
}
