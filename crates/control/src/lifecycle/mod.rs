//! The lifecycle of records: consequences of requests and of hosts' reports.

pub mod archive;
pub mod canary;
pub mod condition;
pub mod deletion;
pub mod disk;
pub mod host;
pub mod host_step;
pub mod image;
pub mod loss;
pub mod migration;
pub mod network;
pub mod operation;
pub mod plan;
pub mod ports;
pub mod rebuild;
pub mod rescue;
pub mod rest;
pub mod restore;
pub mod run;
pub mod shelf;
pub mod snapshot;
pub mod suspend;
pub mod target;
pub mod upload;
