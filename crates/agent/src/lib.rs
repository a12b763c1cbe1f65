//! A host: carries out what the control plane wants of its guests, and says what it sees.

pub mod core;
