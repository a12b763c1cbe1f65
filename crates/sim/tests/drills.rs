//! Every operation, disturbed at every step and every commit, ends stable and as the request asked.

use lenticular_sim::drill::drill_all;

#[test]
fn every_operation_survives_every_disturbance() {
    let drills = drill_all(None).unwrap_or_else(|why| panic!("{why}"));
    // Fewer would mean that operations are missing or end before they begin.
    assert!(drills.operations >= 24 && drills.steps >= 80 && drills.commits >= 80, "{drills:?}");
    assert!(drills.runs >= 1_300, "{drills:?}");
}
