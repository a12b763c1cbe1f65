//! The operators' API: its OpenAPI document, and that the served routes match it.

use crate::{
    cloud::TestCloud,
    schema::check,
    snapshot::{Shown, UNVERSIONED, assert_answer, show},
    world::World,
};
use axum::http::Method;
use serde_json::Value;

const DOCUMENT: &str = "/operator/v1/openapi.json";

const SHOWN: &[Shown<'_>] = &[
    ("services", "/", UNVERSIONED),
    ("where", "/operator/v1/servers/{server}/where", UNVERSIONED),
    ("where-moving", "/operator/v1/servers/{moving}/where", UNVERSIONED),
    ("explain", "/operator/v1/servers/{huge}/explain", UNVERSIONED),
    ("journal", "/operator/v1/servers/{moved}/journal", UNVERSIONED),
    ("hosts", "/operator/v1/hosts", UNVERSIONED),
    ("host", "/operator/v1/hosts/host-1", UNVERSIONED),
    ("refusals", "/operator/v1/refusals", UNVERSIONED),
];

#[tokio::test]
async fn resources_are_as_reviewed() {
    show(&World::new().await, "operator", SHOWN).await;
}

#[tokio::test]
async fn the_document_is_as_reviewed() {
    let answer = TestCloud::start(&[]).await.get(DOCUMENT).token("").send().await;
    assert_answer("operator", "openapi", &format!("GET {DOCUMENT}"), &answer);
}

#[tokio::test]
async fn the_served_routes_match_the_document() {
    let cloud = TestCloud::start(&[]).await;
    let document = cloud.get(DOCUMENT).succeeds().await;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let is_described = operations.get(method.as_str().to_ascii_lowercase()).is_some();
            // Without a token, an existing route answers 401.
            let expected = match (is_described, path == DOCUMENT) {
                (true, true) => 200,
                (true, false) => 401,
                (false, _) => 405,
            };
            let one = path.replace(['{', '}'], "");
            let answer = cloud.call(method.clone(), one).token("").send().await;
            assert_eq!(answer.status, expected, "{method} {path}");
        }
    }
}

/// The schema of the answer to a `GET`.
fn schema_of_answer<'d>(document: &'d Value, path: &str) -> &'d Value {
    &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
}

#[tokio::test]
async fn answers_are_as_described() {
    let world = World::new().await;
    let document = world.cloud.get(DOCUMENT).succeeds().await;
    let described = document["paths"].as_object().expect("paths").keys();
    let read: Vec<&String> =
        described.filter(|path| *path != DOCUMENT && !schema_of_answer(&document, path).is_null()).collect();
    assert!(read.len() >= 6, "{read:?}");
    for path in read {
        for server in ["server", "huge", "moved", "moving"] {
            let one = path.replace("{server}", world.id(server)).replace("{host}", "host-1");
            let answer = world.cloud.get(&one).succeeds().await;
            assert_eq!(check(&document, schema_of_answer(&document, path), &answer, &one), Ok(()));
        }
    }
    let refused = world.cloud.get("/operator/v1/hosts/nowhere").send().await;
    assert_eq!(check(&document, &document["components"]["schemas"]["Error"], &refused.body, "error"), Ok(()));
}
