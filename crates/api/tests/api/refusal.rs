//! The errors of each service: the body of one error for each status.

use crate::{snapshot::assert_answer, world::World};
use axum::http::Method;

/// A refused request: the service, the snapshot's name, the method, the URL and the body.
type Refused = (&'static str, &'static str, Method, &'static str, &'static str);

/// Refused to the administrator.
const TO_ADMIN: &[Refused] = &[
    ("compute", "error-400", Method::POST, "/compute/v2.1/servers", r#"{"server": {"name": ""}}"#),
    ("compute", "error-404", Method::GET, "/compute/v2.1/servers/nowhere", ""),
    (
        "compute",
        "error-409",
        Method::POST,
        "/compute/v2.1/servers/{server}/action",
        r#"{"confirmResize": null}"#,
    ),
    ("placement", "error-400", Method::GET, "/placement/resource_providers?colour=blue", ""),
    ("placement", "error-404", Method::GET, "/placement/resource_providers/nowhere", ""),
    (
        "placement",
        "error-409",
        Method::PUT,
        "/placement/resource_providers/{host-1}/inventories/VCPU",
        r#"{"resource_provider_generation": 999, "total": 8}"#,
    ),
    ("identity", "error-400", Method::POST, "/identity/v3/projects", r#"{"project": {}}"#),
    ("identity", "error-404", Method::GET, "/identity/v3/users/nobody", ""),
    ("identity", "error-409", Method::POST, "/identity/v3/domains", r#"{"domain": {"name": "research"}}"#),
    ("image", "error-400", Method::POST, "/image/v2/images", r#"{"disk_format": "floppy"}"#),
    ("image", "error-404", Method::GET, "/image/v2/images/nowhere", ""),
    ("image", "error-409", Method::PUT, "/image/v2/images/{image}/file", "bytes"),
    ("image", "error-403-protected", Method::DELETE, "/image/v2/images/{empty-image}", ""),
    ("network", "error-400", Method::POST, "/network/v2.0/subnets", r#"{"subnet": {"ip_version": 5}}"#),
    ("network", "error-404", Method::GET, "/network/v2.0/networks/nowhere", ""),
    ("network", "error-409", Method::DELETE, "/network/v2.0/subnets/{subnet}", ""),
    ("operator", "error-404", Method::GET, "/operator/v1/hosts/nowhere", ""),
    ("operator", "error-400", Method::POST, "/operator/v1/hosts/enrol", r#"{"valid_for_s": "long"}"#),
    ("operator", "error-409", Method::POST, "/operator/v1/projects/admin/purge", "{}"),
];

/// Refused to a member of a project.
const TO_MEMBER: &[Refused] = &[
    ("compute", "error-403", Method::GET, "/compute/v2.1/os-hypervisors", ""),
    ("placement", "error-403", Method::GET, "/placement/resource_providers", ""),
    ("identity", "error-403", Method::GET, "/identity/v3/users", ""),
    ("image", "error-403", Method::POST, "/image/v2/images", r#"{"visibility": "public"}"#),
    (
        "network",
        "error-403",
        Method::POST,
        "/network/v2.0/networks",
        r#"{"network": {"router:external": true}}"#,
    ),
    ("operator", "error-403", Method::GET, "/operator/v1/hosts", ""),
];

/// Refused to a caller without a token.
const TO_STRANGER: &[Refused] = &[
    ("compute", "error-401", Method::GET, "/compute/v2.1/servers", ""),
    ("placement", "error-401", Method::GET, "/placement/resource_providers", ""),
    ("identity", "error-401", Method::GET, "/identity/v3/users", ""),
    ("image", "error-401", Method::GET, "/image/v2/images", ""),
    ("network", "error-401", Method::GET, "/network/v2.0/networks", ""),
    ("operator", "error-401", Method::GET, "/operator/v1/hosts", ""),
];

#[tokio::test]
async fn errors_are_as_reviewed() {
    let world = World::new().await;
    for (token, all) in
        [(&world.cloud.token, TO_ADMIN), (&world.member, TO_MEMBER), (&String::new(), TO_STRANGER)]
    {
        for (service, name, method, path, body) in all {
            let call = world.cloud.call(method.clone(), world.path(path)).token(token);
            let call = match path.ends_with("/file") {
                true => call.bytes(body.as_bytes()),
                false => call.text(body),
            };
            let answer = call.send().await;
            let status = format!("error-{}", answer.status);
            assert!(name.starts_with(&status), "{method} {path}: {answer:?}");
            assert_answer(service, name, &format!("{method} {path}"), &answer);
        }
    }
}
