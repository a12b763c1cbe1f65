//! Glance's resources.

use crate::{
    snapshot::{Shown, UNVERSIONED, show},
    world::World,
};

const SHOWN: &[Shown<'_>] = &[
    ("versions", "/image", UNVERSIONED),
    ("image", "/image/v2/images/{image}", UNVERSIONED),
    ("image-without-bytes", "/image/v2/images/{empty-image}", UNVERSIONED),
    ("images", "/image/v2/images?name=debian", UNVERSIONED),
    ("members", "/image/v2/images/{image}/members", UNVERSIONED),
    ("schema", "/image/v2/schemas/image", UNVERSIONED),
    ("import", "/image/v2/info/import", UNVERSIONED),
    ("stores", "/image/v2/info/stores", UNVERSIONED),
    ("usage", "/image/v2/info/usage", UNVERSIONED),
];

#[tokio::test]
async fn resources_are_as_reviewed() {
    show(&World::new().await, "image", SHOWN).await;
}
