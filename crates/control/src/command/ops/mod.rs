//! Commands about plans.

pub mod plan;
