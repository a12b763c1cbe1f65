//! The operators' API: its OpenAPI document, and that the served routes match it.

use crate::{
    cloud::TestCloud,
    schema::check,
    snapshot::{Shown, UNVERSIONED, assert_answer, show},
    world::World,
};
use axum::http::Method;
use serde_json::{Value, json};

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
    let drain = json!({"drain": "host-1", "anyway": true});
    let plan = world.cloud.call(Method::POST, "/operator/v1/plans").json(&drain).succeeds().await;
    let plan = plan["name"].as_str().expect("a name");
    for path in read {
        for server in ["server", "huge", "moved", "moving"] {
            let one = path.replace("{server}", world.id(server)).replace("{host}", "host-1");
            let one = one.replace("{plan}", plan);
            let answer = world.cloud.get(&one).succeeds().await;
            assert_eq!(check(&document, schema_of_answer(&document, path), &answer, &one), Ok(()));
        }
    }
    let refused = world.cloud.get("/operator/v1/hosts/nowhere").send().await;
    assert_eq!(check(&document, &document["components"]["schemas"]["Error"], &refused.body, "error"), Ok(()));
}

#[tokio::test]
async fn a_reboot_says_what_becomes_of_guests_and_how_far_its_host_is() {
    let world = World::new().await;
    let (cloud, plans) = (&world.cloud, "/operator/v1/plans");
    let ask = |guests: &str, dry: bool| json!({"reboot": "host-1", "guests": guests, "dry_run": dry, "anyway": true});
    let post = async |body: Value| cloud.call(Method::POST, plans).json(&body).send().await;
    for (guests, words) in [("suspend", ["suspends", "waits"]), ("stop", ["stops", "waits"])] {
        let preview = post(ask(guests, true)).await;
        assert_eq!(preview.status, 200, "{preview:?}");
        let steps = preview.body["steps"].as_array().expect("steps").clone();
        let word = |step: &Value| step["state"].as_str().map(str::to_owned).expect("a state");
        assert!(steps.iter().any(|step| word(step) == words[0]), "{guests}: {steps:?}");
        assert!(steps.iter().all(|step| words.contains(&word(step).as_str())), "{guests}: {steps:?}");
    }
    let started = post(ask("stop", false)).await;
    assert_eq!(started.status, 201, "{started:?}");
    let path = format!("{plans}/{}", started.body["name"].as_str().expect("a name"));
    let shown = cloud.get(&path).succeeds().await;
    let host = &shown["host"];
    assert_eq!((&host["host"], &host["stage"]), (&json!("host-1"), &json!("emptying")));
    assert!(host["before"].as_str().is_some_and(|was| was.contains("boot boot-1")), "{host}");
    assert!(
        host["why"].as_str().is_some_and(|why| why.contains("runs, or something is done to it")),
        "{host}"
    );
    let twice = post(ask("move", false)).await;
    assert_eq!(twice.status, 409, "{twice:?}");
    assert_eq!(cloud.call(Method::POST, format!("{path}/abort")).send().await.status, 200);
    let over = cloud.get(&path).succeeds().await;
    assert_eq!(over["host"]["stage"], "ended while emptying");
    let host = cloud.get("/operator/v1/hosts/host-1").succeeds().await;
    assert_eq!((&host["actions"], &host["last_action"]), (&json!(["reboot"]), &Value::Null));
}

#[tokio::test]
async fn a_plan_is_previewed_started_stopped_and_read_after_its_end() {
    let world = World::new().await;
    let (cloud, plans) = (&world.cloud, "/operator/v1/plans");
    let post = async |path: &str, body: Value| cloud.call(Method::POST, path).json(&body).send().await;
    // A preview starts nothing.
    let preview = post(plans, json!({"drain": "host-1", "dry_run": true})).await;
    assert_eq!((preview.status, &preview.body["phase"]), (200, &json!("preview")));
    let steps = preview.body["steps"].as_array().expect("steps").len();
    assert!(steps > 0 && cloud.get(plans).succeeds().await == json!([]));
    // Neither do requests that contradict themselves.
    for (body, status) in [
        (json!({}), 400),
        (json!({"drain": "host-1", "project": "demo"}), 400),
        (json!({"drain": "host-1", "limits": {"per_host": 0}}), 400),
        (json!({"drain": "host-1", "limits": {"per_host": -1}}), 400),
        (json!({"drain": "host-1", "speed": 9}), 400),
        (json!({"drain": "host-1", "reboot": "host-1"}), 400),
        (json!({"reboot": "host-1", "guests": "fly"}), 400),
        (json!({"drain": "host-1", "guests": "stop"}), 400),
        (json!({"recover": "host-1", "to": "nowhere"}), 404),
        (json!({"drain": "nowhere"}), 404),
        (json!({"reboot": "nowhere"}), 404),
        (json!({"drain": "host-1", "to": "nowhere"}), 404),
        (json!({"servers": ["no-1", "no-2", "no-3", "no-4"]}), 400),
    ] {
        let answer = post(plans, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    let unknown = post(plans, json!({"servers": ["no-1", "no-2", "no-3", "no-4"]})).await.body.to_string();
    assert!(unknown.contains("no-1, no-2, no-3 and 1 more"), "{unknown}");
    // A plan runs, pauses, goes on, and ends; then it is in the store alone.
    let started = post(plans, json!({"drain": "host-1", "anyway": true, "reason": "a new kernel"})).await;
    assert_eq!((started.status, &started.body["phase"]), (201, &json!("running")));
    let path = format!("{plans}/{}", started.body["name"].as_str().expect("a name"));
    assert_eq!(cloud.get("/operator/v1/hosts/host-1").succeeds().await["state"], "draining");
    let paused = post(&format!("{path}/pause"), json!({"reason": "lunch"})).await;
    assert_eq!((&paused.body["phase"], &paused.body["why"]), (&json!("paused"), &json!("lunch")));
    let status = cloud.get("/operator/v1/status").succeeds().await;
    assert!(status["events"].to_string().contains("is paused: lunch"), "{status}");
    post("/operator/v1/freeze", json!({"reason": "the network"})).await;
    assert_eq!(post(&format!("{path}/resume"), json!({})).await.body["phase"], "frozen");
    assert_eq!(cloud.call(Method::POST, "/operator/v1/thaw").send().await.status, 200);
    assert_eq!(cloud.call(Method::POST, format!("{path}/abort")).send().await.body["phase"], "aborted");
    let over = cloud.get(&path).succeeds().await;
    assert_eq!(
        (&over["reason"], over["steps"].as_array().map(Vec::len)),
        (&json!("a new kernel"), Some(steps))
    );
    assert_eq!(over["steps"][0]["state"], "dropped");
    assert_eq!(cloud.get(format!("{path}?steps=open")).succeeds().await["steps"], json!([]), "all are over");
    assert_eq!(cloud.get(format!("{path}?steps=mine")).send().await.status, 400);
    for none in ["no-plan", "drain-host-1-999999", "drain-host-1-x"] {
        assert_eq!(cloud.get(format!("{plans}/{none}")).send().await.status, 404, "{none}");
    }
    let all = cloud.get(format!("{plans}?all=true")).succeeds().await;
    assert_eq!((all[0]["phase"].as_str(), cloud.get(plans).succeeds().await), (Some("aborted"), json!([])));
    assert_eq!(
        cloud.call(Method::POST, "/operator/v1/hosts/host-1/undrain").send().await.body["state"],
        "up"
    );
}
