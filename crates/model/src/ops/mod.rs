//! Work on the cloud itself: plans that move many servers, the steps of each, and the freeze that holds all of them.

pub mod freeze;
pub mod host_step;
pub mod limits;
pub mod pace;
pub mod plan;
pub mod plan_step;
