//! Glance's resources.

use crate::{
    cloud::Answer,
    snapshot::{Shown, UNVERSIONED, show},
    world::World,
};
use axum::http::Method;
use serde_json::json;

const SHOWN: &[Shown<'_>] = &[
    ("versions", "/image", UNVERSIONED),
    ("image", "/image/v2/images/{image}", UNVERSIONED),
    ("image-without-bytes", "/image/v2/images/{empty-image}", UNVERSIONED),
    ("images", "/image/v2/images?name=debian", UNVERSIONED),
    ("members", "/image/v2/images/{image}/members", UNVERSIONED),
    ("member", "/image/v2/images/{image}/members/{project}", UNVERSIONED),
    ("schema-member", "/image/v2/schemas/member", UNVERSIONED),
    ("schema-members", "/image/v2/schemas/members", UNVERSIONED),
    ("schema", "/image/v2/schemas/image", UNVERSIONED),
    ("import", "/image/v2/info/import", UNVERSIONED),
    ("stores", "/image/v2/info/stores", UNVERSIONED),
    ("usage", "/image/v2/info/usage", UNVERSIONED),
];

#[tokio::test]
async fn resources_are_as_reviewed() {
    show(&World::new().await, "image", SHOWN).await;
}

#[tokio::test]
async fn a_member_says_whether_it_lists_the_image() {
    let world = World::new().await;
    let member = world.path("/image/v2/images/{image}/members/{project}");
    let listed = async |query: &str| {
        let path = format!("/image/v2/images?{query}");
        let found = world.cloud.get(path).token(&world.member).succeeds().await;
        found["images"].as_array().is_some_and(|images| !images.is_empty())
    };
    let say = async |token: &str, status: &str| -> Answer {
        let body = json!({ "status": status });
        world.cloud.call(Method::PUT, &member).token(token).json(&body).send().await
    };
    assert!(!listed("").await && listed("member_status=pending").await && listed("member_status=all").await);
    assert_eq!(say(&world.member, "perhaps").await.status, 400);
    assert_eq!(say(&world.member, "accepted").await.status, 200);
    assert!(listed("").await && listed("visibility=shared").await && !listed("member_status=rejected").await);
    assert_eq!(say(&world.member, "rejected").await.status, 200);
    assert!(!listed("").await);
    // The member sees the image still, and can neither change it nor share it on, nor end the sharing.
    let image = world.path("/image/v2/images/{image}");
    world.cloud.get(&image).token(&world.member).succeeds().await;
    let other = json!({"member": world.id("admin-project")});
    let share = world.cloud.call(Method::POST, format!("{image}/members")).token(&world.member).json(&other);
    assert_eq!(share.send().await.status, 403);
    assert_eq!(world.cloud.call(Method::DELETE, &member).token(&world.member).send().await.status, 403);
    let off = world.cloud.call(Method::POST, format!("{image}/actions/deactivate")).token(&world.member);
    assert_eq!(off.send().await.status, 403);
    world.cloud.call(Method::DELETE, &member).succeeds().await;
    assert_eq!(world.cloud.get(&image).token(&world.member).send().await.status, 404);
}

#[tokio::test]
async fn patches_of_both_versions_are_read() {
    let world = World::new().await;
    let image = world.path("/image/v2/images/{image}");
    let old = "application/openstack-images-v2.0-json-patch";
    let patch = async |body: &str| world.cloud.call(Method::PATCH, &image).typed(old, body).send().await;
    let answer = patch(r#"[{"replace": "/name", "value": "new"}, {"add": "/colour", "value": "red"}]"#).await;
    assert_eq!(
        (answer.status, &answer.body["name"], &answer.body["colour"]),
        (200, &json!("new"), &json!("red"))
    );
    let answer = patch(r#"[{"remove": "/colour"}]"#).await;
    assert_eq!((answer.status, answer.body.get("colour")), (200, None));
    for bad in [
        r#"[{"op": "remove", "path": "/name"}]"#,
        r#"[{"add": "/a", "replace": "/b", "value": "c"}]"#,
        "[{}]",
    ] {
        assert_eq!(patch(bad).await.status, 400, "{bad}");
    }
    let give = format!(r#"[{{"replace": "/owner", "value": "{}"}}]"#, world.id("project"));
    assert_eq!(patch(&give).await.body["owner"], json!(world.id("project")));
    let back = format!(r#"[{{"replace": "/owner", "value": "{}"}}]"#, world.id("admin-project"));
    let given = world.cloud.call(Method::PATCH, &image).token(&world.member).typed(old, &back).send().await;
    assert_eq!(given.status, 403, "only an administrator gives images away");
}
