//! Placement's resources.

use crate::{
    snapshot::{Shown, UNVERSIONED, show},
    world::World,
};

/// The lowest and the highest version.
const BOTH: &[&str] = &["1.0", "1.39"];

const SHOWN: &[Shown<'_>] = &[
    ("versions", "/placement", UNVERSIONED),
    ("resource-provider", "/placement/resource_providers/{host-1}", BOTH),
    ("resource-providers", "/placement/resource_providers", BOTH),
    ("inventories", "/placement/resource_providers/{host-1}/inventories", BOTH),
    ("inventory", "/placement/resource_providers/{host-1}/inventories/VCPU", BOTH),
    ("provider-usages", "/placement/resource_providers/{host-1}/usages", BOTH),
    ("provider-allocations", "/placement/resource_providers/{host-1}/allocations", BOTH),
    ("provider-aggregates", "/placement/resource_providers/{host-1}/aggregates", &["1.1", "1.39"]),
    ("provider-traits", "/placement/resource_providers/{host-1}/traits", &["1.6", "1.39"]),
    ("allocations", "/placement/allocations/{server}", BOTH),
    (
        "allocation-candidates",
        "/placement/allocation_candidates?resources=VCPU:1,MEMORY_MB:256,DISK_GB:1",
        &["1.10", "1.39"],
    ),
    ("usages", "/placement/usages?project_id={admin-project}", &["1.9", "1.39"]),
    ("resource-classes", "/placement/resource_classes", &["1.2", "1.39"]),
    ("resource-class", "/placement/resource_classes/VCPU", &["1.2", "1.39"]),
    ("traits", "/placement/traits?name=startswith:COMPUTE_STATUS", &["1.6", "1.39"]),
];

#[tokio::test]
async fn resources_are_as_reviewed_at_the_lowest_and_the_highest_version() {
    show(&World::new().await, "placement", SHOWN).await;
}
